"""evaluation.json: what a trained model is worth on rows that it never saw, beside baselines.

What training prints and keeps, in seconds; `vaes.evaluate.thorough` adds what takes minutes. What a
model does not have is None; what could not be measured is absent and said in "notes".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vaes.batch import Data
from vaes.errors import DataError
from vaes.evaluate.baselines import Baseline, independent, latent_class
from vaes.evaluate.gaussians import factor_analysis, gaussian_mixture, ppca
from vaes.evaluate.health import examine
from vaes.evaluate.likelihood import Evidence, bound, evidence
from vaes.model import Model
from vaes.objective import closed_kl
from vaes.uses.common import evaluating

DRAWS = 1_000  # of the evidence
RATED = 20  # of a rate without a closed form
FEW = 10  # effective draws below which the evidence of a row is too low


def unit(model: Model) -> str:
    """What the evidence of `model` is measured in; and of what it is, where not of rows alone."""
    of = {"x,s": ", of the values and of where gaps are", "x|total": ", given each row's total"}
    return "nats per row, in the units of the data" + of.get(model.evidence, "")


def summary(
    model: Model,
    train: Data,
    test: Data,
    seed: int = 0,
    k: int = DRAWS,
    *,
    valid: Data | None = None,
    metrics: Sequence[dict[str, Any]] | None = None,
    recipe: str | None = None,
    every: bool = False,
) -> dict[str, Any]:
    """ELBO, evidence, rate, distortion, active units, baselines and health on `test`, nats per row.

    Numbers that the model does not have are None: bits per dimension (per observed entry where
    rows have gaps) of data that are not discrete, and every bound of a model with `bound = "none"`.
    "curve" holds the importance-weighted bound by its number of draws, "rates" the rate of each
    dimension. valid, metrics, recipe: see `vaes.evaluate.health.examine` · every: all baselines, of
    which training takes the quick ones.
    """
    there = test.to(model.log_jacobian.device)
    # a rate that has no closed form is drawn, and a mean of few draws may come out below 0
    with evaluating(model):
        first = there.rows(slice(0, 1))
        closed = closed_kl(model.posterior(first), model.prior(first))
    found = bound(model, there, seed=seed, k=1 if closed else RATED)
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
        "notes": [],
    }
    if model.bound != "none":
        score = evidence(model, there, k=k, seed=seed)
        result |= _worth(model, test, score, found.rate)
        split = len(found.rates) == model.latent
        result["rates"] = found.rates.tolist() if split else None
        gaps = model.evidence == "x,s"
        result["baselines"] = {
            b.name: {"log_evidence": b.mean, "log_evidence_se": b.se, "bound": b.bound}
            for b in baselines(train, test, model.latent, gaps, every)
        }
    try:
        health = examine(model, train, valid, test, metrics, seed, recipe)
        result["health"] = health.to_json()
    except DataError as error:  # too few rows for that, not for the rest
        result["notes"].append(str(error))
    return result


def _worth(model: Model, test: Data, score: Evidence, rate: float) -> dict[str, Any]:
    """What the evidence says, and whether it has draws enough."""
    enough = min(FEW, score.k // 2)
    few = float((score.ess_per_row < enough).double().mean())
    found: dict[str, Any] = {
        "log_evidence": score.mean,
        "log_evidence_se": score.se,
        "k": score.k,
        "ess": score.ess,
        "ess_few": few,
        "elbo": score.elbo,
        "elbo_se": score.elbo_se,
        "rate": rate,
        "distortion": -score.elbo - rate,
        "curve": {str(n): {"mean": mean, "se": se} for n, (mean, se) in score.curve.items()},
    }
    if model.spec.discrete:
        seen = model.spec.size if test.mask is None else int(test.mask.sum()) / len(test)
        found["bits_per_dim"] = -score.mean / (seen * math.log(2))
    if score.k < FEW and model.bound != "exact":
        found["notes"] = [
            f"{score.k} draws a row: that evidence is hardly above the ELBO; --k 1000"
        ]
    elif few > 0.01 and model.bound != "exact":
        found["notes"] = [
            f"for {100 * few:.0f} % of the rows fewer than {enough} of {score.k:,} draws count, so "
            "that their evidence is too low: more draws (--k), or proposals refined row by row "
            "(vaes.evaluate.refined.refined_evidence)"
        ]
    return found


def baselines(
    train: Data, test: Data, latent: int, gaps: bool = False, every: bool = False
) -> list[Baseline]:
    """What independent entries, probabilistic PCA and, for tables of unlike columns, a mixture of
    independent columns reach on the same rows, in the same unit; with `gaps`, entries whose gaps
    are independent of everything, which the others do not explain. every: factor analysis and
    mixtures of Gaussians and of independent entries too, where they apply."""
    found = [independent(train, test, gaps), None if gaps else ppca(train, test, latent)]
    if every and not gaps:
        found += [factor_analysis(train, test, latent), gaussian_mixture(train, test)]
    if not gaps and (every or not train.spec.uniform):
        found.append(latent_class(train, test))
    return [b for b in found if b is not None]
