"""Rows of numbers from .csv, .parquet and frames, through one door: an Arrow table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vaes.data.arrays import brief, stem
from vaes.data.delimited import MISSING, NUMBER, read_csv
from vaes.data.source import Source, check_memory, codes, only_names
from vaes.errors import DataError, did_you_mean

# The functions of this module are made when it is imported: type checkers do not see them.
pc: Any = pyarrow.compute
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LABELS = ("label", "class", "target", "y")
# A column of whole numbers named like a label is one as long as it has this few values.
MOST_CLASSES = 100
BOOLEANS = ("true", "false")


def read(
    path: Path, *, label: str | None = None, drop: Sequence[str] = (), lenient: bool = False
) -> Source:
    """Rows (n, columns) float64 of a .csv, .csv.gz, .tsv or .parquet file, NaN where empty.

    label: the column that holds labels (strings or whole numbers); without it, a column named
    label, class, target or y is taken. drop: columns to leave out. lenient: `label` and `drop` may
    be absent from the file. Raises DataError naming column, row and value of what is no number.
    """
    if path.name.lower().endswith(".parquet"):
        table, header = _read_parquet(path), True
    else:
        table, header = read_csv(path)
    return from_table(
        table, name=stem(path), header=header, label=label, drop=drop, lenient=lenient
    )


def from_frame(frame: Any, *, label: Any = None, drop: Sequence[str] = ()) -> Source:
    """Rows of a pandas, polars or pyarrow frame. label: a column, or labels (n,)."""
    import narwhals as nw

    try:
        table = nw.from_native(frame, eager_only=True).to_arrow()
    except TypeError as error:
        hint = "; collect() it first" if hasattr(frame, "collect") else ""
        raise DataError(
            f"{type(frame).__name__} is not a kind of data that is known: give an array, a "
            f"tensor, a frame (pandas, polars, pyarrow), a Dataset or a path{hint}"
        ) from error
    except Exception as error:  # each frame library has its own exceptions for mixed columns
        raise DataError(f"the frame cannot be read: {brief(error)}") from error
    index = [n for n in table.column_names if re.fullmatch(r"__index_level_\d+__", n)]
    table = table.drop_columns(index) if index else table
    if label is None or isinstance(label, str):
        return from_table(table, name="frame", label=label, drop=drop)
    source = from_table(table, name="frame", drop=drop)
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
    lenient: bool = False,
) -> Source:
    """Rows of an Arrow table; see `read`."""
    _check_names(table, drop, lenient)
    if not table.num_rows:
        raise DataError(f"{name} has 0 rows")
    check_memory(8 * table.num_rows * table.num_columns, name)
    labels = _label_column(table, label, drop, lenient)
    left_out = {*drop, labels}
    names = [n for n in table.column_names if n not in left_out]
    if not names:
        raise DataError(f"{name} has no column of numbers besides the label '{labels}'")
    x, dtypes = _all_numbers(table, names)
    layout = {"kind": "table", "channels": "flat", "dtypes": dtypes, "header": header}
    layout |= {"label": labels, "drop": list(drop)}
    source = Source(x=x, names=tuple(names), name=name, layout=layout)
    if labels:
        source.y, source.classes = codes(table[labels].to_pylist())
        found = only_names(source.classes)
        source.notes.append(f"column '{labels}' is taken as labels, not as data: {found}")
    return source


def _check_names(table: pa.Table, drop: Sequence[str], lenient: bool) -> None:
    names = table.column_names
    twice = [n for n in names if names.count(n) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"two columns are named '{twice[0]}'; give each column its own name")
    for column in drop:
        if column not in names and not lenient:
            hint = did_you_mean(column, names)
            raise DataError(f"column '{column}' to drop does not exist; {hint}")


def _label_column(
    table: pa.Table, label: str | None, drop: Sequence[str], lenient: bool
) -> str | None:
    """The column that holds labels: the one asked for, or one that is named and filled like one."""
    names = table.column_names
    if label is not None and not (lenient and label not in names):
        if label not in names:
            raise DataError(f"label column '{label}' does not exist; {did_you_mean(label, names)}")
        return label
    for column in names:
        if column.lower() not in LABELS or column in drop:
            continue
        # A column y beside a column x is a coordinate.
        if (column.lower() != "y" or "x" not in {n.lower() for n in names}) and _is_label(
            table[column]
        ):
            return column
    return None


def _is_label(column: pa.ChunkedArray) -> bool:
    """Strings that are no numbers, or whole numbers with few distinct values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if _is_text(column.type):
        values = set(column.unique().to_pylist()) - {None}
        if any(v.strip().lower() not in MISSING and not NUMBER.fullmatch(v) for v in values):
            return True
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return False
    try:
        found = np.unique(_numbers(column, "")[0])
    except DataError:
        return False
    found = found[~np.isnan(found)]
    return len(found) <= MOST_CLASSES and bool((found == np.rint(found)).all() and found.size)


def _is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in text)


def _all_numbers(table: pa.Table, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Columns as float64 (n, columns) and their dtypes; one error for all that are no numbers."""
    x = np.empty((table.num_rows, len(names)))
    dtypes, wrong = [], list[tuple[str, DataError]]()
    for j, column in enumerate(names):
        try:
            x[:, j], dtype = _numbers(table[column], column)
            dtypes.append(dtype)
        except DataError as error:
            wrong.append((column, error))
    if wrong:
        others = only_names([f"'{column}'" for column, _ in wrong[1:]])
        raise DataError(f"{wrong[0][1]}" + (f" (likewise {others})" if others else ""))
    return x, dtypes


def _numbers(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, str]:
    """A column as float64 (n,), NaN where missing, and the dtype that it is written back in."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if _is_text(kind):
        return _parse(column, name)
    if pa.types.is_boolean(kind):
        return _floats(column), "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # Beyond 2^53 a whole number has no exact double; nothing here needs one.
        return _floats(column), str(np.dtype(kind.to_pandas_dtype()))
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return _floats(column), "float64"
    row, value = next(((i, v.as_py()) for i, v in enumerate(column) if v.is_valid), (0, None))
    raise _no_number(name, row, value)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()


def _parse(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, str]:
    """Text as numbers (n,): whole ones as int64, true and false as bool."""
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    lower = pc.utf8_lower(text)
    text = pc.if_else(_among(lower, MISSING), pa.scalar(None, pa.large_string()), text)
    if (
        pc.any(_among(lower, BOOLEANS)).as_py()
        and pc.all(_among(lower, MISSING + BOOLEANS)).as_py()
    ):
        return _floats(pc.if_else(pc.is_valid(text), pc.equal(lower, "true"), None)), "bool"
    for target in ("int64", "float64") if text.null_count < len(text) else ("float64",):
        try:
            return _floats(text.cast(target)), target
        except pa.ArrowInvalid:
            continue
    # Python reads some numbers that Arrow does not (+5); what it cannot read either is no number.
    values = text.to_pylist()
    for row, value in enumerate(values):
        if value is not None and not NUMBER.fullmatch(value):
            raise _no_number(name, row, value)
    return np.array([np.nan if v is None else float(v) for v in values]), "float64"


def _among(text: pa.ChunkedArray, words: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.is_in(text, pa.array(words, pa.large_string()))


def _no_number(name: str, row: int, value: Any) -> DataError:
    return DataError(
        f"column '{name}' holds {brief(ValueError(repr(value)))} in row {row} (the first is 0), "
        f"which is no number: drop the column (--drop {name}), name it as the label "
        f"(--label {name}) or code it as numbers"
    )


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
