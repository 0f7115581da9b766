"""Numbers for the cells of columns, which neighbours in an ordered column share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KNOTS = 16  # pieces of a curve at most
OWN = 0.1  # of a cell's own numbers beside a curve


class Curves(nn.Module):
    """Adds to the numbers of the cells of some columns a curve of `width` numbers over them.

    The curve is linear between up to 17 knots, evenly spaced over the column's cells, so that what
    one cell has learnt its neighbours know; a cell's own numbers, made smaller by `OWN` and so
    slower to learn, say in what it differs. Smoothing by a spline basis: Eilers & Marx 1996.
    levels: cells of each column · curved: which columns have a curve, one at least · std: of the
    knots at first.
    """

    knot: Tensor
    place: Tensor
    shared: Tensor

    def __init__(
        self, levels: Sequence[int], curved: Sequence[bool], width: int, std: float
    ) -> None:
        super().__init__()
        knots, places, shared, count = [], [], [], 0
        for n, has_curve in zip(levels, curved, strict=True):
            pieces = min(n - 1, KNOTS) if has_curve else 0
            at = torch.linspace(0, pieces, n)
            left = at.long().clamp(max=max(0, pieces - 1))
            knots.append(left + count if has_curve else left)
            places.append(at - left)
            shared.append(torch.full((n,), has_curve))
            count += pieces + 1 if has_curve else 0
        self.register_buffer("knot", torch.cat(knots), persistent=False)
        self.register_buffer("place", torch.cat(places).unsqueeze(1), persistent=False)
        self.register_buffer("shared", torch.cat(shared).unsqueeze(1), persistent=False)
        self.knots = nn.Parameter(std * torch.randn(count, width))

    def forward(self, own: Tensor, cells: slice) -> Tensor:
        """The numbers of cells `cells`, of which `own` (cells, width) are theirs alone."""
        knot, shared = self.knot[cells], self.shared[cells]
        ends = F.embedding(knot, self.knots), F.embedding(knot + 1, self.knots)
        return torch.where(shared, OWN * own + torch.lerp(*ends, self.place[cells]), own)
