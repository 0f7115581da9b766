"""Point codes that are not just any: few units at a time, units in (0, 1), points of a ball."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaes.dist.base import wide
from vaes.dist.point import Point
from vaes.errors import UsageError


class TopHead(nn.Module):
    """The `keep` units of the largest magnitude as they are, the others 0 (Makhzani & Frey 2013,
    arXiv:1312.5663; there the largest activations); the gradient flows through those kept."""

    def __init__(self, latent: int, keep: int) -> None:
        super().__init__()
        if not 1 <= keep <= latent:
            raise UsageError(f"keep={keep}: of {latent} units 1 to {latent} can be kept")
        self.size, self.keep = latent, keep

    def forward(self, h: Tensor) -> Point:
        h = wide(h)
        kept = h.abs().topk(self.keep, -1).indices
        return Point(h * torch.zeros_like(h).scatter(-1, kept, 1.0))


class UnitHead(nn.Module):
    """Codes within (0, 1), the sigmoid of d numbers: activations that a share can be asked of."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = latent

    def forward(self, h: Tensor) -> Point:
        return Point(wide(h).sigmoid())


class BallHead(nn.Module):
    """Codes in the unit ball: what lies outside is moved to its surface (Bojanowski et al. 2018,
    arXiv:1707.05776, sec. 3)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = latent

    def forward(self, h: Tensor) -> Point:
        h = wide(h)
        return Point(h / torch.linalg.vector_norm(h, dim=-1, keepdim=True).clamp(min=1.0))
