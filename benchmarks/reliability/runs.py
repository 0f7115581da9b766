"""Real `vaes train` processes that are killed or signalled in the middle of a run.

Shared by the scripts beside this file (full size) and by tests/test_reliability.py (a size that a
test suite can carry).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 5  # steps between saved states
OPTIONS = [
    *("--checkpoint", str(EVERY), "--set", "hidden=[16]", "--set", "latent=2"),
    *("--set", "compile=no", "--set", "threads=1", "--set", "ema=0.99", "--set", "log=10"),
]
LONGEST = 300  # seconds that any process may take


@dataclass
class Told:
    """What a series of kills or signals showed; `landed` counts those in the middle of a run."""

    landed: int = 0
    runs: int = 0
    strays: int = 0
    lost: list[int] = field(default_factory=list)  # steps that a kill cost
    seconds: list[float] = field(default_factory=list)  # from a signal to the end
    codes: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # the last line of standard error


def start(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """`vaes` with `args` as a process of its own, its output kept."""
    return subprocess.Popen(
        [sys.executable, "-m", "vaes", *args],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = process.communicate(timeout=LONGEST)
    return process.returncode, out, err


@contextlib.contextmanager
def training(run: Path, steps: int, data: str) -> Iterator[subprocess.Popen[str]]:
    """A process that begins `run` on `data`, or goes on with it where it has begun."""
    begun = (run / "run.json").exists()
    fresh = [data, *OPTIONS, "--steps", str(steps), "--out", run.name]
    process = start("train", *(["--resume", run.name] if begun else fresh), cwd=run.parent)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        finish(process)


def whole(run: Path, steps: int, data: str = "digits") -> Path:
    """An uninterrupted run, or the rest of one."""
    with training(run, steps, data) as process:
        code, _, err = finish(process)
    if code:
        raise RuntimeError(f"training left with {code}: {err}")
    return run


def step_of(run: Path) -> int:
    """The step of the newest saved state; 0 = none."""
    try:
        return json.loads((run / "state" / "latest.json").read_text())["step"]
    except FileNotFoundError:
        return 0


def finished(run: Path) -> bool:
    """Whether the final weights are there."""
    return (run / "weights.safetensors").exists()


def wait_for(run: Path, step: int, process: subprocess.Popen[str]) -> bool:
    """Until a state of at least `step` is saved; False where the process ended before."""
    deadline = time.monotonic() + LONGEST
    while step_of(run) < step:
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def targets(draw: random.Random, steps: int, most: int) -> list[int]:
    """At most `most` random steps, rising, each one interval or more after the one before."""
    places = sorted(draw.sample(range(1, steps // EVERY - 10), most))
    return [EVERY * place for place in places]


def kill_series(
    folder: Path, kills: int, per_run: int, steps: int, seed: int = 0, data: str = "digits"
) -> Told:
    """SIGKILL at random times after random steps until `kills` have landed in the middle of a run.

    Each run suffers `per_run` of them, is then finished and must equal `folder`/whole.
    """
    draw, told = random.Random(seed), Told()
    while told.landed < kills:
        run = folder / f"run{told.runs}"
        for step in targets(draw, steps, min(per_run, kills - told.landed)):
            with training(run, steps, data) as process:
                if wait_for(run, step, process):
                    time.sleep(draw.random() * 0.02)
                    before = step_of(run)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    landed = process.returncode == -signal.SIGKILL and not finished(run)
                    told.landed += landed
                    if landed:  # saved states never go back
                        told.lost.append(before - step_of(run))
        whole(run, steps, data)
        told.strays += len(list(run.rglob("*.tmp")))
        told.runs += 1
    return told


def signal_series(
    folder: Path,
    kinds: Sequence[str],
    per_run: int,
    steps: int,
    seed: int = 0,
    data: str = "digits",
) -> Told:
    """Each of `kinds` ("SIGTERM", "SIGINT" or "double", a second SIGINT right after the first) at a
    random step of a run, `per_run` of them in each."""
    draw, told, left = random.Random(seed), Told(), list(kinds)
    while left:
        run = folder / f"run{told.runs}"
        for step in targets(draw, steps, min(per_run, len(left))):
            # beyond what the last stop saved: else the signal would land in the start-up
            step = max(step, step_of(run) + 1)
            with training(run, steps, data) as process:
                if wait_for(run, step, process):
                    time.sleep(draw.random() * 0.02)
                    number = signal.SIGTERM if left[0] == "SIGTERM" else signal.SIGINT
                    process.send_signal(number)
                    began = time.monotonic()
                    if left[0] == "double":
                        time.sleep(draw.random() * 0.003)
                        process.send_signal(number)
                    code, _, err = finish(process)
                    if not finished(run):
                        left.pop(0)
                        told.landed += 1
                        told.seconds.append(time.monotonic() - began)
                        told.codes.append(code)
                        told.lines.append(err.strip().splitlines()[-1] if err.strip() else "")
        whole(run, steps, data)
        told.runs += 1
    return told


def differences(run: Path, other: Path) -> list[str]:
    """In what two finished runs differ: weights, metrics, evaluation. Speeds may."""
    found = [
        name
        for name in ("weights.safetensors", "evaluation.json")
        if (run / name).read_bytes() != (other / name).read_bytes()
    ]
    lines = [
        [
            json.loads(line) | {"rows_per_s": 0}
            for line in (r / "metrics.jsonl").read_text().splitlines()
        ]
        for r in (run, other)
    ]
    if lines[0] != lines[1]:
        found.append("metrics.jsonl")
    steps = [line["step"] for line in lines[0]]
    if steps != sorted(set(steps)):
        found.append("steps of metrics.jsonl")
    return found
