"""The two kinds of distribution of a model, and the head that makes either from numbers.

A *head* is a module with `.size` (how many numbers it needs per row) whose call turns them into a
distribution. Posteriors and priors are over one latent vector z (event (d,)) and are drawn from
standard normal noise that is handed to them; likelihoods are over one row x (event `shape`) and
split their log-density into one term per entry, so that gaps are left out and blame can be shown.
Bodies are lean: nothing is validated, products broadcast, reductions are at least float32.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution

if TYPE_CHECKING:
    from vaes.batch import Batch

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Head(Protocol):
    """`size` numbers per row in, a distribution out.

    The head of a posterior may say more: `noise_size`, how many standard normal numbers a draw
    takes (else as many as z has dimensions); `path`, whether z is a differentiable function of the
    head's numbers (else True); `space`, where z lives (else "real"; see `vaes.parts`).
    """

    size: int

    def __call__(self, h: Tensor) -> Distribution: ...


class Latent(Distribution, ABC):
    """A distribution over z, event (d,), drawn from noise that it is handed."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, batch_shape: Size, size: int) -> None:
        super().__init__(batch_shape, torch.Size((size,)), validate_args=False)

    @property
    def noise_size(self) -> int:
        """How many standard normal numbers one draw takes."""
        return self.event_shape[0]

    @abstractmethod
    def draw(self, noise: Tensor) -> Tensor:
        """z from standard normal `noise`; shapes (*k, n or 1, noise_size) -> (*k, n, d)."""

    def drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z and log p(z) of it, (*k, n, d) and (*k, n); families that know the density of their own
        draws for less than that of any z override this."""
        z = self.draw(noise)
        return z, self.log_prob(z)

    def stopped(self) -> Latent:
        """The same distribution, through whose numbers no gradient flows; families that hold
        modules override this."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(twin, name, value.detach())
        return twin

    def _noise(self, sample_shape: Size | tuple[int, ...], like: Tensor) -> Tensor:
        shape = (*sample_shape, *self.batch_shape, self.noise_size)
        return torch.randn(shape, dtype=like.dtype, device=like.device)


class Likelihood(Distribution, ABC):
    """What p(x|z) is: batch (*k, n), event `shape`.

    `masks` says whether `terms` can leave entries out; a family that cannot marginalise says
    False and is refused at build where rows have gaps.
    """

    masks: ClassVar[bool] = True
    arg_constraints: ClassVar[dict] = {}

    def __init__(self, parameter: Tensor, event_dims: int) -> None:
        cut = parameter.dim() - event_dims
        super().__init__(parameter.shape[:cut], parameter.shape[cut:], validate_args=False)

    @abstractmethod
    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p per entry, (*k, n, *shape), 0 where `mask` is False; their sum is log p(x). Of a
        model of the gaps themselves, log p of the gap where `mask` is False."""

    @abstractmethod
    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """One x per batch element, (*k, n, *shape)."""

    def given(self, batch: Batch) -> Likelihood:
        """The same for the rows of `batch`: a family that needs more of a row than z, as counts
        need its total, takes it from there; never from batch.x."""
        return self

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """`x` where `mask`, elsewhere a draw of p(missing | observed, z), (*k, n, *shape).

        Entries that are independent given z are drawn as they are; families in which an entry
        depends on others override this.
        """
        return torch.where(mask, x, self.draw(generator))

    def expected(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The mean of what `complete` draws, (*k, n, *shape); None where it has no closed form."""
        independent = type(self).complete is Likelihood.complete
        return torch.where(mask, x, self.mean) if independent else None

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p of the observed entries, (*k, n), nats in model space."""
        return sum_event(self.terms(value, mask), len(self.event_shape))

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draws with the global generator, (*sample_shape, *k, n, *shape)."""
        if not sample_shape:
            return self.draw()
        draws = [self.draw() for _ in range(math.prod(sample_shape))]
        return torch.stack(draws).view(*sample_shape, *self.batch_shape, *self.event_shape)


def sum_event(terms: Tensor, dims: int) -> Tensor:
    """Sum over the last `dims` axes."""
    return terms.flatten(-dims).sum(-1) if dims else terms


def masked(terms: Tensor, mask: Tensor | None) -> Tensor:
    """`terms` with 0 where `mask` is False; `where`, not a product, since 0 * inf is NaN."""
    return terms if mask is None else torch.where(mask, terms, torch.zeros_like(terms))


def filled(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with 0 in its gaps, so that what stands there reaches neither density nor gradient."""
    return x if mask is None else torch.where(mask, x, torch.zeros_like(x))


def soft_clip(x: Tensor, low: float, high: float) -> Tensor:
    """A smooth, strictly increasing map into (low, high) that is near the identity between.

    Bounds log-scales without the dead gradient of a hard clamp; exp of an unbounded log-scale is
    the best known source of NaN in variational autoencoders.
    """
    x = x.clamp(max=high + 30.0)  # beyond, the difference of two large numbers is lost
    return low + F.softplus(x - low) - F.softplus(x - high)


def wide(h: Tensor) -> Tensor:
    """Half-precision numbers as float32: densities are never summed in half precision."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
