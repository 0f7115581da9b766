"""Mixtures over z: of many components of one family, or of a few distributions of any.

Which component a draw comes from takes one more number of noise than the draw itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.utils.checkpoint import checkpoint

from vaes.batch import Batch, generator
from vaes.dist.base import HALF_LOG_2PI, Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.dist.priors import LOG_SCALE, Prior
from vaes.errors import UsageError

ENTRIES = 4_000_000  # numbers that the densities of one chunk of z under all components may hold


class Mixture(Latent):
    """sum_k w_k p_k(z), one and the same for all n rows; batch (n,), event (d,).

    `components`: batch (K,), event (d,) · `log_weights` (K,), normalised here · pick: the
    components numbered by an index (m,), batch (m,), where the family is no Gaussian.
    """

    def __init__(
        self,
        components: Latent,
        log_weights: Tensor,
        n: int,
        pick: Callable[[Tensor], Latent] | None = None,
    ) -> None:
        super().__init__(torch.Size((n,)), components.event_shape[0])
        self.components, self.log_weights = components, log_weights.log_softmax(-1)
        self.pick = pick

    @property
    def support(self) -> Any:
        return self.components.support

    @property
    def noise_size(self) -> int:
        return self.components.noise_size + 1

    @property
    def mean(self) -> Tensor:
        weights = self.log_weights.exp().unsqueeze(-1)
        return (weights * self.components.mean).sum(0).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        weights, means = self.log_weights.exp().unsqueeze(-1), self.components.mean
        centred = means - (weights * means).sum(0)
        spread = self.components.stddev.square() + centred.square()
        return (weights * spread).sum(0).expand(*self.batch_shape, -1)

    def draw(self, noise: Tensor) -> Tensor:
        lead = noise.shape[:-1]
        index = chosen(self.log_weights, noise[..., -1]).flatten()
        z = self._picked(index).draw(noise[..., :-1].flatten(0, -2))
        return z.unflatten(0, lead).expand(*lead[:-1], *self.batch_shape, -1)

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.log_weights)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """Chunks of z at a time; where gradients flow, all but one are computed anew for them."""
        lead, flat = value.shape[:-1], value.reshape(-1, value.shape[-1])
        width = 1 if isinstance(self.components, DiagonalNormal) else flat.shape[-1]
        parts = flat.split(max(1, ENTRIES // (len(self.log_weights) * width)))
        again = len(parts) > 1 and torch.is_grad_enabled()

        def density(z: Tensor) -> Tensor:
            return self.joint(z).logsumexp(-1)

        found = [
            checkpoint(density, z, use_reentrant=False) if again else density(z) for z in parts
        ]
        return torch.cat(found).view(lead).to(value.dtype)

    def joint(self, z: Tensor) -> Tensor:
        """log w_k + log p_k(z) for z (m, d), (m, K); of diagonal Gaussians one product in float64,
        whose squares do not cancel."""
        q = self.components
        if not isinstance(q, DiagonalNormal):
            return q.log_prob(z.unsqueeze(-2)) + self.log_weights
        loc, log_scale, z = q.loc.double(), q.log_scale.double(), z.double()
        precision = (-2 * log_scale).exp()
        constant = -(0.5 * precision * loc.square() + log_scale + HALF_LOG_2PI).sum(-1)
        maps = torch.cat([-0.5 * precision, precision * loc], -1)
        return torch.cat([z.square(), z], -1) @ maps.mT + (constant + self.log_weights.double())

    def stopped(self) -> Mixture:
        pick = self.pick
        stopped = None if pick is None else lambda index: pick(index).stopped()
        return Mixture(
            self.components.stopped(), self.log_weights.detach(), self.batch_shape[0], stopped
        )

    def _picked(self, index: Tensor) -> Latent:
        q = self.components
        if isinstance(q, DiagonalNormal):
            return DiagonalNormal(q.loc[index], q.log_scale[index])
        if isinstance(q, CholeskyNormal):
            return CholeskyNormal(q.loc[index], q.tril[index])
        assert self.pick is not None
        return self.pick(index)


class Blend(Latent):
    """sum_c w_c p_c(z) of a few distributions `parts` of any families, each with batch (n,)."""

    def __init__(self, parts: Sequence[Latent], log_weights: Tensor) -> None:
        super().__init__(parts[0].batch_shape, parts[0].event_shape[0])
        self.parts, self.log_weights = list(parts), log_weights.log_softmax(-1)

    @property
    def support(self) -> Any:
        return self.parts[0].support

    @property
    def noise_size(self) -> int:
        return max(p.noise_size for p in self.parts) + 1

    @property
    def mean(self) -> Tensor:
        return self._weighted([p.mean for p in self.parts])

    @property
    def variance(self) -> Tensor:
        squares = [p.stddev.square() + p.mean.square() for p in self.parts]
        return self._weighted(squares) - self.mean.square()

    def draw(self, noise: Tensor) -> Tensor:
        drawn = torch.stack([p.draw(noise[..., : p.noise_size]) for p in self.parts])
        index = chosen(self.log_weights, noise[..., -1]).expand(drawn.shape[1:-1])
        return drawn.gather(0, index[None, ..., None].expand(1, *drawn.shape[1:]))[0]

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.log_weights)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        each = torch.stack([p.log_prob(value) for p in self.parts], -1)
        return (each + self.log_weights).logsumexp(-1)

    def stopped(self) -> Blend:
        return Blend([p.stopped() for p in self.parts], self.log_weights.detach())

    def _weighted(self, values: list[Tensor]) -> Tensor:
        weights = self.log_weights.exp()
        return sum(
            (w * v for w, v in zip(weights, values, strict=True)), torch.zeros_like(values[0])
        )


class LearntMixture(Prior):
    """A mixture of `components` diagonal Gaussians, learnt with the model; their means start spread
    out as N(0, I) is, their scales at 1/2."""

    def __init__(self, size: int, components: int) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"prior.components={components}: at least one is needed")
        draw = generator("mixture")
        self.loc = nn.Parameter(torch.randn(components, size, generator=draw))
        self.log_scale = nn.Parameter(torch.full((components, size), math.log(0.5)))
        self.log_weights = nn.Parameter(torch.zeros(components))

    def forward(self, model: object, batch: Batch) -> Mixture:
        components = DiagonalNormal(self.loc, self.log_scale.clamp(*LOG_SCALE))
        return Mixture(components, self.log_weights, len(batch))


def chosen(log_weights: Tensor, noise: Tensor) -> Tensor:
    """Which component (…) standard normal `noise` (…) stands for: the inverse of the weights'
    distribution function at Phi(noise)."""
    edges = log_weights.double().exp().cumsum(-1)
    u = torch.special.ndtr(noise.double()).contiguous()
    # the last edge is 1 but for rounding
    return torch.searchsorted(edges, u * edges[-1]).clamp(max=len(edges) - 1)
