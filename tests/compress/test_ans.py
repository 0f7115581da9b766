"""A stack of bits: what a symbol costs, that all comes back, and that popping draws."""

import math

import numpy as np
import pytest

from vaes.compress.ans import LOW, Stack, integer_edges, pop_by
from vaes.errors import DataError

SEED = bytes(range(32))


def size(stack: Stack) -> float:
    """Bits on the stack above its floor; what was taken off the floor counts as less than none."""
    return 32 * (len(stack.words) - stack._taken) + math.log2(stack.state)


def tables(n: int, levels: int, bits: int, seed: int) -> np.ndarray:
    """Integer edges (n, levels + 1) of uneven distributions."""
    p = np.random.default_rng(seed).gamma(0.3, size=(n, levels)) + 1e-6
    shares = np.concatenate([np.zeros((n, 1)), p.cumsum(1) / p.sum(1, keepdims=True)], 1)
    shares[:, -1] = 1.0
    return integer_edges(shares, bits)


@pytest.mark.parametrize(("levels", "bits"), [(2, 24), (2, 12), (7, 16), (300, 24), (5, 40)])
def test_symbols_cost_their_information_and_come_back(levels, bits):
    """Sum of bits - log2(width), within 1e-3 of it; the state at the end is that at the start."""
    n, draw = 4000, np.random.default_rng(1)
    edges, widths = tables(n, levels, bits, 0), np.diff(tables(n, levels, bits, 0), axis=1)
    p = widths / 2.0**bits
    symbols = (p.cumsum(1) < draw.random((n, 1))).sum(1)
    rows, stack = np.arange(n), Stack(SEED)
    before = size(stack)
    starts, chosen = edges[rows, symbols], widths[rows, symbols]
    stack.push_many(starts.tolist(), chosen.tolist(), [bits] * n)
    ideal = float((bits - np.log2(chosen)).sum())
    assert size(stack) - before == pytest.approx(ideal, rel=1e-3)
    entropy = float(-(p * np.log2(p)).sum())
    assert ideal == pytest.approx(entropy, rel=0.1)
    assert not stack.is_floor(SEED)
    assert (stack.pop_many(edges, bits) == symbols).all()
    assert stack.is_floor(SEED)


def test_one_push_is_one_step_of_the_formula():
    """x -> (x div f) 2^bits + x mod f + start, without a word leaving: 2^64 + 5, f = 3."""
    stack = Stack(SEED)
    stack.state = LOW + 5
    stack.push(10, 3, 4)
    assert stack.state == ((LOW + 5) // 3 << 4) + (LOW + 5) % 3 + 10
    assert len(stack.words) == 8


def test_popping_the_floor_draws_from_the_distribution():
    """20,000 symbols of 4: each as often as its probability, within 5 standard errors; then all
    goes back, far below the seed."""
    n, bits = 20_000, 16
    p = np.array([0.5, 0.3, 0.15, 0.05])
    edges = integer_edges(np.concatenate([[0.0], p.cumsum()])[None].clip(max=1.0), bits)
    stack, every = Stack(SEED), np.repeat(edges, n, 0)
    symbols = stack.pop_many(every, bits)
    share = np.bincount(symbols, minlength=4) / n
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)).all()
    widths = np.diff(edges[0])
    starts = edges[0][symbols]
    stack.push_many(starts.tolist(), widths[symbols].tolist(), [bits] * n)
    assert stack._taken > 500
    assert stack.is_floor(SEED)
    assert not stack.is_floor(SEED[::-1])


def test_a_stirred_stack_does_not_choose_by_its_last_symbol():
    """A symbol popped under even odds and pushed again leaves the state as it was: the next would
    be the same for ever. Stirred, 4,000 symbols of 4 are even within 5 standard errors."""
    stack, found = Stack(SEED), []
    for _ in range(4000):
        stack.stir()
        k = stack.peek(2)
        stack.drop(k, 1, 2)
        stack.push(k, 1, 2)
        found.append(k)
    share = np.bincount(found, minlength=4) / 4000
    assert (np.abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)).all()
    for _ in range(4000):
        stack.unstir()
    assert stack.is_floor(SEED)


def test_a_stack_as_bytes():
    stack = Stack(SEED)
    assert len(stack.to_bytes()) == 32 + 12
    stack.push_many([3] * 50, [1] * 50, [9] * 50)
    other = Stack.of(stack.to_bytes())
    assert other.state == stack.state
    assert other.words == stack.words
    with pytest.raises(DataError, match="damaged"):
        Stack.of(stack.to_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        Stack.of(b"short")
    for _ in range(2):
        other.words.clear()
        with pytest.raises(DataError, match="not the rows that were coded"):
            other.drop(0, 1, 40)


def test_edges_rise_strictly_and_end_at_the_whole():
    """Whatever the probabilities: zeros, ones and 1e-300 among them."""
    draw = np.random.default_rng(0)
    p = draw.random((2000, 9)) ** draw.integers(1, 400, (2000, 1))
    p[::7, 3], p[::5, :4], p[1::5, 4:] = 1e-300, 0.0, 0.0
    p[:, 8] += 1e-300
    shares = np.concatenate([np.zeros((2000, 1)), p.cumsum(1) / p.sum(1, keepdims=True)], 1)
    shares[:, -1] = 1.0
    for bits in (8, 24, 40):
        edges = integer_edges(shares.clip(max=1.0), bits)
        assert (np.diff(edges, axis=1) >= 1).all()
        assert (edges[:, 0] == 0).all()
        assert (edges[:, -1] == 1 << bits).all()


@pytest.mark.parametrize("guess", [-5, 0, 3, 17, 40, 63, 1000])
def test_a_search_finds_the_bin_from_any_guess(guess):
    """Squares as edges of 64 bins, against a search by eye over all of them."""
    edges = [k * k for k in range(64)] + [1 << 12]
    for place in range(0, 1 << 12, 5):
        stack = Stack(SEED)
        stack.state = LOW + place
        assert pop_by(stack, edges.__getitem__, guess, 0, 64, 12) == min(math.isqrt(place), 63)
        start = min(math.isqrt(place), 63)
        stack.push(edges[start], edges[start + 1] - edges[start], 12)
        assert stack.state == LOW + place
