"""Counts with more zeros than their family has: a zero is a zero of its own with probability pi.

Sources: Lambert 1992 (doi:10.2307/1269547); Lopez et al. 2018 (scVI, doi:10.1038/s41592-018-0229-2)
for zero-inflated negative binomials, dropout in single cells.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import Batch
from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide
from vaes.dist.counts import CountLikelihood, Counts

LOGITS = (-12.0, 12.0)  # of zeros of their own
START = -2.0  # few at first: the counts' own zeros come before


class ZeroInflatedLikelihood(Likelihood):
    """pi + (1 - pi) p(0) at 0, (1 - pi) p(x) elsewhere; pi = sigmoid(`logits`) for each entry.

    Totals of rows go to `counts`, the family beneath: the mean is (1 - pi) times its mean.
    """

    support = constraints.nonnegative_integer  # type: ignore[assignment]

    def __init__(self, counts: CountLikelihood, logits: Tensor) -> None:
        super().__init__(logits, len(counts.event_shape))
        self.counts, self.logits = counts, logits

    @property
    def mean(self) -> Tensor:
        return (-self.logits).sigmoid() * self.counts.mean

    @property
    def variance(self) -> Tensor:
        # E var + var E: (1 - pi) (v + pi m^2)
        kept, m = (-self.logits).sigmoid(), self.counts.mean
        return kept * (self.counts.variance + (1 - kept) * m.square())

    def given(self, batch: Batch) -> ZeroInflatedLikelihood:
        found = copy.copy(self)
        found.counts = self.counts.given(batch)
        return found

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = filled(x, mask)
        log_kept = F.logsigmoid(-self.logits)
        counted = log_kept + self.counts.terms(x)
        zero = torch.logaddexp(F.logsigmoid(self.logits), counted)
        return masked(torch.where(x == 0, zero, counted), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        x, like = self.counts.draw(generator), self.logits
        u = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return torch.where(u < like.sigmoid(), torch.zeros_like(x), x)


class ZeroInflated(nn.Module):
    """Head of zero-inflated counts: what `vaes.dist.counts.Counts` takes, and a logit per entry."""

    def __init__(
        self,
        columns: int,
        family: str = "negative_binomial",
        scale: str | float | None = None,
        totals: bool = False,
    ) -> None:
        super().__init__()
        self.counts = Counts(columns, family, scale, totals)
        self.columns, self.size = columns, self.counts.size + columns

    def forward(self, h: Tensor) -> ZeroInflatedLikelihood:
        logits = soft_clip(wide(h[..., -self.columns :]) + START, *LOGITS)
        return ZeroInflatedLikelihood(self.counts(h[..., : -self.columns]), logits)
