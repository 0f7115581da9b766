"""The symbols of a row x: which likelihoods give one a probability, and how they are walked over.

`walker` turns p(x|z) of one row into a function that codes the entries it is given, in order. Bits,
categories, levels and single values are tables; counts, whose alphabet has no end, are coded in
blocks of growing size, each with a way out to the next.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vaes.batch import Spec
from vaes.compress.coder import Coder, rounded
from vaes.dist.autoregressive import AutoregressiveLikelihood
from vaes.dist.base import Likelihood
from vaes.dist.cells import CellsLikelihood
from vaes.dist.columns import ColumnsLikelihood
from vaes.dist.counts import CountLikelihood, NegativeBinomialLikelihood
from vaes.dist.discrete import BernoulliLikelihood, CategoricalLikelihood
from vaes.dist.pixels import DiscretisedLogistic
from vaes.errors import DataError, UsageError
from vaes.model import Model

FIRST_BLOCK, GROWTH = 16, 4  # of the counts

Walk = Callable[[np.ndarray], None]  # codes the entries with these numbers


def refuse(model: Model) -> None:
    """One line where rows of this model have no probability, hence no code length."""
    if model.bound == "none":
        raise UsageError(
            "this model has no density over x, so its rows have no code length; train a recipe "
            "with one"
        )
    if model.evidence not in ("x", "x|total"):
        raise UsageError(f"this model is of {model.evidence}: only rows x alone are coded")
    spec = model.spec
    names = spec.names or [str(i) for i in range(spec.size)]
    for j, (kind, _) in enumerate(spec.column_kinds()):
        if kind == "real" or (kind == "numeric" and not (single_values(spec, j)[1:-1]).all()):
            what = "reals" if kind == "real" else "numbers in intervals"
            where = f"column '{names[j]}' holds" if len(spec.shape) == 1 else "these rows hold"
            raise UsageError(
                f"{where} {what}: a density has no code length; give it a grid "
                "(--kind pixel, category or count)"
            )


def single_values(spec: Spec, j: int) -> np.ndarray:
    """Which pieces of numeric column j are one value alone, (levels,); the tails are not."""
    ends = np.array(spec.pieces[j])
    return ends[::2] == ends[1::2]


class Alphabet:
    """The way between the entries of model space and their symbols, whole numbers from 0 on."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        pairs = spec.column_kinds() if len(spec.shape) == 1 else [(spec.kinds[0], spec.levels[0])]
        grid = [kind in ("pixel", "binary") for kind, _ in pairs]
        self.unit = np.array([n - 1.0 if g else 1.0 for g, (_, n) in zip(grid, pairs, strict=True)])
        self.numeric = np.array([kind == "numeric" for kind, _ in pairs])
        counts = np.array([kind == "count" for kind, _ in pairs])
        self.levels = np.where(counts, np.inf, [float(n) for _, n in pairs])
        self.dtype = np.dtype(np.uint8 if max(self.levels) <= 256 else np.int32)

    def codes(self, x: np.ndarray, seen: np.ndarray | None, first: int = 0) -> np.ndarray:
        """Symbols of rows x (n, size) of model space, 0 where not `seen`; DataError for what lies
        outside of the alphabet. first: the number of the first row, for messages."""
        x = x.astype(np.float64)
        found = np.where(self.numeric, np.floor(x), np.rint(x * self.unit))
        wrong = (found < 0) | (found >= self.levels) | (found > np.iinfo(np.int32).max)
        wrong |= ~np.isclose(self.places(found), x, rtol=0, atol=1e-3)
        for j in np.flatnonzero(self.numeric):
            alone = single_values(self.spec, int(j))
            wrong[:, j] |= ~alone[found[:, j].clip(0, len(alone) - 1).astype(int)]
        wrong = wrong if seen is None else wrong & seen
        if wrong.any():
            i, j = (int(k[0]) for k in np.nonzero(wrong))
            raise self.outside(first + i, j)
        found = found if seen is None else np.where(seen, found, 0)
        return found.astype(self.dtype)

    def places(self, codes: np.ndarray) -> np.ndarray:
        """Symbols as entries of model space, float64."""
        return np.where(self.numeric, codes + 0.5, codes / self.unit)

    def outside(self, i: int, j: int) -> DataError:
        """The line for entry j of row i."""
        names = self.spec.names
        where = f"column '{names[j]}'" if names else f"entry {j}"
        return DataError(
            f"row {i} (the first is 0), {where} holds a value that no training row held; the "
            "model gives it no probability: leave the row out"
        )


def walker(p: Likelihood, coder: Coder, most: int) -> Walk:
    """What codes entries of one row of p (1, *shape), whose symbols are those of `coder.values`.

    Called again, entries depend on those before where p says so. most: the largest count.
    """
    if isinstance(p, AutoregressiveLikelihood):
        return _Columns(p, coder)
    return lambda where: _independent(p, coder, where, where, most)


class _Columns:
    """Column after column, each given z and the observed ones before it."""

    def __init__(self, p: AutoregressiveLikelihood, coder: Coder) -> None:
        self.net, self.given, self.coder = p.net, p.context, coder

    def __call__(self, where: np.ndarray) -> None:
        net, values = self.net, self.coder.values
        for j in where.tolist():
            logits = net.logits(net.features_of(self.given, j), j).numpy()
            values[j : j + 1] = _categories(self.coder, logits, values[j : j + 1])
            code = torch.tensor([int(values[j])])
            self.given = self.given + net.embed_one(code, j)


