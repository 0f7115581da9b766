"""Gaussian baselines: probabilistic PCA, factor analysis, mixtures, fitted to the training rows.

Log-evidences in nats per test row, in the user's units. Levels on a grid get uniform noise u over a
cell of width 1, and E_u log p(k + u) <= log P(k) is scored, in closed form: nothing is drawn.
Sources: Tipping & Bishop 1999 (probabilistic PCA); Rubin & Thayer 1982 (factor analysis by EM);
Theis et al. 2016 (arXiv:1511.01844, eq. 4: a density of dequantised levels bounds a probability
from below).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.batch import Data
from vaes.errors import UsageError
from vaes.evaluate.baselines import CHUNK, FLOOR, LOG_2PI, Baseline, flat, nonempty, scored

LARGEST = 4096  # entries of a row up to which the eigenvectors of a covariance are sought
PASSES, SETTLED = 200, 1e-7  # of EM: at most, and the change of a row's nats that ends it
ROWS = 20_000  # that a mixture is fitted to
FULL = 64  # entries of a row up to which a mixture has full covariances
MIXTURES = (1, 5, 20)  # components that are tried
HELD = 10  # of so many training rows one chooses among mixtures


def ppca(train: Data, test: Data, latent: int) -> Baseline | None:
    """Probabilistic PCA of `latent` dimensions (at most one less than a row has), in closed form.

    Reals: the exact log-likelihood, in the standardised units that a model sees plus the
    Jacobian. Pixels and binary entries: levels k get uniform noise u over a cell of width 1, so
    the covariance of the training rows grows by I / 12, and E_u log p(k + u) <= log P(k) is scored,
    where the quadratic form grows by tr(C^-1) / 12; all in closed form, nothing is drawn. The noise
    variance is at least e^-12 for reals and 1/12 for levels, so constant entries break nothing.
    None where it does not apply: gaps, categories, counts, columns of several kinds, rows beyond
    4,096 entries.
    """
    if latent < 1:
        raise UsageError(f"latent={latent}: at least one latent dimension is needed")
    found = _space(train, test)
    if found is None:
        return None
    spec, (unit, cell) = train.spec, found
    density = _fit(train, min(latent, spec.size - 1), unit, cell)
    scores = torch.cat([density.score(flat(b)[0] * unit, cell) for b in test.batches(CHUNK)])
    jacobian = float(spec.log_jacobian.sum())
    name = f"ppca-{min(latent, spec.size - 1)}"
    return scored(name, scores + jacobian, "lower" if cell else "exact")


def factor_analysis(train: Data, test: Data, latent: int) -> Baseline | None:
    """Factor analysis of `latent` dimensions: x ~ N(mean, W W^T + diag(v)), by EM from pPCA.

    Scored like `ppca`, and None where that is. A variance is at least e^-12 for reals, 1/12 for
    levels.
    """
    found = _space(train, test)
    if found is None:
        return None
    unit, cell = found
    d = min(latent, train.spec.size - 1)
    mean, covariance = _moments(train, unit, cell)
    start = _principal(mean, covariance, d)
    loadings = start.vectors * (start.values - start.variance).clamp(min=0).sqrt()
    least = max(cell, FLOOR)
    noise = (covariance.diagonal() - loadings.square().sum(1)).clamp(min=least)
    before = -math.inf
    for _ in range(PASSES):
        factor = _Factors(mean, loadings, noise)
        now = factor.likelihood(covariance)
        if now - before < SETTLED:
            break
        before = now
        beta = factor.posterior()
        cross = covariance @ beta.T
        second = torch.eye(d, dtype=torch.float64, device=mean.device) - beta @ loadings
        loadings = torch.linalg.solve(second + beta @ cross, cross.T).T
        noise = (covariance.diagonal() - (loadings * cross).sum(1)).clamp(min=least)
    factor = _Factors(mean, loadings, noise)
    scores = torch.cat([factor.score(flat(b)[0] * unit, cell) for b in test.batches(CHUNK)])
    jacobian = float(train.spec.log_jacobian.sum())
    return scored(f"factor-analysis-{d}", scores + jacobian, "lower" if cell else "exact")


def gaussian_mixture(train: Data, test: Data, seed: int = 0) -> Baseline | None:
    """A mixture of Gaussians: 1, 5 or 20 of diagonal and, up to 64 entries, of full covariance.

    A tenth of at most 20,000 training rows chooses among those fitted to the rest. Of levels the
    fit sees the noise and the score is log sum_c w_c exp(E_u log N_c(k + u)), again a lower bound,
    by Jensen. None where `ppca` is.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    found = _space(train, test)
    if found is None:
        return None
    unit, cell = found
    some = torch.linspace(0, len(train) - 1, min(ROWS, len(train))).long().to(train.x.device)
    x = torch.cat([flat(b)[0] * unit for b in train.part(some.unique()).batches(CHUNK)]).cpu()
    draw = torch.Generator().manual_seed(seed)
    x = x[torch.randperm(len(x), generator=draw)]
    held = max(1, len(x) // HELD)
    noisy = x[held:] + (torch.rand(x[held:].shape, generator=draw).double() - 0.5) * bool(cell)
    best, reached = None, -math.inf
    for shape in ("diag", "full") if x.shape[1] <= FULL else ("diag",):
        for k in (k for k in MIXTURES if k <= len(noisy) // 2):
            mixture = GaussianMixture(k, covariance_type=shape, reg_covar=FLOOR, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                mixture.fit(noisy.numpy())
            density = _Mixture.of(mixture)
            mean = float(density.score(x[:held], cell).mean())
            if mean > reached:
                best, reached = (f"gaussian-mixture-{k}-{shape}", density), mean
    if best is None:
        return None
    scores = torch.cat([best[1].score(flat(b)[0].cpu() * unit, cell) for b in test.batches(CHUNK)])
    jacobian = float(train.spec.log_jacobian.sum())
    return scored(best[0], scores + jacobian, "lower" if cell else "exact")


def _space(train: Data, test: Data) -> tuple[int, float] | None:
    """What x is multiplied by, and the variance of the noise within a cell; None for rows that are
    neither levels nor reals, all of one kind, without gaps, of at most 4,096 entries."""
    nonempty(train, test)
    spec = train.spec
    gaps = train.mask is not None or test.mask is not None
    other = not spec.uniform or spec.kinds[0] in ("category", "numeric", "count")
    if gaps or other or spec.size > LARGEST:
        return None
    levels = spec.levels[0]
    return (levels - 1, 1 / 12) if levels else (1, 0.0)


def _moments(train: Data, unit: float, cell: float) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance / N (D, D) of `unit` x + u."""
    size = train.spec.size
    zeros = torch.zeros(size, size, dtype=torch.float64, device=train.x.device)
    total, scatter = zeros[0].clone(), zeros
    for batch in train.batches(CHUNK):
        total += flat(batch)[0].sum(0) * unit
    mean = total / len(train)
    for batch in train.batches(CHUNK):
        centred = flat(batch)[0] * unit - mean
        scatter += centred.T @ centred
    covariance = scatter / len(train)
    covariance.diagonal().add_(cell)
    return mean, covariance


@dataclass(frozen=True)
class _Ppca:
    """N(mean, C): C has eigenvalues `values` (d,) along `vectors` (D, d), `variance` elsewhere."""

    mean: Tensor
    vectors: Tensor
    values: Tensor
    variance: Tensor

    def score(self, x: Tensor, cell: float) -> Tensor:
        """E_u log p(x + u) per row for u with covariance `cell` I, (n,)."""
        size, d = self.vectors.shape
        centred = x - self.mean
        along = (centred @ self.vectors).square()
        across = (centred.square().sum(1) - along.sum(1)).clamp(min=0)
        quadratic = (along / self.values).sum(1) + across / self.variance
        trace = (1 / self.values).sum() + (size - d) / self.variance
        log_det = self.values.log().sum() + (size - d) * self.variance.log()
        return -0.5 * (size * LOG_2PI + log_det + quadratic + cell * trace)


def _fit(train: Data, d: int, unit: float, cell: float) -> _Ppca:
    """Probabilistic PCA of `unit` x + u."""
    return _principal(*_moments(train, unit, cell), d)


def _principal(mean: Tensor, covariance: Tensor, d: int) -> _Ppca:
    """Closed form of Tipping & Bishop 1999."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    variance = values[d:].mean().clamp(min=FLOOR)
    return _Ppca(mean, vectors[:, :d], values[:d].clamp(min=float(variance)), variance)


@dataclass(frozen=True)
class _Factors:
    """N(mean, W W^T + diag(v)), W = `loadings` (D, d), v = `noise` (D,)."""

    mean: Tensor
    loadings: Tensor
    noise: Tensor

    def posterior(self) -> Tensor:
        """The matrix (d, D) that takes x - mean to E[z|x]."""
        scaled = self.loadings / self.noise.unsqueeze(1)
        return torch.cholesky_solve(scaled.T, self._factor())

    def likelihood(self, covariance: Tensor) -> float:
        """Mean log-likelihood of rows with that covariance, up to a constant."""
        scaled = self.loadings / self.noise.unsqueeze(1)
        trace = (covariance.diagonal() / self.noise).sum()
        trace -= (self.posterior() * (scaled.T @ covariance)).sum()
        return float(-0.5 * (self._log_det() + trace))

    def score(self, x: Tensor, cell: float) -> Tensor:
        """E_u log p(x + u) per row for u with covariance `cell` I, (n,)."""
        centred = x - self.mean
        scaled = self.loadings / self.noise.unsqueeze(1)
        quadratic = (centred.square() / self.noise).sum(1)
        quadratic -= ((centred @ scaled) * (centred @ self.posterior().T)).sum(1)
        trace = (1 / self.noise).sum() - (self.posterior() * scaled.T).sum()
        size = len(self.mean)
        return -0.5 * (size * LOG_2PI + self._log_det() + quadratic + cell * trace)

    def _factor(self) -> Tensor:
        """Cholesky factor of I + W^T diag(1/v) W."""
        scaled = self.loadings / self.noise.unsqueeze(1)
        eye = torch.eye(self.loadings.shape[1], dtype=torch.float64, device=self.mean.device)
        return torch.linalg.cholesky(eye + self.loadings.T @ scaled)

    def _log_det(self) -> Tensor:
        return self.noise.log().sum() + 2 * self._factor().diagonal().log().sum()


@dataclass(frozen=True)
class _Mixture:
    """sum_c w_c N(mean_c, C_c) with C_c^-1 = U_c U_c^T; log w (k,), means (k, D), U (k, D, D), or
    (k, D) where it is diagonal."""

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, mixture: object) -> _Mixture:
        """That of a fitted sklearn mixture."""
        fields = ("weights_", "means_", "precisions_cholesky_")
        weights, means, factors = (torch.from_numpy(getattr(mixture, f)).double() for f in fields)
        return cls(weights.clamp(min=1e-300).log(), means, factors)

    def score(self, x: Tensor, cell: float) -> Tensor:
        """log sum_c w_c exp(E_u log N_c(x + u)) per row for u with covariance `cell` I, (n,)."""
        found = []
        for log_weight, mean, factor in zip(
            self.log_weights, self.means, self.factors, strict=True
        ):
            centred = x - mean
            full = factor.dim() == 2
            quadratic = (centred @ factor if full else centred * factor).square().sum(1)
            log_det = (factor.diagonal() if full else factor).log().sum()
            trace = cell * factor.square().sum()
            found.append(log_weight + log_det - 0.5 * (quadratic + trace + len(mean) * LOG_2PI))
        return torch.stack(found).logsumexp(0)
