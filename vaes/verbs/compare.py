"""Runs ranked by the log-evidence of the same rows, beside trivial baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vaes import disk
from vaes.batch import Data
from vaes.errors import UsageError
from vaes.evaluate.compare import Contender, Place, ranked
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.summary import baselines, unit
from vaes.machine import matmul, threads
from vaes.report.compared import compared
from vaes.verbs.opened import Opened, x_of


def compare(
    runs: Sequence[str], data: str | None, k: int, out: str | None, seed: int
) -> tuple[Path, list[str]]:
    """A leaderboard on `data`, or on the test part of all runs; the folder, and its lines."""
    if not runs:
        raise UsageError("no run was given; name the runs to compare")
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise UsageError("a run was named twice; name each once")
    opened = [Opened(run) for run in runs]
    tests = [each.rows(data) for each in opened]
    entries = [_contender(o, t, k, seed) for o, t in zip(opened, tests, strict=True)]
    best = ranked(entries)  # refuses before baselines take their time
    gaps = opened[0].model.evidence == "x,s"
    train, latent = opened[0].prepared().train, max(o.model.latent for o in opened)
    for base in baselines(train, tests[0], latent, gaps, every=True):
        name = f"{base.name} (baseline)"
        entries.append(_like(entries[0], name, base.per_row.cpu(), base.bound))
    places = ranked(entries)
    folder = disk.new_folder(None if out is None else Path(out), "runs/compare")
    about = {Path(o.run.path).as_posix(): _about(o) for o in opened}
    told = {
        "verb": "compare",
        "data": data,
        "n": len(tests[0]),
        "unit": unit(opened[0].model),
        "evidence_of": opened[0].model.evidence,
        "k": k,
        "seed": seed,
        "best": best[0].name if best[0].mean is not None else None,
        "places": [asdict(place) | about.get(place.name, {}) for place in places],
    }
    disk.write_json(folder / "comparison.json", told)
    disk.write_bytes(folder / "comparison.html", compared(told).encode())
    return folder, _lines(told, places)


def _contender(opened: Opened, test: Data, k: int, seed: int) -> Contender:
    model, plan = opened.model, opened.run.info["plan"]
    scores = None
    if model.bound != "none":
        with threads(plan["threads"]), matmul(plan["matmul"]):
            scores = evidence(model, test, k=k, seed=seed).per_row.cpu()
    x = torch.as_tensor(opened.decode(x_of(test))).double()
    if test.mask is not None:
        x = torch.where(test.mask[:, -x.shape[-1] :].reshape(x.shape), x, torch.nan)
    name = Path(opened.run.path).as_posix()
    return Contender(name, scores, model.bound, model.evidence, x, opened.spec)


def _like(one: Contender, name: str, per_row: torch.Tensor, bound: str) -> Contender:
    return Contender(name, per_row, bound, one.evidence_of, one.rows, one.spec)


def _about(opened: Opened) -> dict[str, Any]:
    """What a reader wants to know of a run beside its rank."""
    found = disk.read_json(opened.run.path / "evaluation.json", f"run '{opened.run.path}'")
    weights = sum(p.numel() for p in opened.model.parameters())
    seconds = opened.run.info.get("trained", {}).get("seconds")
    told = {"recipe": opened.run.info["recipe"], "weights": weights, "seconds": seconds}
    return told | {name: found.get(name) for name in ("rate", "active_units", "latent_dim")}


def _lines(told: dict[str, Any], places: Sequence[Place]) -> list[str]:
    width = max(len(place.name) for place in places)
    lines = [f"on {told['n']} rows, {told['unit']}:"]
    for place in places:
        if place.mean is None:
            lines.append(f"  {place.name:{width}}  no evidence: this model has no density")
            continue
        behind = f"{place.behind:8.3f} ± {place.behind_se:.3f} behind" if place.behind else ""
        tie = "  (not told apart)" if place.tied and place.behind else ""
        bound = " or more" if place.bound == "lower" else ""
        lines.append(
            f"  {place.name:{width}}  {place.mean:9.3f} ± {place.se:.3f}{bound:8}  {behind}{tie}"
        )
    return lines
