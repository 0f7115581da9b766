"""Gaussian families: posteriors and priors over z, and the Gaussian likelihood with its scales.

Every log-density carries -1/2 log 2 pi per dimension. Sources: Kingma & Welling 2014 (diagonal),
Rezende et al. 2014 (full covariance), Rybkin et al. 2021 (learned likelihood scales).
"""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.dist.base import HALF_LOG_2PI, Latent, Likelihood, filled, masked, soft_clip, wide
from vaes.errors import UsageError

LOG_SCALE = (-8.0, 4.0)  # of posteriors, in units of the prior
BELOW = 0.1  # of what the network says goes below the diagonal
LIKELIHOOD_LOG_SCALE = (-6.0, 3.0)  # of p(x|z), in standardised units


class DiagonalNormal(Latent):
    """N(loc, diag exp(log_scale)^2); `loc` (*batch, d), `log_scale` broadcasts against it."""

    support = constraints.independent(constraints.real, 1)  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp()

    def draw(self, noise: Tensor) -> Tensor:
        return self.loc + self.log_scale.exp() * noise

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.loc) * (-self.log_scale).exp()
        return -(0.5 * standard.square() + self.log_scale + HALF_LOG_2PI).sum(-1)

    def entropy(self) -> Tensor:
        return (self.log_scale + 0.5 + HALF_LOG_2PI).sum(-1)


class CholeskyNormal(Latent):
    """N(loc, L L^T) with `tril` = L lower triangular (*batch, d, d), positive on its diagonal."""

    support = constraints.independent(constraints.real, 1)  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, loc: Tensor, tril: Tensor) -> None:
        batch = torch.broadcast_shapes(loc.shape[:-1], tril.shape[:-2])
        self.loc, self.tril = loc.expand(*batch, -1), tril.expand(*batch, -1, -1)
        super().__init__(batch, loc.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        return self.tril @ self.tril.mT

    @property
    def variance(self) -> Tensor:
        return self.tril.square().sum(-1)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    def half_log_det(self) -> Tensor:
        """1/2 log |L L^T| = sum of log L_ii, (*batch,)."""
        return self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, noise: Tensor) -> Tensor:
        return self.loc + (self.tril @ noise.unsqueeze(-1)).squeeze(-1)

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        centred = (value - self.loc).unsqueeze(-1)
        standard = torch.linalg.solve_triangular(self.tril, centred, upper=False).squeeze(-1)
        constant = self.event_shape[0] * HALF_LOG_2PI
        return -0.5 * standard.square().sum(-1) - self.half_log_det - constant

    def entropy(self) -> Tensor:
        return self.half_log_det + self.event_shape[0] * (0.5 + HALF_LOG_2PI)


