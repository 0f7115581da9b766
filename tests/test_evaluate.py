"""`vaes evaluate` and `vaes compare`: what they print and write, and mistakes in one line."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.commands import TINY, made, vaes_
from vaes import data as sources
from vaes.evaluate.annealed import Annealing
from vaes.evaluate.calibration import intervals
from vaes.evaluate.cluster import agreement
from vaes.evaluate.thorough import evenly
from vaes.run import load
from vaes.training import train
from vaes.uses import cluster


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two runs on the digits, one of other rows, one of bits, one without a density."""
    folder = tmp_path_factory.mktemp("runs")
    for name, extra in {
        "a": [],
        "b": ["--set", "act=tanh"],
        "other": ["--seed", "1"],
        "bits": ["--binarize", "threshold"],
        "flat": ["--recipe", "autoencoder"],
    }.items():
        told = vaes_("train", "digits", *TINY, *extra, "--out", folder / name)
        assert told.code == 0, told.err
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


# --- evaluate -------------------------------------------------------------------------------------
def test_what_evaluate_writes(runs, tmp_path):
    before = made(runs / "a")
    told = vaes_("evaluate", runs / "a", "--k", "100", "--out", tmp_path / "e")
    assert told.code == 0, told.err
    assert made(runs / "a") == before
    found, trained = read(tmp_path / "e" / "evaluation.json"), read(runs / "a" / "evaluation.json")
    # the same rows, fewer draws: within the errors
    assert found["n"] == trained["n"] == 180
    apart = abs(found["log_evidence"] - trained["log_evidence"])
    assert apart < 4 * (found["log_evidence_se"] + trained["log_evidence_se"]) / 10 + 0.5
    names = {name.rsplit("-", 1)[0] for name in found["baselines"]}
    assert {"independent", "ppca", "factor-analysis", "latent-class"} <= names
    for key in ("curve", "rates", "health", "calibration", "samples", "gaps", "clusters"):
        assert key in found, key
    assert found["curve"]["100"]["mean"] == pytest.approx(found["log_evidence"], abs=1e-9)
    assert sum(found["rates"]) == pytest.approx(found["rate"], abs=1e-6)
    model, test = load(runs / "a"), sources.prepare(sources.load("digits"), seed=0).test
    known = intervals(model, test)
    shares = dict(
        zip(found["calibration"]["nominal"], found["calibration"]["observed"], strict=True)
    )
    assert shares[0.5] == pytest.approx(known.inside50, abs=1e-9)
    assert shares[0.9] == pytest.approx(known.inside90, abs=1e-9)
    labels = cluster(model, evenly(sources.prepare(sources.load("digits"), seed=0).train, 5000), 10)
    agreed = agreement(test.y.numpy(), labels.assign(model, test)[0].numpy())
    assert found["clusters"]["accuracy"] == pytest.approx(agreed.accuracy, abs=1e-9)
    assert agreed.accuracy < 0.9
    assert (tmp_path / "e" / "report.html").stat().st_size < 3 * 2**20
    for part in ("log evidence", "drawn rows", "intervals", "clusters", "gaps"):
        assert part in told.out
    assert told.out.endswith(f"evaluation: {tmp_path / 'e'}\n")


def test_rows_that_the_run_was_trained_on_are_told(runs, tmp_path):
    np.save(tmp_path / "digits.npy", load_digits().images.astype(np.uint8)[:300])
    told = vaes_("evaluate", runs / "a", tmp_path / "digits.npy", "--k", "10")
    assert told.code == 0, told.err
    found = read(runs / "a" / "evaluate-1" / "evaluation.json")
    assert found["n"] == 300
    assert any("training rows" in line for line in told.out.splitlines() if "warning" in line)
    shutil.rmtree(runs / "a" / "evaluate-1")


