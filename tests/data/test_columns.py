"""Columns of every dtype: what they are taken for, and that they are written back as they were."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.helpers import refused
from vaes.data import Prepared, decode, encode, load, prepare, write
from vaes.data.alike import alike
from vaes.data.infer import infer
from vaes.data.source import codes
from vaes.errors import DataError

nan = float("nan")
random = np.random.default_rng(0)
pick = random.permutation(np.arange(120) % 5).tolist()  # five values: a piece each


def of(values: list, kind: pa.DataType) -> pa.Array:
    """120 cells of these five values."""
    return pa.array([values[i] for i in pick], kind)


def day(i: int) -> date:
    return date(1960, 3, 1) + timedelta(days=9973 * i)


def moment(i: int) -> datetime:
    return datetime(1999, 12, 31, 23, 59, 58) + timedelta(seconds=86_399 * 31 * i)


INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
EVERY: dict[str, pa.Array] = {
    **{name: of([0, 3, 17, 99, 127], pa.type_for_alias(name)) for name in INTEGERS},
    "negative": of([-128, -5, 0, 7, 127], pa.int8()),
    "largest": of([0, 1, 2, 2**52, 2**53], pa.int64()),
    "float16": of([0.0, 0.5, -1.25, 2.0, 1024.0], pa.float32()).cast(pa.float16()),
    "float32": of([0.0, 0.1, -1.25, 3e30, 1e-30], pa.float32()),
    "float64": of([0.0, 0.1, -1.25, 1e300, 1e-300], pa.float64()),
    "two values": of([-2.5, 7.1, -2.5, 7.1, 7.1], pa.float64()),
    "bool": of([True, False, True, True, False], pa.bool_()),
    "string": of(["größe", "日本", "a, b", 'say "hi"', "it's"], pa.string()),
    "large_string": of(list("abcde"), pa.large_string()),
    "category": of(["größe", "日本", "a, b", "d", "e"], pa.string()).dictionary_encode(),
    "date32": of([day(i) for i in range(5)], pa.date32()),
    "date64": of([day(i) for i in range(5)], pa.date64()),
    "decimal": of([Decimal(i) / 8 for i in range(5)], pa.decimal128(9, 3)),
    **{
        f"timestamp {unit} {zone}": of([moment(i) for i in range(5)], pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "+05:30")
    },
}
LIBRARIES = {"pyarrow": lambda t: t, "pandas": lambda t: t.to_pandas(), "polars": pl.from_arrow}


def there_and_back(data: Any, folder: Path, suffix: str = ".parquet") -> tuple[Prepared, Path]:
    prepared = prepare(load(data))
    x = encode(prepared.schema, prepared.spec, data)
    out = x.rows(slice(None)).x
    return prepared, write(prepared.schema, prepared.spec, out, folder / f"out{suffix}")


# --- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_every_dtype_is_written_as_it_was(tmp_path: Path, name, gaps):
    column, other = EVERY[name], random.normal(size=120)
    if gaps:
        column = column.take(pa.array(np.arange(120), mask=random.random(120) < 0.3))
    table = pa.table({"größe": column, "b": other})
    prepared, path = there_and_back(table, tmp_path)
    assert prepared.spec.missing
    again = pq.read_table(path)
    assert again.column_names == ["größe", "b"]
    expected = table["größe"]
    kind = {"large_string": pa.string(), "decimal": pa.float64()}.get(name, expected.type)
    if name.startswith("timestamp s"):  # Parquet has no seconds
        kind = pa.timestamp("ms", expected.type.tz)
    assert again["größe"].type == (pa.date32() if name == "date64" else kind)
    found, expected = again["größe"].to_pylist(), expected.to_pylist()
    assert [v is None for v in found] == [v is None for v in expected]
    assert found == ([v and float(v) for v in expected] if name == "decimal" else expected)
    assert np.allclose(again["b"], other, atol=0.05)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", EVERY)
def test_every_library_means_the_same(name, library):
    if library == "polars" and ("+05:30" in name or name == "float16"):
        pytest.skip("polars has no such column")
    column = EVERY[name].take(pa.array([*range(119), None]))
    table = pa.table({"a": column, "b": np.arange(120) % 7})
    expected, found = load(table), load(LIBRARIES[library](table))
    assert np.array_equal(found.x, expected.x, equal_nan=True)
    assert found.layout["categories"] == expected.layout["categories"]
    assert [g.kind for g in infer(found).grids] == [g.kind for g in infer(expected).grids]
    x = encode(prepare(expected).schema, prepare(expected).spec, LIBRARIES[library](table))
    assert torch.equal(x.x, encode(prepare(expected).schema, prepare(expected).spec, table).x)


def test_nullable_columns_of_pandas():
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None, 3] * 20, dtype="Int16"),
            "f": pd.array([0.5, None, 1.5] * 20, dtype="Float32"),
            "b": pd.array([True, None, False] * 20, dtype="boolean"),
            "s": pd.array(["u", None, "v"] * 20, dtype="string"),
            "c": pd.Categorical(["x", None, "y"] * 20, categories=["z", "y", "x"]),
            "n": pd.Categorical([10, None, 30] * 20),
        }
    )
    source = load(frame)
    expected = [[1, 0.5, 1, 0, 0, 10], [nan] * 6, [3, 1.5, 0, 1, 1, 30]]
    assert np.array_equal(source.x, expected * 20, equal_nan=True)
    assert source.layout["categories"] == [None, None, None, ["u", "v"], ["x", "y"], None]
    assert source.layout["dtypes"] == ["int16", "float32", "bool", "string", "category", "int64"]


def test_a_text_file_comes_back_as_it_was(tmp_path: Path):
    words = ["größe", "日本", '"a, b"', '"say ""hi"""', '"two\nlines"']
    rows = [f"{words[i]},{i * 7 - 3},{i / 4},{['true', 'false'][i % 2]},{day(i)}" for i in pick]
    path = tmp_path / "t.csv"
    path.write_text("word,n,x,yes,when\n" + "\n".join(rows) + "\n")
    _, out = there_and_back(path, tmp_path, ".csv")
    assert np.array_equal(load(out).x, load(path).x)
    assert load(out).layout == load(path).layout
    plain = [line.replace('"', "") for line in (path.read_text(), out.read_text())]
    assert plain[0].replace("0.0", "0").replace("1.0", "1") == plain[1]


