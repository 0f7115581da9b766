"""Draws of z, log-weights, distortion and rate. Nats per row, summed over dimensions.

`log_weight` is the pivot: log w = log p(x|z) + log p(z) - log q(z|x) in the units of the user's
data. Its mean is the ELBO, its log-mean-exp the importance-weighted bound and the test likelihood,
its negative the anomaly score, and its variance is zero exactly where q is the posterior.
Sources: Kingma & Welling 2014 (arXiv:1312.6114); Burda et al. 2016 (arXiv:1509.00519).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.distributions.kl import _KL_REGISTRY

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.chain import Chain, Flipped
from vaes.dist.gaussian import DiagonalNormal, diagonal_kl_terms
from vaes.model import Model


class Draw(NamedTuple):
    """z (*k, n, d), the posterior q it came from, and the three log-densities (*k, n)."""

    z: Tensor
    q: Latent
    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor

    @property
    def log_weight(self) -> Tensor:
        """log p(x|z) + log p(z) - log q(z|x), (*k, n)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class Terms(NamedTuple):
    """distortion and rate per row (n,): their sum is minus the ELBO; `rates` (n, d) per dimension.

    `rates` has one column, the whole rate, where the family does not split over dimensions; of
    chains the columns of every link in turn, one where the link does not split.
    """

    distortion: Tensor
    rate: Tensor
    rates: Tensor


def log_likelihood(model: Model, z: Tensor, batch: Batch) -> Tensor:
    """log p(x|z) of the observed entries in the user's units, (*k, n): the Jacobian is inside."""
    p = model.likelihood(z, batch)
    return p.log_prob(batch.x, batch.mask) + log_jacobian(model, batch)


def log_jacobian(model: Model, batch: Batch) -> Tensor:
    """Sum over observed entries of log |dx / d(user's value)|: () or, with gaps, (n,)."""
    if batch.mask is None:
        return model.log_jacobian.sum().to(batch.x.dtype)
    return (batch.mask * model.log_jacobian).flatten(1).sum(-1).to(batch.x.dtype)


def draw(
    model: Model,
    batch: Batch,
    noise: Tensor,
    q: Latent | None = None,
    pull: Tensor | float | None = None,
) -> Draw:
    """One draw of z per leading axis of `noise` (*k, n or 1, d) with its three log-densities.

    With `pull`, the numbers of q are reached along the path z alone, not through log q(z|x), and
    what reaches them is multiplied by it, (*k, n): the values are the same (Roeder et al. 2017).
    """
    q = model.posterior(batch) if q is None else q
    if pull is not None:
        z = q.draw(noise)
        pull = torch.as_tensor(pull, dtype=z.dtype, device=z.device).unsqueeze(-1)
        z = z.detach() + pull * (z - z.detach())
        log_prior, log_posterior = model.prior(batch).log_prob(z), q.stopped().log_prob(z)
        return Draw(z, q, log_likelihood(model, z, batch), log_prior, log_posterior)
    z, log_posterior = q.drawn(noise)
    log_prior = model.prior(batch).log_prob(z)
    return Draw(z, q, log_likelihood(model, z, batch), log_prior, log_posterior)


def log_weight(
    model: Model,
    batch: Batch,
    k: int = 1,
    noise: Tensor | None = None,
    q: Latent | None = None,
) -> Tensor:
    """log p(x,z) - log q(z|x) for k draws, (k, n), nats in the user's units.

    `noise` (k, 1 or n, model.noise_size) standard normal; without it the global generator draws
    it. `q` reuses a posterior over chunks of k.
    """
    if noise is None:
        shape = (k, len(batch), model.noise_size)
        noise = torch.randn(shape, dtype=batch.x.dtype, device=batch.x.device)
    return draw(model, batch, noise, q).log_weight


def closed_kl(q: Latent, p: Latent) -> bool:
    """Whether KL(q || p) has a closed form here."""
    return (type(q), type(p)) in _KL_REGISTRY


def terms(model: Model, batch: Batch, noise: Tensor, q: Latent | None = None) -> Terms:
    """Distortion and rate of the ELBO per row: the KL closed where it can be, else by the draws.

    `noise` (k, n or 1, d); the mean is taken over its first axis. `q` takes the place of the
    model's posterior.
    """
    q, p = model.posterior(batch) if q is None else q, model.prior(batch)
    if isinstance(q, (Chain, Flipped)) and isinstance(p, Chain) and q.sizes == p.sizes:
        z, found = q.walk(noise)
        rates = chain_rates(q, found, p, z)
        return Terms(-log_likelihood(model, z, batch).mean(0), rates.sum(-1), rates)
    z, log_posterior = q.drawn(noise)
    distortion = -log_likelihood(model, z, batch).mean(0)
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        rates = diagonal_kl_terms(q, p)
    elif closed_kl(q, p):
        rates = kl_divergence(q, p).unsqueeze(-1)
    else:
        rates = (log_posterior - p.log_prob(z)).mean(0).unsqueeze(-1)
    return Terms(distortion, rates.sum(-1), rates)


def chain_rates(q: Chain | Flipped, found: list[Latent], p: Chain, z: Tensor) -> Tensor:
    """KL(q || p) of chains link by link, (n, columns); `found` are q's conditionals at z (k, n, d).

    E_q KL(q(z_l|z_<l) || p(z_l|z_<l)), closed given z_<l where it can be. A flipped q conditions on
    other parts than p does, so there it is the mean of log q - log p over the draws.
    """
    columns = []
    for a, b, part in zip(found, p.conditionals(z), z.split(p.sizes, -1), strict=True):
        if isinstance(q, Flipped):
            rate = (a.log_prob(part) - b.log_prob(part)).unsqueeze(-1)
        elif isinstance(a, DiagonalNormal) and isinstance(b, DiagonalNormal):
            rate = diagonal_kl_terms(a, b)
        elif closed_kl(a, b):
            rate = kl_divergence(a, b).unsqueeze(-1)
        else:
            rate = (a.log_prob(part) - b.log_prob(part)).unsqueeze(-1)
        columns.append(rate.mean(0) if rate.dim() == z.dim() else rate)
    return torch.cat(columns, -1)
