"""One column of an Arrow table as numbers, and back: numbers, truth values, dates, categories."""

from __future__ import annotations

import contextlib
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vaes.data.arrays import brief
from vaes.data.delimited import MISSING, NUMBER
from vaes.data.pieces import DAY
from vaes.data.source import shown
from vaes.errors import DataError

# The functions of this module are made when it is imported: type checkers do not see them.
pc: Any = pyarrow.compute
BOOLEANS = ("true", "false")
DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?")
PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# Seconds of the times that can be written: years 1 to 9999, in nanoseconds fewer.
CALENDAR, NANOSECONDS = (-62_135_596_800, 253_402_300_799), (-9_223_372_036, 9_223_372_036)
NUMBERS_FROM = 0.9  # share of cells that are numbers from which the others are mistakes
MOST_DISTINCT, DISTINCT_SHARE = 50, 0.5  # values of a text column beyond which it is no category
MOST_WORDS = 1000  # categories of a column beyond which it is data only where it is asked for
MOST_LENGTH = 1000  # characters of a category's name


class Column(NamedTuple):
    """values (n,) float64, NaN where missing · dtype that it is written back in · names of the
    categories that the values count · why it is no data, if it is none · the word for a gap."""

    values: np.ndarray
    dtype: str
    categories: tuple[str, ...] | None = None
    aside: str = ""
    gap: str = ""


def read_column(column: pa.ChunkedArray, name: str, words: bool = False) -> Column:
    """A column as numbers. words: its cells are names, whatever else they could be.

    Raises DataError naming the cell that does not fit the others.
    """
    found = _as_words(column, name) if words else _read(column, name)
    # A column of a dtype of its own can be empty as well.
    empty = bool(np.isnan(found.values).all()) and not found.aside
    return found._replace(aside="it is empty") if empty else found


def _as_words(column: pa.ChunkedArray, name: str) -> Column:
    """A column as categories: text as it stands, anything else as it would be written."""
    kind, dtype = column.type, "string"
    if pa.types.is_dictionary(kind):
        kind, dtype = kind.value_type, "category"
        column = column.cast(kind)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        dtype = str(np.dtype(kind.to_pandas_dtype()))
    if pa.types.is_floating(kind):
        # Gaps turn whole numbers into floats in some frames: they are written without decimals.
        with contextlib.suppress(pa.ArrowInvalid):
            column = column.cast(pa.int64())
    try:
        found = _categories(_tidy(column), dtype)
    except pa.ArrowException:
        raise _no_value(name, *_first(column)) from None
    return found._replace(gap=_gap_word(column)) if dtype == "string" else found


def _read(column: pa.ChunkedArray, name: str) -> Column:
    kind = column.type
    if pa.types.is_dictionary(kind):
        if is_text(kind.value_type):
            return _categories(_tidy(column), "category")
        column = column.cast(kind.value_type)
        kind = column.type
    if is_text(kind):
        return _text(_tidy(column), name)._replace(gap=_gap_word(column))
    if pa.types.is_boolean(kind):
        return Column(_floats(column), "bool")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # Beyond 2^53 a whole number has no exact double; nothing here needs one.
        dtype = str(np.dtype(kind.to_pandas_dtype()))
        values = _floats(column)
        return Column(values, dtype, aside=_number_aside(name, dtype, values))
    if pa.types.is_decimal(kind):
        return Column(_floats(column), "float64")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Column(_in_calendar(column, name), str(kind))
    if column.null_count < len(column):
        raise _no_value(name, *_first(column))
    return Column(np.full(len(column), np.nan), "float64")


def write_column(values: np.ndarray, dtype: str, categories: Any, cast: Any) -> pa.Array:
    """Inverse of `read_column`; NaN is written as missing. `cast` brings numbers to a dtype."""
    gaps = np.isnan(values)
    filled = np.where(gaps, 0.0, values)
    if categories is not None:
        codes = pa.array(np.rint(filled).astype(np.int32), mask=gaps)
        found = pa.DictionaryArray.from_arrays(codes, pa.array(list(categories), pa.string()))
        if dtype == "category":
            return found
        text = found.cast(pa.string())
        return text if dtype == "string" else text.cast(pa.type_for_alias(dtype))
    if dtype.startswith("date"):
        days = np.rint(filled.clip(*CALENDAR) / DAY).astype(np.int32)
        found = pa.array(days, mask=gaps).cast(pa.date32())
        return found.cast(pa.date64()) if dtype.startswith("date64") else found
    if dtype.startswith("timestamp"):
        unit, zone = re.fullmatch(r"timestamp\[(\w+)(?:, tz=(.*))?\]", dtype).groups()  # type: ignore
        within = filled.clip(*(NANOSECONDS if unit == "ns" else CALENDAR))
        micros = pa.array(np.rint(within * 1e6).astype(np.int64), mask=gaps)
        return micros.cast(pa.timestamp("us", zone)).cast(pa.timestamp(unit, zone), safe=False)
    return pa.array(cast(filled, dtype), mask=gaps if gaps.any() else None)


def is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in text)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    """Seconds since 1970 (UTC), NaN where missing."""
    kind = column.type
    if pa.types.is_date32(kind):
        return _floats(column.cast(pa.int32())) * DAY
    return _floats(column.cast(pa.int64())) / PER_SECOND[getattr(kind, "unit", "ms")]


