"""Coupling steps of a posterior: half of z moves while the other half and the row say how.

Sources: Dinh et al. 2017, arXiv:1605.08803 (affine); Durkan et al. 2019, arXiv:1906.04032, sec. 3.1
(rational-quadratic splines of Gregory & Delbourgo 1982).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaes.dist.flowed import FlowStep
from vaes.dist.flows import NEARLY, STRETCH

LEAST = 1e-3  # width, height and slope of a bin
EVEN = math.log(math.expm1(1 - LEAST))  # raw slope at which a knot has slope 1


class Coupling(FlowStep):
    """The dimensions of which `still` (d,) is 1 stand still; the others go through a map that a
    network of one hidden layer of `width` makes of those and of the context. Both ways one pass.

    bins: 0 for exp(s) z + m, else of a monotone spline within -`reach` ... `reach` beyond which
    nothing moves.
    """

    still: Tensor
    moving: Tensor

    def __init__(
        self, still: Tensor, width: int, context: int, bins: int = 0, reach: float = 4.0
    ) -> None:
        super().__init__()
        self.bins, self.reach = bins, reach
        self.register_buffer("still", still.nonzero().squeeze(-1), persistent=False)
        self.register_buffer("moving", (still == 0).nonzero().squeeze(-1), persistent=False)
        self.each = 3 * bins - 1 if bins else 2
        last = nn.Linear(width, self.each * len(self.moving))
        nn.init.normal_(last.weight, std=NEARLY)
        nn.init.zeros_(last.bias)
        self.seen = nn.Linear(len(self.still), width, bias=False) if len(self.still) else None
        self.context, self.last = nn.Linear(context, width), last

    def forward(self, z: Tensor, h: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        hidden = self.context(h)
        if self.seen is not None:
            hidden = hidden + self.seen(z[..., self.still])
        numbers = self.last(F.silu(hidden)).unflatten(-1, (-1, self.each))
        part = z[..., self.moving]
        numbers = numbers.expand(*part.shape, self.each)
        if self.bins:
            part, change = spline(part, numbers, self.reach, back)
        else:
            raw, shift = numbers.unbind(-1)
            change = STRETCH * torch.tanh(raw / STRETCH)
            part = (part - shift) * (-change).exp() if back else part * change.exp() + shift
        return z.index_copy(-1, self.moving, part), change.sum(-1)


def spline(x: Tensor, raw: Tensor, reach: float, back: bool = False) -> tuple[Tensor, Tensor]:
    """A monotone piecewise rational-quadratic map of x (...) by `raw` (..., 3 bins - 1), or what x
    is the image of, and the log-slope of the map there.

    Knots from (-reach, -reach) to (reach, reach), slope 1 at both ends and the identity beyond. The
    identity where `raw` is 0.
    """
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw.split([bins, bins, bins - 1], -1)
    across, up = _knots(widths, reach), _knots(heights, reach)
    slopes = F.pad(LEAST + F.softplus(slopes + EVEN), (1, 1), value=1.0)
    inside = x.abs() < reach
    at = torch.where(inside, x, torch.zeros_like(x)).unsqueeze(-1)
    place = (at >= (up if back else across)[..., 1:-1]).sum(-1, keepdim=True)
    left, bottom = across.gather(-1, place), up.gather(-1, place)
    width = across.gather(-1, place + 1) - left
    height = up.gather(-1, place + 1) - bottom
    d0, d1 = slopes.gather(-1, place), slopes.gather(-1, place + 1)
    s = height / width
    bend = d0 + d1 - 2 * s
    if back:
        y = at - bottom
        a, b = height * (s - d0) + y * bend, height * d0 - y * bend
        # 2 c / (-b - sqrt) is the root within the bin, without the difference of two near numbers
        root = (b.square() + 4 * a * s * y).clamp(min=0).sqrt()
        t = 2 * s * y / (b + root)
        found = left + t * width
    else:
        t = (at - left) / width
        found = bottom + height * (s * t.square() + d0 * t * (1 - t)) / (s + bend * t * (1 - t))
    slope = s.square() * (d1 * t.square() + 2 * s * t * (1 - t) + d0 * (1 - t).square())
    log_slope = slope.log() - 2 * (s + bend * t * (1 - t)).log()
    found, log_slope = found.squeeze(-1), log_slope.squeeze(-1)
    return torch.where(inside, found, x), torch.where(inside, log_slope, torch.zeros_like(x))


def _knots(raw: Tensor, reach: float) -> Tensor:
    """Bins of at least `LEAST` of the whole, as knots from -reach to reach, (..., bins + 1)."""
    bins = raw.shape[-1]
    share = LEAST + (1 - LEAST * bins) * raw.softmax(-1)
    ends = share.cumsum(-1)[..., :-1]
    return reach * F.pad(F.pad(2 * ends - 1, (1, 0), value=-1.0), (0, 1), value=1.0)