def test_gaps_are_written_with_the_word_that_stood_for_them(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "1,NA,u\n2,0.5,?\n3,0.25,v\n" * 20)
    _, out = there_and_back(path, tmp_path, ".csv")
    assert out.read_text().count("NA") == 20
    assert out.read_text().count("?") == 20
    assert np.array_equal(load(out).x, load(path).x, equal_nan=True)
    # A line with nothing in it would be no row.
    frame = pd.DataFrame({"a": [1, None, 3, 7] * 10})
    _, out = there_and_back(frame, tmp_path / "one", ".csv")
    assert len(load(out)) == 40


# --- what columns are taken for ------------------------------------------------------------------


def lines(column: list[str], path: Path) -> Path:
    path.write_text("a,b\n" + "".join(f"{v},{i * i % 17}\n" for i, v in enumerate(column)))
    return path


TIME, UTC = "timestamp[us]", "timestamp[us, tz=UTC]"


@pytest.mark.parametrize(
    ("cells", "kind", "dtype"),
    [
        (["u", "v", "w", "u"], "category", "string"),
        (["1", "2", "x", "2"], "category", "string"),  # as many words as numbers
        (["true", "FALSE", "true", ""], "binary", "bool"),
        (["true", "maybe", "true", ""], "category", "string"),
        (["2020-01-01", "2021-02-28", "", "1969-12-31"], "numeric", "date32[day]"),
        (["2020-01-01 10:00", "2021-02-28T11:30:00.5", "", "2020-01-01"], "numeric", TIME),
        (["2020-01-01T10:00Z", "2020-01-01 12:00+02", "", "2021-01-01T00:00+0130"], "binary", UTC),
        (["2020-01-01 10:00:00.123456789", "2020-01-01", "2020-01-02", ""], "numeric", TIME),
        (["2020-13-45", "2020-01-01", "x", "x"], "category", "string"),
        (["0.5", "1e3", " 7 ", "+5"], "numeric", "float64"),
        (["3", "4", "3", "4"], "binary", "int64"),
        (["3", "3", "3", "3"], "numeric", "int64"),
    ],
)  # fmt: skip
def test_what_a_column_is(tmp_path: Path, cells, kind, dtype):
    source = load(lines(cells, tmp_path / "t.csv"))
    assert source.layout["dtypes"] == [dtype, "int64"]
    assert [g.kind for g in infer(source).grids] == [kind, "numeric"]


