"""`vaes train RUN --prior-after`: a new run whose prior is fitted to the codes of an old one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands import made, vaes_
from vaes import disk
from vaes.after import held_out, prior_after, taken
from vaes.data import load as load_rows
from vaes.data import prepare
from vaes.errors import RunError, UsageError
from vaes.model import Model
from vaes.recipes import build
from vaes.run import Run
from vaes.training import resume, train
from vaes.uses import sample

CENTRES = np.array([[6.0, 0, 0, 0], [0, 6.0, 0, 0], [0, 0, 6.0, 0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three clusters of 200 rows with labels, and a run of them that N(0, I) does not fit."""
    where = tmp_path_factory.mktemp("after")
    y = np.arange(600) % 3
    rows = CENTRES[y] + 0.3 * np.random.default_rng(0).normal(size=(600, 4))
    named = np.array(["ant", "bee", "cat"])[y]
    lines = [
        ",".join([*(f"{v:.4f}" for v in row), name]) for row, name in zip(rows, named, strict=True)
    ]
    (where / "rows.csv").write_text("a,b,c,d,kind\n" + "\n".join(lines) + "\n")
    train(
        str(where / "rows.csv"),
        "vae",
        out=where / "run",
        reading={"label": "kind", "kind": dict.fromkeys("abcd", "real")},
        **{"latent": 2, "hidden": [16], "steps": 600, "threads": 1, "compile": "no", "lr": 0.01},
    )
    return where


def rows_of(run: Run):
    origin = run.info["data"]
    source = load_rows(origin["from"], **origin["reading"])
    return prepare(source, seed=run.info["plan"]["seed"], **origin["preparing"])


def test_the_best_on_held_out_rows_is_kept_and_all_else_stays(folder):
    before, told = made(folder / "run"), []
    run = prior_after(
        folder / "run",
        ["normal", "mixture"],
        options={"mixture.components": 3},
        out=folder / "new",
        report=told.append,
    )
    assert made(folder / "run") == before
    old, new = Run(folder / "run").load(), Run(folder / "new").load()
    ours, theirs = old.state_dict(), new.state_dict()
    kept = {k for k in theirs if not k.startswith("latent_prior.")}
    assert kept == {k for k in ours if not k.startswith("latent_prior.")}
    assert all(torch.equal(ours[k], theirs[k]) for k in kept)
    # three clusters: the mixture wins, by what the table says
    scores = run.info["prior_after"]["held_out"]
    assert list(scores) == ["as trained", "normal", "mixture"]
    assert scores["mixture"] > max(scores["normal"], scores["as trained"]) + 0.1
    assert run.info["prior"] == {"name": "fitted_mixture", "components": 3}
    valid = rows_of(run).valid
    assert held_out(new, valid).mean().item() == pytest.approx(scores["mixture"], abs=1e-6)
    assert held_out(old, valid).mean().item() == pytest.approx(scores["as trained"], abs=1e-6)
    assert any("mixture" in line and "(+" in line for line in told)
    # a finished run like any other
    found = disk.read_json(folder / "new" / "evaluation.json", "it")
    base = disk.read_json(folder / "run" / "evaluation.json", "it")
    assert found["log_evidence"] > base["log_evidence"]
    assert resume(folder / "new").path == run.path
    again = prior_after(folder / "new", ["normal"], out=folder / "third")
    assert again.info["prior"] == "fitted"


