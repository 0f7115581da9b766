"""Verbs that answer questions about rows: what stands in gaps, which are odd and why, which belong
together, and more rows like them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaes import data as sources
from vaes import disk, uses
from vaes.batch import Data
from vaes.verbs.opened import Opened, conclude, x_of

BLAMED = 3  # entries that a row's oddity is put down to
USUAL = 100  # held-out rows that say what is usual
AUDITED = 5_000  # rows of each kind that an audit looks at


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
    found = []
    for i, row in enumerate(nats):
        worst = np.argsort(-row, kind="stable")[:BLAMED]
        found.append(
            [
                {
                    "column": names[j],
                    "value": told[i][j - gates] if j >= gates else bool(x[i, j]),
                    "nats": round(float(row[j]), 3),
                }
                for j in worst
                if row[j] > 0
            ]
        )
    return found


def _ranking(rows: list[dict[str, Any]], path: Path) -> str:
    """The ranking as a table that any program opens."""
    import csv

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


def augment(run: str, data: str | None, n: int, mode: str, out: str | None, seed: int) -> Path:
    """n new rows, and an audit of whether they are copies of training rows."""
    opened = Opened(run)
    prepared = opened.prepared()
    given = prepared.train if data is None else opened.rows(data)
    found = uses.augment(opened.model, given, n, seed=seed, mode=mode)
    some = torch.arange(AUDITED)
    audit = uses.copies(
        found.x[:AUDITED],
        prepared.train.part(some[: len(prepared.train)]),
        prepared.test.part(some[: len(prepared.test)]),
    )
    told = {
        "identical": audit.identical,
        "held_out_identical": audit.held_identical,
        "leaning": audit.leaning,
        "expected": audit.expected,
        "p": audit.p_leaning,
        "copies": audit.flagged(),
    }
    folder = opened.folder("augment", out)
    said = {"verb": "augment", "n": n, "mode": mode, "seed": seed, "audit": told}
    if mode == "vary":
        said["origin"] = found.origin.tolist()
    return conclude(opened, folder, said, {"rows": found.x})
