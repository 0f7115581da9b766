"""A point mass over z: the posterior of a model without one, such as a plain autoencoder."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Latent, wide


class Point(Latent):
    """All mass at `loc` (*batch, d). `log_prob` is with respect to counting measure: 0 or -inf."""

    support = constraints.independent(constraints.real, 1)  # type: ignore[assignment]

    def __init__(self, loc: Tensor) -> None:
        super().__init__(loc.shape[:-1], loc.shape[-1])
        self.loc = loc

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.loc)

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def draw(self, noise: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(noise.shape[:-1], self.batch_shape)
        return self.loc.expand(*lead, -1)

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        here = (value == self.loc).all(-1)
        return torch.where(here, 0.0, -torch.inf).to(self.loc.dtype)


class PointHead(nn.Module):
    """Head of a point mass: d numbers."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = latent

    def forward(self, h: Tensor) -> Point:
        return Point(wide(h))
