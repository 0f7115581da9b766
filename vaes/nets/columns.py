"""A network of conditionals: each column given any set of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaes.nets.curves import Curves

FEW = 6


class ColumnNet(nn.Module):
    """Logits of every column given the cells of others and a context.

    What is given is the sum of its embeddings, so any set of columns can be (Uria et al. 2014,
    arXiv:1310.1757). Each column then has a residual block and an output layer of its own. levels:
    cells of each column · width: of the sums, H · dropout: share of H left out in training ·
    curved: columns whose cells share a curve (see `Curves`) where they are more than 6.
    """

    offset: Tensor

    def __init__(
        self,
        levels: Sequence[int],
        width: int,
        dropout: float = 0.0,
        curved: Sequence[bool] = (),
    ) -> None:
        super().__init__()
        self.levels, self.total, m = list(levels), sum(levels), len(levels)
        self.starts = [sum(self.levels[:j]) for j in range(m)]
        self.columns, self.hidden, self.width = m, width, m * width  # numbers per row and draw
        self.dropout = dropout
        self.embedding = nn.Embedding(self.total, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.bias = nn.Parameter(0.1 * torch.randn(m, width))
        self.block = nn.Parameter(torch.randn(m, width, width) * (1.4 / width**0.5))
        self.shift = nn.Parameter(torch.zeros(m, width))
        self.weight = nn.Parameter(torch.randn(self.total, width) / width**0.5)
        self.base = nn.Parameter(torch.zeros(self.total))
        self.register_buffer("offset", torch.tensor(self.starts), persistent=False)
        # the cells of few levels are learnt as fast each for itself
        curved = [c and n > FEW for c, n in zip(curved or [False] * m, levels, strict=True)]
        self.curves_in = Curves(levels, curved, width, 0.1) if any(curved) else None
        self.curves_out = Curves(levels, curved, width, width**-0.5) if any(curved) else None

    def embed(self, codes: Tensor) -> Tensor:
        """Embeddings of the cells of all columns, (n, m) -> (n, m, H)."""
        return F.embedding(codes + self.offset, self._embedding(slice(None)))

    def embed_one(self, codes: Tensor, j: int) -> Tensor:
        """Embeddings of the cells (…) of column j, (…, H)."""
        return F.embedding(codes, self._embedding(self._cells(j)))

    def features(self, given: Tensor) -> Tensor:
        """What all columns make of what is given to each, (…, m, H) -> (…, m, H)."""
        h = given + self.bias
        # columns first: one product per column over all rows
        a = self._active(h).flatten(0, -3).transpose(0, 1)
        b = torch.baddbmm(self.shift.unsqueeze(1), a, self.block)
        return self._active(h + b.transpose(0, 1).view_as(h))

    def features_of(self, given: Tensor, j: int) -> Tensor:
        """The same for column j alone, (…, H) -> (…, H)."""
        h = given + self.bias[j]
        return self._active(h + self._active(h) @ self.block[j] + self.shift[j])

    def logits(self, features: Tensor, j: int) -> Tensor:
        """Of the cells of column j, (…, H) -> (…, levels[j])."""
        cells = self._cells(j)
        own = self.weight[cells]
        weight = self.curves_out(own, cells) if self.curves_out is not None else own
        return F.linear(features, weight, self.base[cells])

    def _embedding(self, cells: slice) -> Tensor:
        own = self.embedding.weight[cells]
        return self.curves_in(own, cells) if self.curves_in is not None else own

    def _cells(self, j: int) -> slice:
        return slice(self.starts[j], self.starts[j] + self.levels[j])

    def _active(self, h: Tensor) -> Tensor:
        return F.dropout(F.silu(h), self.dropout, self.training)
