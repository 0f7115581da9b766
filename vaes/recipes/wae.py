"""Wasserstein autoencoder: codes that fill the prior, at no rate (Tolstikhin et al. 2018)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.point import PointHead
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective import Wasserstein
from vaes.parts import Part

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    scaling: float = 100.0,
    kernel: str = "imq",
    posterior: Part = "point",
    samples: int = 1,
    **parts: Any,
) -> Model:
    """distortion + scaling MMD(q(z), p(z)).

    latent: dimensions of z (None: by the size of a row) · scaling: the paper's lambda · kernel: imq
    or rbf, each a mixture over widths · posterior: point, an encoder without noise, or a family of
    `vaes.dist.POSTERIORS` · samples: draws of z per row and step · parts: see `compose`.

    A point has no density, so nothing bounds the evidence. With a Gaussian encoder log w does,
    though nothing in the loss makes that bound tight.
    """
    objective = Wasserstein(samples, scaling, kernel)
    d = latent if latent is not None else default_latent(spec)
    if posterior != "point":
        return compose(spec, objective, latent=d, posterior=posterior, **parts)
    return compose(spec, objective, latent=d, posterior=PointHead(d), bound="none", **parts)