def test_a_model_without_a_density_gets_what_it_can_have(runs, tmp_path):
    told = vaes_("evaluate", runs / "flat", "--out", tmp_path / "e")
    assert told.code == 0, told.err
    found = read(tmp_path / "e" / "evaluation.json")
    assert found["log_evidence"] is None
    assert found["elbo"] is None
    assert "curve" not in found
    assert found["baselines"] == {}
    assert found["samples"]["n"] > 0
    assert any(note.startswith("gaps:") for note in found["notes"])
    assert "this model has no density" in told.out


def test_a_referee_and_known_factors(runs, tmp_path, monkeypatch):
    """Annealing, shortened, agrees with 1,000 draws; factors of one's own, beside their ends."""
    short = partial(Annealing, chains=8, steps=30)
    monkeypatch.setattr("vaes.evaluate.thorough.Annealing", short)
    rows = load_digits().images.astype(np.uint8)[:200]
    np.save(tmp_path / "rows.npy", rows)
    # what two dimensions of such a code may know: how much ink there is, and on which side
    ink = np.digitize(rows.sum((1, 2)), [270, 300, 330])
    side = (rows[:, :, :4].sum((1, 2)) > rows[:, :, 4:].sum((1, 2))).astype(int)
    np.save(tmp_path / "factors.npy", np.stack([ink, side], 1))
    told = vaes_(
        "evaluate", runs / "a", tmp_path / "rows.npy", "--annealed", "5", "--k", "200",
        "--factors", tmp_path / "factors.npy", "--out", tmp_path / "e",
    )  # fmt: skip
    assert told.code == 0, told.err
    found = read(tmp_path / "e" / "evaluation.json")
    annealed = found["annealed"]
    assert annealed["n"] == 5
    apart = annealed["log_evidence"] - annealed["by_draws"]
    assert abs(apart) < annealed["gap"] + 1.0
    assert annealed["gap"] > -1.0
    for score in found["disentanglement"].values():
        assert 0 <= score["noise"] <= 1.01
        assert 0 <= score["codes"] <= 1.01
    assert found["disentanglement"]["mig"]["factors"] > 0.8
    assert found["disentanglement"]["mig"]["noise"] < 0.1
    for words in ("annealing", "mig", "the factors themselves"):
        assert words in told.out


@pytest.mark.parametrize(
    ("made_of", "words"),
    [
        (np.zeros((7, 2), int), "7 rows of factors were given for 180 rows"),
        (np.zeros((180,), int), "numbers (rows, factors)"),
        (np.zeros((180, 2), int), "factor 0 has the same value in all rows"),
    ],
)
def test_factors_that_do_not_fit(runs, tmp_path, made_of, words):
    np.save(tmp_path / "factors.npy", made_of)
    before = made(runs / "a")
    told = vaes_("evaluate", runs / "a", "--k", "10", "--factors", tmp_path / "factors.npy")
    assert told.code in (1, 2)
    assert words in told.err
    assert made(runs / "a") == before


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        (["--k", "0"], "k=0", 2),
        (["--annealed", "-1"], "annealed=-1", 2),
        (["--factors", "nowhere.npy"], "nowhere.npy", 1),
        (["--factors", "empty.npy"], "empty.npy", 1),
        (["--out", "."], "never written over", 2),
        (["--features", "inception"], "inception", 2),
        (["levels.npy"], "holds 200", 1),
        (["bits.npy"], "the run expects (1, 8, 8)", 1),
        (["few.npy", "--features", "pixels"], "too few", 2),
    ],
)
def test_mistakes_at_evaluate(runs, tmp_path, args, words, code):
    np.save(tmp_path / "levels.npy", np.full((30, 8, 8), 200, np.uint8))
    np.save(tmp_path / "bits.npy", np.zeros((30, 7, 7), np.uint8))
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "few.npy", load_digits().images.astype(np.uint8)[:12])
    before = made(runs / "a")
    args = [tmp_path / a if a.endswith(".npy") else a for a in args]
    told = vaes_("evaluate", runs / "a", *args)
    assert told.code == code, told
    assert words in told.err
    assert "unexpected" not in told.err
    assert made(runs / "a") == before


