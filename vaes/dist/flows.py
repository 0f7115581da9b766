"""Normal noise through invertible maps: a density whose shape is learnt.

Source: Dinh et al. 2017, arXiv:1605.08803 (affine couplings); as a prior over codes, Chen et al.
2017, arXiv:1611.02731.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import generator
from vaes.dist.base import HALF_LOG_2PI, Latent

STRETCH = 2.0  # a coupling scales by e^-2 ... e^2
NEARLY = 1e-3  # spread of a last layer's first weights: at 0 the layer before it learns nothing


def halves(size: int, layers: int) -> Tensor:
    """1 for the dimensions that stand still in each of `layers` couplings, (layers, size); each
    pair of layers moves every dimension once. A single dimension always moves."""
    draw = torch.Generator().manual_seed(0)
    still = []
    for i in range(layers):
        if i % 2 == 0:
            order = torch.randperm(size, generator=draw)
            half = torch.zeros(size).index_fill(0, order[: size // 2], 1.0)
        still.append(half if i % 2 == 0 or size == 1 else 1 - half)
    return torch.stack(still)


class Couplings(nn.Module):
    """Affine couplings over d dimensions: every other one moves while the rest say how far.

    In order from z to noise; nearly the identity at first. layers: how many, each with its own
    network of one hidden layer of `width`.
    """

    fixed: Tensor

    def __init__(self, size: int, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("fixed", halves(size, layers))
        self.nets = nn.ModuleList()
        for _ in range(layers):
            last = nn.Linear(width, 2 * size)
            nn.init.normal_(last.weight, std=NEARLY)
            nn.init.zeros_(last.bias)
            self.nets.append(nn.Sequential(nn.Linear(size, width), nn.SiLU(), last))

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (…, d) of z (…, d), and log |d noise / d z| (…)."""
        change = torch.zeros_like(z)
        for i, net in enumerate(self.nets):
            log_scale, shift = self._move(net, z, i)
            z = z * log_scale.exp() + shift
            change = change + log_scale
        return z, change.sum(-1)

    def from_noise(self, noise: Tensor) -> Tensor:
        """z (…, d) of noise (…, d)."""
        z = noise
        for i in reversed(range(len(self.nets))):
            log_scale, shift = self._move(self.nets[i], z, i)
            z = (z - shift) * (-log_scale).exp()
        return z

    def _move(self, net: nn.Module, z: Tensor, i: int) -> tuple[Tensor, Tensor]:
        raw, shift = net(z * self.fixed[i]).chunk(2, -1)
        free = 1 - self.fixed[i]
        return STRETCH * torch.tanh(raw / STRETCH) * free, shift * free


class Flow(Latent):
    """What standard normal noise becomes under `couplings`; batch (n,), event (d,)."""

    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, couplings: Couplings, n: int) -> None:
        super().__init__(torch.Size((n,)), couplings.fixed.shape[1])
        self.couplings = couplings

    def draw(self, noise: Tensor) -> Tensor:
        return self.couplings.from_noise(noise)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.couplings.fixed)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        noise, change = self.couplings.to_noise(value)
        return (-0.5 * noise.square() - HALF_LOG_2PI).sum(-1) + change

    @property
    def mean(self) -> Tensor:
        """By 1,024 fixed draws, as the standard deviation is."""
        return self._drawn().mean(0).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        return self._drawn().var(0).expand(*self.batch_shape, -1)

    def _drawn(self) -> Tensor:
        like = self.couplings.fixed
        draw = generator("moments", device=like.device)
        shape = (1024, self.noise_size)
        noise = torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)
        return self.draw(noise)
