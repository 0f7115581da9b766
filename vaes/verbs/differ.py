"""`differ`: in which columns two groups of rows differ, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vaes import data as sources
from vaes import disk, plot, uses
from vaes.batch import Data
from vaes.data import Source, tables
from vaes.data.source import codes, nearest, only_names, shown
from vaes.errors import UsageError
from vaes.pictures import shown as as_images
from vaes.uses.differ import DELTA
from vaes.verbs.opened import Opened


class Groups(NamedTuple):
    """Numbers of the rows of either group · what the groups are called · the column that tells
    them apart, among the entries of a row; None where it is none of them."""

    a: np.ndarray
    b: np.ndarray
    names: tuple[str, str]
    entry: int | None


def differ(
    run: str, data: str | None, by: str, top: int, out: str | None, seed: int
) -> tuple[Path, list[str]]:
    """Columns by how surely two groups differ in them; the folder, and its first lines."""
    opened = Opened(run)
    source, groups = _grouped(opened, opened.where(data), by)
    hidden = _hidden(opened, groups.entry)
    encoded = sources.encode(opened.schema, opened.spec, source)
    given = _blind(encoded, hidden, opened.model.evidence)
    a, b = (given.part(torch.from_numpy(rows)) for rows in (groups.a, groups.b))
    found = uses.differ(opened.model, a, b, seed=seed)
    flat = {name: getattr(found, name).flatten().cpu().numpy() for name in found.__annotations__}
    # the surest first; of those that are equally sure the largest difference
    order = [j for j in np.lexsort((-np.abs(flat["size"]), -flat["differs"])) if j not in hidden]
    if not order:
        raise UsageError(f"--by {by}: the rows have no other column to compare")
    rows = [_row(opened, source, groups, flat, int(j)) for j in order]
    folder = opened.folder("differ", out)
    path = folder / "picture.png"
    with disk.writing(path):
        if as_images(opened.spec):
            plot.difference_map(found.size.mean(0).numpy(), path, groups=groups.names)
        else:
            size, low, high, sure = (flat[k][order] for k in ("size", "low", "high", "differs"))
            names = [_told(row) for row in rows]
            plot.differences(names, size, low, high, sure, path, groups=groups.names)
    files = [_write(opened, rows, folder), path.name]
    said = {"verb": "differ", "by": by, "groups": groups.names, "seed": seed, "delta": DELTA}
    said |= {"n": [len(a), len(b)], "unit": "standard deviations", "notes": source.notes}
    disk.write_json(folder / "result.json", said | {"columns": rows, "files": files})
    return folder, _lines(rows[:top], groups)


def _grouped(opened: Opened, data: str, by: str) -> tuple[Source, Groups]:
    """The rows, and which of them are compared."""
    names, entries = opened.spec.names[opened.spec.gates :], opened.spec.shape[0]
    if opened.schema["layout"]["kind"] == "table":
        table, _ = tables.opened(Path(data))
        column, value = _parsed(by, table.column_names)
        words, classes = tables.labels_of(table[column], column)
        ours = column in names or column == opened.schema["layout"].get("label")
        source = opened.raw(data, beside=() if ours else (column,))
    else:
        source = opened.raw(data)
        numbers = [] if opened.spec.image else [str(j) for j in range(entries)]
        column, value = _parsed(by, ["label"] * (source.y is not None) + numbers)
        known = source.y is not None and column == "label"
        words, classes = (source.y, source.classes) if known else codes(source.x[:, int(column)])
        names = tuple(numbers)
    assert words is not None
    a, b, called = _two(words, classes, column, value)
    entry = opened.spec.gates + names.index(column) if column in names else None
    return source, Groups(a, b, called, entry)


def _parsed(by: str, columns: Sequence[str]) -> tuple[str, str | None]:
    """COLUMN or COLUMN=VALUE; either may hold an equals sign itself."""
    if by in columns:
        return by, None
    for place, sign in enumerate(by):
        if sign == "=" and by[:place] in columns:
            return by[:place], by[place + 1 :]
    told = f"--by {by}: the rows have no column '{shown(by.partition('=')[0])}' to go by"
    raise UsageError(f"{told}; {nearest(by.partition('=')[0], columns)}" if columns else told)


def _two(
    words: np.ndarray, classes: Sequence[str], column: str, value: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """The rows of the two groups, and their names; rows whose group is not known are in neither."""
    there = [i for i in range(len(classes)) if (words == i).any()]
    known = [classes[i] for i in there]
    if value is not None and (value not in known or len(known) < 2):
        what = "is never" if value not in known else "is always"
        raise UsageError(
            f"--by {column}={value}: '{shown(column)}' {what} '{shown(value)}'; "
            + nearest(value, known)
        )
    if value is None and len(there) != 2:
        rest = f"; --by {column}={known[0]} compares one with the rest" if len(there) > 2 else ""
        told = f"has {len(there):,} values ({only_names(known, 4)}) where two are compared{rest}"
        raise UsageError(f"--by {column}: the column {told}")
    first = there[1] if value is None else classes.index(value)
    # of two values the later one comes first: what 1 and true have that 0 and false have not
    other = f"{column}={classes[there[0]]}" if value is None else f"any other {column}"
    a, b = np.flatnonzero(words == first), np.flatnonzero((words >= 0) & (words != first))
    return a, b, (f"{column}={classes[first]}", other)


def _hidden(opened: Opened, entry: int | None) -> list[int]:
    """The column that tells the groups apart, and the one that says whether it has a value."""
    gate = opened.spec.shown_by[entry] if entry is not None and opened.spec.shown_by else -1
    return [j for j in (entry, gate) if j is not None and j >= 0]


def _blind(data: Data, hidden: Sequence[int], evidence: str) -> Data:
    """The rows without what tells the groups apart, so that no code knows more than the other
    columns say; a model that was trained on complete rows sees it all the same."""
    if not hidden or data.mask is None or evidence == "x,s":  # to which a gap says something
        return data
    mask = data.mask.clone()
    mask[:, list(hidden)] = False
    return replace(data, mask=mask)


def _row(
    opened: Opened, source: Source, groups: Groups, flat: dict[str, np.ndarray], j: int
) -> dict[str, Any]:
    """One line of the table: numbers of the model, and the means of what was observed."""
    words = opened.schema["layout"].get("categories") or [None] * source.x[0].size
    level, column = int(flat["level"][j]), j - opened.spec.gates
    word = None
    if level >= 0:
        known = words[column] if column >= 0 else None
        word = known[level] if known else str(level)
    told = {"column": _entry(opened, j), "value": word}
    told["probability"] = float(flat["differs"][j])
    told |= {name: round(float(flat[name][j]), 6) for name in ("size", "low", "high")}
    told |= {"above": float(flat["probability"][j]), "p": round(float(flat["p_value"][j]), 6)}
    for name, rows in zip(groups.names, (groups.a, groups.b), strict=True):
        told[f"mean of {name}"] = _mean(opened, source, rows, j, level)
    return told


def _entry(opened: Opened, j: int) -> str:
    if len(opened.spec.shape) == 1:
        return opened.names()[j]
    return " ".join(str(int(i)) for i in np.unravel_index(j, opened.spec.shape))


def _mean(opened: Opened, source: Source, rows: np.ndarray, j: int, level: int) -> Any:
    """Of what was observed, in the user's units; of a category, of the share that has `level`."""
    layout, column = opened.schema["layout"], j - opened.spec.gates
    if column < 0:
        values = source.x[rows, layout["gates"][j]]
        return float((~np.isnan(values)).mean())
    values = source.x[rows].reshape(len(rows), -1)[:, column].astype(np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    mean = float((values == level).mean() if level >= 0 else values.mean())
    dtype = layout["dtypes"][column] if level < 0 and "dtypes" in layout else ""
    return str(np.datetime64(round(mean), "s")) if dtype.startswith(("date", "timestamp")) else mean


def _told(row: dict[str, Any]) -> str:
    return row["column"] if row["value"] is None else f"{row['column']} = {row['value']}"


def _lines(rows: list[dict[str, Any]], groups: Groups) -> list[str]:
    """The first columns for a person."""
    a, b = (shown(name, 40) for name in groups.names)
    found = [
        f"{len(groups.a):,} rows with {a}, {len(groups.b):,} with {b}; how far their means are"
    ]
    found[0] += f" apart in standard deviations, and the probability of more than {DELTA:g}:"
    width = max((len(shown(_told(row), 40)) for row in rows), default=0)
    for row in rows:
        means = [row[f"mean of {name}"] for name in groups.names]
        means = [f"{m:.4g}" if isinstance(m, float) else str(m or "none") for m in means]
        found.append(
            f"  {shown(_told(row), 40):{width}}  {row['size']:+6.2f}   probability "
            f"{row['probability']:.3f}   means {means[0]} and {means[1]}"
        )
    return found


def _write(opened: Opened, rows: list[dict[str, Any]], folder: Path) -> str:
    """The table, as Parquet where Parquet came in, else as CSV."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    plain = [
        {k: str(v) if k.startswith("mean of") and v is not None else v for k, v in row.items()}
        for row in rows
    ]
    table = pa.Table.from_pylist(plain)
    as_parquet = opened.schema["layout"].get("suffix") == ".parquet"
    path = folder / ("differences.parquet" if as_parquet else "differences.csv")
    with disk.writing(path):
        (parquet.write_table if as_parquet else csv.write_csv)(table, path)
    return path.name
