"""Autoencoder: the baseline without a density; its codes get a Gaussian after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vaes.batch import Batch, Spec
from vaes.composed import compose, default_latent
from vaes.dist.point import PointHead
from vaes.dist.priors import FittedNormal
from vaes.model import Model, Step
from vaes.objective import Objective, log_likelihood

FIXED = ("objective", "posterior", "prior")  # parts that are no option here


@dataclass(frozen=True)
class Reconstruction(Objective):
    """-log p(x|z) at the code of x: no posterior, no rate."""

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return -log_likelihood(model, model.posterior(batch).mean, batch).mean()


def build(spec: Spec, *, latent: int | None = None, **parts: Any) -> Model:
    """z = e(x) trained by its reconstruction; sampling draws from N(mean, cov) of the codes.

    latent: dimensions of z (None: by the size of a row) · parts: see `compose`.
    """
    d = latent if latent is not None else default_latent(spec)
    return compose(
        spec,
        Reconstruction(),
        latent=d,
        posterior=PointHead(d),
        prior=FittedNormal,
        bound="none",
        **parts,
    )
