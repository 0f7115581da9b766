"""CSV, Parquet and frames: numbers, names, gaps and labels, and cells that are no numbers."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.helpers import needs_data, refused
from vaes.data import load
from vaes.errors import DataError

nan = float("nan")


def csv(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_names_numbers_and_gaps(tmp_path: Path):
    source = load(csv(tmp_path, "a,b,c\n1,2.5,true\n,NA,false\n3, 1e3 ,true\n"))
    assert source.names == ("a", "b", "c")
    assert np.array_equal(source.x, [[1, 2.5, 1], [nan, nan, 0], [3, 1000, 1]], equal_nan=True)
    assert source.layout["dtypes"] == ["int64", "float64", "bool"]
    assert source.layout["header"]
    assert source.name == "t"


def test_a_first_line_of_numbers_is_a_row(tmp_path: Path):
    source = load(csv(tmp_path, "1,2\n3,4\n"))
    assert source.x.tolist() == [[1, 2], [3, 4]]
    assert source.names == ("column_1", "column_2")
    assert not source.layout["header"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfa,b\n1,2\n",
        b"a;b\n1;2\n",
        b"a\tb\r\n1\t2\r\n",
        b'"a","b"\n"1","2"\n',
        b"\n\na,b\n\n1,2\n\n",
        b"a,b\n+1,2.\n",
        b"a,b\n1,2",
    ],
)
def test_dialects(tmp_path: Path, text):
    source = load(csv(tmp_path, text))
    assert source.names == ("a", "b")
    assert source.x.tolist() == [[1, 2]]


def test_gzip_and_unicode(tmp_path: Path):
    path = csv(tmp_path, gzip.compress("größe,長さ\n1,2\n".encode()), "t.csv.gz")
    source = load(path)
    assert source.names == ("größe", "長さ")
    assert source.name == "t"
    path.write_bytes(b"no gzip")
    with refused("t.csv.gz", "gzip"):
        load(path)
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-20])
    with refused("t.csv.gz"):
        load(path)


def test_a_late_float_in_a_column_of_whole_numbers(tmp_path: Path):
    # Readers that guess types from the first block of a file fail here.
    lines = ["a"] + ["1"] * 1_200_000 + ["0.5"]
    source = load(csv(tmp_path, "\n".join(lines)))
    assert source.x[-1, 0] == 0.5
    assert source.x[:-1, 0].min() == source.x[:-1, 0].max() == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b\n1,2\n3\n", ["row 1", "1 cells instead of 2", "nothing stands in column 'b'"]),
        ("a,b\n1,2\n3,4,5\n", ["row 1", "3 cells instead of 2"]),
        ("a,b\n" + "1,2\n" * 10 + "1,x\n", ["column 'b'", "'x'", "row 10", "--drop b"]),
        ("a,b\n" + "1,2\n" * 10 + "1,\x00\n", ["column 'b'", "row 10", "no number"]),
        ("", ["empty"]),
        ("\n \n", ["empty"]),
        ("a,b\n", ["0 rows"]),
        ("a,a\n1,2\n", ["two columns", "'a'"]),
        (b"\xff\xfea\x00", ["UTF-16"]),
        ("a\n" + "x" * 2_000_000 + "\n", ["no column of data", "'a'", "free text"]),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(tmp_path: Path, text, parts):
    with refused(*parts, error=DataError):
        load(csv(tmp_path, text))


def test_columns_can_be_dropped(tmp_path: Path):
    path = csv(tmp_path, "id,a,b\nx1,1,2\nx2,3,4\n")
    source = load(path, drop=["id"])
    assert source.names == ("a", "b")
    assert source.x.tolist() == [[1, 2], [3, 4]]
    with refused("'idd'", "did you mean 'id'?"):
        load(path, drop=["idd"])
    with refused("no column of data", "'id' is the label"):
        load(path, label="id", drop=["a", "b"])


def test_columns_named_like_labels_are_labels_of_images_that_lie_flat(tmp_path: Path):
    source = load(csv(tmp_path, "a,b,class\n1,0,dog\n0,0,cat\n1,1,\n0,0,dog\n"))
    assert source.names == ("a", "b")
    assert source.classes == ("cat", "dog")
    assert source.y is not None
    assert source.y.tolist() == [1, 0, -1, 1]
    assert source.layout["label"] == "class"
    assert any("'class'" in note for note in source.notes)
    source = load(csv(tmp_path, "a,Target\n1,10\n2,9\n"))
    assert source.classes == ("9", "10")
    pixels = np.random.default_rng(0).integers(0, 17, (60, 20))
    frame = pd.DataFrame(pixels, columns=[f"p{j}" for j in range(20)])
    frame["id"], frame["gap"], frame["label"] = range(60), nan, pixels[:, 0] % 10
    source = load(frame)  # what is set aside is not asked
    assert source.names == tuple(f"p{j}" for j in range(20))
    assert source.layout["label"] == "label"


def test_in_a_table_of_unlike_columns_labels_are_data(tmp_path: Path):
    source = load(csv(tmp_path, "a,class\n1,dog\n2,cat\n3,\n4,dog\n"))
    assert source.names == ("a", "class")
    assert source.layout["categories"] == [None, ["cat", "dog"]]
    assert np.array_equal(source.x[:, 1], [1, 0, nan, 1], equal_nan=True)
    assert source.y is None
    assert source.layout["label"] is None
    source = load(csv(tmp_path, "a,class\n1,dog\n2,cat\n3,\n4,dog\n"), label="class")
    assert source.names == ("a",)
    assert source.y is not None
    assert source.y.tolist() == [1, 0, -1, 1]
    # A column whose kind is known is no label either.
    text = "a,class\n1,1\n0,0\n1,1\n"
    assert load(csv(tmp_path, text)).names == ("a",)
    assert load(csv(tmp_path, text), kind={"class": "binary"}).names == ("a", "class")


def test_numbers_that_only_look_like_labels_are_data(tmp_path: Path):
    assert load(csv(tmp_path, "x,y\n1,2\n3,4\n")).names == ("x", "y")
    assert load(csv(tmp_path, "a,target\n1,2.5\n3,4.5\n")).names == ("a", "target")
    many = "a,y\n" + "".join(f"1,{i}\n" for i in range(101))
    assert load(csv(tmp_path, many)).names == ("a", "y")


def test_a_label_column_that_is_asked_for(tmp_path: Path):
    path = csv(tmp_path, "a,kind\n1,u\n2,v\n")
    source = load(path, label="kind")
    assert source.classes == ("u", "v")
    with refused("'kin'", "did you mean 'kind'?"):
        load(path, label="kin")


def test_parquet(tmp_path: Path):
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int16()),
            "f": pa.array([0.5, 1.5, None], pa.float32()),
            "b": [True, False, True],
            "label": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = load(tmp_path / "t.parquet", label="label")
    assert np.array_equal(source.x, [[1, 0.5, 1], [nan, 1.5, 0], [3, nan, 1]], equal_nan=True)
    assert source.layout["dtypes"] == ["int16", "float32", "bool"]
    assert source.classes == ("u", "v")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with refused("t.parquet", "Parquet", error=DataError):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames(make):
    source = load(
        make({"a": [1, 2, 3], "b": [0.5, nan, 1.5], "label": ["u", "v", "u"]}), label="label"
    )
    assert source.names == ("a", "b")
    assert np.array_equal(source.x, [[1, 0.5], [2, nan], [3, 1.5]], equal_nan=True)
    assert source.y is not None
    assert source.y.tolist() == [0, 1, 0]
    assert load(make({"a": [1, 2, 3]}), label=[0, 0, 1]).classes == ("0", "1")
    with refused("column 'd'", "row 1", "--drop d"):
        load(make({"a": [1, 2], "d": [None, [1.5]]}))


def test_frames_of_pandas_with_habits():
    frame = pd.DataFrame({"a": [1, None]}, dtype="Int64").set_index(pd.Index([7, 3]))
    assert load(frame).names == ("a",)
    assert np.isnan(load(frame).x).tolist() == [[False], [True]]
    assert load(pd.DataFrame(np.eye(2))).names == ("0", "1")
    with refused("frame"):
        load(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with refused("frame"):
        load(pd.DataFrame({"a": [1, "x", None]}, dtype=object))
    with refused("0 rows"):
        load(pd.DataFrame({"a": []}))
    with refused("LazyFrame", "collect"):
        load(pl.LazyFrame({"a": [1]}))


@needs_data
def test_a_real_table_with_gaps_and_words():
    path = Path(os.environ["VAES_DATA"].split(os.pathsep)[0]) / "tabular" / "penguins.csv.gz"
    source = load(path)
    assert source.x.shape == (344, 7)
    assert source.layout["categories"] == [
        *(["Adelie", "Chinstrap", "Gentoo"], ["Biscoe", "Dream", "Torgersen"]),
        *([None] * 4),
        ["FEMALE", "MALE"],
    ]
    assert np.isnan(source.x).sum(0).tolist() == [0, 0, 2, 2, 2, 2, 11]
    source = load(path, label="species", drop=["island", "sex"])
    assert source.x.shape == (344, 4)
    assert len(source.classes) == 3
    assert np.isnan(source.x).any(axis=1).sum() == 2
