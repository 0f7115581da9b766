"""A table with words and gaps through the command: trained, filled, drawn, judged, grouped."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from sklearn.neighbors import NearestNeighbors

from tests.commands import vaes_
from vaes import VAE
from vaes import data as sources

N = 240


def people(path: Path, n: int = N, seed: int = 0, gaps: bool = True) -> Path:
    """Town tells the number of rooms; a price with a spike at 0; gaps in two columns."""
    draw = np.random.default_rng(seed)
    towns, lines = ["Bern", "Genf", "Zug"], ["id,town,rooms,price,sold,day"]
    for i in range(n):
        town = int(draw.integers(3))
        rooms = 2 * town + int(draw.integers(1, 3))
        price = 0.0 if draw.random() < 0.3 else round(float(np.exp(draw.normal(town, 0.4))), 2)
        shown = str(price) if not gaps or draw.random() < 0.8 else "?"
        where = towns[town] if not gaps or draw.random() < 0.9 else ""
        sold = "true" if draw.random() < 0.5 else "false"
        lines.append(f"{1000 + i},{where},{rooms},{shown},{sold},2024-01-{1 + i % 28:02}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    people(path / "homes.csv")
    told = vaes_("train", path / "homes.csv", "--steps", "400", "--out", path / "run")
    assert told.code == 0, told.err
    assert "column 'id' is set aside" in told.err
    assert "gaps:" in told.err
    assert "tabular:" in told.err  # the recipe for such a table
    assert "latent-class" in told.out  # the baseline that no table's result may hide from
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return list(csv.DictReader(lines))


def test_the_model_beats_its_baselines(folder):
    found = json.loads((folder / "run" / "evaluation.json").read_text())
    assert found["log_evidence"] > found["baselines"]["independent"]["log_evidence"] + 0.5


def test_drawn_rows_look_like_the_table(folder):
    assert vaes_("sample", folder / "run", "-n", 200, "--out", folder / "drawn").code == 0
    drawn, real = rows(folder / "drawn" / "rows.csv"), rows(folder / "homes.csv")
    assert len(drawn) == 200
    assert list(drawn[0]) == ["town", "rooms", "price", "sold", "day"]
    assert {row["town"] for row in drawn} <= {"Bern", "Genf", "Zug", ""}
    assert {row["sold"] for row in drawn} <= {"true", "false"}
    assert all(row["day"].startswith("2024-01-") for row in drawn)
    assert {row["rooms"] for row in drawn} <= {row["rooms"] for row in real}
    for name, told in (("price", "?"), ("town", "")):  # the word for a gap is the file's own
        share = np.mean([row[name] == told for row in drawn])
        assert share == pytest.approx(np.mean([row[name] == told for row in real]), abs=0.12)
    prices = [float(row["price"]) for row in drawn if row["price"] != "?"]
    known = [float(row["price"]) for row in real if row["price"] != "?"]
    assert min(prices) >= 0
    assert max(prices) <= max(known) + 0.01
    assert np.mean(np.array(prices) == 0) == pytest.approx(0.3, abs=0.15)
    assert all(round(price, 2) == price for price in prices)


def test_gaps_are_filled_and_nothing_else_is_touched(folder):
    told = vaes_(
        "impute", folder / "run", folder / "homes.csv", "--draws", 2, "--out", folder / "f"
    )
    assert told.code == 0, told.err
    real = rows(folder / "homes.csv")
    for name in ("rows", "low", "high", "draw-1", "draw-2"):
        filled = rows(folder / "f" / f"{name}.csv")
        for before, after in zip(real, filled, strict=True):
            for column, value in after.items():
                assert value not in ("", "?")
                if before[column] not in ("", "?"):
                    same = value == before[column] or float(value) == float(before[column])
                    assert same, column
    filled = rows(folder / "f" / "rows.csv")
    towns = ["Bern", "Genf", "Zug"]
    right = [
        towns[(int(before["rooms"]) - 1) // 2] == after["town"]
        for before, after in zip(real, filled, strict=True)
        if not before["town"]
    ]
    assert np.mean(right) > 0.9  # the number of rooms tells the town
    said = json.loads((folder / "f" / "result.json").read_text())
    assert said["gaps"] == sum(row["town"] == "" for row in real) + sum(
        row["price"] == "?" for row in real
    )


def test_odd_rows_come_first_with_what_is_odd(folder):
    lines = people(folder / "new.csv", 40, seed=1, gaps=False).read_text().splitlines()
    lines[7] = "1006,Bern,6,1.0,true,2024-01-07"  # six rooms are a town's that Bern is not
    (folder / "new.csv").write_text("\n".join(lines) + "\n")
    told = vaes_("detect", folder / "run", folder / "new.csv", "--top", 3, "--out", folder / "odd")
    assert told.code == 0, told.err
    odd = rows(folder / "odd" / "odd.csv")
    assert len(odd) == 40
    assert odd[0]["row"] == "6"
    assert odd[0]["blame"].split("=")[0] in ("town", "rooms")
    assert odd[3]["blame"] == ""
    scores = [float(row["score"]) for row in odd]
    assert scores == sorted(scores, reverse=True)


def test_groups_and_new_rows(folder):
    assert vaes_("cluster", folder / "run", "--k", 3, "--out", folder / "c").code == 0
    found = json.loads((folder / "c" / "result.json").read_text())
    assert sum(found["sizes"]) == N
    assert len(rows(folder / "c" / "clusters.csv")) == N
    assert len(rows(folder / "c" / "typical.csv")) == 3
    assert vaes_("augment", folder / "run", "-n", 50, "--out", folder / "a").code == 0
    said = json.loads((folder / "a" / "result.json").read_text())
    assert len(rows(folder / "a" / "rows.csv")) == 50
    assert not said["audit"]["copies"]


def test_rows_that_do_not_fit_are_named(folder):
    def refused(text: str) -> str:
        (folder / "bad.csv").write_text(text)
        told = vaes_("score", folder / "run", folder / "bad.csv")
        assert told.code == 1
        assert len(told.err.splitlines()) == 1
        return told.err

    assert "'rooms'" in refused("town,price,sold,day\nBern,1,true,2024-01-02\n")
    assert "'many'" in refused("town,rooms,price,sold,day\nBern,many,1,true,2024-01-02\n")
    (folder / "other.csv").write_text("town,rooms,price,sold,day\nBasel,3,1,true,2024-01-02\n")
    told = vaes_("score", folder / "run", folder / "other.csv")
    assert told.code == 0
    assert "'Basel', which the run never saw" in told.err


def test_rows_under_a_condition(folder):
    """Rooms tell the town; conditions that cannot be met are one line."""
    where = ("--where", "rooms=5", "--where", "sold=true")
    told = vaes_("sample", folder / "run", "-n", 100, *where, "--out", folder / "w")
    assert told.code == 0, told.err
    drawn = rows(folder / "w" / "rows.csv")
    assert all(row["rooms"] == "5" and row["sold"] == "true" for row in drawn)
    assert np.mean([row["town"] == "Zug" for row in drawn if row["town"]]) > 0.65
    assert any(row["price"] == "?" for row in drawn)  # gaps are drawn too
    assert json.loads((folder / "w" / "result.json").read_text())["ess"] > 20
    for bad, said in (
        ("roms=5", "did you mean 'rooms'"),
        ("town=Basel", "never saw"),
        ("town", "="),
    ):
        told = vaes_("sample", folder / "run", "--where", bad)
        assert (told.code, len(told.err.splitlines())) == (2, 1) or "never saw" in told.err
        assert said in told.err


def test_one_dimension_at_a_time_moves_and_two_rows_are_joined(folder):
    """The prior of a table is a flow: its range is that of its draws."""
    for verb in ("traverse", "interpolate"):
        told = vaes_(verb, folder / "run", "--out", folder / verb)
        assert told.code == 0, told.err
    found = rows(next((folder / "traverse").glob("*.csv")))
    assert {row["town"] for row in found} <= {"Bern", "Genf", "Zug"}
    assert len({row["price"] for row in found}) > 3


def test_codes_tell_what_the_columns_share():
    """Six columns that a hidden class explains: z holds the class, or most of its log 4 nats."""
    draw = np.random.default_rng(0)
    hidden = draw.integers(4, size=2000)
    words = np.array(["a", "b", "c", "d"])
    own = draw.random((2000, 6)) < 0.1
    table = words[np.where(own, draw.integers(4, size=(2000, 6)), hidden[:, None])]
    frame = {f"column {j}": table[:, j].tolist() for j in range(6)}
    found = VAE(steps=500, random_state=0).fit(pyarrow.table(frame))
    assert found.recipe_ == "tabular"
    codes = found.transform(pyarrow.table(frame))
    near = NearestNeighbors(n_neighbors=6).fit(codes).kneighbors(codes)[1][:, 1:]
    assert (hidden[near] == hidden[:, None]).mean() > 0.9
    rate = next(line["rate"] for line in reversed(found.history_) if "rate" in line)
    assert rate > 1.0


def test_an_edited_schema_is_trained_with(folder, monkeypatch):
    """A column of numbers is a category in the run; what the run used goes round; one line each."""
    monkeypatch.chdir(folder)
    told = vaes_("data", "homes.csv", "--schema", "mine.toml")
    assert (told.code, "--schema mine.toml" in told.out) == (0, True)
    text = Path("mine.toml").read_text()
    assert vaes_("data", "homes.csv").out == text
    # the run cut numbers by its training rows alone, which the remarks tell
    of_run = tomllib.loads(Path("run/schema.toml").read_text())
    assert of_run == tomllib.loads(text)
    again = vaes_("data", "homes.csv", "--schema", "mine.toml")
    assert (again.code, len(again.err.splitlines()[1:])) == (2, 1)
    assert "mine.toml exists and is never written over" in again.err
    assert Path("mine.toml").read_text() == text
    old = '[columns.rooms]\nkind = "numeric"'
    assert text.count(old) == 1
    Path("edited.toml").write_text(text.replace(old, '[columns.rooms]\nkind = "category"'))
    said = ("train", "homes.csv", "--steps", 20, "--schema", "edited.toml", "--out")
    assert vaes_(*said, "edited").code == 0
    info = json.loads(Path("edited/run.json").read_text())
    spec = info["spec"]
    assert dict(zip(spec["names"], spec["kinds"], strict=True))["rooms"] == "category"
    assert info["schema"]["layout"]["drop"] == ["id"]
    Path("edited.toml").unlink()  # the run remembers what it said, and its own test part
    assert vaes_("score", "edited", "--k", 10).code == 0
    assert tomllib.loads(Path("edited/schema.toml").read_text())["columns"]["rooms"] == {
        "kind": "category"
    }
    assert vaes_(*said[:-2], "edited/schema.toml", "--out", "twice").code == 0
    assert Path("twice/schema.toml").read_bytes() == Path("edited/schema.toml").read_bytes()
    assert json.loads(Path("twice/run.json").read_text())["spec"] == spec


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        (["--kind", "rooms=real"], ["--kind", "--schema s.toml", "one of the two"]),
        (["--kind", "real"], ["--kind", "--schema s.toml"]),
        (["--drop", "rooms"], ["--drop", "--schema s.toml"]),
        (["--label", "town"], ["--label", "--schema s.toml"]),
    ],
)
def test_options_that_a_schema_overrules_are_refused(folder, monkeypatch, option, parts):
    monkeypatch.chdir(folder)
    told = vaes_("train", "homes.csv", "--schema", "s.toml", *option)
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert all(part in told.err for part in parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[columns.roms]\nkind='numeric'", ["'roms'", "did you mean 'rooms'"]),
        ("[columns.rooms]\nkind='numbers'", ["'rooms'", "'numbers'", "not known"]),
        ("[columns.town]\nkind='numeric'", ["'town'", "holds words"]),
        ("[columns.rooms\nkind='numeric'", ["s.toml", "line 1"]),
    ],
)
def test_a_wrong_schema_is_one_line(folder, monkeypatch, text, parts):
    monkeypatch.chdir(folder)
    Path("s.toml").write_text(text)
    told = vaes_("train", "homes.csv", "--schema", "s.toml")
    assert (told.code, len(told.err.splitlines())) == (1, 1)
    assert all(part in told.err for part in parts)


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Path:
    """Two groups that differ in `dose`, in `where` and in where `age` is missing, and in nothing
    else; trained on without knowing of the groups as well as with them."""
    path, draw = tmp_path_factory.mktemp("trial"), np.random.default_rng(0)
    treated = draw.random(500) < 0.4
    lines = ["group,same,dose,where,sort,age,arm"]
    for yes in treated:
        where = "Bern" if draw.random() < (0.8 if yes else 0.3) else "Zug"
        age = "" if draw.random() < (0.5 if yes else 0.1) else f"{draw.normal(50, 9):.0f}"
        cells = (draw.normal(5, 2), draw.normal(1.5 * yes), where, draw.choice([*"abc"]), age)
        group, arm = "treated" if yes else "control", draw.choice([*"xyz"])
        lines.append(",".join(map(str, (group, *cells, arm))))
    (path / "trial.csv").write_text("\n".join(lines) + "\n")
    for name, left_out in (("all", []), ("blind", ["--drop", "group"])):
        args = ("--steps", 150, *left_out, "--out", path / name)
        assert vaes_("train", path / "trial.csv", *args).code == 0
    return path


@pytest.mark.parametrize("run", ["all", "blind"])
def test_columns_that_differ_come_first(trial, run):
    """With the column that tells the groups among the run's, and with one that it never saw."""
    told = vaes_(
        "differ", trial / run, trial / "trial.csv", "--by", "group", "--out", trial / "d" / run
    )
    assert told.code == 0, told.err
    folder = trial / "d" / run
    found = rows(folder / "differences.csv")
    probability = {row["column"]: float(row["probability"]) for row in found}
    assert {row["column"] for row in found[:3]} == {"dose", "where", "age has a value"}
    assert min(float(row["probability"]) for row in found[:3]) > 0.95
    assert {row["column"] for row in found[3:]} == {"same", "sort", "age", "arm"}
    assert max(float(row["probability"]) for row in found[3:]) < 0.95
    assert probability["same"] < 0.5
    said = json.loads((folder / "result.json").read_text())
    assert said["groups"] == ["group=treated", "group=control"]
    assert said["files"] == ["differences.csv", "picture.png"]
    assert sum(said["n"]) == 500
    dose = next(row for row in said["columns"] if row["column"] == "dose")
    assert dose["size"] > 0.5
    real = rows(trial / "trial.csv")
    own = [float(row["dose"]) for row in real if row["group"] == "treated"]
    assert dose["mean of group=treated"] == pytest.approx(np.mean(own))
    where = next(row for row in found if row["column"] == "where")
    assert (where["value"], float(where["size"]) > 0) in [("Bern", True), ("Zug", False)]
    assert told.out.splitlines()[1].split()[0] == found[0]["column"].split()[0]
    assert told.out.splitlines()[-1] == str(folder)


