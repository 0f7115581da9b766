"""Runs ranked by the log-evidence of the same rows, beside trivial baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vaes import console, disk
from vaes.batch import Data
from vaes.errors import RunError, UsageError
from vaes.evaluate.compare import Contender, Place, ranked
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.summary import baselines, unit
from vaes.evaluate.symptoms import copies
from vaes.machine import matmul, threads
from vaes.report.compared import compared
from vaes.verbs.opened import Opened, x_of


def compare(
    runs: Sequence[str], data: str | None, k: int, out: str | None, seed: int
) -> tuple[Path, list[str]]:
    """A leaderboard on `data`, or on the test part of all runs; the folder, and its lines."""
    disk.refuse_existing(out)
    if not runs:
        raise UsageError("no run was given; name the runs to compare")
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise UsageError("a run was named twice; name each once")
    opened = [Opened(run) for run in runs]
    tests = [each.rows(data) for each in opened]
    both = list(zip(opened, tests, strict=True))
    entries = [_unscored(run, test) for run, test in both]
    ranked(entries)  # refuses what does not compare before anything takes its time
    notes = [note for run, test in both if (note := _seen(run, test, data)) is not None]
    entries = [
        _scored(entry, run, test, k, seed) for entry, (run, test) in zip(entries, both, strict=True)
    ]
    found, lacking = _baselines(opened, entries[0], tests[0])
    places, notes = ranked([*entries, *found]), [*notes, *lacking]
    folder = disk.new_folder(None if out is None else Path(out), "runs/compare")
    about = {Path(o.run.path).as_posix(): _about(o, data) for o in opened}
    told = {
        "verb": "compare",
        "data": data,
        "n": len(tests[0]),
        "unit": unit(opened[0].model),
        "evidence_of": opened[0].model.evidence,
        "k": k,
        "seed": seed,
        "best": places[0].name if places[0].mean is not None else None,
        "notes": notes,
        "places": [asdict(place) | about.get(place.name, {}) for place in places],
    }
    disk.write_json(folder / "comparison.json", told)
    disk.write_bytes(folder / "comparison.html", compared(told).encode())
    return folder, _lines(told, places)


def _unscored(opened: Opened, test: Data) -> Contender:
    """A run and the rows that it is to be scored on."""
    x = torch.as_tensor(opened.decode(x_of(test))).double()
    if test.mask is not None:
        x = torch.where(test.mask[:, -x.shape[-1] :].reshape(x.shape), x, torch.nan)
    model, name = opened.model, Path(opened.run.path).as_posix()
    return Contender(name, None, model.bound, model.evidence, x, opened.spec)


def _scored(entry: Contender, opened: Opened, test: Data, k: int, seed: int) -> Contender:
    plan = opened.run.info["plan"]
    if opened.model.bound == "none":
        return entry
    with threads(plan["threads"]), matmul(plan["matmul"]):
        found = evidence(opened.model, test, k=k, seed=seed)
    return replace(entry, per_row=found.per_row.cpu(), left_out=found.left_out)


def _baselines(
    opened: Sequence[Opened], like: Contender, test: Data
) -> tuple[list[Contender], list[str]]:
    """Baselines by the training rows of the first run; a note where it has none any more."""
    gaps, latent = like.evidence_of == "x,s", max(o.model.latent for o in opened)
    lacking = ["the first run has no training rows any more, so there are no baselines"]
    if opened[0].run.info["data"]["from"] is None:
        return [], lacking
    try:
        train = opened[0].prepared().train
    except RunError:  # they have changed since
        return [], lacking
    return [
        replace(
            like,
            name=f"{b.name} (baseline)",
            per_row=b.per_row.cpu(),
            bound=b.bound,
            left_out=None,
        )
        for b in baselines(train, test, latent, gaps, every=True)
    ], []


def _seen(opened: Opened, test: Data, data: str | None) -> str | None:
    """A note where rows that were named are rows that the run was trained on."""
    if data is None or opened.run.info["data"]["from"] is None:
        return None
    try:
        found, _ = copies(opened.prepared().train, test)
    except RunError:  # its rows have changed since
        return None
    told = f"{found:,} of {len(test):,} rows are copies of training rows of '{opened.run.path}'"
    return f"{told}, which favours it" if found else None


def _about(opened: Opened, data: str | None) -> dict[str, Any]:
    """What a reader wants to know of a run beside its rank, and what was measured on its own test
    rows where those are the ones."""
    path, found = opened.run.path / "evaluation.json", {}
    if data is None and path.exists():
        found = disk.read_json(path, f"run '{opened.run.path}'")
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
        numbers = asdict(place)
        behind = f"  {console.number(numbers, 'behind')} behind" if place.behind else ""
        tie = " (not told apart)" if place.tied and place.behind else ""
        bound = "or more" if place.bound == "lower" else ""
        mean = console.number(numbers, "mean", "se")
        lines.append(f"  {place.name:{width}}  {mean} {bound:7}{behind}{tie}")
    return [*lines, *(f"note: {note}" for note in told["notes"])]
