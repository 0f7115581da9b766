"""Dirichlet and Beta codes: shares of a whole, and numbers from 0 to 1.

Both are made of gamma variables, each the quantile of one standard normal number, so that a draw
is exact and a smooth function of the distribution's numbers: its gradient is the implicit one
(Figurnov et al. 2018, arXiv:1805.08498). Logarithms of gammas are what is kept: of a small shape
most draws are below the smallest number of the machine.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.batch import Batch
from vaes.dist.base import Latent, soft_clip, wide
from vaes.dist.priors import Prior
from vaes.errors import UsageError

LOG_SHAPE = (math.log(0.01), math.log(1e4))  # of a head's gammas
NEAR_ZERO = -30.0  # log of a gamma below which the first term of its series is exact
STEPS = 7  # of Newton's method; each doubles the digits
STRIDE = 3.0  # the longest step in log x
NUDGE = 1e-4  # relative, of the difference that stands for the derivative by the shape


class _LogGamma(torch.autograd.Function):
    """log of the Gamma(shape, 1) quantile at Phi(noise), in float64."""

    @staticmethod
    def forward(ctx: Any, shape: Tensor, noise: Tensor) -> Tensor:
        t = _log_quantile(shape, noise)
        ctx.save_for_backward(shape, noise, t)
        return t

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,), (a, noise, t) = grads, ctx.saved_tensors
        # F(a, t) = log P (or log Q) is held at log Phi(noise): dt/da = -F_a / F_t
        small, lower = t < NEAR_ZERO, noise < 0
        log_density = a * t - t.exp() - a.lgamma()  # of t
        log_tail = torch.special.log_ndtr(-noise.abs())
        slope = (log_density - log_tail).exp() * torch.where(lower, 1.0, -1.0)
        step = NUDGE * a
        change = (_log_tail(a + step, t, lower) - _log_tail(a - step, t, lower)) / (2 * step)
        by_shape = -change / slope
        first = (torch.special.digamma(a + 1) - t) / a  # t = (log Phi + lgamma(a + 1)) / a
        by_shape = torch.where(small, first, by_shape)
        normal = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
        by_noise = torch.where(
            small,
            (normal - torch.special.log_ndtr(noise)).exp() / a,
            (normal - log_density).exp(),
        )
        return grad * by_shape, grad * by_noise


def _log_tail(a: Tensor, t: Tensor, lower: Tensor) -> Tensor:
    """log P(a, e^t) where `lower`, else log Q(a, e^t)."""
    x = t.exp()
    tail = torch.where(lower, torch.special.gammainc(a, x), torch.special.gammaincc(a, x))
    return tail.clamp(min=torch.finfo(tail.dtype).tiny).log()


def _log_quantile(a: Tensor, noise: Tensor) -> Tensor:
    """t with P(a, e^t) = Phi(noise): by Newton on the logarithm of the smaller tail, which is
    concave in t."""
    a, noise = torch.broadcast_tensors(a, noise)
    lower, target = noise < 0, torch.special.log_ndtr(-noise.abs())
    first = (torch.special.log_ndtr(noise) + (a + 1).lgamma()) / a  # P = x^a / Gamma(a + 1) + ...
    # Wilson & Hilferty's normal of the cube root, where the shape is not small
    root = 1 - 1 / (9 * a) + noise / (3 * a.sqrt())
    t = torch.where((a > 0.5) & (root > 0.1), a.log() + 3 * root.clamp(min=0.1).log(), first)
    for _ in range(STEPS):
        log_density = a * t - t.exp() - a.lgamma()
        found = _log_tail(a, t, lower)
        slope = (log_density - found).exp() * torch.where(lower, 1.0, -1.0)
        step = (target - found) / slope
        t = t + step.nan_to_num(0.0).clamp(-STRIDE, STRIDE)
    return torch.where(first < NEAR_ZERO, first, t)


def log_gamma(shape: Tensor, noise: Tensor) -> Tensor:
    """Logarithms of Gamma(shape, 1) draws out of standard normal `noise`; the two broadcast.

    Rises with the noise; differentiable once in both.
    """
    wide_shape, wide_noise = torch.broadcast_tensors(shape.double(), noise.double())
    return _LogGamma.apply(wide_shape, wide_noise).to(noise.dtype)  # type: ignore[union-attr]


class DirichletLatent(Latent):
    """Shares of a whole: Dirichlet(`alpha`), alpha (*batch, d) above 0.

    Densities are with respect to the first d - 1 shares. Shares below the smallest number of their
    type are that number.
    """

    support = constraints.simplex  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, alpha: Tensor) -> None:
        self.alpha = alpha
        super().__init__(alpha.shape[:-1], alpha.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.alpha / self.alpha.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total, mean = self.alpha.sum(-1, keepdim=True), self.mean
        return mean * (1 - mean) / (total + 1)

    def draw(self, noise: Tensor) -> Tensor:
        shares = log_gamma(self.alpha, noise).log_softmax(-1).exp()
        return shares.clamp(min=torch.finfo(shares.dtype).tiny)

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.alpha))

    def log_prob(self, value: Tensor) -> Tensor:
        log_shares = value.clamp(min=torch.finfo(value.dtype).tiny).log()
        return ((self.alpha - 1) * log_shares).sum(-1) - _log_beta(self.alpha)


class BetaLatent(Latent):
    """Independent Beta(`alpha`, `beta`) per dimension, both (*batch, d); a draw takes two numbers
    of noise for each."""

    support = constraints.independent(constraints.unit_interval, 1)  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        self.alpha, self.beta = torch.broadcast_tensors(alpha, beta)
        super().__init__(self.alpha.shape[:-1], self.alpha.shape[-1])

    @property
    def noise_size(self) -> int:
        return 2 * self.event_shape[0]

    @property
    def mean(self) -> Tensor:
        return self.alpha / (self.alpha + self.beta)

    @property
    def variance(self) -> Tensor:
        mean = self.mean
        return mean * (1 - mean) / (self.alpha + self.beta + 1)

    def draw(self, noise: Tensor) -> Tensor:
        of, beside = noise.chunk(2, -1)
        return _inside((log_gamma(self.alpha, of) - log_gamma(self.beta, beside)).sigmoid())

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.alpha))

    def log_prob(self, value: Tensor) -> Tensor:
        value = _inside(value)
        logs = (self.alpha - 1) * value.log() + (self.beta - 1) * (-value).log1p()
        return (logs - self._log_beta()).sum(-1)

    def _log_beta(self) -> Tensor:
        return _log_beta(torch.stack([self.alpha, self.beta], -1))


def _inside(value: Tensor) -> Tensor:
    kind = torch.finfo(value.dtype)
    return value.clamp(kind.tiny, 1 - kind.eps / 2)


def _log_beta(alpha: Tensor) -> Tensor:
    """log of the Beta function of the last axis."""
    return alpha.lgamma().sum(-1) - alpha.sum(-1).lgamma()


@register_kl(DirichletLatent, DirichletLatent)
def _kl_dirichlet(q: DirichletLatent, p: DirichletLatent) -> Tensor:
    log_share = q.alpha.digamma() - q.alpha.sum(-1, keepdim=True).digamma()
    return ((q.alpha - p.alpha) * log_share).sum(-1) - _log_beta(q.alpha) + _log_beta(p.alpha)


@register_kl(BetaLatent, BetaLatent)
def _kl_beta(q: BetaLatent, p: BetaLatent) -> Tensor:
    both = [torch.stack([b.alpha, b.beta], -1) for b in (q, p)]
    return _kl_dirichlet(DirichletLatent(both[0]), DirichletLatent(both[1])).sum(-1)


class DirichletHead(nn.Module):
    """Head of a Dirichlet: d logarithms of its numbers."""

    space = "simplex"

    def __init__(self, latent: int) -> None:
        super().__init__()
        if latent < 2:
            raise UsageError(f"latent={latent}: shares of a whole are at least two")
        self.latent, self.size = latent, latent

    def forward(self, h: Tensor) -> DirichletLatent:
        return DirichletLatent(soft_clip(wide(h), *LOG_SHAPE).exp())


class BetaHead(nn.Module):
    """Head of a Beta for each dimension: 2 d logarithms of its numbers, from 1/2 on: of fewer, most
    draws round to 0 or 1."""

    space = "unit"

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent, self.size, self.noise_size = latent, 2 * latent, 2 * latent

    def forward(self, h: Tensor) -> BetaLatent:
        alpha, beta = soft_clip(wide(h), math.log(0.5), LOG_SHAPE[1]).exp().chunk(2, -1)
        return BetaLatent(alpha, beta)


class DirichletPrior(Prior):
    """Dirichlet with `alpha` for each share: below 1, few of them are large."""

    space = "simplex"
    alpha: Tensor

    def __init__(self, size: int, alpha: float = 1.0) -> None:
        super().__init__()
        if not 0 < alpha < math.inf:
            raise UsageError(f"alpha={alpha}: a Dirichlet takes a number above 0")
        self.register_buffer("alpha", torch.full((size,), float(alpha)), persistent=False)

    def forward(self, model: object, batch: Batch) -> DirichletLatent:
        return DirichletLatent(self.alpha.expand(len(batch), -1))


class BetaPrior(Prior):
    """Beta(alpha, beta) for each dimension; uniform unless said otherwise."""

    space = "unit"
    numbers: Tensor

    def __init__(self, size: int, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        if not (0.5 <= alpha < math.inf and 0.5 <= beta < math.inf):
            raise UsageError(f"alpha={alpha}, beta={beta}: a Beta of codes takes numbers from 1/2")
        numbers = torch.tensor([[alpha], [beta]], dtype=torch.float32).expand(2, size)
        self.register_buffer("numbers", numbers.clone(), persistent=False)

    def forward(self, model: object, batch: Batch) -> BetaLatent:
        return BetaLatent(*self.numbers.unsqueeze(1).expand(2, len(batch), -1))
