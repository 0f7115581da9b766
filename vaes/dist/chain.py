"""p(a) p(b|a) p(c|a,b) as one distribution over the concatenated z = (a, b, c).

Hierarchies, (label, z) pairs and two-stage codes are chains, and nothing else learns of the
structure. `Flipped` is a chain that is drawn in the other order than z holds its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call

from vaes.dist.base import Latent
from vaes.errors import UsageError

Link = Callable[[Tensor], Latent]


@dataclass(frozen=True)
class Given:
    """A link that is a module, called with the values so far and what else it was given.

    `fixed` calls the module with weights through which no gradient flows; the values so far keep
    theirs, for they are drawn from the numbers of the links before.
    """

    module: nn.Module
    given: tuple[Tensor, ...] = ()
    fixed: bool = False

    def __call__(self, z: Tensor) -> Latent:
        if not self.fixed:
            return self.module(z, *self.given)
        weights = {k: v.detach() for k, v in self.module.named_parameters()}
        return functional_call(self.module, weights, (z, *self.given))

    def stopped(self) -> Given:
        return Given(self.module, tuple(t.detach() for t in self.given), fixed=True)


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
        # of the links only the first may take more noise than it has dimensions
        self.noise_sizes = (first.noise_size, *sizes[1:])
        super().__init__(first.batch_shape, sum(sizes))

    @property
    def noise_size(self) -> int:
        return sum(self.noise_sizes)

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

    def conditionals(self, value: Tensor) -> list[Latent]:
        """The distribution of every part of `value` given those before it, in order."""
        found, end = [self.first], self.sizes[0]
        for link, size in zip(self.links, self.sizes[1:], strict=True):
            found.append(link(value[..., :end]))
            end += size
        return found

    def walk(self, noise: Tensor) -> tuple[Tensor, list[Latent]]:
        """z from `noise` and its `conditionals`, one call per link in all."""
        parts = noise.split(self.noise_sizes, -1)
        z, found = self.first.draw(parts[0]), [self.first]
        for link, part in zip(self.links, parts[1:], strict=True):
            found.append(link(z))
            z = torch.cat([z, found[-1].draw(part)], -1)
        return z, found

    def log_prob(self, value: Tensor) -> Tensor:
        return _density(self.conditionals(value), value.split(self.sizes, -1))

    def draw(self, noise: Tensor) -> Tensor:
        return self.walk(noise)[0]

    def drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z, found = self.walk(noise)
        return z, _density(found, z.split(self.sizes, -1))

    def stopped(self) -> Chain:
        """Links that are `Given` can be; of any other function nobody knows what it holds."""
        stopped = [getattr(link, "stopped", None) for link in self.links]
        if None in stopped:
            raise UsageError(
                "this objective holds the posterior's numbers fixed, which this chain of codes "
                "cannot; take objective=elbo or iwae"
            )
        links = [stop() for stop in stopped if stop]
        return Chain(self.first.stopped(), *links, sizes=self.sizes)

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.first.mean)).detach()


class Flipped(Latent):
    """`chain` over (c, b, a) as a distribution over z = (a, b, c): a posterior from the bottom up
    beside a prior from the top down."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.sizes = chain, chain.sizes[::-1]
        super().__init__(chain.batch_shape, chain.event_shape[0])

    @property
    def noise_size(self) -> int:
        return self.chain.noise_size

    @property
    def support(self) -> list:
        return self.chain.support[::-1]

    @property
    def mean(self) -> Tensor:
        return self._turned(self.chain.mean, self.chain.sizes)

    def conditionals(self, value: Tensor) -> list[Latent]:
        """Of every part of `value`, in its order, given those behind it."""
        return self.chain.conditionals(self._turned(value, self.sizes))[::-1]

    def walk(self, noise: Tensor) -> tuple[Tensor, list[Latent]]:
        z, found = self.chain.walk(self._turned(noise, self.chain.noise_sizes[::-1]))
        return self._turned(z, self.chain.sizes), found[::-1]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.chain.log_prob(self._turned(value, self.sizes))

    def draw(self, noise: Tensor) -> Tensor:
        return self.walk(noise)[0]

    def drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z, log_prob = self.chain.drawn(self._turned(noise, self.chain.noise_sizes[::-1]))
        return self._turned(z, self.chain.sizes), log_prob

    def stopped(self) -> Flipped:
        return Flipped(self.chain.stopped())

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.chain.first.mean)).detach()

    def _turned(self, z: Tensor, sizes: tuple[int, ...]) -> Tensor:
        return torch.cat(z.split(sizes, -1)[::-1], -1)


def _density(found: list[Latent], parts: tuple[Tensor, ...]) -> Tensor:
    """Sum of the links' log-densities, (*k, n)."""
    total = found[0].log_prob(parts[0])
    for p, part in zip(found[1:], parts[1:], strict=True):
        total = total + p.log_prob(part)
    return total
