"""How well found clusters agree with known classes.

Sources: Yang et al. 2010 (accuracy by the Hungarian method); Hubert & Arabie 1985 (adjusted Rand
index); Vinh, Epps & Bailey 2010 (normalised and adjusted mutual information).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vaes.errors import UsageError


@dataclass(frozen=True)
class Agreement:
    """Between classes and clusters, 1 where they are the same partition.

    accuracy: share of the rows that are right when every cluster stands for one class and no class
    is taken twice; rows of clusters that stand for none are wrong · purity: the same when clusters
    may share a class; it grows with their number, up to 1 · nmi: mutual information over the mean
    of both entropies · ari, ami: Rand index and mutual information, adjusted so that clusters drawn
    by chance have 0 on average.
    """

    accuracy: float
    purity: float
    nmi: float
    ari: float
    ami: float


def agreement(classes: ArrayLike, clusters: ArrayLike) -> Agreement:
    """How well `clusters` (n,) agree with `classes` (n,), both names or numbers."""
    from scipy.optimize import linear_sum_assignment
    from sklearn import metrics

    truth, found = np.asarray(classes), np.asarray(clusters)
    if truth.ndim != 1 or truth.shape != found.shape or not len(truth):
        raise UsageError(
            f"classes of shape {truth.shape} and clusters of shape {found.shape}: one of each is "
            "needed for every row, and at least one row"
        )
    for given, name in ((truth, "classes"), (found, "clusters")):
        # NaN is not equal to itself: every such row would be a class of its own
        unknown = np.flatnonzero(given != given)
        if len(unknown):
            raise UsageError(
                f"the {name} of {len(unknown)} rows are missing (NaN), the first is row "
                f"{unknown[0]}: leave these rows out"
            )
    table = metrics.cluster.contingency_matrix(truth, found)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return Agreement(
        accuracy=float(table[rows, columns].sum() / len(truth)),
        purity=float(table.max(0).sum() / len(truth)),
        nmi=float(metrics.normalized_mutual_info_score(truth, found)),
        ari=float(metrics.adjusted_rand_score(truth, found)),
        ami=float(metrics.adjusted_mutual_info_score(truth, found)),
    )