def test_one_value_against_the_rest(trial):
    """Without DATA the rows of the run; what cannot be compared is one line."""
    told = vaes_("differ", trial / "all", "--by", "arm=x", "--top", 2, "--out", trial / "arm")
    assert (told.code, len(told.out.splitlines())) == (0, 4)
    found = json.loads((trial / "arm" / "result.json").read_text())
    assert found["groups"] == ["arm=x", "any other arm"]
    assert "arm" not in {row["column"] for row in found["columns"]}
    assert max(row["probability"] for row in found["columns"]) < 0.95
    for by, parts in (
        ("arm", ["has 3 values (x, y, z)", "--by arm=x compares"]),
        ("arm=w", ["'arm' is never 'w'", "known: x, y, z"]),
        ("amr=x", ["no column 'amr'", "did you mean 'arm'"]),
        ("dose", ["has 500 values", "two are compared"]),
    ):
        told = vaes_("differ", trial / "all", "--by", by)
        assert (told.code in (1, 2), len(told.err.splitlines())) == (True, 1)
        assert all(part in told.err for part in parts), told.err


def test_parquet_comes_back_as_parquet(trial):
    import pandas as pd

    frame = pd.read_csv(trial / "trial.csv")
    frame.to_parquet(trial / "trial.parquet")
    assert vaes_("train", trial / "trial.parquet", "--steps", 20, "--out", trial / "p").code == 0
    assert vaes_("sample", trial / "p", "-n", 5, "--out", trial / "q").code == 0
    assert len(pd.read_parquet(trial / "q" / "rows.parquet")) == 5
    assert vaes_("differ", trial / "p", "--by", "group", "--out", trial / "r").code == 0
    assert "dose" in set(pd.read_parquet(trial / "r" / "differences.parquet")["column"])


