"""Auto-decoder: a free code for every row, no encoder (GLO, Bojanowski et al. 2018; DeepSDF)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist.base import Latent
from vaes.dist.point import PointHead
from vaes.dist.points import BallHead
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective.reconstruction import Reconstruction
from vaes.parts import Part
from vaes.per_row import Inner, PerRow

FIXED = ("objective", "posterior", "encoder")  # parts that are no option here


def code_cost(model: Any, batch: Batch, q: Latent, noise: Tensor) -> Tensor:
    """-log p(x|z) - weight log N(z; 0, I) but for the constant of the latter, (n,)."""
    return model.objective.at(model, batch, q.mean)


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    weight: float = 1.0,
    ball: bool = False,
    inner: int = 5,
    inner_rate: float = 0.05,
    refine: int = 50,
    refine_rate: float = 0.2,
    prior: Part = "fitted",
    **parts: Any,
) -> Model:
    """Maximises sum_i log p(x_i|z_i) + weight log N(z_i; 0, I) over codes and decoder: no bound.

    latent: dimensions of z (None: by the size of a row) · weight: 1 maximum a posteriori, 0 maximum
    likelihood over the codes · ball: codes are kept in the unit ball (GLO) · inner, inner_rate:
    Adam steps of a row's code at each visit · refine, refine_rate: those of the code of a new row ·
    prior: what is fitted to the codes after training, fitted, fitted_mixture or fitted_flow ·
    parts: see `compose`.
    """
    d = latent if latent is not None else default_latent(spec)
    like = compose(
        spec,
        Reconstruction(l2=weight),
        latent=d,
        posterior=BallHead(d) if ball else PointHead(d),
        prior=prior,
        bound="none",
        **parts,
    )
    return PerRow(like, code_cost, Inner(inner, inner_rate, refine, refine_rate))
