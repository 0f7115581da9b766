"""Posteriors loc + scale * standard with heavier tails than a normal's: logistic, Laplace, Student.

Each is drawn exactly from standard normal numbers by inverting distribution functions, Student's t
by the polar form of Bailey 1994 (Math. Comp. 62, 779-781), from two numbers per dimension. A KL to
a diagonal normal needs nothing of q but entropy, mean and variance, so all three are closed.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.dist.base import HALF_LOG_2PI, Latent, soft_clip, wide
from vaes.dist.gaussian import LOG_SCALE, DiagonalNormal

TAIL = (-2.0, 5.0)  # log of the degrees of freedom above 2
NEAR_NORMAL = 2.0  # where that starts: 9.4 degrees of freedom


class LocationScale(Latent):
    """loc + exp(log_scale) * standard, independent dimensions; `loc`, `log_scale` (*batch, d)."""

    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @abstractmethod
    def _standard(self, noise: Tensor) -> Tensor:
        """The variable of location 0 and scale 1, (*k, n, d)."""

    @abstractmethod
    def _log_standard(self, e: Tensor) -> Tensor:
        """Its log-density per dimension."""

    def draw(self, noise: Tensor) -> Tensor:
        return self.loc + self.log_scale.exp() * self._standard(noise)

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        e = (value - self.loc) * (-self.log_scale).exp()
        return (self._log_standard(e) - self.log_scale).sum(-1)


class LogisticLatent(LocationScale):
    """Independent logistic variables."""

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp() * (math.pi**2 / 3)

    def _standard(self, noise: Tensor) -> Tensor:
        return torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise)

    def _log_standard(self, e: Tensor) -> Tensor:
        return -e.abs() - 2 * F.softplus(-e.abs())

    def entropy(self) -> Tensor:
        return (self.log_scale + 2).sum(-1)


class LaplaceLatent(LocationScale):
    """Independent Laplace variables."""

    @property
    def variance(self) -> Tensor:
        return 2 * (2 * self.log_scale).exp()

    def _standard(self, noise: Tensor) -> Tensor:
        # |e| is exponential: -log 2 Phi(-|noise|), exact in both tails
        size = -(torch.special.log_ndtr(-noise.abs()) + math.log(2))
        return torch.where(noise < 0, -size, size)

    def _log_standard(self, e: Tensor) -> Tensor:
        return -e.abs() - math.log(2)

    def entropy(self) -> Tensor:
        return (1 + math.log(2) + self.log_scale).sum(-1)


class StudentLatent(LocationScale):
    """Independent Student variables of `df` > 2 degrees of freedom (*batch, d). A draw takes 2 d
    numbers."""

    def __init__(self, loc: Tensor, log_scale: Tensor, df: Tensor) -> None:
        super().__init__(loc, log_scale)
        self.df = df.expand_as(self.loc)

    @property
    def noise_size(self) -> int:
        return 2 * self.event_shape[0]

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp() * self.df / (self.df - 2)

    def _standard(self, noise: Tensor) -> Tensor:
        size, angle = noise.chunk(2, -1)
        # U of both uniforms from its logarithm: 1 - U^(2/df) does not cancel near U = 1
        radius = (self.df * torch.expm1(-2 / self.df * torch.special.log_ndtr(size))).sqrt()
        return radius * torch.cos(2 * math.pi * torch.special.ndtr(angle))

    def _log_standard(self, e: Tensor) -> Tensor:
        return self._constant() - 0.5 * (self.df + 1) * torch.log1p(e.square() / self.df)

    def _constant(self) -> Tensor:
        half = 0.5 * self.df
        return torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (math.pi * self.df).log()

    def entropy(self) -> Tensor:
        half = 0.5 * self.df
        spread = (half + 0.5) * (torch.digamma(half + 0.5) - torch.digamma(half))
        return (self.log_scale + spread - self._constant()).sum(-1)


def _kl_normal(q: LocationScale, p: DiagonalNormal) -> Tensor:
    squares = (q.variance + (q.mean - p.loc).square()) * (-2 * p.log_scale).exp()
    return (0.5 * squares + p.log_scale + HALF_LOG_2PI).sum(-1) - q.entropy()


for _family in (LogisticLatent, LaplaceLatent, StudentLatent):
    register_kl(_family, DiagonalNormal)(_kl_normal)


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


class LogisticHead(nn.Module):
    """Head of independent logistic codes: 2 d numbers."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = 2 * latent

    def forward(self, h: Tensor) -> LogisticLatent:
        loc, raw = wide(h).chunk(2, -1)
        return LogisticLatent(loc, soft_clip(raw, *LOG_SCALE))


class LaplaceHead(nn.Module):
    """Head of independent Laplace codes: 2 d numbers."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = 2 * latent

    def forward(self, h: Tensor) -> LaplaceLatent:
        loc, raw = wide(h).chunk(2, -1)
        return LaplaceLatent(loc, soft_clip(raw, *LOG_SCALE))


class StudentHead(nn.Module):
    """Head of independent Student codes whose degrees of freedom, above 2, the network says: 3 d
    numbers; a draw takes 2 d."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size, self.noise_size = 3 * latent, 2 * latent

    def forward(self, h: Tensor) -> StudentLatent:
        loc, raw, tail = wide(h).chunk(3, -1)
        df = 2 + soft_clip(tail + NEAR_NORMAL, *TAIL).exp()
        return StudentLatent(loc, soft_clip(raw, *LOG_SCALE), df)
