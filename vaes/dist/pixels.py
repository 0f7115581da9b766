"""The discretised logistic: a likelihood of integers on a grid, such as grey levels.

Source: Kingma et al. 2016 (arXiv:1606.04934), sec. 5.2; Salimans et al. 2017 (arXiv:1701.05517).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide
from vaes.errors import UsageError


class DiscretisedLogistic(Likelihood):
    """P(k) = sigmoid((e_{k+1} - mu) / s) - sigmoid((e_k - mu) / s), e_k = k / levels.

    The bins at both ends are open, so the mass is 1. x lies on the grid k / (levels - 1) of
    [0, 1]; `loc` and `log_scale` are in units of the same interval.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int, event_dims: int) -> None:
        super().__init__(loc, event_dims)
        self.loc, self.log_scale, self.levels = loc, log_scale, levels

    @property
    def support(self) -> Any:
        return constraints.interval(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        # E k = sum over k >= 1 of P(X >= k); one level at a time keeps the memory of one image
        scale = (-self.log_scale).exp()
        total = torch.zeros_like(self.loc)
        for k in range(1, self.levels):
            total = total + ((self.loc - k / self.levels) * scale).sigmoid()
        return total / (self.levels - 1)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n = self.levels
        k = (filled(x, mask) * (n - 1)).round()
        inverse = (-self.log_scale).exp()
        low, high = (k / n - self.loc) * inverse, ((k + 1) / n - self.loc) * inverse
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^{a-b}): no cancellation anywhere
        upper = torch.where(k > n - 1.5, torch.zeros_like(high), F.softplus(-high, threshold=40.0))
        lower = torch.where(k < 0.5, torch.zeros_like(low), F.softplus(low, threshold=40.0))
        inside = (k > 0.5) & (k < n - 1.5)
        width = torch.log(-torch.expm1(-inverse / n))
        return masked(torch.where(inside, width, torch.zeros_like(width)) - upper - lower, mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        loc, n = self.loc, self.levels
        u = torch.rand(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        real = loc + self.log_scale.exp() * u.logit(eps=1e-7)
        return (real * n).floor().clamp(0, n - 1) / (n - 1)


class Logistic(nn.Module):
    """Head of a discretised logistic likelihood over rows of `shape` with `levels` grey levels.

    `scale` as in the Gaussian head: "network" (default), "entry" or "shared". The log-scale is
    softly clipped from below at a fiftieth of a bin, so that a constant pixel costs next to
    nothing and nothing diverges.
    """

    log_scale: Tensor

    def __init__(self, shape: tuple[int, ...], levels: int, scale: str = "network") -> None:
        super().__init__()
        self.shape, self.levels, entries = tuple(shape), levels, math.prod(shape)
        self.network = scale == "network"
        self.size = entries * (2 if self.network else 1)
        self.bounds = (-math.log(levels) - 4.0, 3.0)
        self.start = -1.5  # a fifth of the interval: wide enough to reach every level at first
        if scale == "entry":
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif not self.network:
            raise UsageError(f"scale {scale}: a logistic takes network, entry or shared")

    def forward(self, h: Tensor) -> DiscretisedLogistic:
        h = wide(h).unflatten(-1, (-1, *self.shape))
        loc = h.select(-1 - len(self.shape), 0) + 0.5
        raw = h.select(-1 - len(self.shape), 1) if self.network else self.log_scale
        log_scale = soft_clip(raw + self.start, *self.bounds)
        return DiscretisedLogistic(loc, log_scale, self.levels, len(self.shape))
