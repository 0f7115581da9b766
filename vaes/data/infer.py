"""What the entries of a row are: binary, pixels on a grid, categories, counts or reals.

Rules, in order: two distinct values are binary; whole numbers (and floats on k / 255) on a grid of
at most 256 levels are pixels; whole numbers from 0 on that go beyond are counts where flat rows
have many columns of them and most columns hold a 0; everything else is real. Images get one
decision for all entries, flat rows one per column, unless all columns share one grid. Alphabets are
read from all rows: which values exist is not a statistic, and a level seen only in the test part
must have a code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vaes.batch import KINDS
from vaes.data.grids import COUNT, REAL, Grid, forced, natural, uncountable
from vaes.data.pieces import LARGEST
from vaes.data.source import Source, nearest, shown
from vaes.errors import DataError, UsageError, did_you_mean

# uint8 images whose largest value is at most this are counted on their own scale (digits: 0..16).
SMALL_SCALE = 16
# Columns share one grid only where there are this many: fewer are a table of unlike things.
SHARED_COLUMNS = 16
LARGEST_LEVEL = 255  # of levels from 0 on; counts go beyond
MISSING = ("nan", "modelled")
BINARIZE = {
    "threshold": "1 from the middle on",
    "static": "drawn once by the seed",
    "dynamic": "drawn afresh at each pass (held-out rows once)",
}


@dataclass(frozen=True)
class Decision:
    """One grid for all entries or one per column; how grey levels become bits; allowed gaps."""

    grids: tuple[Grid, ...]
    binarize: str | None = None
    missing: str | None = None
    notes: tuple[str, ...] = ()

    def told(self, columns: int) -> str:
        """The decision in words, for rows of `columns` entries."""
        if len(set(self.grids)) == 1:
            return f"every entry is {self.grids[0].told()}"
        counts = Counter(grid.kind for grid in self.grids)
        return f"{columns} columns: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())


def infer(
    source: Source,
    kind: str | Mapping[str, str] | None = None,
    binarize: str | None = None,
    missing: str | None = None,
    train: np.ndarray | None = None,
) -> Decision:
    """What the entries of the rows are.

    kind: "binary", "pixel", "category", "count", "numeric" or "real" for all entries, or column ->
    kind for some. binarize: "threshold" (at the middle), "static" (drawn once) or "dynamic" (drawn
    at each pass) turns grey levels into bits. missing: "nan" takes NaN as a missing entry, left out
    of every density; "modelled", as a table of unlike columns has it unless told otherwise, makes
    whether a column has a value part of the row too. train: the rows that numeric columns are cut
    by. Raises DataError for rows that cannot be what is asked, naming row or column and value.
    """
    if missing not in (None, *MISSING):
        hint = did_you_mean(str(missing), MISSING)
        raise UsageError(f"missing='{missing}' is not known; {hint}")
    if binarize not in (None, *BINARIZE):
        hint = did_you_mean(str(binarize), BINARIZE)
        raise UsageError(f"binarize='{binarize}' is not known; {hint}")
    if missing is None and kind not in ("real", "count") and _unlike(source):
        missing = "modelled"
    check_finite(source, missing)
    _check_constant(source)
    asked = _asked(source, None if binarize and kind == "binary" else kind)
    if len(source.shape) == 1:
        grids = _columns(source, asked, train)
    else:
        grids = (_whole(source, asked if isinstance(asked, str) else None),)
    if len(set(grids)) == 1:
        grids = grids[:1]
    decision = Decision(grids, missing=missing)
    return _binarized(source, decision, binarize) if binarize else decision


def check_finite(source: Source, missing: str | None) -> None:
    """Raise DataError at the first infinity, and at the first NaN that was not allowed."""
    if source.x.dtype.kind != "f":
        return
    step = max(1, 2**24 // max(1, source.x[0].size))
    for start in range(0, len(source), step):
        rows = source.x[start : start + step].reshape(-1, source.x[0].size)
        bad = np.isinf(rows) if missing else ~np.isfinite(rows)
        if bad.any():
            row, entry = (int(i[0]) for i in np.nonzero(bad))
            where, value = source.where(start + row, entry), rows[row, entry]
            if np.isnan(value):
                raise DataError(f"{where} is missing (NaN); --missing nan takes NaN as missing")
            raise DataError(f"{where} is infinite ({value}); replace it or leave the row out")


def _check_constant(source: Source) -> None:
    """Raise DataError where a column has no value at all, or all rows are the same number."""
    x = source.x.reshape(len(source), -1)
    if x.dtype.kind == "f":
        empty = np.isnan(x).all(axis=0)
        if empty.any() and (len(source.shape) == 1 or empty.all()):
            where = source.column(int(empty.argmax()))
            raise DataError(f"{where} has no value in any of the {len(x)} rows; drop it")
    low, high = np.nanmin(x), np.nanmax(x)
    if low == high:
        raise DataError(f"every value of the {len(source)} rows is {low:g}: nothing to learn")


def _asked(source: Source, kind: str | Mapping[str, str] | None) -> str | dict[int, str] | None:
    """The kinds asked for: one name, or column number -> kind; DataError for unknown ones."""
    if kind is None:
        return None
    for name in [kind] if isinstance(kind, str) else kind.values():
        if name not in KINDS:
            raise UsageError(f"kind '{name}' is not known; {did_you_mean(str(name), KINDS)}")
    if isinstance(kind, str):
        return kind
    if len(source.shape) != 1:
        raise DataError("images take one kind for all pixels; kinds by column are for flat rows")
    known = source.names or tuple(str(j) for j in range(source.shape[0]))
    place = {name: j for j, name in enumerate(known)}
    for name in kind:
        if str(name) not in place:
            hint = nearest(name, known)
            raise DataError(f"column '{shown(name)}' does not exist; {hint}")
    return {place[str(name)]: value for name, value in kind.items()}


def _whole(source: Source, asked: str | None) -> Grid:
    """One grid for all entries."""
    if asked in ("numeric", "count"):
        raise DataError(f"kind '{asked}' was asked for, but it is for columns, not for images")
    values = _observed(source.x)
    grid = forced(values, asked, "the images") if asked else natural(values)
    of_bytes = source.x.dtype == np.uint8 and grid.kind == "pixel"
    if of_bytes and values.max() > SMALL_SCALE:
        return Grid("pixel", 256, 0.0, 255.0)
    return grid


def _unlike(source: Source) -> bool:
    """Whether this is a table of columns that do not share one grid."""
    if source.layout.get("kind") != "table":
        return False
    return any(source.layout.get("categories") or ()) or shared(source.x) is None


def _columns(
    source: Source, asked: str | dict[int, str] | None, train: np.ndarray | None
) -> tuple[Grid, ...]:
    """One grid per column of flat rows, or a single one that all share."""
    x, words = source.x, source.layout.get("categories") or ()
    if any(words):
        return tuple(_of_table(source, j, words[j], asked, train) for j in range(x.shape[1]))
    if asked == "real":
        return (REAL,)
    common = shared(x)
    if isinstance(asked, str):
        if common and common.kind == asked:
            return (common,)
        if asked in ("pixel", "category") and not source.names:
            return (forced(_observed(x), asked, "the rows"),)
        asked = dict.fromkeys(range(x.shape[1]), asked)
    elif common and not asked:
        return (common,)
    kinds = [(asked or {}).get(j) for j in range(x.shape[1])]
    # Where some columns of a grid that all share are given kinds, the others stay on it.
    return tuple(
        common if common and kind in (None, common.kind) else _of_column(source, j, kind, train)
        for j, kind in enumerate(kinds)
    )


def _of_column(source: Source, j: int, kind: str | None, train: np.ndarray | None) -> Grid:
    """A column of numbers: of the kind asked for; of a table binary where it has two values, else
    numeric, cut by the training rows alone; of an array what its values suggest."""
    values = _observed(source.x[:, j])
    if kind is None:
        found = natural(values)
        large = found.kind == "real" and float(np.abs(values).max()) > LARGEST
        if source.layout.get("kind") != "table" or found.kind == "binary" or large:
            return found
        kind = "numeric"
    if kind == "numeric" and train is not None:
        seen = _observed(source.x[train, j])
        values = seen if len(seen) else values
    dtypes = source.layout.get("dtypes")
    return forced(values, kind, source.column(j), dtypes[j] if dtypes else "")


def _of_table(
    source: Source,
    j: int,
    words: Sequence[str] | None,
    asked: str | dict[int, str] | None,
    train: np.ndarray | None,
) -> Grid:
    """One column of a table some of whose columns hold words."""
    kind = asked if isinstance(asked, str) else (asked or {}).get(j)
    if words:
        if kind not in (None, "category"):
            raise DataError(
                f"kind '{kind}' was asked for, but {source.column(j)} holds words, as "
                f"'{shown(words[0])}': it is a category"
            )
        return Grid("category", len(words), 0.0, 1.0)
    return _of_column(source, j, kind, train)


def shared(x: np.ndarray) -> Grid | None:
    """The grid of all columns together, if they are alike: images that lie flat, all binary, or
    counts of things of one sort."""
    values = _observed(x)
    grid = natural(values) if len(values) else REAL
    if grid.kind == "binary":
        return grid
    if grid.kind == "real" and x.shape[1] >= SHARED_COLUMNS and _counted(x, values):
        return COUNT
    if grid.kind != "pixel" or x.shape[1] < SHARED_COLUMNS:
        return None
    spans = np.nanmax(x, axis=0).astype(np.float64) - np.nanmin(x, axis=0)
    wide, vary = (spans >= grid.span / 2).sum(), (spans > 0).sum()
    return grid if wide > vary / 2 else None


def _counted(x: np.ndarray, values: np.ndarray) -> bool:
    """Whether these columns, of more levels than a grid has, are counts: whole numbers from 0 on,
    and 0 in most columns, which measurements of unlike things do not share."""
    if float(values.max()) > LARGEST_LEVEL and not len(uncountable(values)):
        return bool((np.nanmin(x, axis=0) == 0).mean() > 0.5)
    return False


def _observed(x: np.ndarray) -> np.ndarray:
    """All values that are there, flat."""
    x = x.reshape(-1)
    return x[~np.isnan(x)] if x.dtype.kind == "f" and np.isnan(x).any() else x


def _binarized(source: Source, found: Decision, binarize: str) -> Decision:
    """The decision for bits that are made of grey levels on one scale."""
    grid = found.grids[0]
    if len(found.grids) > 1 or grid.kind not in ("binary", "pixel", "real"):
        raise DataError(
            "--binarize needs grey levels on one scale, but " + found.told(source.shape[0])
        )
    if grid.kind == "binary":
        note = f"--binarize {binarize} changes nothing: the rows are binary already"
        return replace(found, notes=(note,))
    if grid.kind == "real":
        values = _observed(source.x)
        if values.min() < 0 or values.max() > 1:
            raise DataError(
                "--binarize needs grey levels, whole numbers or reals in [0, 1]; the rows hold "
                f"{values.min():g} to {values.max():g}"
            )
    note = f"grey levels become bits: {BINARIZE[binarize]}"
    # The ends of the scale stay: 1 is written as white in the user's units.
    bits = Grid("binary", 2, grid.low, grid.span)
    return replace(found, grids=(bits,), binarize=binarize, notes=(note,))