def test_times_are_seconds(tmp_path: Path):
    cells = ["1970-01-02", "", "1969-12-31"]
    assert np.array_equal(
        load(lines(cells, tmp_path / "t.csv")).x[:, 0], [86_400, nan, -86_400], equal_nan=True
    )
    cells = ["1970-01-01T01:00:00+02:00", "1970-01-01 00:00:01.5Z"]
    assert load(lines(cells, tmp_path / "t.csv")).x[:, 0].tolist() == [-3600, 1.5]
    far = pa.table({"t": pa.array([0, 10**15], pa.timestamp("s")), "b": [1, 2]})
    with refused("column 't'", "row 1", "years 1 to 9999", "--drop t", error=DataError):
        load(far)


def test_a_day_is_a_day_and_not_the_evening_before(tmp_path: Path):
    """400 different days in intervals: every one comes back, and drawn ones are days."""
    days = pa.array(random.permutation(400).astype(np.int32) * 11).cast(pa.date32())
    table = pa.table({"day": days, "b": random.normal(size=400)})
    prepared, path = there_and_back(table, tmp_path)
    assert prepared.spec.levels[0] > 10
    train = prepared.split["train"]
    assert pq.read_table(path)["day"].take(train).equals(table["day"].take(train))
    x = torch.rand(1000, 2) * torch.tensor(prepared.spec.levels)
    drawn = decode(prepared.schema, prepared.spec, x)[:, 0]
    assert (drawn % 86_400 == 0).all()


def test_identifiers_free_text_and_empty_columns_are_set_aside():
    n = 120
    frame = pd.DataFrame(
        {
            "customer_id": np.arange(n) + 7,
            "note": [f"text {i}" for i in range(n)],
            "long": ["x" * 1001, *["y"] * (n - 1)],
            "nothing": [None] * n,
            "blank": [" "] * n,
            "a": np.arange(n) % 11,
        }
    )
    source = load(frame)
    assert source.names == ("a",)
    said = dict(note.split(" is set aside: ") for note in source.notes)
    assert said == {
        "column 'customer_id'": "each row has its own: an identifier",
        "column 'note'": "120 different words in 120 rows: free text or an identifier",
        "column 'long'": "a cell has more than 1000 characters: free text",
        "column 'nothing'": "it is empty",
        "column 'blank'": "it is empty",
    }
    assert source.layout["drop"] == ["customer_id", "note", "long", "nothing", "blank"]
    # A new table need not have them, and may: they are not read.
    prepared = prepare(source)
    run = prepared.schema, prepared.spec
    whole = encode(*run, frame)
    assert torch.equal(encode(*run, frame[["a"]]).x, whole.x)
    # Numbers that are all different are data unless their column is called an identifier.
    assert load(frame.rename(columns={"customer_id": "size"})).names == ("size", "a")
    assert load(frame, kind={"note": "category"}).names == ("note", "a")
    with refused("no column of data", "'note' is set aside", "free text"):
        load(frame[["note"]])
    for kind in (pa.timestamp("us"), pa.bool_(), pa.decimal128(5), pa.list_(pa.int8())):
        empty = pa.table({"e": pa.array([None] * 5, kind), "a": range(5)})
        assert load(empty).names == ("a",)


def test_cells_that_are_mistakes_are_named(tmp_path: Path):
    cells = [str(i) for i in range(40)]
    cells[7], cells[30] = "7.5.1", "x"
    with refused("column 'a'", "'7.5.1'", "row 7", "no number", "--drop a", error=DataError):
        load(lines(cells, tmp_path / "t.csv"))
    assert load(lines(cells, tmp_path / "t.csv"), drop=["a"]).names == ("b",)
    table = pa.table({"a": [None, {"b": 1}], "b": [1, 2]})
    with refused("column 'a'", "row 1", "neither number, word nor date", "--drop a"):
        load(table)


