"""Text tables (.csv, .tsv, also gzipped) as Arrow tables of text: no cell is interpreted here."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import pyarrow as pa

from vaes.data.arrays import brief
from vaes.data.source import check_memory, shown
from vaes.errors import DataError

MISSING = ("", "na", "n/a", "nan", "null", "none", "#n/a", "?")
MOST_HEADER = 2**20  # bytes that are read for the first line
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


def read_csv(path: Path) -> tuple[pa.Table, bool]:
    """All cells as text (empty where there is nothing), and whether the first line held names.

    Columns without a name are called unnamed_1, ... (column_1, ... where no column has one).
    Raises DataError naming the first row that is longer or shorter than the first line.
    """
    cells, delimiter, header, skip = _first_line(path)
    names = [c.strip() or f"unnamed_{j + 1}" for j, c in enumerate(cells)]
    if not header:
        names = [f"column_{j + 1}" for j in range(len(cells))]
    return _cells(path, names, delimiter, skip).rename_columns(names), header


def _cells(path: Path, names: list[str], delimiter: str, skip: int) -> pa.Table:
    """All cells below the first `skip` lines as text, in columns named "0", "1", ..."""
    from pyarrow import csv as arrow_csv

    keys = [str(j) for j in range(len(names))]
    batches, size = [], 0
    try:
        stream = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                column_names=keys, skip_rows=skip, block_size=2**24, use_threads=False
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types={key: pa.large_string() for key in keys}, strings_can_be_null=False
            ),
        )
        for batch in stream:
            size += batch.nbytes
            check_memory(size, path.name)
            batches.append(batch)
    except (PermissionError, DataError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        what = brief(error)
        if ragged:
            row, expected, got = (int(number) for number in ragged.groups())
            what = f"row {row - 1 - skip} (the first is 0) has {got} cells instead of {expected}: "
            what += (
                f"nothing stands in column '{shown(names[got])}'"
                if got < expected
                else f"the last column is '{shown(names[-1])}'"
            )
        elif "Could not skip" in what:
            what = "there is nothing below its first line"
        elif "invalid UTF8" in what:
            what = "it is not UTF-8 text; save it as UTF-8"
        raise DataError(f"{path.name} cannot be read: {what}") from error
    return pa.Table.from_batches(batches, stream.schema)


def _first_line(path: Path) -> tuple[list[str], str, bool, int]:
    """Cells of the first line, the delimiter, True where they are names, lines above the rows."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as stream:
            start = stream.read(MOST_HEADER)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path.name} is UTF-16 text; save it as UTF-8")
        text = start.decode("utf-8-sig", errors="replace")
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is not a readable gzip file: {brief(error)}") from error
    lines = re.split(r"\r\n|\n|\r", text)
    above = next((i for i, line in enumerate(lines) if line.strip()), None)
    if above is None:
        raise DataError(f"{path.name} is empty")
    if above == len(lines) - 1 and len(start) == MOST_HEADER:
        raise DataError(f"the first line of {path.name} is longer than {MOST_HEADER:,} bytes")
    line = lines[above]
    tabs = "\t" in line and ".tsv" in path.name.lower()
    delimiter = "\t" if tabs else next((d for d in ",;\t" if d in line), ",")
    # A name in quotes may hold line breaks.
    rows = csv.reader((line + "\n" for line in lines[above:]), delimiter=delimiter)
    try:
        cells = next(rows)
    except csv.Error as error:
        raise DataError(f"the first line of {path.name} cannot be read: {brief(error)}") from error
    below = above + rows.line_num
    told = [c for c in (c.strip() for c in cells) if c.lower() not in MISSING]
    numeric = any(NUMBER.fullmatch(c) for c in told)
    if not told:
        raise DataError(f"the first line of {path.name} holds neither names nor numbers")
    if numeric and _quoted(line, delimiter):
        # Names are numbers where they, unlike what is below, are in quotes.
        under = next((line for line in lines[below:] if line.strip()), line)
        numeric = _quoted(under, delimiter)
    return cells, delimiter, not numeric, above if numeric else below


def _quoted(line: str, delimiter: str) -> bool:
    """Whether every cell of the line is in quotes."""
    cell = r'"(?:[^"]|"")*"'
    return re.fullmatch(f"{cell}(?:{re.escape(delimiter)}{cell})*", line) is not None