def _independent(
    p: Likelihood, coder: Coder, own: np.ndarray, where: np.ndarray, most: int
) -> None:
    """Entries `own` of p, which are the entries `where` of the row."""
    if not len(where):
        return
    values = coder.values
    if isinstance(p, ColumnsLikelihood):
        place = dict(zip(own.tolist(), where.tolist(), strict=True))  # of p's entries in the row
        for index, part in p.groups:
            at = index.numpy()
            inside = np.flatnonzero(np.isin(at, own))
            there = np.array([place[j] for j in at[inside].tolist()], dtype=int)
            _independent(part, coder, inside, there, most)
    elif isinstance(p, CellsLikelihood):
        _cells(p, coder, own, where)
    elif isinstance(p, BernoulliLikelihood):
        share = 1 / (1 + np.exp(rounded(_flat(p.logits, p, own))))  # of 0
        values[where] = coder.shares(np.stack([0 * share, share, 0 * share + 1], 1), values[where])
    elif isinstance(p, CategoricalLikelihood):
        values[where] = _categories(coder, _flat(p.logits, p, own), values[where])
    elif isinstance(p, DiscretisedLogistic):
        values[where] = coder.shares(_logistic(p, own), values[where])
    elif isinstance(p, CountLikelihood):
        _counts(p, coder, own, where, most)
    else:
        raise UsageError(
            f"a {type(p).__name__} gives densities or is not known to the coder; bits, categories, "
            "levels and counts are coded"
        )


def _flat(x: Tensor, p: Likelihood, own: np.ndarray) -> np.ndarray:
    """Numbers (1, *shape, ...) or broadcasting to it of the entries `own`, (m, ...)."""
    more = x.shape[len(p.event_shape) + 1 :] if x.dim() > len(p.event_shape) else ()
    return x.expand(1, *p.event_shape, *more).reshape(-1, *more).numpy()[own]


def _categories(coder: Coder, logits: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Symbols of entries with logits (m, levels)."""
    with np.errstate(under="ignore"):
        p = np.exp(rounded(logits - logits.max(1, keepdims=True)))
    summed = np.concatenate([np.zeros((len(p), 1)), p.cumsum(1) / p.sum(1, keepdims=True)], 1)
    summed[:, -1] = 1.0
    return coder.shares(summed.clip(max=1.0), known)


def _cells(p: CellsLikelihood, coder: Coder, own: np.ndarray, where: np.ndarray) -> None:
    cells, values = p.cells, coder.values
    place = dict(zip(own.tolist(), where.tolist(), strict=True))
    for (_, columns), logits in zip(cells.groups, cells.split(p.logits), strict=True):
        inside = [i for i, j in enumerate(columns) if j in place]
        if inside:
            at = np.array([place[columns[i]] for i in inside])
            values[at] = _categories(coder, logits[0].numpy()[inside], values[at])


def _logistic(p: DiscretisedLogistic, own: np.ndarray) -> np.ndarray:
    """Cumulative probabilities (m, levels + 1) of the levels."""
    scale = np.exp(rounded(_flat(p.log_scale, p, own)))[:, None]
    # rounded in units of the scale, which may be far below a level
    loc = rounded(_flat(p.loc, p, own)[:, None] / scale)
    inner = np.arange(1, p.levels) / p.levels / scale - loc
    with np.errstate(over="ignore"):
        share = 1 / (1 + np.exp(-inner))
    ends = np.zeros((len(own), 1)), np.ones((len(own), 1))
    return np.concatenate([ends[0], share, ends[1]], 1)


def _counts(
    p: CountLikelihood, coder: Coder, own: np.ndarray, where: np.ndarray, most: int
) -> None:
    """Counts in blocks; of every block the last symbol means that it lies beyond. It is kept where
    none does, so that what lies beyond `most` has its probability and others do not gain by it."""
    rows, left, low = np.arange(len(own)), np.ones(len(own)), 0
    high = min(FIRST_BLOCK, most + 1)
    while len(rows):
        x = torch.arange(low, high, dtype=torch.float64)
        mass = _some(p, own[rows]).terms(x).exp().numpy()
        beyond = (left - mass.sum(1)).clip(min=0.0)
        parts = [np.zeros((len(rows), 1)), mass, beyond[:, None]]
        summed = np.concatenate(parts, 1).cumsum(1)
        total = summed[:, -1:]
        # of what has no mass left every symbol is as good as another
        even = np.linspace(0, 1, summed.shape[1])
        shares = np.where(total > 0, summed / np.where(total > 0, total, 1.0), even)
        shares[:, -1] = 1.0
        at = where[rows]
        known = np.minimum(coder.values[at] - low, high - low)
        found = coder.shares(shares.clip(max=1.0), known)
        coder.values[at] = np.maximum(coder.values[at], low + found)
        further = (found == high - low) & (high <= most)
        rows, left = rows[further], beyond[further]
        low, high = high, min(high * GROWTH, most + 1)


def _some(p: CountLikelihood, own: np.ndarray) -> CountLikelihood:
    """p of the entries `own`, (m, 1), its numbers rounded."""
    some = copy.copy(p)
    some.log_mean = torch.from_numpy(rounded(_flat(p.log_mean, p, own)))[:, None]
    if isinstance(p, NegativeBinomialLikelihood) and isinstance(some, NegativeBinomialLikelihood):
        log_r = p.log_r.expand_as(p.log_mean)
        some.log_r = torch.from_numpy(rounded(_flat(log_r, p, own)))[:, None]
    return some