# --- compare --------------------------------------------------------------------------------------
def test_a_leaderboard(runs, tmp_path):
    told = vaes_(
        "compare", runs / "b", runs / "a", runs / "flat", "--k", "50", "--out", tmp_path / "c"
    )
    assert told.code == 0, told.err
    found = read(tmp_path / "c" / "comparison.json")
    means = [p["mean"] for p in found["places"] if p["mean"] is not None]
    assert means == sorted(means, reverse=True)
    names = [p["name"] for p in found["places"]]
    assert names[-1].endswith("flat")
    assert sum("(baseline)" in name for name in names) >= 4
    ours = {Path(n).name: p for n, p in zip(names, found["places"], strict=True)}
    for name in ("a", "b"):
        alone = json.loads(vaes_("score", runs / name, "--k", "50", "--json").out)
        assert ours[name]["mean"] == pytest.approx(alone["log_evidence"], abs=1e-4)
        assert ours[name]["recipe"] == "vae"
    page = (tmp_path / "c" / "comparison.html").read_text(encoding="utf-8")
    assert all(Path(n).name in page for n in names)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "no evidence: this model has no density" in told.out


def test_rows_that_a_run_knows_are_noted(runs, tmp_path):
    """And what was measured on other rows is not said of these."""
    np.save(tmp_path / "rows.npy", load_digits().images.astype(np.uint8)[:60])
    told = vaes_(
        "compare", runs / "a", "--data", tmp_path / "rows.npy", "--k", "10", "--out", tmp_path / "c"
    )
    assert told.code == 0, told.err
    found = read(tmp_path / "c" / "comparison.json")
    assert "are copies of training rows" in found["notes"][0]
    assert found["notes"][0] in told.out
    assert next(p for p in found["places"] if "recipe" in p)["rate"] is None
    assert "are copies of training rows" in (tmp_path / "c" / "comparison.html").read_text()


def test_one_row_has_no_error(runs, tmp_path):
    np.save(tmp_path / "one.npy", load_digits().images.astype(np.uint8)[:1])
    for verb in ("score", "compare"):
        more = (
            ["--data", tmp_path / "one.npy", "--out", tmp_path / "c"] if verb == "compare" else []
        )
        rows = [] if more else [tmp_path / "one.npy"]
        told = vaes_(verb, runs / "a", *rows, "--k", "10", *more)
        assert told.code == 0, told.err
        assert "nan" not in told.out + told.err
        assert "± ?" in told.out + told.err
    told = vaes_("score", runs / "a", tmp_path / "one.npy", "--k", "10", "--json")
    assert json.loads(told.out)["log_evidence_se"] is None


def test_runs_on_rows_in_memory(tmp_path):
    """Compared on rows that are named, without baselines; evaluated in Python."""
    rows = load_digits().images.astype(np.uint8)[:200]
    train(rows, out=tmp_path / "mem", steps=20, hidden=[8], latent=2, threads=1)
    np.save(tmp_path / "rows.npy", rows[:50])
    more = ["--data", tmp_path / "rows.npy", "--k", "10", "--out", tmp_path / "c"]
    told = vaes_("compare", tmp_path / "mem", *more)
    assert told.code == 0, told.err
    assert "no baselines" in told.out
    told = vaes_("evaluate", tmp_path / "mem", tmp_path / "rows.npy")
    assert told.code == 2
    assert "rows in memory" in told.err
    assert len(told.err.splitlines()) == 1


def test_compare_as_json(runs, tmp_path):
    told = vaes_("compare", runs / "a", "--k", "10", "--out", tmp_path / "c", "--json")
    assert json.loads(told.out) == read(tmp_path / "c" / "comparison.json")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "other"], "other rows"),
        (["a", "bits"], "not of the same thing"),
        (["a", "a"], "named twice"),
        (["a", "nowhere"], "no such folder"),
    ],
)
def test_what_compare_refuses(runs, tmp_path, names, words):
    told = vaes_("compare", *(runs / n for n in names), "--k", "10", "--out", tmp_path / "c")
    assert told.code in (1, 2)
    assert words in told.err
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "c").exists()
