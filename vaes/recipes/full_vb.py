"""Full variational Bayes: uncertain decoder weights (Kingma & Welling 2014, appendix F)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective.full_vb import FullVb

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec, *, samples: int = 1, warmup: float = 0.1, spread: float = 1.0, **parts: Any
) -> Model:
    """The ELBO with codes and decoder weights drawn, less the rate of the weights over the rows.

    What is scored is the decoder at the mean of its weights, a bound of log p(x | these weights);
    the bound of all training rows with the weights integrated out is `model.objective.total`.

    samples: draws of z per row and step · warmup: share of the budget over which the rates rise to
    their weight · spread: deviation of the weights' prior, over the root of a unit's number of
    inputs · parts: see `compose`.
    """
    objective = FullVb(spec.rows, samples, warmup, spread)
    model = compose(spec, objective, **parts)
    objective.over(model.decoder)
    return model
