"""VAE whose posterior has a full covariance by its Cholesky factor (Rezende et al. 2014)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Elbo

FIXED = ("objective", "posterior")  # parts that are no option here


def build(spec: Spec, *, samples: int = 1, warmup: float = 0.1, **parts: Any) -> Model:
    """The ELBO under q(z|x) = N(m, L L^T), L lower triangular.

    samples: draws of z per row and step · warmup: share of the budget over which the weight of the
    rate rises to 1 · parts: see `compose`.
    """
    return compose(spec, Elbo(samples, warmup=warmup), posterior="cholesky", **parts)
