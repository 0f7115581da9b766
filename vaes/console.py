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


def verdict(path: Path, what: str = "run folder") -> str:
    """What the model whose evaluation.json lies in `path`, a `what`, is worth, for a person."""
    from vaes.disk import read_json

    e = read_json(path / "evaluation.json", f"run '{path}'")
    lines = [f"on {e['n']} test rows, {e['unit']}:"]
    if e["elbo"] is None:
        lines.append(f"  distortion      {e['distortion']:9.3f}   (this model has no density)")
    else:
        bits = "" if e["bits_per_dim"] is None else f"   {e['bits_per_dim']:.4f} bits/dim"
        lines.append(f"  log evidence    {number(e, 'log_evidence')}{bits}")
        lines.append(f"  ELBO            {number(e, 'elbo')}")
        lines.append(f"  distortion      {e['distortion']:9.3f}   rate {e['rate']:.3f}")
    lines.append(f"  active units    {e['active_units']:9d}   of {e['latent_dim']}")
    for name, b in e["baselines"].items():
        lines.append(f"  {name:15} {number(b, 'log_evidence')}   (baseline)")
    lines += [f"  {line}" for line in measured(e)]
    lines += [f"note: {note}" for note in e.get("notes", ())]
    if "health" in e:
        from vaes.evaluate.health import told as sentences

        lines += sentences(e["health"]["findings"])
    return "\n".join([*lines, f"{what}: {path}"])


def measured(e: dict[str, Any]) -> list[str]:
    """What `vaes evaluate` measures besides, a line each."""
    lines = []
    if "samples" in e:
        found, floor = e["samples"]["drawn"], e["samples"]["floor"]
        lines.append(
            f"drawn rows      FD-{e['samples']['features']} {found['frechet']:.3f} "
            f"(held-out rows {floor['frechet']:.3f}), precision {found['precision']:.3f} "
            f"({floor['precision']:.3f}), recall {found['recall']:.3f} ({floor['recall']:.3f})"
        )
    if "calibration" in e:
        pairs = zip(e["calibration"]["nominal"], e["calibration"]["observed"], strict=True)
        told = ", ".join(f"{100 * b:.0f} % in {100 * a:.0f} %" for a, b in pairs if a in (0.5, 0.9))
        lines.append(f"intervals       {told}")
    if "gaps" in e:
        lines.append(
            f"gaps            amortisation {number(e['gaps'], 'amortisation').strip()}, "
            f"approximation {number(e['gaps'], 'approximation').strip()}"
        )
    if "quadrature" in e:
        q = e["quadrature"]
        lines.append(f"quadrature      {number(q, 'log_evidence')} on {q['n']} rows")
    if "annealed" in e:
        a = e["annealed"]
        lines.append(
            f"annealing       {number(a, 'log_evidence')} on {a['n']} rows, where draws say "
            f"{number(a, 'by_draws').strip()}; upper less lower bound, on simulated rows, "
            f"{number(a, 'gap').strip()}"
        )
    for name, score in e.get("disentanglement", {}).items():
        ends = f"(noise {score['noise']:.3f}, the factors themselves {score['factors']:.3f})"
        lines.append(f"{name:24} {score['codes']:.3f}  {ends}")
    if "clusters" in e:
        c = e["clusters"]
        lines.append(
            f"clusters        accuracy {c['accuracy']:.3f}, NMI {c['nmi']:.3f}, ARI {c['ari']:.3f} "
            f"({c['k']} of each)"
        )
    return lines


def sizes(found: dict[str, Any]) -> list[str]:
    """What `vaes compress` found, in lines for a person."""
    apart = found["bytes_apart"]
    lines = [
        f"{found['file']}: {found['n']:,} rows in {found['bytes']:,} bytes, "
        f"{found['bits_per_row']:.1f} bits a row, {found['bits_per_dim']:.4f} bits/dim",
        f"  the file       {found['nats_per_row']:9.3f} nats per row",
        f"  -ELBO          {number(found, 'negative_elbo')}, of which the file is "
        f"{found['difference']:+.2f} % off",
        f"  {found['bytes_fixed']:,} bytes are header, checksums and ends, however many the rows",
    ]
    for name, size in found["others"].items():
        lines.append(f"  {name:14} {size:9,} bytes of {found['packed']:,} packed")
    if apart:
        lines.append(f"  {apart:,} bytes hold gaps and totals, which the ELBO does not count")
    return lines


def number(found: dict[str, Any], key: str, error_key: str | None = None) -> str:
    """A mean with its standard error, which a single row does not have."""
    error = found[error_key or f"{key}_se"]
    unknown = error is None or error != error
    return f"{found[key]:9.3f} ± {'?' if unknown else format(error, '.3f')}"
