"""The Laplace prior, under which many dimensions of a code are near 0 and few are far away.

Source: Olshausen & Field 1996 (sparse coding), as a prior of a VAE Barello et al. 2018.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.location_scale import LaplaceLatent
from vaes.dist.priors import Prior
from vaes.errors import UsageError


class LaplacePrior(Prior):
    """Laplace of variance 1 per dimension, or of a `scale` of its own."""

    log_scale: Tensor

    def __init__(self, size: int, scale: float = math.sqrt(0.5)) -> None:
        super().__init__()
        if not scale > 0:
            raise UsageError(f"prior.scale={scale}: a Laplace prior takes a scale above 0")
        self.register_buffer("log_scale", torch.full((size,), math.log(scale)), persistent=False)

    def forward(self, model: object, batch: Batch) -> LaplaceLatent:
        log_scale = self.log_scale.expand(len(batch), -1)
        return LaplaceLatent(torch.zeros_like(log_scale), log_scale)
