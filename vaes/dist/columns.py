"""Rows of mixed columns: one likelihood per kind of column, in the order of the columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaes.dist.base import Likelihood, filled, masked


class ColumnsLikelihood(Likelihood):
    """Independent groups of columns; `groups` holds (column indices, likelihood of those)."""

    def __init__(self, groups: list[tuple[Tensor, Likelihood]], columns: int) -> None:
        self.groups = groups
        first = groups[0][1]
        # only shapes are read off this tensor
        like = torch.empty((), device="meta").expand(*first.batch_shape, columns)
        super().__init__(like, 1)
        order = torch.cat([index for index, _ in groups])
        self._back = torch.empty_like(order).scatter_(
            0, order, torch.arange(columns, device=order.device)
        )

    @property
    def support(self) -> list:
        """The support of every column, in order."""
        found = {int(i): p.support for index, p in self.groups for i in index}
        return [found[i] for i in range(self.event_shape[0])]

    @property
    def mean(self) -> Tensor:
        return self._join([p.mean for _, p in self.groups])

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = filled(x, mask)
        return masked(self._join([p.terms(x[..., i]) for i, p in self.groups]), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return self._join([p.draw(generator) for _, p in self.groups])

    def _join(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, -1)[..., self._back]


class Columns(nn.Module):
    """Head of `ColumnsLikelihood`: `heads[i]` serves the columns numbered by `indices[i]`."""

    def __init__(self, indices: list[list[int]], heads: list[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.sizes = [int(head.size) for head in heads]  # type: ignore[arg-type]
        self.size = sum(self.sizes)
        self.columns = sum(map(len, indices))
        for i, index in enumerate(indices):
            self.register_buffer(f"index_{i}", torch.tensor(index), persistent=False)

    def forward(self, h: Tensor) -> ColumnsLikelihood:
        parts = h.split(self.sizes, -1)
        groups = [
            (self.get_buffer(f"index_{i}"), head(part))
            for i, (head, part) in enumerate(zip(self.heads, parts, strict=True))
        ]
        return ColumnsLikelihood(groups, self.columns)
