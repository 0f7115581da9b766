"""How well single dimensions of codes predict single factors, by predictors that are learnt.

Sources: Kumar et al. 2018, arXiv:1711.00848 (SAP); Eastwood & Williams 2018 (DCI); predictors and
their settings as in Locatello et al. 2019, arXiv:1811.12359, on fewer rows and trees, which bounds
the cost: `TRAINED`, `TESTED`, `GROWN`, `TREES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vaes.errors import UsageError
from vaes.evaluate.levels import checked, parts

TRAINED, TESTED = 10_000, 5_000  # rows of a predictor
GROWN = 2_000  # rows that trees grow on
TREES = 20  # per value of a factor
STILL = 1e-12  # variance below which a dimension of codes is constant


@dataclass(frozen=True)
class Dci:
    """disentanglement: whether a dimension matters for one factor only, 1 - the entropy of its
    importances over the factors (to the base of their number), dimensions weighted by what they
    matter in all · completeness: whether a factor needs one dimension only, likewise over the
    dimensions · informativeness: accuracy on rows that the trees have not seen, mean over the
    factors; chance is the share of each factor's most frequent value · importance (d, f): of
    each dimension for each factor, columns sum to 1 (0 where no dimension helps).
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(codes: ArrayLike, factors: ArrayLike, seed: int = 0, trees: int = TREES) -> Dci:
    """Disentanglement, completeness and informativeness of codes (n, d) for factors (n, f), by
    gradient-boosted trees that predict a factor's value from all dimensions.

    trees: per value of a factor; time grows with it and with the number of values.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    z, v = checked(codes, factors)
    if trees < 1:
        raise UsageError(f"trees={trees}: at least one per value is needed")
    draw = np.random.default_rng(seed)
    train, test = _parts(v, (GROWN, TESTED), draw)
    importance, accuracy = np.zeros((z.shape[1], v.shape[1])), []
    for k, factor in enumerate(v.T):
        grown = GradientBoostingClassifier(n_estimators=trees, random_state=seed)
        grown.fit(z[train], factor[train])
        importance[:, k] = grown.feature_importances_
        accuracy.append(grown.score(z[test], factor[test]))
    return Dci(
        disentanglement=_pure(importance),
        completeness=_pure(importance.T),
        informativeness=float(np.mean(accuracy)),
        importance=importance,
    )


def sap(
    codes: ArrayLike, factors: ArrayLike, seed: int = 0, continuous: Sequence[int] = ()
) -> float:
    """Separated attribute predictability: the gap between the two dimensions of codes (n, d) that
    predict a factor best, each by itself; mean over the factors (n, f). Chance 0.

    Of factors with levels: accuracy of a linear support vector classifier (C = .01, levels weighted
    equally) on rows that it has not seen; more than two values in order are beyond it, so that the
    factors themselves do not reach 1. Of factors numbered by `continuous`: R^2.
    """
    z, v = checked(codes, factors, continuous)
    raw, draw = np.asarray(factors), np.random.default_rng(seed)
    train, test = _parts(v, (TRAINED, TESTED), draw)
    gaps = []
    for k, factor in enumerate(v.T):
        if k in continuous:
            scores = _explained(z[train], raw[train, k].astype(np.float64))
        else:
            scores = [_accuracy(code, factor, train, test) for code in z.T]
        # a single dimension has no second one, which then predicts nothing
        ordered = np.sort([0.0, *scores])
        gaps.append(ordered[-1] - ordered[-2])
    return float(np.mean(gaps))


def _parts(
    v: np.ndarray, most: tuple[int, int], draw: np.random.Generator
) -> tuple[np.ndarray, ...]:
    train, test = parts(len(v), most, draw)
    for k, factor in enumerate(v.T):
        if len(test) < 1 or len(np.unique(factor[train])) < 2:
            raise UsageError(
                f"{len(v)} rows are too few to learn factor {k} from two thirds of them: "
                f"{10 * (factor.max() + 1)} rows or more are needed"
            )
    return train, test


def _accuracy(code: np.ndarray, factor: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    from sklearn.svm import LinearSVC

    x = code[:, None]
    model = LinearSVC(C=0.01, class_weight="balanced").fit(x[train], factor[train])
    return float(model.score(x[test], factor[test]))


def _explained(z: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """R^2 of a factor (n,) by each dimension alone, (d,)."""
    z, factor = z - z.mean(0), factor - factor.mean()
    variance = z.var(0)
    # a constant dimension predicts nothing
    square = (z * factor[:, None]).mean(0) ** 2 / np.where(variance > STILL, variance, np.inf)
    return square / factor.var()


def _pure(importance: np.ndarray) -> float:
    """1 - entropy of each row's shares, to the base of their number, weighted by the rows' sums."""
    rows, total = importance.sum(1), importance.sum()
    if total == 0:
        return 0.0
    if importance.shape[1] == 1:
        return 1.0
    shares = importance / np.where(rows > 0, rows, 1)[:, None]
    entropy = -np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1)), 0).sum(1)
    return float(((1 - entropy / np.log(importance.shape[1])) * rows).sum() / total)
