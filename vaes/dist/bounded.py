"""Likelihoods of reals within a known range: the continuous Bernoulli and a truncated Gaussian.

The range is in the user's units. Values on a grid (grey levels) are not reals within a range, which
would have a density that no cell of the grid bounds: they are pixels, and have likelihoods of their
own. Sources: Loaiza-Ganem & Cunningham 2019 (arXiv:1907.06845); Burkardt 2014 for the truncated
normal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import HALF_LOG_2PI, Likelihood, filled, masked, soft_clip, wide
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE
from vaes.dist.scales import Scale
from vaes.errors import UsageError

if TYPE_CHECKING:
    from vaes.batch import Data, Spec

NEAR = 0.05  # logits at which the series takes the place of the closed form
SLACK = 1e-5  # of the range: values that rounding put beyond an end


def log_normaliser(logit: Tensor) -> Tensor:
    """log C with C = 2 atanh(1 - 2 p) / (1 - 2 p) = logit / tanh(logit / 2), p = sigmoid(logit):
    2 at 1/2, and even. Near 0 its Taylor series, to 1e-12."""
    square = logit.square()
    series = math.log(2) + square / 12 * (1 - square / 120 * (7 - square * 62 / 126))
    far = torch.where(logit.abs() < NEAR, torch.full_like(logit, NEAR), logit).abs()
    exact = far.log() + (-far).exp().log1p() - (-torch.expm1(-far)).log()
    return torch.where(logit.abs() < NEAR, series, exact)


class ContinuousBernoulli(Likelihood):
    """p(x|z) = prod_i C(p) p^u (1 - p)^(1 - u) / width_i at u = (x - low) / width in [0, 1]."""

    def __init__(self, logits: Tensor, low: Tensor, width: Tensor, event_dims: int) -> None:
        super().__init__(logits, event_dims)
        self.logits, self.low, self.width = logits, low, width

    @property
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.low + self.width)

    @property
    def mean(self) -> Tensor:
        # p / (2p - 1) + 1 / (2 atanh(1 - 2p)) = 1/2 + coth(logit/2)/2 - 1/logit
        near = self.logits.abs() < NEAR
        far = torch.where(near, torch.ones_like(self.logits), self.logits)
        exact = 0.5 / torch.tanh(far / 2) - 1 / far
        series = self.logits / 12 * (1 - self.logits.square() / 60)
        return self.low + self.width * (0.5 + torch.where(near, series, exact))

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        u, beyond = placed(x, self.low, self.width, mask)
        softplus = F.softplus(self.logits, threshold=40.0)
        log_p = u * self.logits - softplus + log_normaliser(self.logits) - self.width.log()
        return masked(log_p.masked_fill(beyond, -torch.inf), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        v = torch.rand(
            self.logits.shape,
            generator=generator,
            dtype=self.logits.dtype,
            device=self.logits.device,
        )
        return self.low + self.width * exponential_place(v, self.logits)


class TruncatedNormal(Likelihood):
    """N(loc_i, exp(log_scale_i)^2) within [low_i, low_i + width_i], renormalised."""

    def __init__(
        self, loc: Tensor, log_scale: Tensor, low: Tensor, width: Tensor, event_dims: int
    ) -> None:
        super().__init__(loc, event_dims)
        self.loc, self.log_scale, self.low, self.width = loc, log_scale, low, width

    @property
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.low + self.width)

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Both ends in standard units, mirrored so that the tail that holds the mass is the lower
        one, and which were; in float64, since a range far out has next to no mass."""
        loc, inverse = self.loc.double(), (-self.log_scale.double()).exp()
        a, b = (self.low - loc) * inverse, (self.low + self.width - loc) * inverse
        flip = a + b > 0
        return torch.where(flip, -b, a), torch.where(flip, -a, b), flip

    def _log_mass(self) -> Tensor:
        a, b, _ = self._ends()
        upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        return upper + torch.log(-torch.expm1(lower - upper))

    @property
    def mean(self) -> Tensor:
        a, b, flip = self._ends()
        log_mass = self._log_mass()
        tilt = (-0.5 * a.square() - HALF_LOG_2PI - log_mass).exp()
        tilt = tilt - (-0.5 * b.square() - HALF_LOG_2PI - log_mass).exp()
        moved = torch.where(flip, -tilt, tilt).clamp(
            torch.where(flip, -b, a), torch.where(flip, -a, b)
        )
        return (self.loc + self.log_scale.exp() * moved).to(self.loc.dtype)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        u, beyond = placed(x, self.low, self.width, mask)
        standard = (self.low + self.width * u - self.loc).double() * (
            -self.log_scale.double()
        ).exp()
        log_p = -0.5 * standard.square() - self.log_scale - HALF_LOG_2PI - self._log_mass()
        return masked(log_p.to(self.loc.dtype).masked_fill(beyond, -torch.inf), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        a, b, flip = self._ends()
        u = torch.rand(a.shape, generator=generator, dtype=a.dtype, device=a.device)
        upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        # log of Phi(a) + u (Phi(b) - Phi(a)), whose normal quantile is the place
        log_p = upper + torch.log(u + (1 - u) * (lower - upper).exp())
        z = quantile(log_p).clamp(a, b)
        x = self.loc + self.log_scale.exp() * torch.where(flip, -z, z)
        return x.to(self.loc.dtype).clamp(self.low, self.low + self.width)


def quantile(log_p: Tensor) -> Tensor:
    """z with log Phi(z) = log_p, by Newton's steps on log Phi: far tails lose no digits."""
    p = log_p.exp()
    far = -(-2 * log_p).clamp(min=1e-12).sqrt()  # log Phi(z) ~ -z^2 / 2
    z = torch.where(p > 1e-5, torch.special.ndtri(p.clamp(1e-5, 1 - 1e-12)), far)
    for _ in range(6):
        value = torch.special.log_ndtr(z)
        slope = (-0.5 * z.square() - HALF_LOG_2PI - value).exp()
        z = z - (value - log_p) / slope.clamp(min=1e-12)
    return z


def exponential_place(v: Tensor, rate: Tensor) -> Tensor:
    """Quantile v of the density on [0, 1] that goes as exp(rate u)."""
    near = rate.abs() < 1e-4
    r = torch.where(near, torch.ones_like(rate), rate)
    # mirrored to falling densities, where expm1 cannot overflow
    w = torch.where(r > 0, 1 - v, v)
    place = torch.log1p(w * torch.expm1(-r.abs())) / -r.abs()
    place = torch.where(r > 0, 1 - place, place)
    return torch.where(near, v, place).clamp(0, 1)


def placed(x: Tensor, low: Tensor, width: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where x lies in the range, 0 to 1, and whether it lies beyond an end."""
    u = (filled(x, mask) - low) / width
    beyond = (u < -SLACK) | (u > 1 + SLACK)
    return u.clamp(0, 1), beyond if mask is None else beyond & mask


class Range(nn.Module):
    """A known range of reals (user's units) in the standardised units of `spec`, per entry."""

    low: Tensor
    width: Tensor

    def __init__(self, spec: Spec, low: float, high: float) -> None:
        super().__init__()
        if not low < high:
            raise UsageError(f"low={low}, high={high}: a range has low below high")
        shift, scale = (
            torch.tensor(v, dtype=torch.float64).expand(spec.size).reshape(spec.shape)
            for v in (spec.shift, spec.scale)
        )
        self.ends = (low, high)
        self.register_buffer("low", ((low - shift) / scale).float(), persistent=False)
        self.register_buffer("width", ((high - low) / scale).float(), persistent=False)

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Refuses training rows that lie beyond the range."""
        for batch in data.batches(1000):
            _, beyond = placed(batch.x, self.low, self.width, batch.mask)
            if beyond.any():
                low, high = self.ends
                raise UsageError(
                    f"a training value lies beyond {low:g} to {high:g}, the range that the "
                    "likelihood was given; widen likelihood.low and likelihood.high, or take normal"
                )


class Continuous(nn.Module):
    """Head of a continuous Bernoulli over reals from `low` to `high`: a logit for each entry."""

    def __init__(self, spec: Spec, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.shape, self.size = spec.shape, spec.size
        self.range = Range(spec, low, high)

    def forward(self, h: Tensor) -> ContinuousBernoulli:
        logits = wide(h).unflatten(-1, self.shape)
        return ContinuousBernoulli(logits, self.range.low, self.range.width, len(self.shape))


class Truncated(nn.Module):
    """Head of a Gaussian truncated to `low` ... `high`; `scale` as `vaes.dist.scales` has it.

    The location stays within one width of the range, beyond which the density is one slope.
    """

    def __init__(self, spec: Spec, low: float, high: float, scale: str | float) -> None:
        super().__init__()
        self.shape, self.entries = spec.shape, spec.size
        self.range = Range(spec, low, high)
        self.scale = Scale(self.shape, scale, LIKELIHOOD_LOG_SCALE)
        self.size = self.entries + self.scale.size

    def forward(self, h: Tensor) -> TruncatedNormal:
        h, low, width = wide(h), self.range.low, self.range.width
        # in units of the range: at most a width beyond either end
        place = (h[..., : self.entries].unflatten(-1, self.shape) - low) / width
        loc = low + width * soft_clip(10 * place, -10.0, 20.0) / 10
        return TruncatedNormal(loc, self.scale(h[..., self.entries :]), low, width, len(self.shape))
