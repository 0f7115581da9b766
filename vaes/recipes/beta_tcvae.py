"""beta-TCVAE: only the total correlation of the codes costs more (Chen et al. 2018)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Decomposed

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    beta: float = 6.0,
    alpha: float = 1.0,
    gamma: float = 1.0,
    estimator: str = "mss",
    warmup: float = 0.1,
    samples: int = 1,
    **parts: Any,
) -> Model:
    """distortion + alpha I(x; z) + beta TC(z) + gamma sum_j KL(q(z_j) || p(z_j)).

    beta, alpha, gamma: weights of the parts of the rate, all 1 = the ELBO · estimator: of q(z), mss
    (unbiased) or mws · warmup: share of the budget over which the weights rise from 0 · samples:
    draws of z per row and step · parts: see `compose`.
    """
    return compose(spec, Decomposed(samples, alpha, beta, gamma, estimator, warmup), **parts)
