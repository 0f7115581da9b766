"""Gaussians whose entries depend on one another given z, by their dense covariance.

What any of them needs where rows have gaps: the density of the observed entries is that of the
sub-matrix, missing ones are drawn given the observed ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import HALF_LOG_2PI, Likelihood, filled, masked, soft_clip, wide
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE

if TYPE_CHECKING:
    from vaes.batch import Spec


def alone(covariance: Tensor, mask: Tensor) -> Tensor:
    """The lower Cholesky factor (*k, n, D, D) of the covariance of the observed entries; missing
    ones have variance 1 and stand apart."""
    both = mask.unsqueeze(-1) & mask.unsqueeze(-2)
    eye = torch.eye(mask.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky(torch.where(both, covariance, eye))


def sequential(tril: Tensor, residual: Tensor) -> Tensor:
    """log N(residual; 0, L L^T), each entry given those before it, (*k, n, D)."""
    batch = torch.broadcast_shapes(tril.shape[:-2], residual.shape[:-1])
    column = residual.expand(*batch, -1).unsqueeze(-1)
    white = torch.linalg.solve_triangular(tril, column, upper=False).squeeze(-1)
    return -0.5 * white.square() - tril.diagonal(dim1=-2, dim2=-1).log() - HALF_LOG_2PI


def regressed(covariance: Tensor, residual: Tensor, mask: Tensor) -> Tensor:
    """The mean of the missing residuals given the observed ones, the observed ones themselves."""
    seen = torch.where(mask, residual, torch.zeros_like(residual))
    weights = torch.cholesky_solve(seen.unsqueeze(-1), alone(covariance, mask))
    told = torch.where(mask.unsqueeze(-1), weights, torch.zeros_like(weights))
    return torch.where(mask, residual, (covariance @ told).squeeze(-1))


class FullNormalLikelihood(Likelihood):
    """N(mean, L L^T) with one `tril` = L (D, D) for all rows; event (D,)."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, mean: Tensor, tril: Tensor) -> None:
        super().__init__(mean, 1)
        self._mean, self.tril = mean, tril

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return self.tril.square().sum(-1).expand_as(self._mean)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each entry given the observed ones before it."""
        residual = filled(x, mask) - self._mean
        if mask is None:
            return sequential(self.tril, residual)
        tril = alone(self.tril @ self.tril.mT, mask)
        return masked(sequential(tril, torch.where(mask, residual, 0 * residual)), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return self._mean + self._noise(generator)

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # a draw of all entries, moved by what the observed ones of it are off by (Matheron's rule)
        drawn, covariance = self.draw(generator), self.tril @ self.tril.mT
        moved = regressed(covariance, filled(x, mask) - drawn, mask)
        return torch.where(mask, x, drawn + moved)

    def expected(self, x: Tensor, mask: Tensor) -> Tensor:
        covariance = self.tril @ self.tril.mT
        moved = regressed(covariance, filled(x, mask) - self._mean, mask)
        return torch.where(mask, x, self._mean + moved)

    def _noise(self, generator: torch.Generator | None) -> Tensor:
        like = self._mean
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return noise @ self.tril.mT


class FullNormal(nn.Module):
    """Head of a Gaussian over flat rows of reals with one learned covariance for all rows.

    What columns have in common beyond z is in the covariance: few latent dimensions are enough.
    """

    below: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.size = spec.size
        rows, columns = torch.tril_indices(spec.size, spec.size, -1)
        self.register_buffer("below", rows * spec.size + columns, persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(spec.size))
        # a matrix of one column has nothing below its diagonal
        self.lower = nn.Parameter(torch.zeros(len(rows))) if len(rows) else None

    def tril(self) -> Tensor:
        """L: entry by entry its spread given those before it, and below what those tell of it."""
        scale = soft_clip(self.log_scale, *LIKELIHOOD_LOG_SCALE).exp()
        if self.lower is None:
            return scale.diag()
        flat = self.lower.new_zeros(self.size**2).index_copy(0, self.below, self.lower)
        return flat.view(self.size, self.size) + scale.diag()

    def forward(self, h: Tensor) -> FullNormalLikelihood:
        return FullNormalLikelihood(wide(h), self.tril())