def test_a_table_of_mixed_columns_needs_no_option(tmp_path: Path):
    n = 200
    frame = pd.DataFrame(
        {
            "size": random.normal(size=n),
            "colour": random.choice(["red", "green"], n),
            "bits": random.integers(0, 2, n),
            "y": random.integers(0, 3, n),
        }
    )
    frame.loc[3, "size"] = frame.loc[5, "colour"] = None
    prepared = prepare(load(frame))
    spec = prepared.spec
    assert spec.kinds[spec.gates :] == ("numeric", "category", "binary", "numeric")
    assert spec.names[spec.gates :] == ("size", "colour", "bits", "y")
    assert spec.missing
    assert spec.gates == 2
    assert any("1 in 'size', 1 in 'colour', of 200 rows" in note for note in prepared.notes)


# --- new rows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> tuple[Any, Any]:
    frame = pd.DataFrame(
        {
            "n": np.arange(100) % 50 / 4,
            "word": ["red", "green", "blue", None] * 25,
            "yes": np.arange(100) % 3 == 0,
        }
    )
    prepared = prepare(load(frame))
    return prepared.schema, prepared.spec


def test_a_word_that_was_never_seen_is_a_gap_and_said(run, tmp_path: Path):
    new = pd.DataFrame({"n": [1.0] * 4, "word": ["red", "pink", "grey", "pink"], "yes": [True] * 4})
    data = encode(*run, new)
    back = decode(*run, data.rows(slice(None)).x)
    assert np.array_equal(back[:, 1], [2, nan, nan, nan], equal_nan=True)
    assert data.mask is not None
    assert data.mask[:, run[1].gates + 1].tolist() == [True, False, False, False]
    # Where gaps were not learnt, it is refused.
    complete = prepare(load(pd.DataFrame({"w": ["u", "v", "w"] * 9, "b": range(27)})))
    schema = complete.schema
    spec = replace(complete.spec, missing=False)
    with refused("row 1", "column 'w'", "'x'", "never saw", "u, v, w"):
        encode(schema, spec, pd.DataFrame({"w": ["u", "x"], "b": [1, 2]}))


def test_a_word_among_numbers_is_named(run):
    new = pd.DataFrame({"n": ["1", "two", "2"], "word": ["red"] * 3, "yes": [True] * 3})
    with refused("row 0", "column 'n'", "'1'", "expects numbers", error=DataError):
        encode(*run, new)
    new["n"] = pd.Categorical([None] * 3, categories=["u"])  # nothing is no word
    data = encode(*run, new)
    assert data.mask is not None
    assert not data.mask[:, run[1].gates].any()


def test_numbers_beyond_all_seen_lie_in_the_tails(run):
    schema, spec = run
    new = pd.DataFrame({"n": [-1.0, -5, 13, 90, 1e300], "word": ["red"] * 5, "yes": [True] * 5})
    x = encode(schema, spec, new).x[:, spec.gates]
    last = spec.levels[spec.gates] - 1
    assert x.floor().tolist() == [0, 0, last, last, last]
    assert x[1] < x[0]
    assert x[2] < x[3] <= x[4] < last + 1
    back = decode(schema, spec, encode(schema, spec, new).x)[:, spec.gates - 1]
    assert back[:1] == pytest.approx([-1], abs=0.01)


def test_rows_that_are_alike_already_stay_so():
    """Codes are not taken for the words of a file that has fewer of them."""
    pixels = pd.DataFrame({"a": [0, 1] * 30, "b": [1, 1, 0] * 20, "label": list("uvwu") * 15})
    unlike = pd.DataFrame({"w": list("uvwx") * 15, "b": range(60)})
    for frame, new in ((pixels, pixels[1:3]), (unlike, unlike[2:4])):
        prepared = prepare(load(frame))
        run = prepared.schema, prepared.spec
        source = alike(*run, new.reset_index(drop=True))
        one, two = encode(*run, source), encode(*run, new)
        assert torch.equal(one.x, two.x)
        if frame is pixels:
            assert one.y is not None
            assert one.y.tolist() == [1, 2]
        else:
            assert decode(*run, one.x)[:, 0].tolist() == [2, 3]
            assert source.notes == []


