"""evaluation.json: what a trained model is worth on rows that it never saw, beside baselines."""

from __future__ import annotations

import math
from typing import Any

from vaes.batch import Data
from vaes.evaluate.baselines import independent, latent_class, ppca
from vaes.evaluate.likelihood import bound, evidence
from vaes.model import Model

DRAWS = 1_000  # of the evidence


def unit(model: Model) -> str:
    """What the evidence of `model` is measured in; and of what it is, where not of rows alone."""
    of = {"x,s": ", of the values and of where gaps are", "x|total": ", given each row's total"}
    return "nats per row, in the units of the data" + of.get(model.evidence, "")


def summary(model: Model, train: Data, test: Data, seed: int = 0, k: int = DRAWS) -> dict[str, Any]:
    """ELBO, evidence, rate, distortion, active units and baselines on `test`, nats per row.

    Numbers that the model does not have are None: bits per dimension (per observed entry where
    rows have gaps) of data that are not discrete, and every bound of a model with `bound = "none"`.
    """
    device = model.log_jacobian.device
    there = test.to(device)
    found = bound(model, there, seed=seed)
    result: dict[str, Any] = {
        "n": found.n,
        "unit": unit(model),
        "elbo": None,
        "elbo_se": None,
        "log_evidence": None,
        "log_evidence_se": None,
        "k": None,
        "ess": None,
        "rate": None,
        "distortion": found.distortion,
        "bits_per_dim": None,
        "active_units": found.active_units,
        "latent_dim": model.latent,
        "bound": model.bound,
        "evidence_of": model.evidence,
        "seed": seed,
        "baselines": {},
    }
    if model.bound == "none":
        return result
    score = evidence(model, there, k=k, seed=seed)
    result |= {"log_evidence": score.mean, "log_evidence_se": score.se, "k": score.k}
    result |= {"ess": score.ess, "elbo": score.elbo, "elbo_se": score.elbo_se}
    result |= {"rate": found.rate, "distortion": -score.elbo - found.rate}
    if model.spec.discrete:
        seen = model.spec.size if test.mask is None else int(test.mask.sum()) / len(test)
        result["bits_per_dim"] = -score.mean / (seen * math.log(2))
    result["baselines"] = baselines(train, test, model.latent, gaps=model.evidence == "x,s")
    return result


def baselines(
    train: Data, test: Data, latent: int, gaps: bool = False
) -> dict[str, dict[str, Any]]:
    """What independent entries, probabilistic PCA and, for tables of unlike columns, a mixture of
    independent columns reach on the same rows, in the same unit; with `gaps`, entries whose gaps
    are independent of everything, which the others do not explain."""
    found = [independent(train, test, gaps), None if gaps else ppca(train, test, latent)]
    if not gaps and not train.spec.uniform:
        found.append(latent_class(train, test))
    return {
        b.name: {"log_evidence": b.mean, "log_evidence_se": b.se} for b in found if b is not None
    }
