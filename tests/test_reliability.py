"""Kills, signals, environments and crowds: the same run comes out, to the bit.

Full sizes are in benchmarks/reliability.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.reliability.runs import (
    OPTIONS,
    differences,
    finish,
    kill_series,
    signal_series,
    start,
    whole,
)
from tests.toys import looped, small
from vaes import uses
from vaes.batch import Data
from vaes.data import load, prepare
from vaes.evaluate.likelihood import evidence

STEPS, KILLS = 800, 10
KINDS = ("SIGTERM", "SIGINT", "double", "SIGTERM", "SIGINT")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> str:
    """The digits as a file: each process starts a second sooner without scikit-learn."""
    path = tmp_path_factory.mktemp("rows") / "digits.npy"
    np.save(path, load("digits").x)
    return str(path)


@pytest.fixture(scope="module")
def undisturbed(rows, tmp_path_factory) -> Path:
    return whole(tmp_path_factory.mktemp("whole") / "whole", STEPS, rows)


def test_kills_leave_no_trace(undisturbed, rows, tmp_path):
    """Ten SIGKILLs in the middle of a run, then its end."""
    told = kill_series(tmp_path, KILLS, KILLS, STEPS, seed=1, data=rows)
    assert told.landed >= KILLS
    assert told.strays == 0
    assert max(told.lost) <= 0  # a saved state is never lost, so at most one interval of work is
    for i in range(told.runs):
        assert differences(tmp_path / f"run{i}", undisturbed) == []


def test_signals_save_and_say_how_to_go_on(undisturbed, rows, tmp_path):
    """Within 10 s a state of the step it was at; a second Ctrl-C ends within 1 s."""
    told = signal_series(tmp_path, KINDS, len(KINDS), STEPS, seed=2, data=rows)
    assert told.codes == [143, 130, 130, 143, 130]
    single = [i for i, kind in enumerate(KINDS) if kind != "double"]
    assert max(told.seconds[i] for i in single) <= 10
    assert told.seconds[KINDS.index("double")] <= 1
    for i in single:
        assert "state saved; go on with: vaes train --resume run" in told.lines[i]
    for i in range(told.runs):
        assert differences(tmp_path / f"run{i}", undisturbed) == []


def test_crowds_and_environments_change_no_bit(undisturbed, rows, tmp_path):
    """Of five starts in one folder one wins, the others leave with 2 and one line; hash
    seed, working folder, locale and time zone of the winner leave no trace."""
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    zones = ("Asia/Tokyo", "America/New_York", "UTC", "Europe/Berlin", "Australia/Sydney")
    crowd = []
    for i, zone in enumerate(zones):
        env = {"PYTHONHASHSEED": str(i + 1), "TZ": zone, "LC_ALL": ("C", "de_DE.UTF-8")[i % 2]}
        args = ["train", rows, *OPTIONS, "--out", "run", "--steps", str(STEPS)]
        crowd.append(start(*args, cwd=folder, env=env))
    found = [finish(process) for process in crowd]
    assert sorted(code for code, *_ in found) == [0, 2, 2, 2, 2]
    for code, out, err in found:
        if code:
            assert out == ""
            assert "exists and is never written over" in err.strip().splitlines()[-1]
    assert [p.name for p in folder.iterdir()] == ["run"]
    assert differences(folder / "run", undisturbed) == []


# --- rows do not know their batch ----------------------------------------------------------------
@pytest.fixture(scope="module")
def digits():
    prepared = prepare(load("digits"))
    model = small(spec=prepared.spec)
    looped(model, data=prepared.train, valid=prepared.valid, batch=64).run()
    return model, prepared.test


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(((a - b).abs() <= 1e-5 * b.abs().clamp(min=1)).all())


def in_parts(data: Data, size: int) -> list[Data]:
    return [data.part(rows) for rows in torch.arange(len(data)).split(size)]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_codes_and_scores_do_not_depend_on_the_batch(digits, size):
    model, data = digits
    parts = in_parts(data, size)
    codes = torch.cat([uses.encode(model, p).mean for p in parts])
    assert close(codes, uses.encode(model, data).mean)
    assert close(uses.encode(model, data, chunk=size).mean, codes)
    scores = torch.cat([evidence(model, p, k=64).per_row for p in parts])
    assert close(scores, evidence(model, data, k=64).per_row)


def test_codes_and_scores_follow_their_row(digits):
    model, data = digits
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(data)))
    mixed = data.part(order)
    assert close(uses.encode(model, mixed).mean, uses.encode(model, data).mean[order])
    ours, theirs = (evidence(model, d, k=64).per_row for d in (mixed, data))
    assert close(ours, theirs[order])