def test_rows_that_fit_in_part_are_used_and_said(folder, monkeypatch):
    """Columns beside the run's, in any order; many more gaps; dates are no numbers."""
    monkeypatch.chdir(folder)
    lines = people(folder / "plain.csv", 60, seed=3, gaps=False).read_text().splitlines()
    cells = [line.split(",") for line in lines]

    def scored(rows: list[list[str]]) -> tuple[int, str, str]:
        Path("fits.csv").write_text("\n".join(map(",".join, rows)) + "\n")
        told = vaes_("score", "run", "fits.csv", "--k", 20)
        return told.code, told.out, told.err

    code, out, err = scored(cells)
    assert (code, len(err.splitlines())) == (0, 1)
    wide = [[*reversed(row), "more", "x"] for row in cells]
    wide[0][-2:] = ["extra", "other"]
    code, same, err = scored(wide)
    assert (code, same) == (0, out)
    assert "left out 2 columns that the run does not have: extra, other" in err
    code, _, err = scored([cells[0], *([*row[:3], "", *row[4:]] for row in cells[1:])])
    assert code == 0
    assert "more gaps than the run was trained with" in err
    assert "price 100%" in err
    code, _, err = scored([cells[0], *([*row[:3], "2024-01-05", *row[4:]] for row in cells[1:])])
    assert (code, len(err.splitlines())) == (1, 1)
    assert "column 'price' holds dates" in err


