"""Rows into bits and back by bits-back coding: a file as long as the model's bound says.

For each row z is popped off the stack under q(z|x), then x is pushed under p(x|z) and z under p(z):
the row costs log q(z|x) - log p(x|z) - log p(z) nats, on average minus the ELBO. The decoder goes
the other way and gives back the bits that chose z, those of the first row included: they are the
sha256 of the rows, which is thus checked at no cost, and whatever follows from it where it is too
short. Source: Townsend, Bird & Barber 2019, arXiv:1901.04866.

Networks run on one row at a time, in float64 and on one thread, in the same order on both sides,
and what they say is rounded (see `coder`). Promised is that the same versions on the same kind of
processor decode to the bit. Elsewhere a sum may end in another last bit, which is rarely seen
through the rounding; where it is, noise comes out, which the checksum tells: it is never returned.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.compress.ans import Stack, undecodable
from vaes.compress.coder import Coder, Grid, Popper, Recorder
from vaes.compress.entries import Alphabet, refuse, walker
from vaes.compress.latents import DRAWN, grid_of, pop, push, spread, walk
from vaes.errors import DataError
from vaes.machine import threads
from vaes.model import Model

AT_ONCE = 1000  # rows of which z is looked at to choose a grid


@dataclass(frozen=True)
class Coded:
    """n rows as bits.

    payload: the stack · grid: of z · most: the largest count, 0 where there are none · totals (n,)
    of rows of counts whose totals are given · mask (n, size) True = observed, None where rows are
    whole or, with `told`, where gaps follow from the columns that tell them.
    """

    n: int
    grid: Grid
    payload: bytes
    most: int = 0
    totals: np.ndarray | None = None
    mask: np.ndarray | None = None
    told: bool = False


@dataclass(frozen=True)
class _Rows:
    """Symbols (n, size), with mask and totals as `Coded` has them."""

    codes: np.ndarray
    mask: np.ndarray | None
    told: bool
    totals: np.ndarray | None


def encode(model: Model, data: Data) -> Coded:
    """The rows of `data` under `model`, about minus their ELBO in nats; at least one row.

    Raises UsageError where rows of the model have no code length, DataError for a row that it gives
    no probability.
    """
    refuse(model)
    if len(data) < 1:
        raise DataError("no rows were given; at least one is needed")
    with _coding(model) as coding:
        rows = _rows(coding, data)
        grid = _grid(coding, rows)
        counts = rows.codes[:, [kind == "count" for kind, _ in coding.spec.column_kinds()]]
        most = int(counts.max(initial=0))
        stack = Stack(_digest(rows))
        for i in reversed(range(len(data))):
            known = _one(rows, i)
            stack.stir()
            popper = Popper(len(grid.steps), stack)
            z = walk(coding.model.posterior(coding.batch(known, True)), popper, grid, DRAWN)
            recorder = Recorder(known.codes[0].astype(np.int64))
            _walk_row(coding, recorder, z, known, most)
            recorder.push(stack)
            push(coding.model.prior(coding.batch(known)), stack, popper.values, grid)
    return Coded(len(data), grid, stack.to_bytes(), most, rows.totals, rows.mask, rows.told)


def decode(model: Model, coded: Coded) -> Data:
    """The rows that `encode` was given, to the bit: x in model space and mask.

    Raises DataError where the checksum within the bits is not that of the rows that come out.
    """
    refuse(model)
    with _coding(model) as coding:
        size = coding.spec.size
        codes = np.zeros((coded.n, size), dtype=coding.alphabet.dtype)
        rows, stack = _Rows(codes, coded.mask, coded.told, coded.totals), Stack.of(coded.payload)
        for i in range(coded.n):
            known = _one(rows, i)
            symbols, z = pop(coding.model.prior(coding.batch(known)), stack, coded.grid)
            popper = Popper(size, stack)
            _walk_row(coding, popper, z, known, coded.most)
            codes[i] = popper.values
            recorder = Recorder(symbols)
            walk(coding.model.posterior(coding.batch(known, True)), recorder, coded.grid, DRAWN)
            recorder.push(stack)
            stack.unstir()
        if not stack.is_floor(_digest(rows)):
            raise undecodable()
        return _data(coding, rows, model)


class _Coding:
    """A copy of a model that says the same whenever it is asked, and the alphabet of its rows."""

    def __init__(self, model: Model) -> None:
        self.model = copy.deepcopy(model).to("cpu").double().eval()
        self.spec, self.alphabet = model.spec, Alphabet(model.spec)

    def batch(self, rows: _Rows, seen: bool = False) -> Batch:
        """A batch of these rows; x is there only if `seen`."""
        codes = rows.codes if seen else np.zeros_like(rows.codes)
        mask = _told_mask(self.spec, codes) if rows.told and seen else rows.mask
        x = self.alphabet.places(codes)
        x = x if mask is None else np.where(mask, x, 0.0)
        return Batch(
            x=torch.from_numpy(x).view(-1, *self.spec.shape),
            index=torch.full((len(codes),), -1),
            mask=None if mask is None else torch.from_numpy(mask).view(-1, *self.spec.shape),
            total=None if rows.totals is None else torch.from_numpy(rows.totals).double(),
        )


@contextmanager
def _coding(model: Model) -> Iterator[_Coding]:
    """One thread and no gradients within."""
    with threads(1), torch.no_grad():
        yield _Coding(model)


def _rows(coding: _Coding, data: Data) -> _Rows:
    """All rows as symbols; gaps are left to the columns that tell them where those do."""
    spec, codes, masks, totals = coding.spec, [], [], []
    for batch in data.to("cpu").batches(AT_ONCE):
        unseen, first = batch.unseen, AT_ONCE * len(codes)
        if unseen is not None and unseen.any():
            i, j = (int(k) for k in unseen.flatten(1).nonzero()[0])
            raise coding.alphabet.outside(first + i, j)
        mask = None if batch.mask is None else batch.mask.flatten(1).numpy()
        if mask is not None and not spec.missing and not mask.all():
            raise DataError("the rows have gaps; the model was trained on complete rows")
        codes.append(coding.alphabet.codes(batch.x.flatten(1).numpy(), mask, first))
        masks.append(mask)
        totals.append(batch.total)
    every, mask = np.concatenate(codes), None if masks[0] is None else np.concatenate(masks)
    told = mask is not None and np.array_equal(mask, _told_mask(spec, every))
    total = torch.cat(totals).long().numpy() if spec.totals else None
    return _Rows(every, None if told else mask, told, total)


def _one(rows: _Rows, i: int) -> _Rows:
    mask, totals = (None if t is None else t[i : i + 1] for t in (rows.mask, rows.totals))
    return _Rows(rows.codes[i : i + 1], mask, rows.told, totals)


def _told_mask(spec: Spec, codes: np.ndarray) -> np.ndarray:
    """Which entries (n, size) the columns say that have a value; all, of columns without such."""
    mask = np.ones(codes.shape, dtype=bool)
    for j, gate in enumerate(spec.shown_by):
        if gate >= 0:
            mask[:, j] = codes[:, gate] == 1
    return mask


def _walk_row(coding: _Coding, coder: Coder, z: Tensor, known: _Rows, most: int) -> None:
    """Codes the observed entries of one row given z."""
    spec, p = coding.spec, coding.model.likelihood(z, coding.batch(known))
    go = walker(p, coder, most)
    if known.mask is not None:
        go(np.flatnonzero(known.mask[0]))
    elif known.told and spec.gates:
        go(np.arange(spec.gates))
        seen = _told_mask(spec, coder.values[None])[0]
        seen[: spec.gates] = False
        go(np.flatnonzero(seen))
    else:
        go(np.arange(spec.size))


def _grid(coding: _Coding, rows: _Rows) -> Grid:
    """Fine enough for the narrowest posterior of these rows, wide enough for the farthest; one line
    for a row without probability where its posterior lies."""
    spreads = []
    for start in range(0, len(rows.codes), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        mask, totals = (None if t is None else t[part] for t in (rows.mask, rows.totals))
        batch = coding.batch(_Rows(rows.codes[part], mask, rows.told, totals), True)
        q = coding.model.posterior(batch)
        lost = ~coding.model.likelihood(q.mean, batch).log_prob(batch.x, batch.mask).isfinite()
        if lost.any():
            raise DataError(
                f"row {start + int(lost.nonzero()[0])} (the first is 0) has no probability under "
                "this model, hence no code; leave the row out"
            )
        spreads.append(spread(q))
    return grid_of(spreads)


def _digest(rows: _Rows) -> bytes:
    """sha256 of symbols and mask."""
    found = hashlib.sha256()
    for start in range(0, len(rows.codes), AT_ONCE):
        found.update(rows.codes[start : start + AT_ONCE].astype("<i8").tobytes())
    if rows.mask is not None:
        found.update(np.packbits(rows.mask).tobytes())
    return found.digest()


def _data(coding: _Coding, rows: _Rows, model: Model) -> Data:
    """The rows as `Data`: level codes in bytes where a uniform alphabet allows it, else float32."""
    spec, mask = coding.spec, rows.mask
    if rows.told:
        mask = _told_mask(spec, rows.codes)
    if spec.uniform and 0 < spec.levels[0] <= 256 and spec.kinds[0] != "numeric":
        x = rows.codes
    else:
        x = coding.alphabet.places(rows.codes).astype(np.float32)
        x = x if mask is None else np.where(mask, x, np.float32(0))
    return Data(
        spec,
        torch.from_numpy(x).view(-1, *spec.shape),
        mask=None if mask is None else torch.from_numpy(mask).view(-1, *spec.shape),
        index=torch.full((len(x),), -1),
    )
