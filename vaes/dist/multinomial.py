"""Multinomial counts: how a row's total, which is given, falls on its columns.

The Poisson of `vaes.dist.counts` given that its counts add to the total: z says nothing of how many
words a document has, only of which.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from vaes.dist.base import filled, masked, wide
from vaes.dist.counts import CountLikelihood, Counts

AT_ONCE = 1_000_000  # words that are drawn at a time


class MultinomialLikelihood(CountLikelihood):
    """log n! - sum log x_i! + sum x_i log share_i, where the counts of the row add to n.

    log n! belongs to the row; it is told from its entries as x_i / n of it. With gaps, n and the
    shares are those of the observed columns, and missing counts are Poisson on the same scale.
    """

    @property
    def variance(self) -> Tensor:
        mean = self.mean
        return mean * (1 - mean / mean.sum(-1, keepdim=True).clamp(min=1e-30))

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = filled(x, mask)
        total = x.sum(-1, keepdim=True)
        share = self.log_mean if mask is None else self.log_mean.masked_fill(~mask, -torch.inf)
        log_share = self.log_mean - share.logsumexp(-1, keepdim=True)
        row = (total + 1).lgamma() / total.clamp(min=1.0)
        return masked(x * (log_share + row) - (x + 1).lgamma(), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        mean = self.mean.flatten(0, -2)
        totals, x = mean.sum(-1).round(), torch.zeros_like(mean)
        edges = (mean / mean.sum(-1, keepdim=True).clamp(min=1e-30)).double().cumsum(-1)
        edges = edges / edges[:, -1:].clamp(min=1e-30)
        most, drawn = int(totals.max()) if len(totals) else 0, 0
        at_once = max(1, AT_ONCE // max(1, len(x)))
        while drawn < most:
            words = min(at_once, most - drawn)
            shape = (len(x), words)
            u = torch.rand(shape, generator=generator, dtype=edges.dtype, device=x.device)
            column = torch.searchsorted(edges, u).clamp(max=x.shape[-1] - 1)
            place = torch.arange(drawn, drawn + words, device=x.device)
            x.scatter_add_(-1, column, (place < totals.unsqueeze(-1)).to(x.dtype))
            drawn += words
        return x.view_as(self.log_mean)

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.where(mask, x, torch.poisson(self.mean, generator))

    def expected(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, x, self.mean)


class MultinomialCounts(Counts):
    """Head of a multinomial: log-shares, to which those of all training rows are added."""

    def __init__(self, columns: int) -> None:
        super().__init__(columns, "poisson", None, True)

    def forward(self, h: Tensor) -> MultinomialLikelihood:
        log_share = (wide(h).unflatten(-1, (self.columns,)) + self.log_share).log_softmax(-1)
        return MultinomialLikelihood(cast(Tensor, log_share), 1, True)
