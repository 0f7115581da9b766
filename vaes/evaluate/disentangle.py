"""How well single dimensions of codes stand for single known factors.

Every score depends on the factors and on how many rows there are: a code that is the factors
themselves does not reach 1 in all of them, and noise does not have 0. `ends` gives both for the
same factors. Sources: Higgins et al. 2017 (beta-VAE); Kim & Mnih 2018, arXiv:1802.05983
(FactorVAE); Chen et al. 2018, arXiv:1802.04942 (gap of mutual information); Ridgeway & Mozer 2018,
arXiv:1802.05312 (modularity, explicitness); Suter et al. 2019, arXiv:1811.00007 (interventional
robustness); Locatello et al. 2019, arXiv:1811.12359 (scores without factors). SAP and DCI, whose
predictors are learnt, are in `vaes.evaluate.dci`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from vaes.errors import UsageError
from vaes.evaluate.dci import dci, sap
from vaes.evaluate.levels import binned, checked
from vaes.evaluate.samples import frechet_of_moments

BATCH = 64  # rows that share a factor
TRAINED, TESTED = 10_000, 5_000  # votes of the classifiers
STILL = 0.05  # standard deviation below which a dimension of codes counts as unused
FAR = 0.99  # quantile that stands for the greatest deviation
Draw = Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Disentanglement:
    """Scores of codes against factors; 1 is best, what chance gives is said.

    beta_vae: accuracy of a linear classifier that sees in which dimensions pairs of rows that share
    a factor differ, and names the factor; chance 1 / factors · factor_vae: accuracy of the
    majority, by the dimension that varies least where a factor is fixed; chance 1 / factors · mig:
    gap between the two dimensions that know most of a factor, over its entropy; chance 0 ·
    modularity: whether a dimension knows of one factor only · explicitness: area under the ROC
    curve, from .5 on, of logistic regressions of the factors' values on all dimensions; chance 0 ·
    irs: how little a dimension moves when all factors but its own do, between rows of the same
    level (of levels cut into 20 bins, as some code has it, the factors of dSprites have .986) ·
    sap: gap between the two dimensions that predict a factor best by a line; chance 0 ·
    dci_disentanglement, dci_completeness, dci_informativeness: see `vaes.evaluate.dci.Dci`.
    """

    beta_vae: float
    factor_vae: float
    mig: float
    modularity: float
    explicitness: float
    irs: float
    sap: float
    dci_disentanglement: float
    dci_completeness: float
    dci_informativeness: float


def disentanglement(
    codes: ArrayLike, factors: ArrayLike, seed: int = 0, continuous: Sequence[int] = ()
) -> Disentanglement:
    """All scores of codes (n, d) for factors (n, f), whose values are levels of any kind.

    Factors numbered by `continuous` are real numbers: SAP takes them as they are, the other scores
    cut at their quantiles into 20 levels.
    """
    z, v = checked(codes, factors, continuous)
    trees = dci(z, v, seed)
    information = _information(z, v)
    draw = np.random.default_rng(seed)
    return Disentanglement(
        beta_vae=_beta_vae(z, v, draw),
        factor_vae=_factor_vae(z, v, draw),
        mig=_gap(information, v),
        modularity=_modularity(information),
        explicitness=_explicitness(z, v),
        irs=_robustness(z, v),
        sap=sap(z, factors, seed, continuous),
        dci_disentanglement=trees.disentanglement,
        dci_completeness=trees.completeness,
        dci_informativeness=trees.informativeness,
    )


def ends(
    factors: ArrayLike, dimensions: int, seed: int = 0, continuous: Sequence[int] = ()
) -> tuple[Disentanglement, ...]:
    """The same scores of normal noise (n, dimensions), and of the factors themselves as codes."""
    v = np.asarray(factors)
    noise = np.random.default_rng(seed).normal(size=(len(v), dimensions))
    values = checked(noise, v, continuous)[1].astype(np.float64)
    for k in continuous:
        values[:, k] = v[:, k]
    perfect = (values - values.mean(0)) / values.std(0)
    return tuple(disentanglement(code, v, seed, continuous) for code in (noise, perfect))


@dataclass(frozen=True)
class Dependence:
    """How much the dimensions of codes say of one another: 0 where they are independent.

    total_correlation: of a Gaussian with their covariance, nats · wasserstein: squared distance
    between that Gaussian and its independent one, over the variance of all · information: mean over
    pairs of dimensions, 20 bins each, nats.
    """

    total_correlation: float
    wasserstein: float
    information: float


def dependence(codes: ArrayLike) -> Dependence:
    """Scores of codes (n, d) that need no factors."""
    z = np.asarray(codes, dtype=np.float64)
    if z.ndim != 2 or min(z.shape) < 2 or not np.isfinite(z).all():
        raise UsageError(
            f"codes of shape {z.shape}: finite numbers are needed, of two rows and dimensions"
        )
    z = z[:, z.std(0) > 0]
    if z.shape[1] < 2:
        raise UsageError("fewer than two dimensions of the codes vary")
    covariance = np.cov(z.T)
    variance = np.diag(covariance)
    mean = torch.zeros(len(variance))
    both = torch.from_numpy(covariance), torch.from_numpy(np.diag(variance))
    bins = binned(z)
    pairs = [(i, j) for i in range(len(variance)) for j in range(i)]
    return Dependence(
        total_correlation=0.5 * float(np.log(variance).sum() - np.linalg.slogdet(covariance)[1]),
        wasserstein=frechet_of_moments(mean, both[0], mean, both[1]) / float(variance.sum()),
        information=float(np.mean([_mutual(bins[:, i], bins[:, j]) for i, j in pairs])),
    )


# --- information ----------------------------------------------------------------------------------
def _mutual(a: np.ndarray, b: np.ndarray) -> float:
    """I(a; b) of levels from 0 on, nats, by their counts."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / outer[some])).sum())


