"""Draws, log-weights and the bounds made of them. Nats per row, summed over dimensions.

`log_weight` is the pivot: log w = log p(x|z) + log p(z) - log q(z|x) in the units of the user's
data. Its mean is the ELBO, its log-mean-exp the importance-weighted bound and the test likelihood,
its negative the anomaly score, and its variance is zero exactly where q is the posterior.
Sources: Kingma & Welling 2014 (arXiv:1312.6114); Burda et al. 2016 (arXiv:1509.00519).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.distributions.kl import _KL_REGISTRY

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.gaussian import DiagonalNormal, diagonal_kl_terms
from vaes.errors import UsageError
from vaes.model import Model, Step


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

    `rates` has one column, the whole rate, where the family does not split over dimensions.
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


def draw(model: Model, batch: Batch, noise: Tensor, q: Latent | None = None) -> Draw:
    """One draw of z per leading axis of `noise` (*k, n or 1, d) with its three log-densities."""
    q = model.posterior(batch) if q is None else q
    z = q.draw(noise)
    return Draw(
        z, q, log_likelihood(model, z, batch), model.prior(batch).log_prob(z), q.log_prob(z)
    )


def log_weight(
    model: Model,
    batch: Batch,
    k: int = 1,
    noise: Tensor | None = None,
    q: Latent | None = None,
) -> Tensor:
    """log p(x,z) - log q(z|x) for k draws, (k, n), nats in the user's units.

    `noise` (k, 1 or n, d) standard normal; without it the global generator draws (k, n, d). `q`
    reuses a posterior over chunks of k.
    """
    if noise is None:
        noise = torch.randn(k, len(batch), model.latent, dtype=batch.x.dtype, device=batch.x.device)
    return draw(model, batch, noise, q).log_weight


def closed_kl(q: Latent, p: Latent) -> bool:
    """Whether KL(q || p) has a closed form here."""
    return (type(q), type(p)) in _KL_REGISTRY


def terms(model: Model, batch: Batch, noise: Tensor) -> Terms:
    """Distortion and rate of the ELBO per row: the KL closed where it can be, else by the draws.

    `noise` (k, n or 1, d); the mean is taken over its first axis.
    """
    q, p = model.posterior(batch), model.prior(batch)
    z = q.draw(noise)
    distortion = -log_likelihood(model, z, batch).mean(0)
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        rates = diagonal_kl_terms(q, p)
    elif closed_kl(q, p):
        rates = kl_divergence(q, p).unsqueeze(-1)
    else:
        rates = (q.log_prob(z) - p.log_prob(z)).mean(0).unsqueeze(-1)
    return Terms(distortion, rates.sum(-1), rates)


@dataclass(frozen=True)
class Objective(ABC):
    """What a `Composed` model descends: (model, batch, step) -> scalar, nats per row."""

    samples: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"samples={self.samples}: at least one draw per row is needed")

    @property
    def settling(self) -> float:
        """Share of the budget in which the loss is not yet what it will be."""
        return 0.0

    @abstractmethod
    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor: ...


@dataclass(frozen=True)
class Elbo(Objective):
    """distortion + beta * rate, with a linear warm-up of the rate's weight and free bits.

    beta: weight of the rate (Higgins et al. 2017) · warmup: share of the budget over which the
    weight rises from 0 (Bowman et al. 2016) · free_bits: nats per dimension, averaged over the
    batch, below which the rate costs nothing (Kingma et al. 2016; a family that does not split
    over dimensions has d times as many in one group) · capacity: gamma |rate - C(t)| takes the
    place of the rate, C rising linearly from 0 to `capacity` nats (Burgess et al. 2018).
    What is reported is always the unweighted bound.
    """

    beta: float = 1.0
    warmup: float = 0.0
    free_bits: float = 0.0
    capacity: float | None = None
    gamma: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0 or self.free_bits < 0 or not 0 <= self.warmup <= 1:
            raise UsageError(
                f"beta={self.beta}, free_bits={self.free_bits}, warmup={self.warmup}: "
                "beta and free_bits are not negative, warmup lies in 0 ... 1"
            )
        if self.capacity is not None and self.capacity < 0:
            raise UsageError(f"capacity={self.capacity}: nats are not negative here")

    @property
    def settling(self) -> float:
        return self.warmup if self.capacity is None else 1.0

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        found = terms(model, batch, step.noise)
        distortion, rate = found.distortion.mean(), found.rate.mean()
        if self.capacity is not None:
            return distortion + self.gamma * (rate - self.capacity * step.fraction).abs()
        if self.free_bits:
            free = self.free_bits * model.latent / found.rates.shape[-1]
            rate = found.rates.mean(0).clamp(min=free).sum()
        if self.warmup:
            rate = rate * (step.fraction / self.warmup).clamp(max=1.0)
        return distortion + self.beta * rate


@dataclass(frozen=True)
class Iwae(Objective):
    """Minus the importance-weighted bound of `samples` draws (Burda et al. 2016, eq. 8)."""

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        log_w = draw(model, batch, step.noise).log_weight
        return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()
