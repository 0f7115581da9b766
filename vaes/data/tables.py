"""Rows of .csv, .parquet and frames, through one door: an Arrow table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vaes.data.arrays import brief, stem
from vaes.data.columns import Column, read_column, write_column
from vaes.data.delimited import read_csv
from vaes.data.infer import shared
from vaes.data.source import Source, cast, check_memory, codes, nearest, only_names, shown
from vaes.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LABELS = ("label", "class", "target", "y")
# A column of whole numbers named like a label is one as long as it has this few values.
MOST_CLASSES = 100

Kinds = Mapping[str, str] | None


def read(
    path: Path,
    *,
    label: str | None = None,
    drop: Sequence[str] = (),
    kind: Kinds = None,
    lenient: bool = False,
) -> Source:
    """Rows (n, columns) float64 of a .csv, .csv.gz, .tsv or .parquet file, NaN where empty.

    Words become categories (codes into `layout["categories"]`), dates become seconds; identifiers,
    free text and empty columns are set aside, and said. label: the column that holds labels (words
    or whole numbers); without it, a column named label, class, target or y beside pixels or bits.
    drop: columns to leave out. kind: of columns whose kind is known; none of them is set aside or
    taken for labels, and the cells of a "category" are words, even if all are numbers. lenient: for
    a run that exists: `label`, `drop` and `kind` may be of columns that the file does not have, and
    nothing is set aside. Raises DataError naming column, row and value of what does not fit.
    """
    table, header = opened(path)
    named = {"name": stem(path), "header": header}
    source = from_table(table, **named, label=label, drop=drop, kind=kind, lenient=lenient)
    source.layout["suffix"] = ".parquet" if path.name.lower().endswith(".parquet") else ".csv"
    return source


def opened(path: Path) -> tuple[pa.Table, bool]:
    """The cells of a file, and whether its columns have names of their own."""
    if path.name.lower().endswith(".parquet"):
        return _read_parquet(path), True
    return read_csv(path)


def from_frame(
    frame: Any,
    *,
    label: Any = None,
    drop: Sequence[str] = (),
    kind: Kinds = None,
    lenient: bool = False,
) -> Source:
    """Rows of a pandas, polars or pyarrow frame. label: a column, or labels (n,)."""
    import narwhals as nw

    try:
        given = nw.from_native(frame, eager_only=True)
        # Polars ends the process at such a name.
        if nul := [n for n in given.columns if "\0" in str(n)]:
            raise DataError(f"the name of column '{shown(nul[0])}' holds a NUL; rename it")
        table = given.to_arrow()
    except TypeError as error:
        hint = "; collect() it first" if hasattr(frame, "collect") else ""
        raise DataError(
            f"{type(frame).__name__} is not a kind of data that is known: give an array, a "
            f"tensor, a frame (pandas, polars, pyarrow), a Dataset or a path{hint}"
        ) from error
    except DataError:
        raise
    except Exception as error:  # each frame library has its own exceptions for mixed columns
        raise DataError(f"the frame cannot be read: {brief(error)}") from error
    index = [n for n in table.column_names if re.fullmatch(r"__index_level_\d+__", n)]
    table = table.drop_columns(index) if index else table
    how: dict[str, Any] = {"name": "frame", "drop": drop, "kind": kind, "lenient": lenient}
    if label is None or isinstance(label, str):
        return from_table(table, label=label, **how)
    source = from_table(table, **how)
    source.y, source.classes = codes(np.asarray(label))
    if len(source.y) != len(source):
        raise DataError(f"{len(source)} rows but {len(source.y)} labels were given")
    return source


def from_table(
    table: pa.Table,
    *,
    name: str = "table",
    header: bool = True,
    label: str | None = None,
    drop: Sequence[str] = (),
    kind: Kinds = None,
    lenient: bool = False,
) -> Source:
    """Rows of an Arrow table; see `read`."""
    kind = kind or {}
    _check_names(table, [*drop, *kind], lenient)
    if not table.num_rows:
        raise DataError(f"{name} has 0 rows below the names of its columns")
    check_memory(8 * table.num_rows * table.num_columns, name)
    left = [n for n in table.column_names if n not in drop]
    labels = _asked_label(table.column_names, label, lenient)
    left = [n for n in left if n != labels]
    columns = {n: read_column(table[n], n, words=kind.get(n) == "category") for n in left}
    aside = {n: c.aside for n, c in columns.items() if c.aside and n not in kind and not lenient}
    columns = {n: c for n, c in columns.items() if n not in aside}
    if labels is None and not lenient:
        labels = _named_label(columns, kind)
    names = [n for n in columns if n != labels]
    if not names:
        why = "" if labels is None else f"; '{shown(labels)}' is the label"
        raise DataError(f"{name} has no column of data{why}" + _told(aside))
    layout = {"kind": "table", "channels": "flat", "header": header}
    layout["dtypes"] = [columns[n].dtype for n in names]
    layout["categories"] = [_listed(columns[n].categories) for n in names]
    layout["gap"] = [columns[n].gap for n in names]
    layout |= {"label": labels, "drop": [*drop, *aside], "aside": aside}
    layout["order"] = table.column_names
    x = np.stack([columns[n].values for n in names], 1)
    source = Source(x=x, names=tuple(names), name=name, layout=layout)
    source.notes += [f"column '{shown(n)}' is set aside: {why}" for n, why in aside.items()]
    if labels is not None:
        source.y, source.classes = labels_of(table[labels], labels)
        found = only_names(source.classes)
        source.notes.append(f"column '{shown(labels)}' is taken as labels, not as data: {found}")
    if not lenient:
        source.notes += _suspicious(source)
    return source


def _suspicious(source: Source) -> list[str]:
    """What is read as it is, and said: columns that tell the label, and columns that never vary."""
    told, alone = [], []
    for j, name in enumerate(source.names):
        found, place = np.unique(source.x[:, j], return_inverse=True)
        if len(found) == 1:
            alone.append(name)
        elif source.y is not None and len(found) <= MOST_CLASSES and len(source) >= 5 * len(found):
            # every value has one label: the least and the largest code beside it are the same
            low, high = np.full(len(found), np.inf), np.full(len(found), -np.inf)
            np.minimum.at(low, place, source.y)
            np.maximum.at(high, place, source.y)
            if (low == high).all() and len(source.classes) > 1:
                told.append(
                    f"column '{shown(name)}' tells the label without fail, and is data all the "
                    f"same: --drop {shown(name)} leaves it out"
                )
    if alone and len(alone) < len(source.names):
        told.append(f"the same value in every row, which says nothing: {only_names(alone)}")
    return told


def to_table(schema: dict[str, Any], names: Sequence[str], values: np.ndarray) -> pa.Table:
    """Rows (n, columns) of numbers as `Source.x` has them, each column in the dtype it was read
    in; NaN becomes a gap."""
    layout = schema["layout"]
    words = layout.get("categories") or [None] * len(names)
    described = zip(values.T, layout["dtypes"], words, strict=True)
    columns = [write_column(column, dtype, kept, cast) for column, dtype, kept in described]
    return pa.Table.from_arrays(columns, names=list(names))


def _listed(categories: tuple[str, ...] | None) -> list[str] | None:
    return None if categories is None else list(categories)


def _told(aside: dict[str, str]) -> str:
    return "".join(f"; '{shown(n)}' is set aside: {why}" for n, why in list(aside.items())[:3])


def _check_names(table: pa.Table, asked: Sequence[str], lenient: bool) -> None:
    names = table.column_names
    twice = [n for n in names if names.count(n) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"two columns are named '{shown(twice[0])}'; give each its own name")
    for column in asked:
        if column not in names and not lenient:
            raise DataError(f"column '{shown(column)}' does not exist; {nearest(column, names)}")


def _asked_label(names: Sequence[str], label: str | None, lenient: bool) -> str | None:
    if label is None or label in names:
        return label
    if lenient:
        return None
    what = f"label column '{shown(label)}' does not exist"
    raise DataError(f"{what}; {nearest(label, names)}")


def _named_label(columns: dict[str, Column], known: Mapping[str, str]) -> str | None:
    """A column that is named and filled like labels beside columns that are all alike (pixels,
    bits), and not `known` to be something else. A table of unlike columns keeps them all."""
    lower = {name.lower() for name in columns}
    # A column y beside a column x is a coordinate.
    called = set(LABELS) - ({"y"} if "x" in lower else set())
    for name, column in columns.items():
        if name.lower() in called and name not in known and _is_label(column):
            others = [c for n, c in columns.items() if n != name]
            if others and not any(c.categories for c in others):
                return name if shared(np.stack([c.values for c in others], 1)) else None
    return None


def labels_of(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column as labels: codes (n,), -1 in gaps, and the names of the classes."""
    try:
        return codes(column.to_pylist())
    except DataError as error:
        raise DataError(f"column '{shown(name)}' is no column of labels: {error}") from error
    except (ValueError, OverflowError) as error:  # times that Python has no object for
        raise DataError(f"column '{shown(name)}' holds no labels: {brief(error)}") from error


def _is_label(column: Column) -> bool:
    """Words, or whole numbers with few distinct values."""
    if column.categories is not None:
        return True
    found = np.unique(column.values[~np.isnan(column.values)])
    return 0 < len(found) <= MOST_CLASSES and bool((found == np.rint(found)).all())


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        described = pq.read_metadata(path)
        check_memory(8 * described.num_rows * described.num_columns, path.name)
        return pq.read_table(path)
    except (PermissionError, DataError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {brief(error)}") from error