def _information(z: np.ndarray, v: np.ndarray) -> np.ndarray:
    """I(dimension; factor), (d, f), nats."""
    return np.array([[_mutual(code, factor) for factor in v.T] for code in binned(z).T])


def _gap(information: np.ndarray, v: np.ndarray) -> float:
    entropies = np.array([_mutual(factor, factor) for factor in v.T])
    # a single dimension has no second one, which then knows nothing
    ordered = np.sort(np.concatenate([np.zeros((1, v.shape[1])), information]), 0)
    return float(((ordered[-1] - ordered[-2]) / entropies).mean())


def _modularity(information: np.ndarray) -> float:
    square = information**2
    most = square.max(1)
    used = most > 0
    rest = (square.sum(1) - most)[used] / (most[used] * (information.shape[1] - 1))
    # a dimension that knows nothing is not modular
    return float((1 - rest).sum() / len(square))


# --- rows that share a factor ---------------------------------------------------------------------
class _Shared:
    """Draws rows of which factors have given levels."""

    def __init__(self, v: np.ndarray) -> None:
        self.counts = [np.bincount(factor) for factor in v.T]
        self.order = [np.argsort(factor, kind="stable") for factor in v.T]

    def levels(self, k: int, draw: np.random.Generator, size: int) -> np.ndarray:
        return draw.integers(len(self.counts[k]), size=size)

    def rows(self, k: int, levels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """A row with each of the levels (size,) of factor k."""
        counts = self.counts[k]
        starts = counts.cumsum() - counts
        return self.order[k][starts[levels] + draw.integers(counts[levels])]


def _beta_vae(z: np.ndarray, v: np.ndarray, draw: np.random.Generator) -> float:
    from sklearn.linear_model import LogisticRegression

    shared, factors = _Shared(v), draw.integers(v.shape[1], size=TRAINED + TESTED)
    apart = np.empty((len(factors), z.shape[1]))
    for i, k in enumerate(factors):
        # the same value in both rows of a pair, another one in the next pair
        levels = shared.levels(k, draw, BATCH)
        first, second = (shared.rows(k, levels, draw) for _ in range(2))
        apart[i] = np.abs(z[first] - z[second]).mean(0)
    scale = apart[:TRAINED].std(0)
    apart /= np.where(scale > 0, scale, 1)
    model = LogisticRegression(max_iter=1000).fit(apart[:TRAINED], factors[:TRAINED])
    return float(model.score(apart[TRAINED:], factors[TRAINED:]))


def _factor_vae(z: np.ndarray, v: np.ndarray, draw: np.random.Generator) -> float:
    used = z.std(0) >= STILL
    if not used.any():
        return 1 / v.shape[1]
    scaled = z[:, used] / z[:, used].std(0)
    shared, factors = _Shared(v), draw.integers(v.shape[1], size=TRAINED + TESTED)
    least = []
    for k in factors:
        levels = shared.levels(k, draw, 1).repeat(BATCH)
        least.append(scaled[shared.rows(k, levels, draw)].var(0).argmin())
    least = np.array(least)
    votes = np.zeros((scaled.shape[1], v.shape[1]))
    np.add.at(votes, (least[:TRAINED], factors[:TRAINED]), 1)
    return float((votes.argmax(1)[least[TRAINED:]] == factors[TRAINED:]).mean())


# --- the rest -------------------------------------------------------------------------------------
def _explicitness(z: np.ndarray, v: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    spread = z.std(0)
    scaled, found = (z - z.mean(0)) / np.where(spread > 0, spread, 1), []
    for factor in v.T:
        p = LogisticRegression(max_iter=1000).fit(scaled, factor).predict_proba(scaled)
        areas = [roc_auc_score(factor == level, p[:, level]) for level in range(factor.max() + 1)]
        found.append(2 * np.mean(areas) - 1)
    return float(np.mean(found))


def _robustness(z: np.ndarray, v: np.ndarray) -> float:
    most = np.abs(z - z.mean(0)).max(0)
    z, most = z[:, most > 0], most[most > 0]
    if not len(most):
        return 0.0
    deviations = []
    for factor in v.T:
        groups = (z[factor == level] for level in range(factor.max() + 1))
        far = [np.quantile(np.abs(rows - rows.mean(0)), FAR, axis=0) for rows in groups]
        deviations.append(np.mean(far, 0))
    best = (1 - np.array(deviations) / most).max(0)
    return float(np.average(best, weights=most))
