"""Tables that nobody would make on purpose, and what must be true of each.

Shared by test_fuzz.py and benchmarks/reliability/tables.py. A case is a function of its number.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = (0, 1, 2, 3, 5, 12, 12, 40, 40, 40, 40, 120, 120, 120, 300, 300, 300, 1000, 1000)
NAMES = (
    *("a", "b", "größe, cm", "長さ", "", " x ", 'q"q', "new\nline", "0", "1", "2.5", "label", "y"),
    *("x", "class", "id", "a has a value", "n" * 300, "nan", "#", "\x00", "--drop", "\u2028", "c"),
)
WORDS = (
    *("red", "green", "blue", "größe", "日本", "a,b", 'say "hi"', "new\nline", " blank ", "1"),
    *("2.5", "true", "NA", "none", "2020-01-01", "\x00", "'", ";", "\t", "-", "w" * 300, "=1+1"),
)
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ZONES = (None, "UTC", "Europe/Berlin", "+05:30")

Random = np.random.Generator


class Case(NamedTuple):
    """What `load` is given, the options of `load` and of `prepare`, and how it came about."""

    data: Any
    reading: dict[str, Any]
    preparing: dict[str, Any]
    what: str


# --- columns -------------------------------------------------------------------------------------


def _integers(r: Random, n: int) -> pa.Array:
    dtype = np.dtype(str(r.choice(INTEGERS)))
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if r.random() < 0.7:
        low, high = max(low, int(r.integers(-300, 10))), min(high, int(r.integers(10, 3000)))
    return pa.array(r.integers(low, high, n, dtype=dtype, endpoint=True))


def _floats(r: Random, n: int) -> pa.Array:
    x = r.normal(size=n) * 10.0 ** r.integers(-12, 13)
    kind = r.integers(7)
    if kind == 1:
        x = np.round(r.normal(size=n) * 100, int(r.integers(0, 7)))
    elif kind == 2:
        x = np.where(r.random(n) < 0.6, 0.0, np.exp(x.clip(-5, 5)))
    elif kind == 3:
        x = r.choice([1e308, -1e308, 5e-324, 0.0, -0.0, 1.7e308, 1.0], n)
    elif kind == 4:
        x = 1e9 + r.integers(0, 3, n) * 1e-7
    elif kind == 5:
        x = r.integers(0, 256, n) / 255
    with np.errstate(over="ignore"):
        return pa.array(x.astype(str(r.choice(["float16", "float32", "float64", "float64"]))))


def _infinite(r: Random, n: int) -> pa.Array:
    x = r.normal(size=n)
    x[r.integers(0, max(n, 1), min(n, 2))] = r.choice([np.inf, -np.inf])
    return pa.array(x)


def _constant(r: Random, n: int) -> pa.Array:
    value: Any = (7, 0.1, "w", True, 0, 1e-300)[r.integers(6)]
    return pa.array([value] * n)


def _nothing(r: Random, n: int) -> pa.Array:
    kinds = [pa.null(), pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us"), pa.int8()]
    return pa.array([None] * n, kinds[r.integers(len(kinds))])


def _truth(r: Random, n: int) -> pa.Array:
    return pa.array(r.random(n) < 0.4)


def _two(r: Random, n: int) -> pa.Array:
    return pa.array(r.choice(r.choice([0.0, 1.0, -2.5, 1e6, 0.1], 2, replace=False), n))


def _words(r: Random, n: int) -> pa.Array:
    few = r.choice(np.array(WORDS, dtype=object), int(r.integers(1, 8)))
    return pa.array(r.choice(few, n).tolist(), pa.string())


def _factor(r: Random, n: int) -> pa.Array:
    if r.random() < 0.3:
        return pa.array(r.integers(-2, 4, n)).dictionary_encode()
    return _words(r, n).dictionary_encode()


def _text(r: Random, n: int) -> pa.Array:
    return pa.array([f"word {i} {r.integers(10**9)}" for i in range(n)], pa.string())


def _nearly_numbers(r: Random, n: int) -> pa.Array:
    cells = [str(v) for v in r.integers(0, 50, n)]
    for i in r.integers(0, max(n, 1), n // 8):
        cells[i] = str(r.choice(["x", "1.2.3", "12a", "+5", "1e5", "0x1F", "", "1,5", "\x00"]))
    return pa.array(cells, pa.string())


def _identifier(r: Random, n: int) -> pa.Array:
    return pa.array(np.arange(n) + int(r.integers(0, 10**6)))


def _dates(r: Random, n: int) -> pa.Array:
    ends = (-700_000, 2_900_000) if r.random() < 0.1 else (-3000, 20_000)
    found = pa.array(r.integers(*ends, n).astype(np.int32)).cast(pa.date32())
    return found.cast(pa.date64()) if r.random() < 0.3 else found


def _times(r: Random, n: int) -> pa.Array:
    unit = str(r.choice(["s", "ms", "us", "ns"]))
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    if r.random() < 0.05:
        return pa.array(r.integers(-(2**62), 2**62, n)).cast(pa.timestamp(unit))
    seconds = r.integers(-(10**8), 2 * 10**9, n)
    seconds -= seconds % int(r.choice([1, 60, 3600, 86_400]))
    counts = seconds * per + (r.integers(0, per, n) if r.random() < 0.3 else 0)
    return pa.array(counts).cast(pa.timestamp(unit, ZONES[r.integers(len(ZONES))]))


def _decimals(r: Random, n: int) -> pa.Array:
    return pa.array([Decimal(int(v)) / 100 for v in r.integers(-999, 999, n)], pa.decimal128(9, 2))


def _odd(r: Random, n: int) -> pa.Array:
    """What is neither number, word nor date."""
    numbers = r.integers(0, 50, n).tolist()
    kinds: list[tuple[Callable[[int], Any], pa.DataType]] = [
        (lambda v: v, pa.time32("s")),
        (lambda v: v, pa.duration("ms")),
        (lambda v: [v], pa.list_(pa.int64())),
        (lambda v: {"a": v}, pa.struct([("a", pa.int64())])),
        (lambda v: bytes([v]), pa.binary()),
    ]
    make, kind = kinds[r.integers(len(kinds))]
    return pa.array([make(v) for v in numbers], kind)


COMMON = (_integers, _integers, _floats, _floats, _truth, _two, _words, _factor, _dates, _times)
RARE = (_infinite, _constant, _nothing, _text, _nearly_numbers, _identifier, _decimals, _odd)


def _column(r: Random, n: int) -> pa.Array:
    """n cells of one kind, in one column of three with gaps."""
    makes = RARE if r.random() < 0.1 else COMMON
    found = makes[r.integers(len(makes))](r, n)
    if r.random() < 0.33:
        gaps = r.random(n) < r.choice([0.02, 0.3, 0.9])
        found = found.take(pa.array(np.arange(n), mask=gaps))
    return found


# --- tables --------------------------------------------------------------------------------------


def _table(r: Random) -> pa.Table:
    n, names = int(r.choice(ROWS)), list(NAMES)
    if r.random() < 0.1:  # an image that lies flat, with a label
        pixels = r.integers(0, r.choice([2, 17, 256]), (n, 20))
        columns = [pa.array(pixels[:, j]) for j in range(20)]
        return pa.table([*columns, _column(r, n)], [*(f"p{j}" for j in range(20)), "label"])
    if r.random() < 0.03:
        many = pa.array([f"name {i}" for i in r.integers(0, 10_000, 22_000)])
        return pa.table([many, pa.array(r.normal(size=22_000))], ["who", "what"])
    columns = [_column(r, n) for _ in range(r.integers(1, 8))]
    if r.random() < 0.02 and n:
        columns.append(pa.array(["m" * 2**20, *["s"] * (n - 1)]))
    simple = [f"c{j}" for j in range(len(columns))]
    given = [str(r.choice(np.array(names, dtype=object))) for _ in columns]
    if r.random() < 0.9:  # nearly always a name of its own for each
        given = [name if name not in given[:j] else simple[j] for j, name in enumerate(given)]
    return pa.table(columns, given if r.random() < 0.4 else simple)


def _as_text(r: Random, table: pa.Table, path: Path) -> Path:
    """The table as a text file, as some other program would have written it."""
    out = io.StringIO()
    delimiter = str(r.choice([",", ";", "\t"]))
    quoting = int(r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    end = str(r.choice(["\n", "\r\n"]))
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    if r.random() < 0.85:
        writer.writerow(table.column_names)
    for row in zip(*(_cells(table[j]) for j in range(table.num_columns)), strict=True):
        writer.writerow(["" if v is None else v for v in row])
    raw = ("\ufeff" * (r.random() < 0.2) + "\n" * (r.random() < 0.1) + out.getvalue()).encode()
    if r.random() < 0.25:
        raw = _spoilt(r, raw)
    packed = r.random() < 0.2
    raw = gzip.compress(raw)[: -9 if r.random() < 0.1 else None] if packed else raw
    path = path.with_suffix((".tsv" if delimiter == "\t" else ".csv") + ".gz" * packed)
    path.write_bytes(raw)
    return path


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """Cells as text writes them; times that Python has no object for as their numbers."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, ModuleNotFoundError):
        return column.cast(pa.int64()).to_pylist()


