"""Codes and factors as the scores of disentanglement take them: checked, in levels, in bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vaes.errors import UsageError

BINS = 20  # of a code, where information is counted; of a continuous factor


def checked(
    codes: ArrayLike, factors: ArrayLike, continuous: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, d) in float64, factors (n, f) as levels from 0 on.

    Factors numbered by `continuous` are cut at their quantiles into `BINS` levels.
    """
    z, v = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or not z.shape[1]:
        raise UsageError(
            f"codes of shape {z.shape} and factors of shape {v.shape}: (n, d) and (n, f) are needed"
        )
    if not np.isfinite(z).all():
        raise UsageError("the codes hold entries that are no finite numbers")
    if wrong := [k for k in continuous if not 0 <= k < v.shape[1]]:
        raise UsageError(
            f"continuous factor {wrong[0]}: factors are numbered 0 to {v.shape[1] - 1}"
        )
    levels = np.stack(
        [_levels(column, k in continuous, k) for k, column in enumerate(v.T)] or [v[:, :0]], -1
    )
    for k, column in enumerate(levels.T):
        least = np.bincount(column).min()
        if column.max() == 0:
            raise UsageError(f"factor {k} has the same value in all rows: leave it out")
        if least < 2:
            raise UsageError(
                f"factor {k} has a value in one row only: two of each are needed (a factor of "
                "real numbers is named in continuous)"
            )
    if v.shape[1] < 2:
        raise UsageError("one factor cannot be told from another: two are needed at least")
    return z, levels


def binned(z: np.ndarray) -> np.ndarray:
    """Codes (n, d) as the number of their bin, evenly spaced over the range of each dimension."""
    low, high = z.min(0), z.max(0)
    place = (z - low) / np.where(high > low, high - low, 1)
    return np.minimum((place * BINS).astype(int), BINS - 1)


def parts(n: int, most: tuple[int, int], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Row numbers that a predictor learns from and that it is tried on: two thirds and one third
    of n rows in random order, at most `most` of either."""
    order, third = draw.permutation(n), n // 3
    return order[third:][: most[0]], order[:third][: most[1]]


def _levels(column: np.ndarray, continuous: bool, k: int) -> np.ndarray:
    if continuous:
        column = np.asarray(column, dtype=np.float64)
        if not np.isfinite(column).all():
            raise UsageError(f"factor {k} holds entries that are no finite numbers")
        edges = np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])
        column = np.searchsorted(np.unique(edges), column, side="right")
    return np.unique(column, return_inverse=True)[1]
