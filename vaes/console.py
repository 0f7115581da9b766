"""Progress: a bar with ETA, nats, rate, distortion, active units; plain lines without a terminal.

Progress and remarks go to standard error; standard output holds results alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaes.fit import Callback, Loop, Record

PLAIN_LINES = 20  # at most, where there is no terminal


def say(line: str) -> None:
    """One line to standard error."""
    print(line, file=sys.stderr, flush=True)


def told(record: Record) -> str:
    """The numbers of one log line, in nats per row."""
    parts = []
    if record.get("elbo") == record.get("elbo"):  # a model without a bound has none to show
        parts += [f"elbo {record['elbo']:.2f}"]
    parts += [f"distortion {record['distortion']:.2f}"]
    if record.get("rate") == record.get("rate"):
        parts += [f"rate {record['rate']:.2f}"]
    parts += [f"{record['active_units']} active"]
    if record.get("skipped"):
        parts += [f"{record['skipped']} skipped"]
    return " · ".join(parts)


@contextmanager
def progress() -> Iterator[Callback]:
    """A callback for the loop that shows where training stands."""
    if sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _lines()


def _lines() -> Callback:
    began, shown = time.monotonic(), -1

    def show(loop: Loop, record: dict[str, Any]) -> None:
        nonlocal shown
        if "valid_elbo" not in record:
            return
        p, steps = loop.progress, loop.plan.steps
        share = p.step * PLAIN_LINES // steps
        if share == shown:
            return
        shown = share
        seen = {k: record[f"valid_{k}"] for k in ("elbo", "distortion", "rate", "active_units")}
        left = (time.monotonic() - began) * (steps - p.step) / max(p.step, 1)
        seen["skipped"] = record.get("skipped", 0)
        say(f"step {p.step}/{steps} · validation {told(seen)} · at most {left:.0f} s left")

    return show


@contextmanager
def _bar() -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task("", total=None, numbers="")

        def show(loop: Loop, record: dict[str, Any]) -> None:
            if record:
                numbers = f"{told(record)} · {record['rows_per_s']:,.0f} rows/s"
                bar.update(task, total=loop.plan.steps, numbers=numbers)
            bar.update(task, completed=loop.progress.step)

        yield show


def verdict(path: Path) -> str:
    """What a finished run is worth, in lines for a person."""
    from vaes.disk import read_json

    e = read_json(path / "evaluation.json", f"run '{path}'")
    lines = [f"on {e['n']} test rows, {e['unit']}:"]
    if e["elbo"] is None:
        lines.append(f"  distortion      {e['distortion']:9.3f}   (this model has no density)")
    else:
        bits = "" if e["bits_per_dim"] is None else f"   {e['bits_per_dim']:.4f} bits/dim"
        lines.append(f"  log evidence    {_number(e, 'log_evidence')}{bits}")
        lines.append(f"  ELBO            {_number(e, 'elbo')}")
        lines.append(f"  distortion      {e['distortion']:9.3f}   rate {e['rate']:.3f}")
    lines.append(f"  active units    {e['active_units']:9d}   of {e['latent_dim']}")
    for name, b in e["baselines"].items():
        lines.append(f"  {name:15} {_number(b, 'log_evidence')}   (baseline)")
    return "\n".join([*lines, f"run folder: {path}"])


def _number(found: dict[str, Any], key: str) -> str:
    """A mean with its standard error, which a single row does not have."""
    error = found[f"{key}_se"]
    return f"{found[key]:9.3f} ± {'?' if error is None else format(error, '.3f')}"
