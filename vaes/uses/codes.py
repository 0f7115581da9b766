"""Codes of rows, and which latent dimensions carry anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, diagonal_kl_terms
from vaes.model import Model
from vaes.uses.common import CHUNK, Rows, batches, evaluating, moments

ACTIVE = 0.01  # of the variance of posterior means (Burda et al. 2016, appendix C)


@dataclass(frozen=True)
class Codes:
    """Posterior means and standard deviations, both (n, d)."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Units:
    """What each latent dimension carries.

    variance (d,): of the posterior means over the rows · active (d,) bool: variance > 0.01 ·
    rates (d,): mean over the rows of KL(q(z_j|x) || p(z_j)) in nats, of the marginals where the
    family does not split over dimensions; None where it has no closed form.
    """

    variance: Tensor
    active: Tensor
    rates: Tensor | None

    @property
    def count(self) -> int:
        """How many dimensions are active."""
        return int(self.active.sum())


def encode(model: Model, data: Rows, *, chunk: int = CHUNK) -> Codes:
    """Posterior mean and standard deviation of every row; deterministic, and row by row."""
    with evaluating(model):
        found = [moments(model.posterior(batch)) for batch in batches(data, chunk)]
    means, stds = zip(*found, strict=True)
    return Codes(torch.cat(means), torch.cat(stds))


def active_units(model: Model, data: Rows, *, chunk: int = CHUNK) -> Units:
    """Which latent dimensions are used: Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016, appendix C).

    The threshold is meant for a prior of unit variance. Accumulated in float64.
    """
    means, rates = [], []
    with evaluating(model):
        for batch in batches(data, chunk):
            q = model.posterior(batch)
            means.append(q.mean)
            rates.append(marginal_rates(q, model.prior(batch)))
    variance = torch.cat(means).double().var(0, correction=0)
    known = [r for r in rates if r is not None]
    rate = torch.cat(known).double().mean(0) if len(known) == len(rates) else None
    return Units(variance, variance > ACTIVE, rate)


def marginal_rates(q: Latent, p: Latent) -> Tensor | None:
    """KL(q(z_j|x) || p(z_j)) between Gaussian marginals, (n, d)."""
    gaussian = (DiagonalNormal, CholeskyNormal)
    if not (isinstance(q, gaussian) and isinstance(p, gaussian)):
        return None
    marginals = [DiagonalNormal(each.mean, each.stddev.log()) for each in (q, p)]
    return diagonal_kl_terms(*marginals)
