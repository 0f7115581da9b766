"""FactorVAE: the total correlation of the codes, by a critic, costs more (Kim & Mnih 2018)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective import Factor

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    gamma: float = 10.0,
    width: int = 256,
    depth: int = 4,
    samples: int = 1,
    **parts: Any,
) -> Model:
    """distortion + rate + gamma TC(z), the total correlation by a critic with a loss of its own.

    latent: dimensions of z (None: by the size of a row) · gamma: weight of the total correlation ·
    width, depth: of the critic's hidden layers (the paper: 1,000 and 6) · samples: draws of z per
    row and step · parts: see `compose`.
    """
    d = latent if latent is not None else default_latent(spec)
    return compose(spec, Factor(d, samples, gamma, width, depth), latent=d, **parts)
