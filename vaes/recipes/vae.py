"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114; Rezende et al. 2014)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Elbo

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec, *, samples: int = 1, warmup: float = 0.1, free_bits: float = 0.0, **parts: Any
) -> Model:
    """The ELBO with closed-form KL where one exists.

    samples: draws of z per row and step · warmup: share of the budget over which the weight of the
    rate rises to 1 · free_bits: nats per dimension that cost nothing · parts: see `compose`.
    """
    return compose(spec, Elbo(samples, warmup=warmup, free_bits=free_bits), **parts)
