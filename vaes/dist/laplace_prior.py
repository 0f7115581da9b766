"""The Laplace prior, under which many dimensions of a code are near 0 and few are far away.

Source: Olshausen & Field 1996 (sparse coding), as a prior of a VAE Barello et al. 2018.
"""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.gaussian import DiagonalNormal
from vaes.dist.priors import Prior
from vaes.errors import UsageError


class LaplaceLatent(Latent):
    """Independent Laplace(loc, exp(log_scale)) per dimension; both (*batch, d)."""

    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 2 * (2 * self.log_scale).exp()

    def draw(self, noise: Tensor) -> Tensor:
        # |z - loc| / scale is exponential: -log 2 Phi(-|noise|), exact in both tails
        size = -(torch.special.log_ndtr(-noise.abs()) + math.log(2))
        return self.loc + self.log_scale.exp() * torch.where(noise < 0, -size, size)

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        far = (value - self.loc).abs() * (-self.log_scale).exp()
        return -(far + self.log_scale + math.log(2)).sum(-1)

    def entropy(self) -> Tensor:
        return (1 + math.log(2) + self.log_scale).sum(-1)


@register_kl(LaplaceLatent, LaplaceLatent)
def _kl_laplace_laplace(q: LaplaceLatent, p: LaplaceLatent) -> Tensor:
    far, log_ratio = (q.loc - p.loc).abs(), q.log_scale - p.log_scale
    shifted = far * (-p.log_scale).exp() + (log_ratio - far * (-q.log_scale).exp()).exp()
    return (shifted - log_ratio - 1).sum(-1)


@register_kl(DiagonalNormal, LaplaceLatent)
def _kl_normal_laplace(q: DiagonalNormal, p: LaplaceLatent) -> Tensor:
    offset, scale = q.loc - p.loc, q.log_scale.exp()
    ratio = offset / scale
    # E|z - loc_p| of a normal folded at loc_p
    peak = math.sqrt(2 / math.pi) * scale * (-0.5 * ratio.square()).exp()
    far = peak + offset * torch.erf(ratio / math.sqrt(2))
    return (far * (-p.log_scale).exp() + p.log_scale + math.log(2)).sum(-1) - q.entropy()


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