def test_a_prior_for_each_class_draws_rows_of_it(folder):
    prior_after(folder / "run", ["normal"], each_class=True, out=folder / "classes")
    run = Run(folder / "classes")
    model, schema = run.load(), run.spec
    scale, shift = np.array(schema.scale), np.array(schema.shift)
    for k, name in enumerate(("ant", "bee", "cat")):
        x, _ = sample(model, 300, label=name, mean=True)
        found = x.double().numpy() * scale + shift
        assert np.abs(found.mean(0) - CENTRES[k]).max() < 1.2
    # rows are scored as x alone: their labels do not matter
    test = rows_of(run).test
    assert test.y is not None
    few, other = test.rows(slice(0, 20)), test.rows(slice(0, 20))
    object.__setattr__(other, "y", (few.y + 1) % 3)
    z = torch.randn(20, 2)
    with torch.no_grad():
        assert torch.equal(model.prior(few).log_prob(z), model.prior(other).log_prob(z))
    out = vaes_("sample", folder / "classes", "--label", "bee", "-n", "40", "--out", folder / "b")
    assert out.code == 0
    drawn = np.loadtxt(folder / "b" / "rows.csv", delimiter=",", skiprows=1, usecols=range(4))
    assert np.abs(drawn.mean(0) - CENTRES[1]).max() < 1.5
    assert disk.read_json(folder / "b" / "result.json", "it")["label"] == "bee"


def test_by_the_command(folder):
    told = vaes_(
        "train", folder / "run", "--prior-after", "normal,flow", "--set", "flow.steps=50",
        "--out", folder / "both",
    )  # fmt: skip
    assert told.code == 0
    assert "normal" in told.err
    assert "flow" in told.err
    assert str(folder / "both") in told.out
    assert Run(folder / "both").info["prior_after"]["of"] == str(folder / "run")


MISTAKES = [
    (["--prior-after", "norml"], "prior 'norml' is not known; did you mean 'normal'"),
    (["--prior-after", "normal", "--set", "normal.layers=3"], "has no option 'layers'"),
    (["--prior-after", "normal", "--set", "layers=3"], "option 'layers' is of no prior"),
    (["--prior-after", "normal", "--epochs", "3"], "--epochs was given with --prior-after"),
    (["--prior-after", ","], "name one of normal, mixture, flow"),
    (["--each-class"], "--each-class goes with --prior-after"),
]


@pytest.mark.parametrize(("options", "line"), MISTAKES)
def test_mistakes_are_one_line(folder, options, line):
    told = vaes_("train", folder / "run", *options, "--out", folder / "nothing")
    assert told.code == 2
    assert line in told.err
    assert told.err.count("\n") == 1
    assert not (folder / "nothing").exists()


def test_labels_that_are_not_there(folder):
    told = vaes_("sample", folder / "run", "--label", "bee")
    assert "--prior-after mixture --each-class" in told.err
    told = vaes_("sample", folder / "run", "--label", "dog")
    assert "label 'dog' is none of ant, bee, cat" in told.err
    assert "give one of them" in vaes_(
        "sample", folder / "run", "--label", "bee", "--where", "a=1"
    ).err  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(100, 3))
    given = {"latent": 1, "hidden": [4], "steps": 5, "threads": 1, "compile": "no"}
    train(rows, "vae", out=folder / "plain", **given)
    with pytest.raises(UsageError, match="rows of this model had no labels"):
        sample(Run(folder / "plain").load(), 3, label=1)
    with pytest.raises(UsageError, match="has no labels, which a prior for each class needs"):
        prior_after(folder / "plain", ["normal"], each_class=True, data=rows)
    with pytest.raises(UsageError, match="rows in memory: hand them in"):
        prior_after(folder / "plain", ["normal"])
    with pytest.raises(RunError, match="have changed"):
        prior_after(folder / "plain", ["normal"], data=rows + 1)
    made_of = prior_after(folder / "plain", ["normal"], data=rows, out=folder / "plain2")
    assert made_of.finished


def test_models_without_an_exchangeable_prior(folder):
    spec = Run(folder / "run").spec
    model: Model = build("ppca", spec, latent=2)
    with pytest.raises(UsageError, match="has no prior that can be exchanged"):
        taken(model, "fitted")


def test_a_run_that_ended_while_it_was_written_is_not_gone_on_with(folder):
    info = {k: v for k, v in Run(folder / "run").info.items() if k != "weights"}
    cut = Run.create(folder / "cut", "cut", {**info, "prior": "fitted"} | {"evaluated": None})
    del cut.info["evaluated"]
    cut.update()
    with pytest.raises(RunError, match="ended while its prior was written"):
        resume(folder / "cut")
