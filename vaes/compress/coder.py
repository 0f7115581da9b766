"""One walk over the symbols of a row, in two directions: they are recorded, or popped off a stack.

Whoever describes a distribution walks over its symbols once, in order, and asks the coder for each;
the coder knows it already (`Recorder`, which pushes what it recorded afterwards) or finds it on the
stack (`Popper`). Coding and decoding thus run the same lines.

Numbers that come out of a network are rounded before they become integer edges: their last bits
depend on the processor, and a coder in which both sides do not agree on every edge decodes noise.
Every symbol keeps one part in 2^24 or so, hence costs at most 24 bits: where a model is so wrong
that it says less, the file is shorter than its bound.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from vaes.compress.ans import Stack, integer_edges, pop_by, undecodable
from vaes.errors import UsageError

BITS = 24  # of the edges of a table, more where it has many levels
STEP = 2.0**-14  # logits, logarithms of scales and standardised places are multiples of it
FINE = 2.0**10  # and a mean, of this part of a bin
ROOM = 12  # bits of a bin of a grid on average
MOST = 40  # bits of an edge at most


def rounded(x: np.ndarray) -> np.ndarray:
    """To multiples of `STEP`."""
    return np.rint(x / STEP) * STEP


@dataclass(frozen=True)
class Grid:
    """Where the dimensions of z lie: bins of width 2^-steps[i] over [-2^reach, 2^reach)."""

    reach: int
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        widest = self.reach + 1 + max(self.steps, default=0)
        if widest > MOST - ROOM:
            raise UsageError(
                f"the codes of these rows spread over 2^{widest} of the narrowest one, more than "
                f"the 2^{MOST - ROOM} that can be coded; train with another seed or a larger beta"
            )

    def count(self, i: int) -> int:
        """How many bins dimension i has."""
        return 1 << (self.reach + 1 + self.steps[i])

    def bits(self, i: int) -> int:
        """Of the edges of dimension i."""
        return max(28, self.reach + 1 + self.steps[i] + ROOM)

    def value(self, i: int, k: int) -> float:
        """The middle of bin k of dimension i, exactly."""
        return (k - self.count(i) / 2 + 0.5) * 2.0 ** -self.steps[i]


class Bins:
    """Integer edges of N(loc, exp(log_scale)^2) over the bins of dimension i of a grid.

    within: standard deviations around the mean beyond which no bin has a place. Of a distribution
    that is drawn from it has to be small: every bin keeps one part in 2^bits or more, and of many
    that lie far out one would be drawn too often, at the price of a whole row.
    """

    def __init__(
        self, grid: Grid, i: int, loc: float, log_scale: float, within: float = math.inf
    ) -> None:
        width, count, self.bits = 2.0 ** -grid.steps[i], grid.count(i), grid.bits(i)
        loc = round(loc / width * FINE) / FINE
        scale = math.exp(round(log_scale / STEP) * STEP) / width
        # in bins from here on: edge k lies at (k - middle) / scale standard deviations
        self.middle, self.scale = count / 2 + loc, scale
        self.first, self.end = 0, count
        if within < math.inf:
            self.first = min(max(math.floor(self.middle - within * scale), 0), count - 1)
            self.end = max(min(math.ceil(self.middle + within * scale), count), self.first + 1)
        self._per_edge = -1 / (scale * math.sqrt(2))
        self._mass = (1 << self.bits) - (self.end - self.first)

    def edge(self, k: int) -> int:
        """The integer at which bin k starts, 0 ... 2^bits; both ends are open."""
        if k <= self.first or k >= self.end:
            return (k >= self.end) << self.bits
        share = 0.5 * math.erfc((k - self.middle) * self._per_edge)
        return int(share * self._mass) + k - self.first

    def guess(self, place: int) -> int:
        """About the bin that holds `place`."""
        share = (place + 0.5) / (1 << self.bits)
        return int(self.middle + self.scale * _quantile(share))


def _quantile(p: float) -> float:
    """Of N(0, 1), to a few per cent: only where a search starts (Shore 1982)."""
    tail = min(p, 1 - p)
    found = 5.5556 * (1 - (tail / (1 - tail)) ** 0.1186)
    return found if p > 0.5 else -found


class Coder(ABC):
    """`values` (m,) holds the symbols of a row by entry: known, or found so far."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @abstractmethod
    def table(self, edges: np.ndarray, known: np.ndarray, bits: int) -> np.ndarray:
        """One symbol for each row of `edges` (m, levels + 1); `known` (m,) where it is known."""

    @abstractmethod
    def bin(self, bins: Bins, i: int) -> int:
        """The bin of dimension i."""

    def shares(self, cumulative: np.ndarray, known: np.ndarray, bits: int = BITS) -> np.ndarray:
        """One symbol for each row of cumulative probabilities (m, levels + 1), 0 ... 1."""
        bits = max(bits, cumulative.shape[1].bit_length() + ROOM)
        return self.table(integer_edges(cumulative, bits), known, bits)


class Recorder(Coder):
    """Knows all symbols of a row and keeps where each lies; `push` puts them on a stack."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(values)
        self._starts: list[int] = []
        self._widths: list[int] = []
        self._bits: list[int] = []

    def table(self, edges: np.ndarray, known: np.ndarray, bits: int) -> np.ndarray:
        rows = np.arange(len(edges))
        starts = edges[rows, known]
        self._starts += starts.tolist()
        self._widths += (edges[rows, known + 1] - starts).tolist()
        self._bits += [bits] * len(edges)
        return known

    def bin(self, bins: Bins, i: int) -> int:
        k = int(self.values[i])
        if not bins.first <= k < bins.end:
            raise undecodable()
        start = bins.edge(k)
        self._starts.append(start)
        self._widths.append(bins.edge(k + 1) - start)
        self._bits.append(bins.bits)
        return k

    def push(self, stack: Stack) -> None:
        """So that popping finds them in the order of the walk."""
        stack.push_many(self._starts, self._widths, self._bits)


class Popper(Coder):
    """Finds the symbols of a row on a stack and takes them off."""

    def __init__(self, size: int, stack: Stack) -> None:
        super().__init__(np.zeros(size, dtype=np.int64))
        self.stack = stack

    def table(self, edges: np.ndarray, known: np.ndarray, bits: int) -> np.ndarray:
        return self.stack.pop_many(edges, bits)

    def bin(self, bins: Bins, i: int) -> int:
        guess = bins.guess(self.stack.peek(bins.bits))
        k = pop_by(self.stack, bins.edge, guess, bins.first, bins.end, bins.bits)
        self.values[i] = k
        return k