@pytest.mark.parametrize("order", [["n", "word", "yes"], ["yes", "n", "word"]])
def test_columns_are_found_by_name(run, order):
    new = pd.DataFrame({"n": [1.0, 2], "word": ["red", "blue"], "yes": [True, False]})
    assert torch.equal(encode(*run, new[order]).x, encode(*run, new).x)
    with refused("column 'word'", "not given"):
        encode(*run, new.drop(columns="word"))
    wider = new.assign(more=1)[["more", *new.columns]]  # left out, and said
    assert torch.equal(encode(*run, wider).x, encode(*run, new).x)
    assert "left out a column that the run does not have: more" in alike(*run, wider).notes


def test_words_stay_words_where_new_ones_look_like_numbers(tmp_path: Path):
    """A code such as 01234 is no number, even in a file where all are digits."""
    path = tmp_path / "t.csv"
    codes = ["01234", "99", "0A1", "true", "2020-01-01"]
    path.write_text("code,b\n" + "".join(f"{codes[i % 5]},{i * i % 17}\n" for i in range(60)))
    prepared = prepare(load(path))
    run = prepared.schema, prepared.spec
    for chosen in (["01234", "99"], ["true"], ["2020-01-01"], codes):
        path.write_text("code,b\n" + "".join(f"{code},1\n" for code in chosen))
        back = decode(*run, encode(*run, path).rows(slice(None)).x)
        assert [sorted(codes)[int(j)] for j in back[:, 0]] == chosen
    # Rows that were read before the run was known have lost the zero, nothing else.
    path.write_text("code,b\n99,1\n")
    assert decode(*run, encode(*run, load(path)).x)[0, 0] == sorted(codes).index("99")
    path.write_text("code,b\ntrue,1\n")
    assert decode(*run, encode(*run, load(path)).x)[0, 0] == sorted(codes).index("true")
    path.write_text("code,b\n" + "98,1\n" * 30 + "x,1\n")  # nearly numbers: still words
    data = encode(*run, path)
    assert data.mask is not None
    assert not data.mask[:, 0].any()


def test_a_column_of_numbers_can_be_read_as_words(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("zip,b\n" + "".join(f"0{i % 3}7,{i * i % 17}\n" for i in range(60)))
    assert infer(load(path)).grids[0].kind == "numeric"
    source = load(path, kind={"zip": "category"})
    assert source.layout["categories"] == [["007", "017", "027"], None]
    assert infer(source).grids[0][:2] == ("category", 3)
    frame = pd.DataFrame({"i": [7, 30, 7] * 9, "f": [7, nan, 30] * 9, "b": [True, False, True] * 9})
    source = load(frame, kind=dict.fromkeys("ifb", "category"))
    assert source.layout["categories"] == [["30", "7"], ["30", "7"], ["false", "true"]]
    _, out = prepared_and_out(source, tmp_path)
    again = pq.read_table(out)
    assert again.schema.types == [pa.int64(), pa.float64(), pa.bool_()]
    assert again["i"].to_pylist() == [7, 30, 7] * 9
    assert again["f"].to_pylist() == [7, None, 30] * 9
    assert again["b"].to_pylist() == [True, False, True] * 9
    with refused("'zap'", "did you mean 'zip'?"):
        load(path, kind={"zap": "category"})


def prepared_and_out(source: Any, folder: Path) -> tuple[Prepared, Path]:
    prepared = prepare(source)
    x = encode(prepared.schema, prepared.spec, source).rows(slice(None)).x
    return prepared, write(prepared.schema, prepared.spec, x, folder / "out.parquet")


def test_columns_without_names_keep_their_places(tmp_path: Path):
    """Where some are left out, names are written: columns are no longer known by their place."""
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{i % 7},text {i},{i % 11 * 3}\n" for i in range(80)))
    source = load(path)
    assert source.names == ("column_1", "column_3")
    prepared, out = there_and_back(path, tmp_path, ".csv")
    run = prepared.schema, prepared.spec
    assert torch.equal(encode(*run, out).x, encode(*run, path).x)
    with refused("(1,)", "(2,)", "column_1, column_3"):
        (tmp_path / "new.csv").write_text("1\n2\n")
        encode(*run, tmp_path / "new.csv")


# --- the text around the cells -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ('"0","1"\n1,2\n3,4\n', ("0", "1"), [[1, 2], [3, 4]]),  # names are numbers, in quotes
        ('"0","1"\n"1","2"\n', ("column_1", "column_2"), [[0, 1], [1, 2]]),
        ('"a\nb",c\n1,2\n', ("a\nb", "c"), [[1, 2]]),
        ("\ufeffa,b\r\n1,2\r\n", ("a", "b"), [[1, 2]]),
    ],
)
def test_first_lines(tmp_path: Path, text, names, rows):
    (tmp_path / "t.csv").write_bytes(text.encode())
    source = load(tmp_path / "t.csv")
    assert source.names == names
    assert source.x.tolist() == rows


