"""Exact resume: a run that was stopped or died ends as the uninterrupted run, to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import vaes
from tests.data.helpers import refused
from tests.run.helpers import KINDS, LENGTH, ROWS, Die, Stop, content, dying, same, states
from vaes import disk
from vaes.dist.gaussian import Diagonal
from vaes.errors import RunError, UsageError
from vaes.run import KEPT, Run, load
from vaes.training import Interrupted, resume, train

pytestmark = pytest.mark.usefixtures("plain_pictures")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["stopped", "died"])
def test_a_resumed_run_is_the_uninterrupted_run(kind, how, rows, whole, tmp_path):
    """Stopped or dead at steps 1, 20 (an epoch's end and a saved state), 33 and 60."""
    path, error = tmp_path / "run", Interrupted if how == "stopped" else Die
    for i, step in enumerate((1, 20, 33, 60)):
        callbacks = [Stop(step) if how == "stopped" else dying(step)]
        begin = dict(data=rows, out=path, **KINDS[kind], **LENGTH)
        with pytest.raises(error):
            train(**begin, callbacks=callbacks) if i == 0 else resume(path, callbacks=callbacks)
        assert not Run(path).finished
    same(resume(path), whole[kind])
    assert disk.read_json(path / "evaluation.json", "it") == disk.read_json(
        whole[kind].path / "evaluation.json", "it"
    )


def test_the_tensors_of_a_state_are_all_there(whole):
    """Weights, moments, counts, the average and the best."""
    state = whole["vae"].load_state()
    assert state is not None
    names = {n: p.shape for n, p in whole["vae"].build().named_parameters()}
    for kind in ("model", "best", "average"):
        assert {n: state[0][f"{kind}/{n}"].shape for n in names} == names
    for name, shape in names.items():
        moments = [k for k in state[0] if k.startswith("optimizer/") and k.endswith(f"/{name}")]
        assert sum(state[0][k].shape == shape for k in moments) >= 2
    assert state[1]["step"] == state[1]["taken"] == 60


def test_two_states_of_different_steps_are_kept(halted):
    assert [p.name.split("-")[0] for p in states(halted)] == ["40", "35"]
    assert len(list((halted / "state").glob("*.safetensors"))) == KEPT


def test_early_stopping_is_where_it_was(rows, tmp_path):
    """A run that dies after the last step that patience allows takes no further one.

    At such a rate no weight moves: the bound never improves on its first value.
    """
    options = KINDS["vae"] | LENGTH | {"steps": 150, "lr": 1e-30, "checkpoint": 1}
    whole = train(rows, out=tmp_path / "whole", **options)
    last = whole.info["trained"]["steps"]
    assert last < 150
    with pytest.raises(Die):
        train(rows, out=tmp_path / "run", callbacks=[dying(last)], **options)
    same(resume(tmp_path / "run"), whole)


def test_a_finished_run_is_left_alone(run):
    before, said = content(run.path), list[str]()
    assert resume(run.path, report=said.append).info == run.info
    assert said == [f"run '{run.path}' is finished; nothing to do"]
    assert content(run.path) == before


def test_a_run_that_died_in_its_evaluation_is_evaluated(run):
    info = {k: v for k, v in run.info.items() if k not in ("evaluated", "metrics")}
    disk.write_json(run.path / "run.json", info)
    before = (run.path / "evaluation.json").read_bytes()
    (run.path / "evaluation.json").unlink()
    weights = disk.sha256(run.path / "weights.safetensors")
    assert "evaluated" in resume(run.path).info
    assert (run.path / "evaluation.json").read_bytes() == before
    assert disk.sha256(run.path / "weights.safetensors") == weights


def test_strays_are_swept_by_the_next_start(halted):
    strays = [halted / ".run.json.99.tmp", halted / "state" / ".5.safetensors.99.tmp"]
    for stray in strays:
        stray.touch()
    resume(halted)
    assert not any(stray.exists() for stray in strays)
    assert not list(halted.rglob("*.tmp"))


# --- data -----------------------------------------------------------------------------------------
def test_changed_data_are_refused(rows, tmp_path):
    path, own = tmp_path / "run", tmp_path / "own.npy"
    shutil.copy(rows, own)
    with pytest.raises(Die):
        train(own, out=path, callbacks=[dying(20)], **KINDS["vae"], **LENGTH)
    changed = ROWS.copy()
    changed[3, 2] += 1e-9
    np.save(own, changed)
    before = content(path)
    with refused("have changed since it began", error=RunError):
        resume(path)
    assert content(path) == before
    own.unlink()
    with refused(str(own)):
        resume(path)


def test_rows_in_memory_are_handed_in_again(whole, tmp_path):
    labels = np.arange(len(ROWS)) % 2
    with pytest.raises(Die):
        train(
            ROWS,
            out=tmp_path / "run",
            reading={"label": labels},
            callbacks=[dying(20)],
            **KINDS["vae"],
            **LENGTH,
        )
    with refused("rows in memory", "data=", error=UsageError):
        resume(tmp_path / "run")
    run = resume(tmp_path / "run", vaes.data.load(ROWS, label=labels))
    same(run, whole["vae"])


# --- a network of one's own -----------------------------------------------------------------------
def body(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Dropout(0.2))


def test_a_network_of_ones_own_is_handed_in_again(rows, tmp_path):
    """Dropout draws from the global generator, which is seeded by the step."""
    options = {k: v for k, v in KINDS["vae"].items() if k != "hidden"} | LENGTH
    whole = train(rows, out=tmp_path / "whole", encoder=body(), **options)
    assert whole.info["custom"] == ["encoder"]
    path = tmp_path / "run"
    with pytest.raises(Die):
        train(rows, out=path, encoder=body(), callbacks=[dying(33)], **options)
    before = content(path)
    with refused("a network of your own as its encoder", "encoder=", error=UsageError):
        resume(path)
    assert content(path) == before
    torch.manual_seed(99)
    same(resume(path, encoder=body(seed=5)), whole)
    with refused("a network of your own", error=UsageError):
        load(path)
    stored = safetensors.torch.load_file(path / "weights.safetensors")
    for name, value in load(path, encoder=body(seed=6)).state_dict().items():
        assert torch.equal(value, stored[name])


# --- folders --------------------------------------------------------------------------------------
def test_folders_are_numbered_and_never_written_over(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = KINDS["ppca"] | LENGTH | {"steps": 2}
    first, second = train(rows, **options), train(rows, **options)
    assert first.path == Path("runs/rows-ppca-1")
    assert second.path == Path("runs/rows-ppca-2")
    before = content(first.path)
    with refused("exists and is never written over", "--resume", error=UsageError):
        train(rows, out=first.path, **options)
    (tmp_path / "empty").mkdir()
    with refused("exists", error=UsageError):
        train(rows, out="empty", **options)
    assert content(first.path) == before
    assert not any((tmp_path / "empty").iterdir())


def test_what_a_folder_cannot_hold_is_refused_before_it_is_made(rows, tmp_path):

    with refused("cannot hold", error=UsageError):
        train(rows, out=tmp_path / "run", posterior=Diagonal(2), latent=2, **LENGTH)
    assert not (tmp_path / "run").exists()
