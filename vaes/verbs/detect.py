"""Odd rows, how rare they are, and the entries to blame."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaes import disk, uses
from vaes.batch import Data
from vaes.verbs.opened import Opened, conclude, x_of

BLAMED = 3  # entries that a row's oddity is put down to
USUAL = 100  # held-out rows that say what is usual


def detect(
    run: str, data: str | None, fdr: float, score: str, top: int, out: str | None, seed: int
) -> Path:
    """Rows by how odd they are, with p-values from held-out rows and the entries to blame."""
    opened = Opened(run)
    held = opened.prepared().test
    given = opened.rows(data, unseen=True)
    reference = held if score == "typicality" else None
    how = {"seed": seed, "score": score, "reference": reference}
    scores = uses.anomaly_scores(opened.model, given, **how)
    calibration = uses.Conformal(uses.anomaly_scores(opened.model, held, **how))
    p = calibration.p_values(scores)
    flagged = uses.discoveries(p, fdr)
    order = scores.argsort(descending=True, stable=True)
    first = order[:top]
    rows = [
        {"row": int(i), "score": float(scores[i]), "p": float(p[i]), "flagged": bool(flagged[i])}
        for i in order
    ]
    if opened.model.bound != "none" and len(opened.spec.shape) == 1:
        reasons = _blame(opened, given.part(first), held, seed)
        for told, blamed in zip(rows, reasons, strict=False):
            told["blame"] = blamed
    folder = opened.folder("detect", out)
    said = {"verb": "detect", "n": len(given), "flagged": int(flagged.sum()), "fdr": fdr}
    said |= {"score": score, "unit": "nats", "calibrated_on": len(held), "seed": seed}
    if data is None:
        said["note"] = "the rows are the run's own test part, which the p-values come from as well"
    files = [_ranking(rows, folder / "odd.csv")]
    picture = x_of(given.part(first[:16])).unsqueeze(0)
    return conclude(opened, folder, said | {"rows": rows}, {}, picture, files)


def _blame(opened: Opened, rows: Data, held: Data, seed: int) -> list[list[dict[str, Any]]]:
    """The entries of each row that are oddest given the others: their values, and nats beyond what
    is usual for the column, so that its unit and its noise are no reason."""
    some = held.part(torch.arange(min(USUAL, len(held))))
    usual = uses.blame(opened.model, some, seed=seed).quantile(0.5, 0)
    nats = (uses.blame(opened.model, rows, seed=seed) - usual).numpy()
    gates, names = opened.spec.gates, opened.names()
    told, x = opened.told(rows), x_of(rows)
    new = torch.zeros_like(x, dtype=torch.bool) if rows.unseen is None else rows.unseen
    found = []
    for i, row in enumerate(nats):
        worst = np.argsort(-row, kind="stable")[:BLAMED]
        found.append(
            [
                {
                    "column": names[j],
                    "value": _shown(told[i][j - gates] if j >= gates else bool(x[i, j]), new[i, j]),
                    "nats": round(float(row[j]), 3),
                }
                for j in worst
                if row[j] > 0
            ]
        )
    return found


def _shown(value: Any, unseen: Tensor) -> Any:
    """The value of an entry; what no training row could have held has no place in the model."""
    return "never seen" if unseen else value


def _ranking(rows: list[dict[str, Any]], path: Path) -> str:
    """The ranking as a table that any program opens."""
    with disk.writing(path), path.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["row", "score", "p", "flagged", "blame"])
        for told in rows:
            why = "; ".join(
                f"{each['column']}={each['value']} ({each['nats']:.1f})"
                for each in told.get("blame", ())
            )
            row, score, p = told["row"], f"{told['score']:.4f}", f"{told['p']:.6f}"
            table.writerow([row, score, p, told["flagged"], why])
    return path.name