def _in_calendar(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """`_seconds`, or DataError naming a time that cannot be written."""
    seconds = _seconds(column)
    wrong = np.flatnonzero((seconds < CALENDAR[0]) | (seconds > CALENDAR[1]))
    if len(wrong):
        raise DataError(
            f"column '{shown(name)}' holds a time outside the years 1 to 9999 in row {wrong[0]} "
            f"(the first is 0): mend the cell, empty it, or drop the column (--drop {shown(name)})"
        )
    return seconds


def _tidy(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without the blanks around it, and without the words that stand for nothing."""
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    nothing = _among(pc.utf8_lower(text), MISSING)
    return pc.if_else(nothing, pa.scalar(None, pa.large_string()), text)


def _text(text: pa.ChunkedArray, name: str) -> Column:
    """Text as numbers where it is numbers, as truth values, dates, else as categories."""
    if text.null_count == len(text):
        return Column(_floats(text.cast(pa.float64())), "float64")
    lower = pc.utf8_lower(text)
    if pc.all(_among(lower.drop_null(), BOOLEANS)).as_py():
        return Column(_floats(pc.equal(lower, "true")), "bool")
    for target in ("int64", "float64"):
        try:
            values = _floats(text.cast(target))
            return Column(values, target, aside=_number_aside(name, target, values))
        except pa.ArrowInvalid:
            continue
    dates = _dates(text)
    if dates is not None:
        return dates
    known = pc.unique(text.drop_null()).to_pylist()
    odd = {v for v in known if not NUMBER.fullmatch(v)}
    if not odd:  # Python reads some numbers that Arrow does not (+5)
        values = text.to_pylist()
        return Column(np.array([np.nan if v is None else float(v) for v in values]), "float64")
    if len(odd) < len(known):
        _refuse_mistakes(text, odd, name)
    return _categories(text, "string")


def _gap_word(column: pa.ChunkedArray) -> str:
    """The word that stands for a gap in most cells that hold none."""
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    words = text.filter(_among(pc.utf8_lower(text), MISSING)).value_counts().to_pylist()
    return max(words, key=lambda found: found["counts"])["values"] if words else ""


def _refuse_mistakes(text: pa.ChunkedArray, odd: set[str], name: str) -> None:
    """Raise DataError where nearly all cells are numbers and some few are not."""
    values = text.to_pylist()
    wrong = [i for i, v in enumerate(values) if v in odd]
    if len(wrong) <= (1 - NUMBERS_FROM) * (len(values) - text.null_count):
        raise DataError(
            f"column '{shown(name)}' holds '{shown(values[wrong[0]])}' in row {wrong[0]} (the "
            "first is 0), which is no number, where the others are: mend the cell, empty it, "
            f"or drop the column (--drop {shown(name)})"
        )


def _dates(text: pa.ChunkedArray) -> Column | None:
    """Days or times of the calendar, written as ISO 8601 has them; None for other text."""
    found = text.drop_null()
    first = DATE.fullmatch(found[0].as_py())
    if not first:
        return None
    days = pc.all(pc.equal(pc.utf8_length(found), 10)).as_py()
    zone = "UTC" if first["zone"] else None
    for unit in ("us", "ns"):
        try:
            times = text.cast(pa.timestamp(unit, zone))
        except pa.ArrowInvalid:
            continue
        return Column(_seconds(times), "date32[day]" if days else str(pa.timestamp("us", zone)))
    return None


def _categories(text: pa.ChunkedArray, dtype: str) -> Column:
    encoded = text.dictionary_encode().combine_chunks()
    names = [str(v) for v in encoded.dictionary.to_pylist()]
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(max(1, len(names)))
    rank[order] = np.arange(len(names))
    codes = encoded.indices.fill_null(-1).to_numpy()
    values = np.where(codes < 0, np.nan, rank[codes])
    n, aside = int((codes >= 0).sum()), ""
    if len(names) > MOST_DISTINCT and len(names) > DISTINCT_SHARE * n:
        aside = f"{len(names):,} different words in {n:,} rows: free text or an identifier"
    elif len(names) > MOST_WORDS:
        aside = (
            f"{len(names):,} categories, more than {MOST_WORDS:,}; --kind COLUMN=category keeps it"
        )
    elif max(map(len, names), default=0) > MOST_LENGTH:
        aside = f"a cell has more than {MOST_LENGTH} characters: free text"
    return Column(values, dtype, tuple(names[i] for i in order), aside)


def _number_aside(name: str, dtype: str, values: np.ndarray) -> str:
    """Why a column of numbers is no data: it is a running number of the rows."""
    called = re.search(r"(^|[\W_])(id|index|key|nr|no|uuid)$|[a-z]I[dD]$|^unnamed_1$", name, re.I)
    if not called or not np.issubdtype(np.dtype(dtype), np.integer) or len(values) < 10:
        return ""
    return "each row has its own: an identifier" if len(np.unique(values)) == len(values) else ""


def _among(text: pa.ChunkedArray, words: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.is_in(text, pa.array(words, pa.large_string()))


def _first(column: pa.ChunkedArray) -> tuple[int, Any]:
    """Row and value of the first cell that holds something."""
    return next(((i, v.as_py()) for i, v in enumerate(column) if v.is_valid), (0, None))


def _no_value(name: str, row: int, value: Any) -> DataError:
    return DataError(
        f"column '{shown(name)}' holds {brief(ValueError(repr(value)))} in row {row} (the first "
        f"is 0), which is neither number, word nor date: drop the column (--drop {shown(name)})"
    )
