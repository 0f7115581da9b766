"""Asymmetric numeral systems: a stack of bits from which symbols are popped and onto which they go.

The state is one whole number in [2^64, 2^96); 32-bit words leave it and come back. Pushing a symbol
of `width` out of 2^bits costs bits - log2(width), to about 2^-30 of a bit; popping is the exact
inverse and gives as much back. A symbol that is popped from bits that mean nothing is a draw from
its distribution: that is what bits-back coding rests on. Source: Duda 2013 (arXiv:1311.2540).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from vaes.errors import DataError

LOW = 1 << 64  # least state
TOP = 96  # bits of the state at most
WORD = 32
MASK = (1 << WORD) - 1
HEAD = TOP // 8  # bytes of a state
HALF = (1 << 64) - 1  # the bits of a state that may be stirred
ODD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: what it multiplies spreads over all bits
BACK = pow(ODD, -1, 1 << 64)


class Stack:
    """A stack of bits over a floor that never ends: words that are a function of `seed`, 32 bytes.

    The first eight words of the floor are the seed itself, so that whoever pops everything that was
    pushed finds the seed again, and whoever knows the seed can tell that nothing else is left.
    """

    def __init__(self, seed: bytes) -> None:
        self.state, self.words = _first(seed), words_of(seed)[::-1]
        self._seed, self._taken = seed, 0

    def push(self, start: int, width: int, bits: int) -> None:
        """The symbol that takes `width` >= 1 of 2^bits, from `start` on; bits <= 40."""
        self.push_many([start], [width], [bits])

    def peek(self, bits: int) -> int:
        """The place in [0, 2^bits) at which the next symbol lies."""
        return self.state & ((1 << bits) - 1)

    def drop(self, start: int, width: int, bits: int) -> None:
        """Takes the symbol off that was found at the place `peek` told."""
        state = self.state
        state = width * (state >> bits) + (state & ((1 << bits) - 1)) - start
        while state < LOW:
            state = state << WORD | (self.words.pop() if self.words else self._more())
        self.state = state

    def push_many(self, starts: list[int], widths: list[int], bits: list[int]) -> None:
        """Symbols in the order in which they are to be popped: the last is pushed first."""
        state, words = self.state, self.words
        symbols = zip(reversed(starts), reversed(widths), reversed(bits), strict=True)
        for start, width, count in symbols:
            limit = width << (TOP - count)
            while state >= limit:
                words.append(state & MASK)
                state >>= WORD
            high, low = divmod(state, width)
            state = (high << count) + low + start
        self.state = state

    def pop_many(self, edges: np.ndarray, bits: int) -> np.ndarray:
        """One symbol for each row of `edges` (m, levels + 1), which rise from 0 to 2^bits; (m,)."""
        found = _bits if edges.shape[1] == 3 else _levels
        return found(self, edges, bits)

    def stir(self) -> None:
        """Spreads the low bits of the state, where the last symbol lies: what is popped next would
        else be chosen by that symbol and not by chance."""
        low = (self.state & HALF) * ODD & HALF
        self.state = self.state & ~HALF | low ^ low >> 32

    def unstir(self) -> None:
        """Inverse of `stir`."""
        low = self.state & HALF
        self.state = self.state & ~HALF | (low ^ low >> 32) * BACK & HALF

    def to_bytes(self) -> bytes:
        """All that is on the stack, its untouched floor below the seed left out."""
        return np.array(self.words, dtype="<u4").tobytes() + self.state.to_bytes(HEAD, "little")

    @classmethod
    def of(cls, content: bytes) -> Stack:
        """Inverse of `to_bytes`; what lies below is unknown, so popping beyond it is an error."""
        if len(content) < HEAD or (len(content) - HEAD) % 4:
            raise DataError("the coded rows are damaged: their length is that of no stack")
        found = cls.__new__(cls)
        found.words = np.frombuffer(content[:-HEAD], dtype="<u4").tolist()
        found.state = int.from_bytes(content[-HEAD:], "little")
        found._seed, found._taken = b"", 0
        return found

    def is_floor(self, seed: bytes) -> bool:
        """Whether nothing but the floor of `seed` is left."""
        floor = words_of(seed)
        floor += [_word(seed, i) for i in range(len(self.words) - len(floor))]
        return self.state == _first(seed) and self.words == floor[::-1]

    def _more(self) -> int:
        if not self._seed:
            raise undecodable()
        self._taken += 1
        return _word(self._seed, self._taken - 1)


def undecodable() -> DataError:
    """The line for bits that do not decode to the rows that were coded."""
    return DataError(
        "what was decoded are not the rows that were coded (their checksum is another): they were "
        "coded with other versions or on another kind of processor; decode them there"
    )


def words_of(content: bytes) -> list[int]:
    """Bytes, a multiple of four, as 32-bit words."""
    return np.frombuffer(content, dtype="<u4").tolist()


def _word(seed: bytes, i: int, size: int = 4) -> int:
    digest = hashlib.sha256(seed + i.to_bytes(8, "little")).digest()
    return int.from_bytes(digest[:size], "little")


def _first(seed: bytes) -> int:
    """The state of a stack that nothing was pushed onto."""
    return LOW + _word(seed, HALF, 8)


def _bits(stack: Stack, edges: np.ndarray, bits: int) -> np.ndarray:
    state, words, slots, whole = stack.state, stack.words, (1 << bits) - 1, 1 << bits
    found = []
    for cut in edges[:, 1].tolist():
        place = state & slots
        if place >= cut:
            found.append(1)
            state = (whole - cut) * (state >> bits) + place - cut
        else:
            found.append(0)
            state = cut * (state >> bits) + place
        while state < LOW:
            state = state << WORD | (words.pop() if words else stack._more())
    stack.state = state
    return np.array(found, dtype=np.int64)


def _levels(stack: Stack, edges: np.ndarray, bits: int) -> np.ndarray:
    found = np.empty(len(edges), dtype=np.int64)
    for i, row in enumerate(edges):
        found[i] = k = int(row.searchsorted(stack.peek(bits), "right")) - 1
        stack.drop(int(row[k]), int(row[k + 1] - row[k]), bits)
    return found


def integer_edges(shares: np.ndarray, bits: int) -> np.ndarray:
    """Cumulative probabilities (m, levels + 1), 0 ... 1, as whole numbers 0 ... 2^bits.

    Every symbol has at least 1 of 2^bits, whatever its probability.
    """
    levels = shares.shape[-1] - 1
    return np.floor(shares * ((1 << bits) - levels)).astype(np.int64) + np.arange(levels + 1)


def pop_by(
    stack: Stack, edge: Callable[[int], int], guess: int, first: int, end: int, bits: int
) -> int:
    """The symbol of first ... end - 1 whose edges, edge(k) from 0 to 2^bits, hold the place.

    `guess` is where the search starts; any will do.
    """
    place, step, k = stack.peek(bits), 1, min(max(guess, first), end - 1)
    if edge(k) <= place:
        low = k
        while low + step < end and edge(low + step) <= place:
            low, step = low + step, 2 * step
        high = min(low + step, end)
    else:
        high = k
        while high - step > first and edge(high - step) > place:
            high, step = high - step, 2 * step
        low = max(high - step, first)
    while high - low > 1:
        k = (low + high) // 2
        low, high = (k, high) if edge(k) <= place else (low, k)
    start = edge(low)
    stack.drop(start, edge(low + 1) - start, bits)
    return low
