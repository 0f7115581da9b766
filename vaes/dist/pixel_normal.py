"""The discretised Gaussian: levels on a grid, by the mass that a Gaussian has in each cell.

What a learned Gaussian noise level is for reals (Rybkin et al. 2021) this is for pixels: a
probability of the level, not a density over reals that 8 bits never fill. Source of the cells: Ho
et al. 2020 (arXiv:2006.11239), eq. 13.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Likelihood, filled, masked, wide
from vaes.dist.scales import Scale


class DiscretisedNormal(Likelihood):
    """P(k) = Phi((e_{k+1} - mu) / s) - Phi((e_k - mu) / s), e_k = k / levels, open at both ends.

    x lies on the grid k / (levels - 1) of [0, 1]; `loc` and `log_scale` are in units of the same
    interval.
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
            total = total + torch.special.ndtr((self.loc - k / self.levels) * scale)
        return total / (self.levels - 1)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n = self.levels
        k = (filled(x, mask) * (n - 1)).round()
        # in float64: of a cell far narrower than s the difference is all that is left
        inverse, loc = (-self.log_scale.double()).exp(), self.loc.double()
        low, high = (k / n - loc) * inverse, ((k + 1) / n - loc) * inverse
        first, last = k < 0.5, k > n - 1.5
        # the side on which both tails are small
        flip = low + high > 0
        a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
        upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        inside = upper + torch.log(-torch.expm1(lower - upper))
        ends = torch.special.log_ndtr(torch.where(first, high, -low))
        return masked(torch.where(first | last, ends, inside).to(self.loc.dtype), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        loc, n = self.loc, self.levels
        e = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        return ((loc + self.log_scale.exp() * e) * n).floor().clamp(0, n - 1) / (n - 1)


class PixelNormal(nn.Module):
    """Head of a discretised Gaussian over rows of `shape` with `levels` levels.

    `scale` as `vaes.dist.scales` has it, in units of the whole range of levels; softly clipped from
    below at a fiftieth of a cell.
    """

    def __init__(self, shape: tuple[int, ...], levels: int, scale: str | float = "network") -> None:
        super().__init__()
        self.shape, self.levels, self.entries = tuple(shape), levels, math.prod(shape)
        self.scale = Scale(self.shape, scale, (-math.log(levels) - 4.0, 3.0), start=-1.5)
        self.size = self.entries + self.scale.size

    def forward(self, h: Tensor) -> DiscretisedNormal:
        h = wide(h)
        loc = h[..., : self.entries].unflatten(-1, self.shape) + 0.5
        log_scale = self.scale(h[..., self.entries :])
        return DiscretisedNormal(loc, log_scale, self.levels, len(self.shape))