def test_suspicious_columns_are_said(tmp_path):
    draw = np.random.default_rng(0)
    lines = ["x,copy,fixed,word,class"]
    for i in range(3000):
        kind = draw.integers(2)
        lines.append(f"{draw.normal():.3f},{5 * kind},7,w{i % 1200},{'ab'[kind]}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    notes = sources.load(tmp_path / "t.csv", label="class").notes
    assert "column 'copy' tells the label without fail" in " ".join(notes)
    assert "'x' tells" not in " ".join(notes)
    assert "the same value in every row, which says nothing: fixed" in notes
    assert any("'word' is set aside: 1,200 categories, more than 1,000" in n for n in notes)
    kept = sources.load(tmp_path / "t.csv", kind={"word": "category"})
    assert len(kept.layout["categories"][kept.names.index("word")]) == 1200
    assert not any("tells the label" in note for note in kept.notes)


def test_a_word_that_no_row_had_is_odd_in_itself(folder, tmp_path):
    """Not taken for the last of the known words, though rows take the run's form twice."""
    lines = people(tmp_path / "new.csv", n=30, seed=5, gaps=False).read_text().splitlines()
    cells = lines[8].split(",")
    lines[8] = ",".join([cells[0], "Basel", *cells[2:]])
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    told = vaes_("detect", folder / "run", tmp_path / "new.csv", "--out", tmp_path / "odd")
    assert told.code == 0, told.err
    assert sum("'Basel', which the run never saw" in line for line in told.err.splitlines()) == 1
    with (tmp_path / "odd" / "odd.csv").open() as file:
        rows = list(csv.DictReader(file))
    basel = next(row for row in rows if row["row"] == "7")
    assert "town=never seen" in basel["blame"]
    assert rows.index(basel) < 5
