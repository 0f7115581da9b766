"""A column of numbers cut into pieces: values that recur are pieces of their own, the rest lies in
intervals that hold about as many rows each.

A piece is (low, high), low == high for a single value. Pieces are in order and none overlaps
another: an interval ends where a single value begins, half a step away from it where the column has
a step. The first and the last piece of a column are its tails, below and above everything seen:
distances fall off exponentially there, so that a value beyond the training range has a small
density, not none. In model space a value is the number of its piece plus the place u in [0, 1)
within it: x rises with the value.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

MOST_VALUES = 512  # distinct values of a column up to which each is a piece of its own,
ROWS_A_VALUE = 10  # as long as there are that many rows to each
INTERVALS = (4, 100)  # fewest and most intervals of a column,
ROWS_A_PIECE = 20  # with so many rows or more in each
ROWS_AT_AN_END = 10  # the first and the last interval are halved down to so many rows
RECURS = 5  # rows that a value has at least where it is a piece among intervals
DECIMALS = 6  # beyond so many, values have no step
DAY = 86_400.0  # seconds: the step of a column of dates
# How far from a multiple of its step a value may lie: a share of it, but not more of the step.
NOISE = {"float16": (5e-4, 0.1), "float32": (7e-8, 0.1)}
PLACES = (1e-7, 1 - 1e-7)  # the ends of a tail, 16 times its width away
LARGEST = 1e300  # what lies beyond cannot be cut: differences would overflow

Pieces = tuple[float, ...]  # low and high of each piece in turn


def step(values: np.ndarray, dtype: str = "") -> float:
    """What all values (n,) are multiples of: a day for dates, else a power of ten; else 0."""
    if dtype.startswith("date"):
        return DAY
    if not len(values):
        return 0.0
    spread = float(values.max()) - float(values.min())
    share, most = NOISE.get(dtype, (1e-13, 1e-3))
    for decimals in range(DECIMALS):
        scaled = values * 10.0**decimals
        size = np.abs(scaled)
        if size.max() >= 2**52:
            break
        # A share of the value: a column of 1e-9 is not one of zeros. And what differs stays so.
        near = np.abs(scaled - np.rint(scaled)) <= np.minimum(share * size, most)
        if near.all() and not 0 < spread * 10.0**decimals < 0.5:
            return 10.0**-decimals
    return 0.0


def cut(values: np.ndarray, grain: float = 0.0) -> Pieces:
    """The pieces of a column with the training values (n,), n >= 1, multiples of `grain`."""
    found, counts = np.unique(rounded(values, grain), return_counts=True)
    if len(found) <= MOST_VALUES and len(found) * ROWS_A_VALUE <= max(
        len(values), 2 * ROWS_A_VALUE
    ):
        alone, edges = np.ones(len(found), bool), found[:0]
    else:
        alone, edges = _quantiles(found, counts)
    inner = [(float(v), float(v)) for v in found[alone]]
    inner += _between(found, alone, edges, grain)
    inner.sort()
    (low, end), (start, high) = inner[0], inner[-1]
    low, high = low - grain / 2 * (low == end), high + grain / 2 * (start == high)
    # far from zero a narrower tail would be lost in rounding
    tail = max((high - low) / len(inner), 1e-9 * max(abs(low), abs(high))) or 1e-9
    every = [(low - tail, low), *inner, (high, high + tail)]
    return tuple(end for piece in every for end in piece)


def _quantiles(found: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the values found are pieces of their own; where the others part into intervals."""
    n = int(counts.sum())
    most = min(INTERVALS[1], max(INTERVALS[0], n // ROWS_A_PIECE))
    alone = counts >= max(RECURS, n / most)
    rest = np.repeat(found[~alone], counts[~alone])
    if not len(rest):
        return alone, rest
    inner = np.linspace(0, 1, max(2, round(most * len(rest) / n)) + 1)[1:-1]
    # values far out would make the whole interval at the end wide, and it is even within
    halvings = max(0, int(np.log2(inner[0] * len(rest) / ROWS_AT_AN_END)))
    ends = inner[0] / 2.0 ** np.arange(halvings, 0, -1)
    return alone, np.quantile(rest, np.concatenate([ends, inner, 1 - ends[::-1]]))


def _between(
    found: np.ndarray, alone: np.ndarray, edges: np.ndarray, grain: float
) -> list[tuple[float, float]]:
    """The intervals that `edges` and single values part the range of a column into."""
    if alone.all():
        return []
    if not grain:
        ends = np.unique(np.concatenate([found[[0, -1]], edges, found[alone]]))
        return [(float(a), float(b)) for a, b in pairwise(ends)]
    # Counted in steps, so that one edge is one number; each lies half a step above its count.
    counted, single = np.rint(found / grain), np.rint(found[alone] / grain)
    inside = np.floor(edges / grain + 1e-6)
    ends = [counted[:1] - 1, counted[-1:], inside, single, single - 1]
    pairs = [(a, b) for a, b in pairwise(np.unique(np.concatenate(ends)))]
    taken = set(single.tolist())
    free = [(a, b) for a, b in pairs if b - a > 1 or b not in taken]
    return [(float(a + 0.5) * grain, float(b + 0.5) * grain) for a, b in free]


def locate(values: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Values (n,), all finite, in model space: number of the piece plus place within it.

    A value between two pieces is taken into the nearer one.
    """
    lows, highs = np.array(pieces[::2]), np.array(pieces[1::2])
    # Of the two sides of a border the piece above it takes the value, unless it is a single one.
    code = 1 + np.searchsorted((highs[1:-2] + lows[2:-1]) / 2, values, "right")
    alone = np.flatnonzero(lows == highs)
    if len(alone):
        near = alone[np.searchsorted(lows[alone], values).clip(max=len(alone) - 1)]
        code = np.where(lows[near] == values, near, code)
    below, above = values < highs[0], values > lows[-1]
    code[below], code[above] = 0, len(lows) - 1
    widths = highs - lows
    # Distances from beyond 1e308 overflow, and are as good as endless.
    with np.errstate(over="ignore"):
        place = np.where(widths[code] > 0, values - lows[code], 0.5)
        place /= np.where(widths[code] > 0, widths[code], 1.0)
        place[below] = np.exp((values[below] - highs[0]) / widths[0])
        place[above] = -np.expm1((lows[-1] - values[above]) / widths[-1])
    # The largest float32 below the next piece, in which model space is kept.
    most = np.nextafter((code + 1).astype(np.float32), np.float32(0)).astype(np.float64)
    return np.minimum(code + place.clip(*PLACES), most)


def value(x: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Inverse of `locate`, up to the precision of x (n,)."""
    lows, highs = np.array(pieces[::2]), np.array(pieces[1::2])
    code = np.clip(np.floor(x), 0, len(lows) - 1).astype(np.int64)
    place = np.clip(x - code, *PLACES)
    widths = (highs - lows)[code]
    found = lows[code] + place * widths
    below, above = code == 0, code == len(lows) - 1
    found[below] = highs[0] + widths[below] * np.log(place[below])
    found[above] = lows[-1] - widths[above] * np.log1p(-place[above])
    return found


def centres(values: np.ndarray, pieces: Pieces) -> tuple[float, ...]:
    """The mean of the values (n,) within each piece, the middle of a piece that holds none: a wide
    piece at the end of a skewed column has its values at one side."""
    ends = np.array(pieces)
    found = (ends[::2] / 2 + ends[1::2] / 2).copy()
    codes = np.floor(locate(values, pieces)).astype(np.int64)
    counts = np.bincount(codes, minlength=len(found))
    sums = np.bincount(codes, values, minlength=len(found))
    found[counts > 0] = (sums[counts > 0] / counts[counts > 0]).clip(
        ends[::2][counts > 0], ends[1::2][counts > 0]
    )
    return tuple(found.tolist())


def rounded(values: np.ndarray, grain: float) -> np.ndarray:
    """Values brought to multiples of `grain`, as written in decimals; 0 leaves them."""
    if not grain:
        return values
    if grain >= 1:
        return np.rint(values / grain) * grain
    return np.round(values, round(-np.log10(grain)))
