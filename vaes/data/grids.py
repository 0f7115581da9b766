"""Which values an entry can take: the grid that values lie on, found or checked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaes.data.pieces import LARGEST, cut, step
from vaes.errors import DataError

# Grids that are found by themselves and grids that can be asked for have at most so many levels.
MOST_LEVELS, MOST_FORCED = 256, 65536


class Grid(NamedTuple):
    """The values of an entry: low + k * span / (levels - 1) for k = 0 .. levels - 1."""

    kind: str
    levels: int
    low: float
    span: float
    pieces: tuple[float, ...] = ()  # of a numeric column

    def told(self) -> str:
        """The grid in words."""
        if self.kind in ("real", "count"):
            return self.kind
        if self.kind == "numeric":
            inner = list(zip(self.pieces[2:-2:2], self.pieces[3:-2:2], strict=True))
            alone = sum(low == high for low, high in inner)
            parts = [f"{alone} values"] * bool(alone)
            parts += [f"{len(inner) - alone} intervals"] * (len(inner) > alone)
            return f"numeric ({' and '.join(parts)})"
        if self.kind == "category":
            return f"category of {self.levels}"
        ends = f"{self.low:g} and {self.low + self.span:g}"
        if self.kind == "binary":
            return f"binary ({ends})"
        return f"pixel of {self.levels} levels between {ends}"


REAL = Grid("real", 0, 0.0, 1.0)
COUNT = Grid("count", 0, 0.0, 1.0)
LARGEST_COUNT = 2**24  # up to which float32 holds every whole number


def numeric(values: np.ndarray, where: str = "the column", dtype: str = "") -> Grid:
    """The pieces of a column of a table with the observed values (k,), kept as `dtype`."""
    values = values.astype(np.float64)
    if np.abs(values).max() > LARGEST:
        raise DataError(
            f"kind 'numeric' was asked for, but {where} holds numbers beyond {LARGEST:g}, which "
            "cannot be cut: --kind real takes them"
        )
    found = cut(values, step(values, dtype))
    return Grid("numeric", len(found) // 2, 0.0, 1.0, found)


def natural(values: np.ndarray) -> Grid:
    """The grid that the values (k,) suggest; constant ones are real."""
    low, high = float(values.min()), float(values.max())
    if low == high or high - low == np.inf:
        return REAL
    if bool(((values == values.min()) | (values == values.max())).all()):
        return Grid("binary", 2, low, high - low)
    grid = _steps(values)
    if grid and grid.levels <= MOST_LEVELS:
        return grid
    return _bytes(values) or REAL


def _steps(values: np.ndarray) -> Grid | None:
    """The coarsest uniform grid of whole numbers that holds all values, or None."""
    if values.dtype.kind == "f" and not _all_whole(values):
        return None
    low, high = int(values.min()), int(values.max())
    if high - low >= 2**53:
        return None
    offsets = values if low == 0 else values.astype(np.float64) - low
    # Whatever the number of rows, few distinct values decide the step.
    offsets = _distinct(offsets, high - low)
    step = int(np.gcd.reduce(offsets))
    return Grid("pixel", (high - low) // step + 1, float(low), float(high - low))


def _distinct(offsets: np.ndarray, most: int) -> np.ndarray:
    if most >= MOST_FORCED:
        return offsets.astype(np.int64)
    seen = np.zeros(most + 1, dtype=bool)
    for start in range(0, len(offsets), 2**22):
        seen[offsets[start : start + 2**22].astype(np.int64)] = True
    return np.flatnonzero(seen)


def _all_whole(values: np.ndarray) -> bool:
    first = values[:10_000]
    return bool((first == np.rint(first)).all()) and bool((values == np.rint(values)).all())


def _bytes(values: np.ndarray) -> Grid | None:
    """256 levels where floats in [0, 1] all lie on k / 255 and are not just a few such numbers."""
    if values.dtype.kind != "f" or values.min() < 0 or values.max() > 1:
        return None
    for part in (values[:10_000], values):
        scaled = part.astype(np.float64) * 255
        if (np.abs(scaled - np.rint(scaled)) > 1e-4).any():
            return None
    return Grid("pixel", 256, 0.0, 1.0) if len(np.unique(np.rint(scaled))) > 16 else None


def uncountable(values: np.ndarray) -> np.ndarray:
    """Those of the values (k,) that are no counts: no whole numbers from 0 to `LARGEST_COUNT`."""
    wrong = (values < 0) | (values > LARGEST_COUNT)
    return values[wrong | (values != np.rint(values)) if values.dtype.kind == "f" else wrong]


def forced(values: np.ndarray, kind: str, where: str, dtype: str = "") -> Grid:
    """The grid of a kind that was asked for; DataError naming the value that does not fit."""
    asked = f"kind '{kind}' was asked for, but {where}"
    if kind == "real":
        return REAL
    if kind == "numeric":
        return numeric(values, where, dtype)
    if kind == "count":
        wrong = uncountable(values)
        if len(wrong):
            raise DataError(
                f"{asked} holds {wrong[0]:g}; counts are whole numbers from 0 to {LARGEST_COUNT:,}"
            )
        return COUNT
    low, high = float(values.min()), float(values.max())
    if kind == "binary":
        other = values[(values != low) & (values != high)]
        if len(other):
            raise DataError(
                f"{asked} hold{'' if where.startswith('the') else 's'} {other[0]:g} beside "
                f"{low:g} and {high:g}: --binarize threshold, static or dynamic turns grey "
                "levels into bits"
            )
        if low == high and low not in (0, 1):
            raise DataError(f"{asked} holds only {low:g}; a binary entry has two values")
        return Grid("binary", 2, *((0.0, 1.0) if low == high else (low, high - low)))
    if kind == "category":
        wrong = values[(values != np.rint(values)) | (values < 0) | (values >= MOST_FORCED)]
        if len(wrong):
            raise DataError(f"{asked} holds {wrong[0]:g}; categories are coded 0, 1, 2, ...")
        return Grid("category", int(high) + 1, 0.0, 1.0)
    if low == high:
        raise DataError(f"{asked} holds only {low:g}; a pixel has at least two levels")
    grid = _steps(values) or _bytes(values)
    if grid is None or grid.levels > MOST_FORCED:
        odd = values[values != np.rint(values)]
        what = f"{odd[0]:g}, no whole number" if len(odd) else f"{low:g} to {high:g}, too many"
        raise DataError(f"{asked} holds {what}; pixels lie on a grid of levels")
    return grid