def _spoilt(r: Random, raw: bytes) -> bytes:
    """The file after an accident."""
    place = int(r.integers(0, len(raw) + 1))
    accidents: tuple[Callable[[], bytes], ...] = (
        lambda: raw[:place],
        lambda: raw[:place] + b"\x00" + raw[place:],
        lambda: raw[:place] + b"\xff\xfe\xe9" + raw[place:],
        lambda: raw[:place] + b'"' + raw[place:],
        lambda: raw[:place] + b"\n" + raw[place:],
        lambda: raw[:place] + b"," + raw[place:],
        lambda: raw.decode().encode("utf-16"),
        lambda: r.bytes(len(raw) % 5000),
        lambda: b"\n" * 50 + raw,
        lambda: b"x" * 200_000 + raw,
        lambda: raw + b"1,2,3,4,5,6,7,8,9,10,11\n",
        lambda: b"",
    )
    return accidents[r.integers(len(accidents))]()


def case(number: int, folder: Path) -> Case:
    """The case of that number; files are written to `folder`."""
    r = np.random.default_rng(number)
    table = _table(r)
    how = str(r.choice(["text", "text", "parquet", "arrow", "pandas", "polars"]))
    reading: dict[str, Any] = {}
    if r.random() < 0.15:
        reading["label"] = str(r.choice(np.array(table.column_names, dtype=object)))
    if r.random() < 0.1:
        reading["drop"] = [str(r.choice(np.array([*table.column_names, "none"], dtype=object)))]
    preparing: dict[str, Any] = {"seed": number}
    if r.random() < 0.2:
        preparing["missing"] = "nan"
    if r.random() < 0.1:
        kinds = ["binary", "pixel", "category", "numeric", "real"]
        preparing["kind"] = str(r.choice(kinds))
    if r.random() < 0.05:
        preparing["binarize"] = str(r.choice(["static", "dynamic", "threshold"]))
    kinds = ", ".join(map(str, table.schema.types))
    what = f"case {number}: {how}, {table.num_rows} rows of {kinds}"
    path = folder / f"t{number}"
    if how == "text":
        return Case(_as_text(r, table, path), reading, preparing, what)
    if how == "parquet":
        with contextlib.suppress(pa.ArrowInvalid):  # times that Parquet cannot hold
            pq.write_table(table, path.with_suffix(".parquet"))
            return Case(path.with_suffix(".parquet"), reading, preparing, what)
    return Case(_as_frame(table, how), reading, preparing, what)


def _as_frame(table: pa.Table, how: str) -> Any:
    """The table as a frame of that library, or as it is where the library cannot hold it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if how == "pandas":
                return table.to_pandas()
            # Polars ends the process at zones that are offsets.
            offsets = any("+" in str(kind) for kind in table.schema.types)
            return table if how == "arrow" or offsets else pl.from_arrow(table)
        except Exception:  # each library refuses other tables in other ways
            return table
