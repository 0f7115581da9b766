"""Rows in groups that the model tells apart."""

from __future__ import annotations

from pathlib import Path

from vaes import data as sources
from vaes import disk, uses
from vaes.verbs.opened import Opened, conclude, x_of


def cluster(run: str, data: str | None, k: int | None, out: str | None, seed: int) -> Path:
    """Rows in groups: a label and its probability for each, the sizes, a typical row of each."""
    opened = Opened(run)
    given = sources.encode(opened.schema, opened.spec, opened.raw(data))
    found = uses.cluster(opened.model, given, k, seed=seed)
    folder = opened.folder("cluster", out)
    path = folder / "clusters.csv"
    with disk.writing(path), path.open("w", newline="") as lines:
        lines.write("row,cluster,probability\n")
        certain = found.probabilities.max(1).values
        for i, (label, sure) in enumerate(
            zip(found.labels.tolist(), certain.tolist(), strict=True)
        ):
            lines.write(f"{i},{label},{sure:.6f}\n")
    typical = found.representatives[found.representatives >= 0]
    said = {"verb": "cluster", "n": len(given), "k": len(found.sizes), "seed": seed}
    said |= {"sizes": found.sizes.tolist(), "representatives": found.representatives.tolist()}
    rows = x_of(given.part(typical))
    return conclude(opened, folder, said, {"typical": rows}, None, [path.name])
