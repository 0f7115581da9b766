"""Gaps filled, with intervals and completed tables."""

from __future__ import annotations

from pathlib import Path

from vaes import data as sources
from vaes import disk, uses
from vaes.verbs.opened import Opened


def impute(
    run: str, data: str | None, draws: int, level: float, k: int, out: str | None, seed: int
) -> Path:
    """Gaps filled with the best values, intervals beside them, and completed tables by chance."""
    opened = Opened(run)
    source = opened.raw(data)
    given = sources.encode(opened.schema, opened.spec, source)
    found = uses.impute(opened.model, given, k=k, draws=draws, level=level, seed=seed)
    parts = {"rows": found.mean, "low": found.low, "high": found.high}
    if found.draws is not None:
        parts |= {f"draw-{i + 1}": x for i, x in enumerate(found.draws)}
    gaps = 0 if given.mask is None else int((~given.mask).sum())
    for x in parts.values():
        x.flatten(1)[:, : opened.spec.gates] = 1  # every entry has a value now
    said = {"verb": "impute", "n": len(given), "gaps": gaps, "level": level, "k": k, "seed": seed}
    said |= {"draws": draws, "ess": float(found.ess.median()), "notes": source.notes}
    folder = opened.folder("impute", out)
    files = [opened.write(folder, name, x, source) for name, x in parts.items()]
    disk.write_json(folder / "result.json", said | {"files": files})
    return folder
