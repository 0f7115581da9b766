"""Peers that fill the gaps of a table: means, nearest neighbours, chained regressions, forests.

Every one takes (x, kinds): rows x (n, m) float64, NaN = a gap, categories as codes from 0 on; kinds
of the columns ("cat", "ordinal", or numbers: "real", "pos", "count"); and gives x without gaps.
Ordinals are numbers to all of them, as they are to whoever reads the file. No seed but 0.
"""

import warnings

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

DONORS = 10_000  # rows that neighbours are looked for among, drawn where there are more
TREES, ROUNDS = 100, 10
A_TREE = 4_000  # rows that a tree is grown on, drawn anew for each, where there are more


def typical(x, kinds):
    """Mean, median of ordinals, most frequent category."""
    filled = x.copy()
    for j, kind in enumerate(kinds):
        seen = x[~np.isnan(x[:, j]), j]
        if kind == "cat":
            codes, counts = np.unique(seen, return_counts=True)
            value = codes[counts.argmax()]
        else:
            value = np.median(seen) if kind == "ordinal" else seen.mean()
        filled[np.isnan(x[:, j]), j] = value
    return filled


def neighbours(x, kinds):
    """scikit-learn's KNNImputer, k = 5, numbers standardised, categories one-hot."""
    code = Coder(x, kinds)
    rows = code(x)
    some = np.random.default_rng(0).permutation(len(rows))[:DONORS]
    return code.back(KNNImputer().fit(rows[some]).transform(rows), x)


def chained(x, kinds):
    """scikit-learn's IterativeImputer: Bayesian ridge regressions, 10 rounds, the same columns."""
    code = Coder(x, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return code.back(IterativeImputer(random_state=0).fit_transform(code(x)), x)


def forests(x, kinds):
    """MissForest (Stekhoven & Buehlmann 2012): columns in order of their gaps, each by a forest of
    100 trees from all others; rounds until the differences grow, at most 10, and then the round
    before. sqrt(columns) are tried at a split, as there; categories are one-hot as predictors."""
    gaps, now, before = np.isnan(x), typical(x, kinds), None
    order = [j for j in np.argsort(gaps.sum(0), kind="stable") if gaps[:, j].any()]
    for _ in range(ROUNDS):
        new = now.copy()
        for j in order:
            new[gaps[:, j], j] = _forest(new, gaps[:, j], j, kinds)
        change = _changes(now, new, gaps, kinds)
        if before is not None and all(a >= b for a, b in zip(change, before, strict=True)):
            return now
        now, before = new, change
    return now


def _forest(x, gap, j, kinds):
    """What stands in the gaps of column j."""
    made = RandomForestClassifier if kinds[j] == "cat" else RandomForestRegressor
    others = [i for i in range(len(kinds)) if i != j]
    given = Coder(x[:, others], [kinds[i] for i in others])(x[:, others])
    few = A_TREE if (~gap).sum() > A_TREE else None
    forest = made(TREES, max_features="sqrt", max_samples=few, n_jobs=1, random_state=0)
    return forest.fit(given[~gap], x[~gap, j]).predict(given[gap])


def _changes(old, new, gaps, kinds):
    """How much a round changed: relative squares of the numbers, share of the categories' gaps;
    only what has gaps."""
    words = np.array([kind == "cat" for kind in kinds])
    found = []
    if gaps[:, ~words].any():
        a, b = old[:, ~words], new[:, ~words]
        found.append(((a - b) ** 2).sum() / (b**2).sum())
    if gaps[:, words].any():
        found.append((old[:, words] != new[:, words])[gaps[:, words]].mean())
    return found


class Coder:
    """Numbers standardised and categories one-hot, and back; a gap is a gap in all its columns."""

    def __init__(self, x, kinds):
        self.kinds = kinds
        self.mean, self.std = np.nanmean(x, 0), np.nanstd(x, 0)
        self.std[self.std == 0] = 1
        self.levels = [
            int(np.nanmax(c)) + 1 if k == "cat" else 1 for c, k in zip(x.T, kinds, strict=True)
        ]

    def __call__(self, x):
        out = []
        for j, (kind, n) in enumerate(zip(self.kinds, self.levels, strict=True)):
            column = x[:, j, None]
            if kind == "cat":
                out.append(np.where(np.isnan(column), np.nan, column == np.arange(n)))
            else:
                out.append((column - self.mean[j]) / self.std[j])
        return np.hstack(out)

    def back(self, rows, x):
        """The gaps of x from coded rows without gaps: a category is the largest of its columns."""
        found, start = [], 0
        for j, (kind, n) in enumerate(zip(self.kinds, self.levels, strict=True)):
            part = rows[:, start : start + n]
            value = part.argmax(1) if kind == "cat" else part[:, 0] * self.std[j] + self.mean[j]
            found.append(np.where(np.isnan(x[:, j]), value, x[:, j]))
            start += n
        return np.stack(found, 1)


PEERS = {"mean": typical, "kNN": neighbours, "chained": chained, "forests": forests}
