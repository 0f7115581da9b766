"""Levels that have an order and no distances: cumulative links (McCullagh 1980).

A row says one number for each entry, and where between them the levels begin is learned once for
all rows: P(k <= j) = sigmoid(cut_j - eta). Source: doi:10.1111/j.2517-6161.1980.tb01109.x
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide

LOG_GAP = (-9.0, 5.0)  # of cuts beside one another
FARTHEST = 30.0  # of eta: no cut lies beyond


class OrdinalLikelihood(Likelihood):
    """P(k) = sigmoid(cut_k - eta) - sigmoid(cut_{k-1} - eta), open at both ends.

    `eta` (*k, n, *shape), `cuts` (*shape or ones, levels - 1) rising. x lies on the grid
    k / (levels - 1) of [0, 1].
    """

    def __init__(self, eta: Tensor, cuts: Tensor, event_dims: int) -> None:
        super().__init__(eta, event_dims)
        self.eta, self.cuts, self.levels = eta, cuts, cuts.shape[-1] + 1

    @property
    def support(self) -> Any:
        return constraints.interval(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        """Of the places on the grid: sum over k >= 1 of P(X >= k)."""
        total = torch.zeros_like(self.eta)
        for j in range(self.levels - 1):
            total = total + (self.eta - self.cuts[..., j]).sigmoid()
        return total / (self.levels - 1)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        code = (filled(x, mask) * (self.levels - 1)).round().long()
        cuts = self.cuts.expand(*code.shape, -1)
        last = self.levels - 2
        high = cuts.gather(-1, code.clamp(max=last).unsqueeze(-1)).squeeze(-1)
        low = cuts.gather(-1, (code - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
        top, bottom = code > last, code < 1
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^{a-b}): no cancellation anywhere
        upper = F.softplus(self.eta - high, threshold=40.0).masked_fill(top, 0.0)
        lower = F.softplus(low - self.eta, threshold=40.0).masked_fill(bottom, 0.0)
        ends = top | bottom
        gap = torch.where(ends, torch.ones_like(high), high - low)
        width = torch.log(-torch.expm1(-gap)).masked_fill(ends, 0.0)
        return masked(width - upper - lower, mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        eta = self.eta
        u = torch.rand(eta.shape, generator=generator, dtype=eta.dtype, device=eta.device)
        at = (eta + u.logit(eps=1e-7)).unsqueeze(-1)  # a logistic that the cuts sort
        return (at > self.cuts).sum(-1).to(eta.dtype) / (self.levels - 1)


class Ordinal(nn.Module):
    """Head of ordered levels: eta for each entry; cuts of each column of flat rows, one set of them
    in an image."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.levels, self.size = tuple(shape), levels, math.prod(shape)
        entries = self.shape if len(self.shape) == 1 else (1,) * len(self.shape)
        self.first = nn.Parameter(torch.zeros(entries))
        gaps = levels - 2
        self.gaps = nn.Parameter(torch.zeros(*entries, gaps)) if gaps else None
        # at eta = 0 a logistic of scale 1 has its levels about evenly within -3 ... 3
        self.step = math.log(6.0 / max(1, gaps))

    def cuts(self) -> Tensor:
        """Rising cuts, (*shape or ones, levels - 1), around 0 at first."""
        first = self.first.unsqueeze(-1) - (3.0 if self.gaps is not None else 0.0)
        if self.gaps is None:
            return first
        gaps = soft_clip(self.gaps + self.step, *LOG_GAP).exp()
        return torch.cat([first, first + gaps.cumsum(-1)], -1)

    def forward(self, h: Tensor) -> OrdinalLikelihood:
        eta = soft_clip(wide(h).unflatten(-1, self.shape), -FARTHEST, FARTHEST)
        return OrdinalLikelihood(eta, self.cuts(), len(self.shape))
