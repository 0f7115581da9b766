"""The M-step that linear models share: x_j = w_j . t + noise by expected least squares, per column,
over the rows in which the column is observed, for several components that share the rows.

Tipping & Bishop 1999: J. R. Stat. Soc. B 61 (one component), Neural Computation 11 (several).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

RIDGE = 1e-10  # of a component that no row belongs to


class Solution(NamedTuple):
    """weight (k, D, e) · residual (k,): sum of the expected squared errors · count (k,): of how
    many entries · mass (k,): of how many rows."""

    weight: Tensor
    residual: Tensor
    count: Tensor
    mass: Tensor


class Regression(nn.Module):
    """Running sums of one pass over n rows, D columns, e regressors, k components.

    They are no part of a saved model. Where rows are complete all columns share E t t^T.
    """

    cross: Tensor
    second: Tensor
    power: Tensor
    count: Tensor
    mass: Tensor

    def __init__(self, components: int, columns: int, regressors: int, gaps: bool) -> None:
        super().__init__()
        k, e = components, regressors
        self.gaps = gaps
        shapes = {
            "cross": (k, columns, e),
            "second": (k, columns if gaps else 1, e, e),
            "power": (k, columns),
            "count": (k, columns),
            "mass": (k,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape), persistent=False)

    def add(self, x: Tensor, seen: Tensor, share: Tensor, t: Tensor, moment: Tensor) -> None:
        """Rows x (n, D), `seen` 1 where observed, with E t (n, k, e) and E t t^T (n, k, e, e) under
        each component and the component's `share` of each row (n, k)."""
        some = seen if self.gaps else seen[:, :1]
        self.second += torch.einsum("nk,nj,nkab->kjab", share, some, moment)
        self.cross += torch.einsum("nkj,nka->kja", share.unsqueeze(2) * (x * seen).unsqueeze(1), t)
        self.power += share.T @ (x.square() * seen)
        self.count += share.T @ seen
        self.mass += share.sum(0)

    def solve(self) -> Solution:
        """The weights of least expected squared error; empties the sums for the next pass."""
        ridge = RIDGE * torch.eye(self.second.shape[-1]).to(self.second)
        weight = torch.linalg.solve(self.second + ridge, self.cross.unsqueeze(-1)).squeeze(-1)
        fitted = (self.second @ weight.unsqueeze(-1)).squeeze(-1)
        residual = self.power + (weight * (fitted - 2 * self.cross)).sum(-1)
        found = Solution(weight, residual.sum(-1), self.count.sum(-1), self.mass.clone())
        for running in (self.cross, self.second, self.power, self.count, self.mass):
            running.zero_()
        return found


def observed(x: Tensor, mask: Tensor | None) -> Tensor:
    """1 where an entry of x is observed, in its dtype, rows flattened."""
    return torch.ones_like(x.flatten(1)) if mask is None else mask.flatten(1).to(x.dtype)


def moments(t: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """E (t, 1) and E (t, 1)(t, 1)^T of t with mean (..., d) and covariance (..., d, d)."""
    t = torch.cat([t, torch.ones_like(t[..., :1])], -1)
    spread = torch.nn.functional.pad(covariance, (0, 1, 0, 1))
    return t, t.unsqueeze(-1) * t.unsqueeze(-2) + spread
