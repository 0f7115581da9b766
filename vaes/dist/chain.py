"""p(a) p(b|a) p(c|a,b) as one distribution over the concatenated z = (a, b, c).

Hierarchies, (label, z) pairs and two-stage codes are chains, and nothing else learns of the
structure.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Size, Tensor

from vaes.dist.base import Latent

Link = Callable[[Tensor], Latent]


class Chain(Latent):
    """`first`, then each link applied to the concatenation of all values before it.

    `sizes` are the event sizes in order. Links are called with (*k, n, size so far) and return a
    distribution with batch (*k, n). `mean` follows the links at their means (the mode of a
    discrete link). A density costs one call per link.
    """

    def __init__(self, first: Latent, *links: Link, sizes: tuple[int, ...]) -> None:
        if len(sizes) != len(links) + 1 or first.event_shape[0] != sizes[0]:
            raise ValueError(f"sizes {sizes} do not fit a chain of {len(links) + 1} links")
        self.first, self.links, self.sizes = first, links, sizes
        super().__init__(first.batch_shape, sum(sizes))

    @property
    def support(self) -> list:
        """The support of every link, in order."""
        z, supports = self.first.mean, [self.first.support]
        for link in self.links:
            q = link(z)
            supports.append(q.support)
            z = torch.cat([z, q.mean], -1)
        return supports

    @property
    def mean(self) -> Tensor:
        z = self.first.mean
        for link in self.links:
            z = torch.cat([z, link(z).mean], -1)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        parts = value.split(self.sizes, -1)
        total, end = self.first.log_prob(parts[0]), self.sizes[0]
        for link, part in zip(self.links, parts[1:], strict=True):
            total = total + link(value[..., :end]).log_prob(part)
            end += part.shape[-1]
        return total

    def draw(self, noise: Tensor) -> Tensor:
        parts = noise.split(self.sizes, -1)
        z = self.first.draw(parts[0])
        for link, part in zip(self.links, parts[1:], strict=True):
            z = torch.cat([z, link(z).draw(part)], -1)
        return z

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.first.mean)).detach()
