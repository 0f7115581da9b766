"""Likelihoods of binary and categorical entries, and a one-hot latent for `Chain`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Latent, Likelihood, filled, masked, wide

FACTORS = 16  # of a product whose one logarithm is taken instead of theirs


class BernoulliLikelihood(Likelihood):
    """p(x|z) = prod_i sigmoid(logit_i)^x_i (1 - sigmoid(logit_i))^(1 - x_i), x in {0, 1}."""

    support = constraints.boolean  # type: ignore[assignment]

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        super().__init__(logits, event_dims)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # torch's threshold of 20 would drop e^-20 = 2e-9 in float64
        softplus = F.softplus(self.logits, threshold=40.0)
        return masked(filled(x, mask) * self.logits - softplus, mask)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        dims = len(self.event_shape)
        if mask is not None or torch.is_grad_enabled() or not torch.compiler.is_compiling():
            return super().log_prob(value, mask)
        logits = self.logits.flatten(-dims)
        linear = (value.flatten(-dims) * logits - logits.clamp(min=0)).sum(-1)
        return linear - sum_log1p((-logits.abs()).exp())

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        p = self.mean
        u = torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device)
        return (u < p).to(p.dtype)


def sum_log1p(x: Tensor) -> Tensor:
    """Sum of log(1 + x) over the last axis, x in [0, 1]: one logarithm for each product of few.

    A product of at most 64 factors stays below 2^64. What is lost is the rounding of 1 + x, at most
    6e-8 per entry, absolutely.
    """
    n = x.shape[-1]
    groups = -(-n // FACTORS)
    x = F.pad(x, (0, groups * FACTORS - n)).unflatten(-1, (FACTORS, groups))
    return (1 + x).prod(-2).log().sum(-1)


class Bernoulli(nn.Module):
    """Head of a Bernoulli likelihood over rows of `shape`: one logit per entry."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.size = tuple(shape), math.prod(shape)

    def forward(self, h: Tensor) -> BernoulliLikelihood:
        return BernoulliLikelihood(wide(h).unflatten(-1, self.shape), len(self.shape))


class CategoricalLikelihood(Likelihood):
    """Independent categories per entry: `logits` (*k, n, *shape, levels).

    x holds codes 0...L-1, or with `grid` the places k / (L-1) of [0, 1] that pixels and bits have.
    `mean` of codes is the most probable one, since they have no order, hence no average; places on a
    grid have one.
    """

    support = constraints.nonnegative_integer  # type: ignore[assignment]

    def __init__(self, logits: Tensor, event_dims: int, grid: bool = False) -> None:
        super().__init__(logits[..., 0], event_dims)
        self.logits, self.unit = logits.log_softmax(-1), max(1, logits.shape[-1] - 1) if grid else 1
        self.grid = grid

    @property
    def mean(self) -> Tensor:
        if not self.grid:
            return self.logits.argmax(-1).to(self.logits.dtype)
        places = torch.arange(self.logits.shape[-1], device=self.logits.device) / self.unit
        return (self.logits.exp() * places.to(self.logits.dtype)).sum(-1)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        shape = torch.broadcast_shapes(x.shape, self.logits.shape[:-1])
        code = (filled(x, mask) * self.unit).round().long().expand(shape).unsqueeze(-1)
        return masked(self.logits.expand(*shape, -1).gather(-1, code).squeeze(-1), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        p = self.logits.exp()
        u = torch.rand(p.shape[:-1], generator=generator, dtype=p.dtype, device=p.device)
        code = (p.cumsum(-1) < u.unsqueeze(-1)).sum(-1)
        return code.clamp(max=p.shape[-1] - 1).to(p.dtype) / self.unit


class Categorical(nn.Module):
    """Head of a categorical likelihood over rows of `shape`: `levels` logits per entry.

    `grid`: x holds places k / (levels - 1), not codes; see `CategoricalLikelihood`.
    """

    def __init__(self, shape: tuple[int, ...], levels: int, grid: bool = False) -> None:
        super().__init__()
        self.shape, self.levels, self.grid = tuple(shape), levels, grid
        self.size = levels * math.prod(shape)

    def forward(self, h: Tensor) -> CategoricalLikelihood:
        logits = wide(h).unflatten(-1, (self.levels, *self.shape))
        logits = logits.movedim(-1 - len(self.shape), -1)
        return CategoricalLikelihood(logits, len(self.shape), self.grid)


class OneHot(Latent):
    """A one-hot code over `d` classes: batch (*batch,), event (d,); a link of a `Chain`.

    `mean` is the mode as a one-hot vector (a discrete link has no average state); a draw takes d
    standard normal numbers and is exact (Gumbel-max on their normal distribution function).
    """

    support = constraints.one_hot  # type: ignore[assignment]

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.shape[:-1], logits.shape[-1])
        self.logits = logits.log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        return self._one_hot(self.logits.argmax(-1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All d states, (d, *batch, d)."""
        d = self.event_shape[0]
        states = torch.eye(d, dtype=self.logits.dtype, device=self.logits.device)
        states = states.view(d, *(1 for _ in self.batch_shape), d)
        return states.expand(d, *self.batch_shape, d) if expand else states

    def log_prob(self, value: Tensor) -> Tensor:
        # where, not a product: a state of probability 0 has logit -inf
        return torch.where(value > 0.5, self.logits, torch.zeros_like(self.logits)).sum(-1)

    def draw(self, noise: Tensor) -> Tensor:
        gumbel = -(-torch.special.log_ndtr(noise)).log()
        return self._one_hot((self.logits + gumbel).argmax(-1))

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.logits))

    def entropy(self) -> Tensor:
        return torch.special.entr(self.logits.exp()).sum(-1)

    def _one_hot(self, code: Tensor) -> Tensor:
        return F.one_hot(code, self.event_shape[0]).to(self.logits.dtype)
