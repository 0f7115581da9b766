"""Damage of every kind is caught, named in one line and survived where it can be."""

from __future__ import annotations

import ast
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import vaes
from tests.data.helpers import refused
from tests.run.helpers import Die, content, flip, same, states
from vaes.errors import DiskError, RunError
from vaes.run import FIELDS, FORMAT, Run, load
from vaes.training import resume

pytestmark = pytest.mark.usefixtures("plain_pictures")


def test_a_flipped_bit_falls_back_to_the_state_before(halted, whole):
    for place in (0, 100, 1000, -1):
        flip(states(halted)[0], place)
        run = Run(halted)
        state = run.load_state()
        assert state is not None
        assert state[1]["step"] == 35
        flip(states(halted)[0], place)
    flip(states(halted)[0], 500)
    same(resume(halted), whole["vae"])


def test_a_missing_newest_state_falls_back_too(halted, whole):
    states(halted)[0].unlink()
    same(resume(halted), whole["vae"])


def test_no_state_with_its_checksum_is_an_error(halted):
    for path in states(halted):
        flip(path, 77)
    before = content(halted)
    with refused("damaged", "no saved state has its checksum", str(halted), error=RunError):
        resume(halted)
    assert content(halted) == before


@pytest.mark.parametrize("kind", ["dies", "fails"])
def test_a_state_survives_its_successor_at_every_point(tmp_path, monkeypatch, kind):
    """Ends at every fsync, rename and deletion of the third save: the second or the third is whole.

    A process that dies leaves strays, which the next start sweeps; one that fails leaves none.
    """
    found, points = list[int](), 0
    while (run := _third_save(tmp_path / f"run{points}", kind, points, monkeypatch)) is not None:
        if kind == "fails":
            assert not list(run.path.rglob("*.tmp"))
        with Run(run.path).locked():
            assert not list(run.path.rglob("*.tmp"))
        state = Run(run.path).load_state()
        assert state is not None
        found.append(state[1]["step"])
        assert state[0]["w"].tolist() == [float(found[-1])] * 3
        points += 1
    assert found == sorted(found)
    assert set(found) == {10, 15}
    assert points == (7 if kind == "dies" else 6)


def _third_save(path: Path, kind: str, point: int, monkeypatch) -> Run | None:
    """A run whose third save ended at call number `point` of the system; None = it came through.

    From its death on a process does nothing any more, not even clean up.
    """
    run = Run.create(path, "", {field: {} for field in FIELDS})
    for step in (5, 10):
        run.save_state({"w": torch.full((3,), float(step))}, {"step": step, "best": 0.0})
    done = [0]

    def call(real: Any, *args: Any, **kwargs: Any) -> Any:
        done[0] += 1
        if done[0] == point + 1 and kind == "fails":
            raise OSError(5, "Input/output error")
        if done[0] > point and kind == "dies":
            raise Die
        return real(*args, **kwargs)

    names = ("fsync", "replace", "unlink") if kind == "dies" else ("fsync", "replace")
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(os, name, partial(call, getattr(os, name)))
        try:
            run.save_state({"w": torch.full((3,), 15.0)}, {"step": 15, "best": 0.0})
        except (Die, DiskError):
            return run
    return None


@pytest.mark.parametrize("place", [3, 500, -1])
def test_weights_with_a_flipped_bit_are_refused(run, place):
    flip(run.path / "weights.safetensors", place)
    with refused("damaged", "weights.safetensors has another checksum", error=RunError):
        load(run.path)


def test_missing_weights(run):
    (run.path / "weights.safetensors").unlink()
    with refused("incomplete", "weights.safetensors is missing", error=RunError):
        load(run.path)


def test_an_unfinished_run_says_how_to_go_on(halted):
    with refused("not finished", f"vaes train --resume {halted}", error=RunError):
        load(halted)


def edited(run: Run, **fields: Any) -> None:
    (run.path / "run.json").write_text(json.dumps(run.info | fields))


def test_a_newer_format_is_refused(run):
    edited(run, format=FORMAT + 1)
    with refused(f"format {FORMAT + 1}", "upgrade vaes", error=RunError):
        Run(run.path)


@pytest.mark.parametrize("text", ["[1]", "{}", '"run"', "3", "null", '{"format": "1"}'])
def test_json_of_someone_else_is_no_run(run, text):
    (run.path / "run.json").write_text(text)
    with refused("is no run folder", "not written by vaes", error=RunError):
        Run(run.path)


@pytest.mark.parametrize("field", ["recipe", "options", "spec", "schema", "plan", "data"])
def test_a_field_that_is_missing_is_named(run, field):
    (run.path / "run.json").write_text(
        json.dumps({k: v for k, v in run.info.items() if k != field})
    )
    with refused("damaged", f"lacks '{field}'", error=RunError):
        Run(run.path)


def test_run_json_cut_short_or_missing(run):
    text = (run.path / "run.json").read_text()
    for size in (0, 1, len(text) // 2, len(text) - 3):
        (run.path / "run.json").write_text(text[:size])
        with refused("damaged", "run.json is no JSON", error=RunError):
            Run(run.path)
    (run.path / "run.json").unlink()
    with refused("incomplete", "run.json is missing", error=RunError):
        Run(run.path)
    with refused("no run folder", "no such folder", error=RunError):
        Run(run.path / "nowhere")


def test_a_line_of_metrics_cut_by_a_kill_is_left_out(run):
    lines = run.metrics()
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 61, "elb')
    assert run.metrics() == lines


# --- what is read ---------------------------------------------------------------------------------
FORBIDDEN = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}


def test_nothing_unpickles_or_runs_what_it_reads():
    """No pickle, torch.load, eval, exec or allow_pickle=True anywhere in the package."""
    found, files = [], sorted(Path(vaes.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name.split(".")[0] for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0], *(a.name for a in node.names)]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                risky = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load"}
                risky |= {"torch.export.load", "torch.hub.load", "os.system"}
                if called in risky:
                    found.append(f"{file.name}:{node.lineno} {called}")
                said = {k.arg: ast.unparse(k.value) for k in node.keywords}
                default = "True" if called in ("np.load", "numpy.load") else "False"
                if said.get("allow_pickle", default) != "False":
                    found.append(f"{file.name}:{node.lineno} {called} may unpickle")
            found += [f"{file.name} imports {n}" for n in names if n in FORBIDDEN]
    assert not found
