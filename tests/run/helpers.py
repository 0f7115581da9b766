"""Small runs, the ways in which they end early, and what must be the same afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaes import disk
from vaes.run import Run

KINDS: dict[str, dict[str, Any]] = {
    "vae": {"recipe": "vae", "latent": 2, "hidden": [8], "ema": 0.99},
    "ppca": {"recipe": "ppca", "latent": 2, "method": "em"},
    "autoencoder": {"recipe": "autoencoder", "latent": 2, "hidden": [8]},
}
LENGTH = {"steps": 60, "batch": 16, "checkpoint": 5, "log": 4, "compile": "no", "threads": 1}
ROWS = np.random.default_rng(0).normal(size=(120, 4)) @ np.array(
    [[1, 2, 0, 1], [0, 1, 1, 3], [0, 0, 1, 0], [0, 0, 0, 0.5]]
)


class Stop:
    """Ends training as a signal does, after each of `steps`."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def __call__(self, loop: Any, record: Any) -> None:
        if loop.progress.step in self.steps and not record:
            loop.stop = "SIGTERM"


class Die(Exception):
    """Ends training without any clean-up of the loop's own."""


def dying(step: int) -> Any:
    def die(loop: Any, record: Any) -> None:
        if loop.progress.step == step:
            raise Die

    return die


def same(a: Run, b: Run) -> None:
    """Weights and last states to the bit; metrics line by line but for the speed."""
    assert disk.sha256(a.path / "weights.safetensors") == disk.sha256(
        b.path / "weights.safetensors"
    )
    ours, theirs = (r.load_state() for r in (a, b))
    assert ours is not None
    assert theirs is not None
    assert ours[0].keys() == theirs[0].keys()
    for name in ours[0]:
        assert torch.equal(ours[0][name], theirs[0][name]), name
    plain = {"seconds": 0, "stopped": ""}  # of the last state alone
    assert ours[1] | plain == theirs[1] | plain
    lines = [[{**line, "rows_per_s": 0} for line in r.metrics()] for r in (a, b)]
    assert lines[0] == lines[1]
    steps = [line["step"] for line in a.metrics()]
    assert steps == sorted(set(steps))
    assert a.info["trained"]["steps"] == b.info["trained"]["steps"]


def flip(path: Path, place: int) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def states(path: Path) -> list[Path]:
    """Newest first."""
    known = disk.read_json(path / "state" / "latest.json", "it")["states"]
    return [path / "state" / s["file"] for s in known]


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}