def diagonal_kl_terms(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    """KL(q_j || p_j) of every dimension, (*batch, d)."""
    log_ratio = q.log_scale - p.log_scale
    offset = (q.loc - p.loc) * (-p.log_scale).exp()
    return 0.5 * ((2 * log_ratio).exp() + offset.square() - 1) - log_ratio


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_diagonal_diagonal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    return diagonal_kl_terms(q, p).sum(-1)


@register_kl(CholeskyNormal, DiagonalNormal)
def _kl_cholesky_diagonal(q: CholeskyNormal, p: DiagonalNormal) -> Tensor:
    precision = (-2 * p.log_scale).exp()
    quadratic = (q.variance + (q.loc - p.loc).square()) * precision
    return 0.5 * (quadratic - 1).sum(-1) - q.half_log_det + p.log_scale.sum(-1)


@register_kl(CholeskyNormal, CholeskyNormal)
def _kl_cholesky_cholesky(q: CholeskyNormal, p: CholeskyNormal) -> Tensor:
    factor, centred = torch.broadcast_tensors(q.tril, p.tril)[0], (q.loc - p.loc).unsqueeze(-1)
    whitened = torch.linalg.solve_triangular(p.tril, torch.cat([factor, centred], -1), upper=False)
    squares = whitened.square().sum((-2, -1))
    return 0.5 * (squares - q.event_shape[0]) - q.half_log_det + p.half_log_det


@register_kl(DiagonalNormal, CholeskyNormal)
def _kl_diagonal_cholesky(q: DiagonalNormal, p: CholeskyNormal) -> Tensor:
    return _kl_cholesky_cholesky(CholeskyNormal(q.loc, torch.diag_embed(q.stddev)), p)


class Isotropic(nn.Module):
    """Head of N(m, s^2 I): d + 1 numbers."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent, self.size = latent, latent + 1

    def forward(self, h: Tensor) -> DiagonalNormal:
        h = wide(h)
        return DiagonalNormal(h[..., :-1], soft_clip(h[..., -1:], *LOG_SCALE))


class Diagonal(nn.Module):
    """Head of N(m, diag s^2): 2 d numbers."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent, self.size = latent, 2 * latent

    def forward(self, h: Tensor) -> DiagonalNormal:
        loc, raw = wide(h).chunk(2, -1)
        return DiagonalNormal(loc, soft_clip(raw, *LOG_SCALE))


class Cholesky(nn.Module):
    """Head of N(m, L L^T): d means, d log-diagonals and d (d - 1) / 2 numbers below the diagonal.

    The numbers below are scaled down so that training starts near the diagonal family; the exact
    posterior of a linear-Gaussian model lies within the family (Rezende et al. 2014, sec. 4).
    """

    below: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent, self.size = latent, 2 * latent + latent * (latent - 1) // 2
        rows, columns = torch.tril_indices(latent, latent, -1)
        self.register_buffer("below", rows * latent + columns, persistent=False)

    def forward(self, h: Tensor) -> CholeskyNormal:
        h, d = wide(h), self.latent
        scale = soft_clip(h[..., d : 2 * d], *LOG_SCALE).exp()
        flat = h.new_zeros(*h.shape[:-1], d * d)
        flat = flat.index_copy(-1, self.below, BELOW * h[..., 2 * d :])
        return CholeskyNormal(h[..., :d], flat.unflatten(-1, (d, d)) + torch.diag_embed(scale))


class NormalLikelihood(Likelihood):
    """p(x|z) = prod_i N(x_i; mean_i, exp(log_scale_i)^2); both (*k, n, *shape) or broadcasting."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, mean: Tensor, log_scale: Tensor, event_dims: int) -> None:
        super().__init__(mean, event_dims)
        self._mean, self.log_scale = mean, log_scale

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp().expand_as(self._mean)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        standard = (filled(x, mask) - self._mean) * (-self.log_scale).exp()
        return masked(-0.5 * standard.square() - self.log_scale - HALF_LOG_2PI, mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        mean = self._mean
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + self.log_scale.exp() * noise


class Normal(nn.Module):
    """Head of a Gaussian likelihood over rows of `shape`.

    `scale` says where the standard deviation comes from: "shared" one learned number, "entry" one
    learned number per entry, "network" a number per entry and row from the decoder, or a positive
    number that stays fixed (a buffer, not an untrained parameter). Standardised units, softly
    clipped to e^-6 ... e^3, since a Gaussian that can match some entries exactly is unbounded
    (Rybkin et al. 2021, sec. 3).
    """

    log_scale: Tensor

    def __init__(self, shape: tuple[int, ...], scale: str | float = "shared") -> None:
        super().__init__()
        self.shape, entries = tuple(shape), math.prod(shape)
        self.network = scale == "network"
        self.size = entries * (2 if self.network else 1)
        self.fixed = not isinstance(scale, str)
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "entry":
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif not isinstance(scale, str):
            if not scale > 0:
                raise UsageError(f"a fixed scale must be positive, got {scale}")
            self.register_buffer("log_scale", torch.tensor(math.log(scale)))
        elif not self.network:
            raise UsageError(
                f"scale '{scale}' is not known; use shared, entry, network or a positive number"
            )

    def forward(self, h: Tensor) -> NormalLikelihood:
        h = wide(h).unflatten(-1, (-1, *self.shape))
        mean = h.select(-1 - len(self.shape), 0)
        if self.fixed:
            return NormalLikelihood(mean, self.log_scale, len(self.shape))
        raw = h.select(-1 - len(self.shape), 1) if self.network else self.log_scale
        return NormalLikelihood(mean, soft_clip(raw, *LIKELIHOOD_LOG_SCALE), len(self.shape))