def test_tabs_part_the_cells_of_a_tsv_file(tmp_path: Path):
    (tmp_path / "t.tsv").write_text("a, b\tc\n1\t2\n")
    assert load(tmp_path / "t.tsv").names == ("a, b", "c")


def test_line_breaks_within_cells_are_no_rows(tmp_path: Path):
    """Wherever the reader cuts the file into blocks."""
    cell = "word\n" * 50
    body = "".join(f'"{cell}{i % 3}",{i % 7}\n' for i in range(70_000))
    assert len(body) > 2**24
    (tmp_path / "t.csv").write_text("a,b\n" + body)
    source = load(tmp_path / "t.csv")
    assert len(source) == 70_000
    assert [len(words) for words in source.layout["categories"] if words] == [3]


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"x" * 2**21, ["t.csv", "longer than 1,048,576 bytes"]),
        (b"a,b\n1,\xe9\n", ["t.csv", "UTF-8"]),
        (b'a,"' + b"b" * 200_000 + b"\n1,2\n", ["first line", "field limit"]),
        (b"a,b", ["t.csv", "nothing below"]),
        (b"a,b\n" + b"1,2\n" * 9 + b"3\n", ["row 9", "1 cells instead of 2"]),
        (b"nan,none\n1,2\n", ["neither names nor numbers"]),
    ],
)
def test_text_that_is_no_table_is_refused(tmp_path: Path, raw, parts):
    (tmp_path / "t.csv").write_bytes(raw)
    with refused(*parts, error=DataError):
        load(tmp_path / "t.csv")


def test_names_of_odd_characters_stay_in_one_line():
    frame = pd.DataFrame({"new\nline \x1b[31m" + "n" * 500: ["text"] * 3, "b": [1, 2, np.inf]})
    with refused("column 'b'", "row 2", "infinite"):
        infer(load(frame))
    with refused("column 'new line", "...'", "holds words, as 'text'", "it is a category"):
        infer(load(frame[:2]), kind="pixel")
    with refused("holds a NUL", "rename"):
        load(pl.DataFrame({"a\x00": [1, 2]}))
    many = pd.DataFrame(np.zeros((2, 900)), columns=[f"{j}" * 9 for j in range(900)])
    with refused("'z'", "900 in all"):
        load(many, label="z")


def test_labels_are_words_of_any_length_within_reason():
    words = ["u", "w" * 1000, "", "u" * 5000]
    with refused("'uuu", "5,000 characters", "free text is no class"):
        codes(words)
    y, classes = codes(words[:3])
    assert y.tolist() == [0, 1, -1]
    assert classes == ("u", "w" * 1000)
    assert codes(["9" * 900, "1"])[1] == ("1", "9" * 900)
    assert codes(np.array([b"v", b"", b"u"]))[0].tolist() == [1, -1, 0]
    frame = pd.DataFrame({"a": range(300), "t": ["m" * 2**20, *["s"] * 299]})
    tracemalloc.start()
    with refused("column 't'", "1,048,576 characters"):
        load(frame, label="t")
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


def test_labels_that_are_none_are_refused_by_name():
    frame = pd.DataFrame({"a": [1, 2, 3], "t": [0.5, 1, 2], "i": [np.inf, 1, 2]})
    with refused("column 't'", "0.5", "whole numbers"):
        load(frame, label="t")
    with refused("column 'i'", "inf"):
        load(frame, label="i")
