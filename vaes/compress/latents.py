"""The symbols of z: bins of a grid for real dimensions, a state for a one-hot code.

A posterior and a prior are walked over in the same bins, whose width cancels: what a row pays for
z is log q(bin) - log p(bin), the rate (Townsend et al. 2019, arXiv:1901.04866). Through the
couplings of a flow bins are carried as whole numbers: y becomes (R y + r) / S, with r popped from
what is even on [0, R) and the remainder pushed as even on [0, S), which costs log S - log R.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vaes.compress.ans import Stack, undecodable
from vaes.compress.coder import Bins, Coder, Grid, Popper, Recorder, rounded
from vaes.dist.base import Latent
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.flows import Flow
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.errors import UsageError

PER_SPREAD = 8  # bins, at least, in the narrowest standard deviation of a dimension
SPREADS = 9  # standard deviations around every mean that the grid covers,
DRAWN = 8.0  # and within which z is drawn
STATE_BITS = 32  # of the edges of states: one without probability is drawn as good as never
SCALE_BITS = 16  # S = 2^16 of the ratio R / S
AUXILIARY = 32  # bits of the edges of a number that is even on [0, R)
FLOW_REACH = 6  # noise of a flow lies in [-2^6, 2^6)


def grid_of(spreads: list[tuple[Tensor, Tensor]]) -> Grid:
    """A grid for z with means and standard deviations (n, d) each; 0 marks a dimension of a one-hot
    code, which has none."""
    least = torch.stack([scale.amin(0) for _, scale in spreads]).amin(0)
    far = max(float((loc.abs() + SPREADS * scale).max()) for loc, scale in spreads)
    # a prior is about as wide as its unit: bins stay well below that too
    steps = [max(3, math.ceil(math.log2(PER_SPREAD / s))) if s > 0 else 0 for s in least.tolist()]
    return Grid(math.ceil(math.log2(max(far, 8.0))), tuple(steps))


def spread(q: Latent) -> tuple[Tensor, Tensor]:
    """Mean of z and standard deviation of each dimension given those before it, (n, d) each; links
    of a chain at the means of those before."""
    if isinstance(q, DiagonalNormal):
        return q.loc, q.stddev
    if isinstance(q, CholeskyNormal):
        return q.loc, q.tril.diagonal(dim1=-2, dim2=-1)
    if isinstance(q, OneHot):
        return torch.zeros_like(q.logits), torch.zeros_like(q.logits)
    if isinstance(q, Chain):
        parts, z = [spread(q.first)], q.first.mean
        for link in q.links:
            p = link(z)
            parts.append(spread(p))
            z = torch.cat([z, p.mean], -1)
        loc, scale = zip(*parts, strict=True)
        return torch.cat(loc, -1), torch.cat(scale, -1)
    raise _unknown(q)


def walk(q: Latent, coder: Coder, grid: Grid, within: float = math.inf, start: int = 0) -> Tensor:
    """z (1, d) of one row of q, whose dimensions are numbered from `start` on; `within` as `Bins`
    has it."""
    if isinstance(q, DiagonalNormal):
        pairs = zip(q.loc[0].tolist(), q.log_scale[0].tolist(), strict=True)
        z = [_real(coder, grid, start + i, m, s, within) for i, (m, s) in enumerate(pairs)]
        return torch.tensor([z], dtype=torch.float64)
    if isinstance(q, CholeskyNormal):
        return _walk_cholesky(q, coder, grid, within, start)
    if isinstance(q, OneHot):
        return _walk_one_hot(q, coder, start)
    if isinstance(q, Chain):
        z = walk(q.first, coder, grid, within, start)
        for link in q.links:
            more = walk(link(z), coder, grid, within, start + z.shape[-1])
            z = torch.cat([z, more], -1)
        return z
    raise _unknown(q)


def push(p: Latent, stack: Stack, values: np.ndarray, grid: Grid) -> None:
    """The symbols of z under its prior."""
    if isinstance(p, Flow):
        _push_flow(p, stack, values, grid)
        return
    recorder = Recorder(values)
    walk(p, recorder, grid)
    recorder.push(stack)


def pop(p: Latent, stack: Stack, grid: Grid) -> tuple[np.ndarray, Tensor]:
    """Symbols and z (1, d): inverse of `push`."""
    if isinstance(p, Flow):
        return _pop_flow(p, stack, grid)
    popper = Popper(len(grid.steps), stack)
    z = walk(p, popper, grid)
    return popper.values, z


def _real(coder: Coder, grid: Grid, i: int, loc: float, log_scale: float, within: float) -> float:
    return grid.value(i, coder.bin(Bins(grid, i, loc, log_scale, within), i))


def _walk_cholesky(
    q: CholeskyNormal, coder: Coder, grid: Grid, within: float, start: int
) -> Tensor:
    """Each dimension given those before it: N(m_i + sum over j < i of L_ij e_j, L_ii^2)."""
    loc, tril = q.loc[0].numpy(), q.tril[0].numpy()
    noise, z = np.zeros(len(loc)), []
    for i, mean in enumerate(loc):
        given = float(mean + tril[i, :i] @ noise[:i])
        value = _real(coder, grid, start + i, given, math.log(tril[i, i]), within)
        noise[i] = (value - given) / tril[i, i]
        z.append(value)
    return torch.tensor([z], dtype=torch.float64)


def _walk_one_hot(q: OneHot, coder: Coder, start: int) -> Tensor:
    p = np.exp(rounded(q.logits[0].numpy()))
    summed = np.concatenate([[0.0], p.cumsum() / p.sum()])
    summed[-1] = 1.0
    first = slice(start, start + 1)  # where the state is kept
    coder.values[first] = coder.shares(summed[None], coder.values[first], STATE_BITS)
    z = torch.zeros(1, len(p), dtype=torch.float64)
    z[0, coder.values[start]] = 1.0
    return z


# --- flows ------------------------------------------------------------------------------------
def _places(places: list[int], grid: Grid) -> Tensor:
    """The middles of bins that are counted from 0, (1, d)."""
    pairs = zip(places, grid.steps, strict=True)
    return torch.tensor([[(y + 0.5) * 2.0**-s for y, s in pairs]], dtype=torch.float64)


def _moves(p: Flow, i: int, places: list[int], grid: Grid) -> list[tuple[int, int, int]]:
    """Of layer i: each dimension that it moves, R of its scale R / S and its shift in bins."""
    log_scale, shift = p.couplings._move(p.couplings.nets[i], _places(places, grid), i)
    ratio = (log_scale[0].exp() * (1 << SCALE_BITS)).round().tolist()
    moves = zip(p.couplings.fixed[i].tolist(), ratio, shift[0].tolist(), strict=True)
    return [
        (j, int(r), round(t * 2.0 ** grid.steps[j])) for j, (still, r, t) in enumerate(moves)
        if not still
    ]  # fmt: skip


def _push_flow(p: Flow, stack: Stack, values: np.ndarray, grid: Grid) -> None:
    """Layer by layer from z to noise, then the noise under N(0, I)."""
    places = [int(k) - grid.count(i) // 2 for i, k in enumerate(values)]
    low = (1 << SCALE_BITS) - 1
    for i in range(len(p.couplings.nets)):
        for j, ratio, shift in _moves(p, i, places, grid):
            auxiliary = ((stack.peek(AUXILIARY) + 1) * ratio - 1) >> AUXILIARY
            stack.drop(*_even(auxiliary, ratio), AUXILIARY)
            scaled = ratio * places[j] + auxiliary
            stack.push(scaled & low, 1, SCALE_BITS)
            places[j] = (scaled >> SCALE_BITS) + shift
    noise = Grid(FLOW_REACH, grid.steps)
    symbols = np.array([y + noise.count(i) // 2 for i, y in enumerate(places)])
    if any(not 0 <= k < noise.count(i) for i, k in enumerate(symbols.tolist())):
        raise UsageError(
            "a code of these rows lies where the prior of the model has no density to speak of, "
            "and cannot be coded; train for longer"
        )
    recorder = Recorder(symbols)
    walk(_standard(len(places)), recorder, noise)
    recorder.push(stack)


def _pop_flow(p: Flow, stack: Stack, grid: Grid) -> tuple[np.ndarray, Tensor]:
    noise = Grid(FLOW_REACH, grid.steps)
    popper = Popper(len(grid.steps), stack)
    walk(_standard(len(grid.steps)), popper, noise)
    places = [int(k) - noise.count(i) // 2 for i, k in enumerate(popper.values)]
    for i in reversed(range(len(p.couplings.nets))):
        for j, ratio, shift in reversed(_moves(p, i, places, grid)):
            rest = stack.peek(SCALE_BITS)
            stack.drop(rest, 1, SCALE_BITS)
            scaled = ((places[j] - shift) << SCALE_BITS) + rest
            places[j], auxiliary = divmod(scaled, ratio)
            stack.push(*_even(auxiliary, ratio), AUXILIARY)
    symbols = [y + grid.count(i) // 2 for i, y in enumerate(places)]
    if any(not 0 <= k < grid.count(i) for i, k in enumerate(symbols)):
        raise undecodable()
    return np.array(symbols), _places(places, grid)


def _even(k: int, count: int) -> tuple[int, int]:
    """Start and width of k among `count` numbers of equal probability."""
    start = (k << AUXILIARY) // count
    return start, ((k + 1) << AUXILIARY) // count - start


def _standard(d: int) -> DiagonalNormal:
    zeros = torch.zeros(1, d, dtype=torch.float64)
    return DiagonalNormal(zeros, zeros)


def _unknown(q: Latent) -> UsageError:
    return UsageError(
        f"z of this model follows a {type(q).__name__}, of which no code is known; known are "
        "normal and one-hot codes, chains of them, and flows as a prior"
    )
