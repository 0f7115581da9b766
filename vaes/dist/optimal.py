"""The Gaussian likelihood whose variance is the mean squared residual (Rybkin et al. 2021, sec. 3).

The variance that is best for given means needs no gradient: sigma^2 = E_q |x - mean|^2 / D. One
number per row ("per-image optimal sigma" there) is left out: it is read off the row that it scores,
so that it is no density of the row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vaes.dist.base import HALF_LOG_2PI, filled, masked, wide
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, NormalLikelihood

if TYPE_CHECKING:
    from vaes.batch import Batch
    from vaes.model import Model, Step

PACE = 0.01  # of the average over batches, once it has a hundred of them
TINY = 1e-30  # of a variance whose logarithm is taken; the clip ends far above


def mean_square(residual: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of the squares of the observed residuals, over draws, rows and entries."""
    square = residual.square()
    if mask is None:
        return square.mean()
    seen = mask.expand_as(square)
    return masked(square, seen).sum() / seen.sum().clamp(min=1)


def log_scale_of(variance: Tensor) -> Tensor:
    """log sigma within the bounds of every scale of reals; cut hard, since no gradient passes and a
    soft clip would move the maximum."""
    return (0.5 * variance.clamp(min=TINY).log()).clamp(*LIKELIHOOD_LOG_SCALE)


class OptimalNormal(NormalLikelihood):
    """N(mean, sigma^2 I) in a training step: `terms` takes sigma^2 from the rows that it is given.

    That is the loss with sigma at its maximum, not a density; all else is at the average over past
    batches, as in evaluation.
    """

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        residual = filled(x, mask) - self._mean
        # at its maximum sigma passes no gradient to the mean: D log sigma + |r|^2 / (2 sigma^2)
        log_scale = log_scale_of(mean_square(residual.detach(), mask))
        standard = residual * (-log_scale).exp()
        return masked(-0.5 * standard.square() - log_scale - HALF_LOG_2PI, mask)


class Optimal(nn.Module):
    """Head of a Gaussian likelihood over rows of `shape` whose one variance is analytic.

    In training each batch has its own; a moving average over batches (a buffer) is what every
    density outside a training step takes, so that no row knows its neighbours.
    """

    variance: Tensor
    batches: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.size = tuple(shape), math.prod(shape)
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, h: Tensor) -> NormalLikelihood:
        family = OptimalNormal if self.training else NormalLikelihood
        mean = wide(h).unflatten(-1, self.shape)
        return family(mean, log_scale_of(self.variance), len(self.shape))

    @torch.no_grad()
    def closed_form(self, model: Model, batch: Batch, step: Step) -> None:
        """The average moves to the mean squared residual of this batch, over draws of q: that at
        the posterior mean alone leaves the spread of q out and is too small."""
        p = model.likelihood(model.posterior(batch).draw(step.noise), batch)
        found = mean_square(filled(batch.x, batch.mask) - p.mean, batch.mask)
        self.batches += 1
        pace = (1 / self.batches.to(found)).clamp(min=PACE)
        self.variance += pace * (found - self.variance)
