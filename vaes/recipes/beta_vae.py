"""beta-VAE (Higgins et al. 2017) and its capacity form (Burgess et al. 2018, arXiv:1804.03599)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Elbo

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    beta: float | None = None,
    capacity: float | None = None,
    gamma: float | None = None,
    samples: int = 1,
    warmup: float | None = None,
    **parts: Any,
) -> Model:
    """distortion + beta * rate, or distortion + gamma |rate - C(t)| where `capacity` is given.

    beta: weight of the rate (None: 4) · warmup: share of the budget over which beta rises from 0
    (None: 0.1) · capacity: nats that C(t) reaches at the end of training · gamma: weight of the
    capacity term (None: 100) · samples: draws of z per row and step · parts: see `compose`.
    """
    if capacity is None:
        if gamma is not None:
            raise UsageError("gamma belongs to the capacity form; give capacity=NATS with it")
        objective = Elbo(samples, 4.0 if beta is None else beta, 0.1 if warmup is None else warmup)
    else:
        if beta is not None or warmup is not None:
            raise UsageError("capacity takes the place of beta and of the warm-up; give one form")
        objective = Elbo(samples, capacity=capacity, gamma=100.0 if gamma is None else gamma)
    return compose(spec, objective, **parts)
