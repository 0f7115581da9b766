"""Run folders with models that never trained: a report is of whatever a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vaes import data as sources
from vaes import recipes
from vaes.batch import generator
from vaes.data import Prepared
from vaes.model import Model
from vaes.run import Run
from vaes.training import seeded_build

HOSTILE = "</script><b>&\"'"
EVALUATION: dict[str, Any] = {
    "n": 180,
    "unit": "nats per row",
    "elbo": -86.66,
    "elbo_se": 1.06,
    "log_evidence": -83.482,
    "log_evidence_se": 0.987,
    "k": 1000,
    "ess": 17.51,
    "rate": 15.98,
    "distortion": 70.68,
    "bits_per_dim": 1.8819,
    "active_units": 13,
    "latent_dim": 16,
    "bound": "lower",
    "baselines": {"independent": {"log_evidence": -108.4, "log_evidence_se": 0.6}},
}
EXTRA: dict[str, Any] = {
    "curve": {"1": {"mean": -86.6, "se": 1.0}, "64": {"mean": -84.1, "se": 1.0}},
    "rates": [0.5, 2.25],
    "calibration": {"nominal": [0.5, 0.9], "observed": [0.45, 0.87]},
    "samples": {"features": "pca64", "frechet": 1.5, "frechet_se": 0.25, "copies": True},
    "notes": ["a note"],
    "baselines": {
        "a": {"log_evidence": -1.0, "log_evidence_se": 0.1, "bound": "lower"},
        "impossible": {"log_evidence": None, "log_evidence_se": None},
    },
    "clusters": {"k": 10, "nmi": 0.5},
    "gaps": {"amortisation": {"mean": 0.75, "mean_se": 0.05}},
}


def folder(
    path: Path, data: Any, recipe: str = "vae", preparing: Any = None, **options: Any
) -> tuple[Run, Model, Prepared]:
    """A run of `recipe` on `data` as `vaes.data.load` takes it, its weights at random."""
    prepared = sources.prepare(sources.load(data), seed=0, **(preparing or {}))
    model = seeded_build(recipe, prepared.spec, 0, options)
    draw = generator("report")
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.05 * torch.randn(tensor.shape, generator=draw)
    info = {
        "recipe": recipe,
        "options": recipes.defaults(recipe) | options,
        "custom": [],
        "spec": prepared.spec.to_json(),
        "schema": prepared.schema,
        "plan": {"seed": 0, "steps": 20},
        "data": {"from": None, "reading": {}, "preparing": {}},
        "trained": {"steps": 20},
    }
    run = Run.create(path, "x", info)
    for step in range(10, 30, 10):
        run.append({"step": step, "elbo": -100.0 + step, "rate": 1.0 * step, "active_units": 3})
        run.append({"step": step, "valid_elbo": -101.0 + step})
    return run, model, prepared
