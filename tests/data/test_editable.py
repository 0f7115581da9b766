"""The columns of a table as a file: printed, read again, edited, and every mistake in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.frames import NAMES
from tests.data.helpers import refused
from vaes.data import load, prepare
from vaes.data.editable import described, read_toml, schema_toml, spelled_out
from vaes.data.infer import infer
from vaes.errors import DataError, UsageError
from vaes.estimators import VAE

random = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "customer_id": np.arange(200),
        "größe, cm": random.normal(170, 9, 200),
        "colour": random.choice(["rot", 'so "grün"', "new\nline"], 200),
        "note": [f"free text {i}" for i in range(200)],
        "yes": random.random(200) < 0.3,
        "stars": random.integers(1, 6, 200),
        "a.b": random.integers(0, 2, 200) * 3,
        "city": random.choice(["Bern", "Oslo"], 200),
    }
)
KINDS = {
    "größe, cm": "numeric",
    "colour": "category",
    "yes": "binary",
    "stars": "numeric",
    "a.b": "binary",
}


def written(text: str, folder: Path) -> Path:
    (folder / "schema.toml").write_text(text, "utf-8")
    return folder / "schema.toml"


def test_every_column_is_listed_in_order_with_what_was_found():
    text = schema_toml(load(TABLE, label="city"))
    listed = tomllib.loads(text)["columns"]
    assert list(listed) == list(TABLE.columns)
    assert {name: entry["kind"] for name, entry in listed.items()} == KINDS | {
        "customer_id": "aside",
        "note": "aside",
        "city": "label",
    }
    assert 'kind = "aside"  # each row has its own: an identifier' in text
    assert 'kind = "aside"  # 200 different words in 200 rows: free text' in text
    assert 'kind = "category"  # 3: new line, rot, so "grün"' in text
    assert 'kind = "numeric"  # numeric (5 values)' in text
    assert 'kind = "label"  # 2: Bern, Oslo' in text
    assert max(map(len, text.splitlines())) < 200


def test_what_is_printed_and_read_changes_nothing(tmp_path: Path):
    source = load(TABLE, label="city")
    said = read_toml(written(schema_toml(source), tmp_path))
    assert said == {"kind": KINDS, "drop": ["customer_id", "note"], "label": "city"}
    again = load(TABLE, **said)
    one, two = prepare(source), prepare(again, kind=said["kind"])
    assert two.spec == one.spec
    assert two.fingerprint == one.fingerprint
    assert read_toml(written(schema_toml(again), tmp_path)) == said


def test_what_is_edited_is_done(tmp_path: Path):
    text = schema_toml(load(TABLE, label="city"))
    for old, new in (
        ('"aside"  # 200', '"category"  # 200'),
        ('"aside"  # each', '"real"  # each'),
        ('[columns.stars]\nkind = "numeric"', '[columns.stars]\nkind = "category"'),
        ('"label"  # 2', '"aside"  # 2'),
        ('"binary"  # binary (0 and 3)', '"label"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    said = read_toml(written(text, tmp_path))
    source = load(TABLE, **said)
    assert source.names == ("customer_id", "größe, cm", "colour", "note", "yes", "stars")
    assert source.classes == ("0", "3")
    assert source.layout["categories"][5] == ["1", "2", "3", "4", "5"]
    kinds = [grid.kind for grid in infer(source, kind=said["kind"]).grids]
    assert kinds == ["real", "numeric", "category", "category", "binary", "category"]


def test_columns_named_like_labels_may_be_data_and_the_other_way_round(tmp_path: Path):
    bits = pd.DataFrame({"a": [0, 1] * 20, "b": [1, 1, 0, 0] * 10, "y": [0, 1, 2, 1] * 10})
    text = schema_toml(load(bits))
    assert tomllib.loads(text)["columns"]["y"]["kind"] == "label"
    said = read_toml(written(text.replace('"label"', '"numeric"'), tmp_path))
    assert load(bits, **said).names == ("a", "b", "y")
    said = read_toml(written("[columns.a]\nkind='binary'\n", tmp_path))  # the others as found
    assert load(bits, **said).layout["label"] == "y"


def test_one_grid_stays_one_grid(tmp_path: Path):
    pixels = random.integers(0, 17, (60, 20))
    pixels[:, 3] = 0  # alone it would have no grid
    frame = pd.DataFrame(pixels, columns=[f"p{j}" for j in range(20)])
    source = load(frame)
    said = read_toml(written(schema_toml(source), tmp_path))
    assert said["kind"] == {f"p{j}": "pixel" for j in range(20)}
    assert infer(source, kind=said["kind"]) == infer(source)
    said["kind"]["p7"] = "real"
    kinds = [grid.kind for grid in infer(source, kind=said["kind"]).grids]
    assert kinds == ["real" if j == 7 else "pixel" for j in range(20)]


def test_names_of_odd_characters(tmp_path: Path):
    names = list(dict.fromkeys((*NAMES, "\x7f", "a.b", "'", "\\", "\t")))
    names = [name for name in names if name and name != "\0"]
    frame = pd.DataFrame({name: random.normal(size=40) for name in names})
    said = read_toml(written(schema_toml(load(frame)), tmp_path))
    assert said["kind"] == dict.fromkeys(names, "numeric")


def test_rows_of_an_array_are_listed_by_number(tmp_path: Path):
    x = np.column_stack([np.arange(40) % 2, random.normal(size=40)])
    said = read_toml(written(schema_toml(load(x)), tmp_path))
    assert said["kind"] == {"0": "binary", "1": "real"}
    assert infer(load(x), kind=said["kind"]) == infer(load(x))
    with refused("array", "images", "no columns"):
        schema_toml(load(np.zeros((4, 5, 5))))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[columns.a\nkind=1", ["schema.toml", "not valid TOML", "line 1"]),
        ("[columns.a]\nkind = numeric\n", ["schema.toml", "not valid TOML", "line 2"]),
        ("[columns.a]\nkind='real'\n[columns.a]\n", ["not valid TOML", "line 3"]),
        ("", ["lists no columns", "[columns.NAME]"]),
        ("columns = 3", ["lists no columns"]),
        ("[columns]", ["lists no columns"]),
        ("[column.a]\nkind='real'", ["'column'", "[columns.NAME]"]),
        ("[columns.a]", ["column 'a' of schema.toml", "no kind"]),
        ("[columns]\na='real'", ["column 'a'", "no kind"]),
        ("[columns.a]\nkind='reel'", ["column 'a'", "'reel'", "did you mean 'real'?"]),
        ("[columns.a]\nkind=['real']", ["column 'a'", "not known"]),
        ("[columns.a.b]\nkind='real'", ["column 'a'", "no kind"]),
        ("[columns.a]\nkind='real'\nnames=['u']", ["column 'a'", "'names'", "only 'kind'"]),
        (
            "[columns.a]\nkind='label'\n[columns.b]\nkind='label'\n",
            ["column 'b'", "second label", "'a'"],
        ),
        ("[columns.a]\nkind='aside'", ["no column of data"]),
        ('[columns."x\\ny"]\nkind="\\n"', ["column 'x y'"]),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text, parts):
    with refused(*parts, error=DataError):
        read_toml(written(text, tmp_path))


def test_files_that_cannot_be_read(tmp_path: Path):
    with refused("absent.toml", "No such file", error=DataError):
        read_toml(tmp_path / "absent.toml")
    with refused(str(tmp_path), "directory", error=DataError):
        read_toml(tmp_path)
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe\x00")
    with refused("t.toml", "UTF-8", error=DataError):
        read_toml(tmp_path / "t.toml")
    (tmp_path / "t.toml").write_text("a = " + "[" * 10_000)
    with refused("t.toml", "TOML", error=DataError):
        read_toml(tmp_path / "t.toml")


@pytest.mark.parametrize("kind", ["numeric", "aside", "label"])
def test_columns_that_do_not_exist_are_named(tmp_path: Path, kind):
    text = f"[columns.star]\nkind='{kind}'\n[columns.yes]\nkind='binary'\n"
    said = read_toml(written(text, tmp_path))
    with refused("'star'", "does not exist", "did you mean 'stars'?", error=DataError):
        load(TABLE, **said)


def test_rows_are_read_and_prepared_by_the_file(tmp_path: Path):
    """`load` hands the kinds on: what is prepared is what the file says, said once."""
    text = schema_toml(load(TABLE)).replace(
        '[columns.stars]\nkind = "numeric"', '[columns.stars]\nkind = "category"'
    )
    path = written(text, tmp_path)
    prepared = prepare(load(TABLE, schema=path))
    kinds = dict(zip(prepared.spec.names, prepared.spec.kinds, strict=True))
    assert kinds == KINDS | {"stars": "category", "city": "category"}
    assert prepared.schema["layout"]["categories"][3] == ["1", "2", "3", "4", "5"]
    # the run's own file says what was done, and says it of itself again
    again = schema_toml(load(TABLE, schema=path), prepared.decision)
    assert read_toml(written(again, tmp_path)) == spelled_out({"schema": path})
    assert prepare(load(TABLE, schema=path)).spec == prepared.spec


def test_kinds_that_were_read_with_bind_prepare():
    source = load(TABLE, kind={"stars": "category"})
    kinds = prepare(source, kind={"yes": "category"}).spec.kinds
    assert kinds[3] == "category"
    with refused("kind=real", "1 of them", "give one of the two", error=UsageError):
        prepare(source, kind="real")


def test_an_array_goes_by_the_file_too(tmp_path: Path):
    x = np.column_stack([np.arange(40) % 2, np.arange(40) % 7])
    text = schema_toml(load(x)).replace('"pixel"', '"category"')
    path = written(text, tmp_path)
    np.save(tmp_path / "x.npy", x)
    for rows in (x, tmp_path / "x.npy"):
        assert prepare(load(rows, schema=path)).spec.kinds == ("binary", "category")
    path = written(text.replace('"binary"', '"aside"'), tmp_path)
    for rows in (x, tmp_path / "x.npy"):
        with refused("drop=['0']", "no table", error=UsageError):
            load(rows, schema=path)


@pytest.mark.parametrize("given", [{"kind": {"a": "real"}}, {"drop": ["a"]}, {"label": "a"}])
def test_what_the_file_says_is_not_said_beside_it(given):
    with refused(next(iter(given)), "schema s.toml", "one of the two", error=UsageError):
        load(TABLE, schema="s.toml", **given)
    with refused("'digits'", "has its own", error=UsageError):
        load("digits", schema="s.toml")


def test_images_have_one_line():
    assert "4 images of shape (1, 5, 5)" in described(load(np.arange(100).reshape(4, 5, 5)))


def test_estimators_go_by_the_file(tmp_path: Path):
    """A frame of numbers, one of whose columns is a category and one no data; X without them."""
    frame = TABLE[["größe, cm", "stars", "a.b"]]
    text = schema_toml(load(frame)).replace(
        '[columns.stars]\nkind = "numeric"', '[columns.stars]\nkind = "category"'
    )
    path = written(text.replace('kind = "binary"', 'kind = "aside"'), tmp_path)
    model = VAE(schema=path, steps=5, latent=1).fit(frame)
    assert dict(zip(model.spec_.names, model.spec_.kinds, strict=True)) == {
        "größe, cm": "numeric",
        "stars": "category",
    }
    assert model.transform(frame).shape == (200, 1)
    assert set(model.sample(20)[:, 1]) <= {1, 2, 3, 4, 5}
    x = np.column_stack([np.arange(40) % 2, np.arange(40) % 7])
    by_number = written("[columns.1]\nkind = 'category'\n", tmp_path)
    assert VAE(schema=by_number, steps=5).fit(x).spec_.kinds == ("binary", "category")
    with refused("kind=real", "schema=", "one of the two", error=UsageError):
        VAE(schema=path, kind="real").fit(frame)
