"""Likelihoods of reals with heavier tails than a Gaussian: Laplace and Student's t.

An entry that is far off costs its distance (Laplace) or the logarithm of it (Student), not its
square, so that single wild values do not bend the rest. Sources: Takahashi et al. 2018
(doi:10.24963/ijcai.2018/374) for Student's t in variational autoencoders.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE
from vaes.dist.scales import Scale
from vaes.errors import UsageError

LOG_DF = (0.0, math.log(1000.0))  # of degrees of freedom: a mean exists, beyond it is a Gaussian
START_DF = math.log(8.0)
PACE = 5.0  # of learned degrees of freedom beside other weights: logarithms have far to go


class LaplaceLikelihood(Likelihood):
    """p(x|z) = prod_i exp(-|x_i - loc_i| / b_i) / (2 b_i), b = exp(`log_scale`)."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int) -> None:
        super().__init__(loc, event_dims)
        self.loc, self.log_scale = loc, log_scale

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 2 * (2 * self.log_scale).exp().expand_as(self.loc)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        standard = (filled(x, mask) - self.loc).abs() * (-self.log_scale).exp()
        return masked(-standard - self.log_scale - math.log(2), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        u = _uniform(self.loc, generator) - 0.5
        # |u| < 1/2 by the width of a float, whose logarithm is finite
        tail = (1 - 2 * u.abs()).clamp(min=1e-30)
        return self.loc - self.log_scale.exp() * u.sign() * tail.log()


class StudentLikelihood(Likelihood):
    """Student's t with exp(`log_df`) degrees of freedom, location `loc`, scale exp(`log_scale`)."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, loc: Tensor, log_scale: Tensor, log_df: Tensor, event_dims: int) -> None:
        super().__init__(loc, event_dims)
        self.loc, self.log_scale, self.log_df = loc, log_scale, log_df

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Infinite up to two degrees of freedom."""
        df = self.log_df.exp()
        found = torch.where(df > 2, df / (df - 2).clamp(min=1e-6), torch.full_like(df, torch.inf))
        return (found * (2 * self.log_scale).exp()).expand_as(self.loc)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        standard = (filled(x, mask) - self.loc) * (-self.log_scale).exp()
        # in float64: both lgammas grow with df, their difference does not
        df = self.log_df.double().exp()
        norm = ((df + 1) / 2).lgamma() - (df / 2).lgamma() - 0.5 * (math.pi * df).log()
        tail = (standard.square() * (-self.log_df).exp()).log1p()
        power = 0.5 * (self.log_df.exp() + 1)
        return masked(norm.to(standard) - self.log_scale - power * tail, mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        loc, half = self.loc, 0.5 * self.log_df.exp()
        normal = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        shape = half.expand_as(loc).contiguous()
        chi = torch._standard_gamma(shape, generator=generator)  # type: ignore[attr-defined]
        return loc + self.log_scale.exp() * normal * (half / chi.clamp(min=1e-30)).sqrt()


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


class Laplace(nn.Module):
    """Head of a Laplace likelihood over rows of `shape`; `scale` as `vaes.dist.scales` has it."""

    def __init__(self, shape: tuple[int, ...], scale: str | float = "shared") -> None:
        super().__init__()
        self.shape, self.entries = tuple(shape), math.prod(shape)
        self.scale = Scale(self.shape, scale, LIKELIHOOD_LOG_SCALE)
        self.size = self.entries + self.scale.size

    def forward(self, h: Tensor) -> LaplaceLikelihood:
        h = wide(h)
        loc = h[..., : self.entries].unflatten(-1, self.shape)
        return LaplaceLikelihood(loc, self.scale(h[..., self.entries :]), len(self.shape))


class Student(nn.Module):
    """Head of Student's t over rows of `shape`; `scale` as `vaes.dist.scales` has it.

    df: degrees of freedom, "shared" (one learned number), "entry" (one for each entry), or a number
    above 1 that stays fixed. Learned ones lie between 1 and 1,000 and start at 8.
    """

    log_df: Tensor

    def __init__(
        self, shape: tuple[int, ...], scale: str | float = "shared", df: str | float = "shared"
    ) -> None:
        super().__init__()
        self.shape, self.entries = tuple(shape), math.prod(shape)
        self.scale = Scale(self.shape, scale, LIKELIHOOD_LOG_SCALE)
        self.size = self.entries + self.scale.size
        self.fixed = not isinstance(df, str)
        if df in ("shared", "entry"):
            size = self.shape if df == "entry" else ()
            self.log_df = nn.Parameter(torch.zeros(size))  # times PACE
        elif isinstance(df, str) or not df > 1:
            raise UsageError(f"df={df}: shared, entry, or a number above 1 that stays fixed")
        else:
            self.register_buffer("log_df", torch.tensor(math.log(cast(float, df))))

    def forward(self, h: Tensor) -> StudentLikelihood:
        h = wide(h)
        loc = h[..., : self.entries].unflatten(-1, self.shape)
        log_df = self.log_df if self.fixed else soft_clip(PACE * self.log_df + START_DF, *LOG_DF)
        log_scale = self.scale(h[..., self.entries :])
        return StudentLikelihood(loc, log_scale, log_df, len(self.shape))
