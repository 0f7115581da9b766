"""Gaps filled from what is observed: best values, intervals, multiple imputations.

z is weighted by p(x_observed|z) p(z) / q(z), so that what follows is p(x_missing|x_observed) of the
model and not of its encoder. Columns in cells are not drawn for their best values and intervals but
read from their conditionals (`vaes.uses.cells`). Source: Mattei & Frellsen 2019 (MIWAE,
arXiv:1812.02633), sec. 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch, Spec, generator
from vaes.dist.cells import Celled
from vaes.errors import UsageError
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.model import Model
from vaes.uses.cells import summary
from vaes.uses.common import Rows, at_once, batches, evaluating
from vaes.uses.proposals import (
    log_weights,
    normalised,
    proposals,
    refuse_without_masks,
    resampled,
)

COMPLETIONS = 256  # of a row at least, from which its medians, modes and intervals are read
BLOCK = 64  # rows at most that share a random generator


@dataclass(frozen=True)
class Imputation:
    """Rows without gaps, in model space; what was observed comes back to the bit.

    mean (n, *shape): of reals, and of numbers in more than 20 pieces, the mean of
    p(x_missing|x_observed), brought to the nearest value that the column takes; of fewer pieces and
    of numbers on a grid the median; of bits and categories the most probable value · low, high
    (n, *shape): an equal-tailed interval of each entry by itself; of a category both are `mean`,
    since codes have no order · draws (m, n, *shape): multiple imputations, None where none were
    asked for ·
    ess (n,): effective sample size of the k importance weights; k for a row without gaps.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    draws: Tensor | None
    ess: Tensor


def impute(
    model: Model, data: Rows, *, k: int = 64, draws: int = 0, level: float = 0.9, seed: int = 0
) -> Imputation:
    """What stands in the gaps of each row, by k importance-weighted draws of z.

    draws: how many completed rows to draw besides, each by choosing one of the k codes with its
    weight and then p(x_missing|x_observed, z); independent over rows · level: of the intervals.

    The codes are drawn from q(z|x_observed); for a model that was trained on complete rows, whose
    encoder knows no gaps, from mixtures (see `proposals`), at some ten times the cost. Rows with
    gaps are best learnt with `iwae`, whose bound does not press the decoder towards what one code
    per row can say. Random numbers belong to (seed, place of the row in `data`): a row's result
    does not depend on the other rows. An `ess` of a few says that the draws miss the posterior:
    take a larger k. Raises UsageError for a model without a density and for a likelihood that
    cannot leave entries out.
    """
    refuse_without_bound(model)
    if k < 1 or draws < 0 or not 0 < level < 1:
        raise UsageError(f"k={k}, draws={draws}, level={level}: k >= 1, draws >= 0, 0 < level < 1")
    # blocks, not rows, own generators; their size is a function of model and k alone and the last
    # one is padded, so that the numbers a row gets depend on its place only
    size, parts = at_once(model, max(k, COMPLETIONS), BLOCK), []
    with evaluating(model):
        for block, batch in enumerate(batches(data, size)):
            draw = generator("impute", seed, block, device=batch.x.device)
            parts.append(_filled(model, batch, size, k, draws, level, draw))
    means, lows, highs, drawn, ess = zip(*parts, strict=True)
    return Imputation(
        torch.cat(means),
        torch.cat(lows),
        torch.cat(highs),
        torch.cat(drawn, 1) if draws else None,
        torch.cat(ess),
    )


class Candidates(NamedTuple):
    """k codes of each row (k, n, d), their normalised weights (k, n) in float64, completed values
    of the gaps (r k, gaps), None where a code tells their distribution, and means given the code
    (k, gaps) where these are what is expected."""

    z: Tensor
    weights: Tensor
    values: Tensor | None
    means: Tensor | None


def _filled(
    model: Model, batch: Batch, size: int, k: int, m: int, level: float, draw: torch.Generator
) -> tuple[Tensor, ...]:
    """mean, low, high, draws and ess of a batch of at most `size` rows."""
    n, x = len(batch), batch.x
    ess = torch.full((n,), float(k), dtype=torch.float64, device=x.device)
    if batch.mask is None or bool(batch.mask.all()):
        return x.clone(), x.clone(), x.clone(), x.expand(m, *x.shape), ess
    batch = batch[torch.arange(size, device=x.device).clamp(max=n - 1)]
    assert batch.mask is not None
    row, column = (~batch.mask).flatten(1).nonzero().unbind(1)
    found = _candidates(model, batch, row, column, k, draw)
    every = 1 / found.weights.square().sum(0)
    results = []
    if found.values is None:
        told = summary(model, batch, found.z, found.weights, level)[:, row, column]
    else:
        told = _summary(model.spec, found, found.values, every, row, column, level)
    for value in told:
        full = batch.x.clone()
        full.flatten(1)[row, column] = value.to(x.dtype)
        results.append(full[:n])
    drawn = _multiple(model, batch, found, m, draw)[:, :n]
    gaps = (~batch.mask).flatten(1).any(1)[:n]
    return *results, drawn, torch.where(gaps, every[:n], ess)


def _candidates(
    model: Model, batch: Batch, row: Tensor, column: Tensor, k: int, draw: torch.Generator
) -> Candidates:
    assert batch.mask is not None
    refuse_without_masks(model, model.posterior(batch).mean.unsqueeze(0), batch)
    found = proposals(model, batch, k, draw)
    log_p, values, means = [], [], []
    for part in found.z.split(at_once(model, len(batch), k)):
        p = model.likelihood(part, batch)
        log_p.append(p.log_prob(batch.x, batch.mask))
        if isinstance(p, Celled):
            continue
        rows = [p.complete(batch.x, batch.mask, draw) for _ in range(-(-COMPLETIONS // k))]
        values.append(torch.stack([each.flatten(2)[:, row, column] for each in rows]))
        # given z, the mean of what is drawn is often known, without the noise
        if (expected := p.expected(batch.x, batch.mask)) is not None:
            means.append(expected.flatten(2)[:, row, column])
    return Candidates(
        found.z,
        normalised(log_weights(model, batch, found, torch.cat(log_p))),
        torch.cat(values, 1).flatten(0, 1) if values else None,
        torch.cat(means) if means else None,
    )


def _summary(
    spec: Spec,
    found: Candidates,
    values: Tensor,
    ess: Tensor,
    row: Tensor,
    column: Tensor,
    level: float,
) -> tuple[Tensor, ...]:
    """The value that stands for each gap, and its interval, (gaps,) each."""
    replicas = len(values) // len(found.weights)
    weights = found.weights[:, row].repeat(replicas, 1) / replicas
    ordered, order = values.sort(0)
    mass = weights.gather(0, order)
    below, above = mass.cumsum(0), mass.flip(0).cumsum(0)
    # the share (1 - level) / 2 of n draws is at place (1 - level) / 2 (n + 1): with it an interval
    # between drawn values holds a new one with probability `level`, or somewhat more
    tail = (1 - level) / 2 * (1 + 1 / ess[row])
    low = _place(ordered, (below <= tail).sum(0) - 1)
    high = _place(ordered.flip(0), (above <= tail).sum(0) - 1)
    best = _place(ordered, (below < 0.5).sum(0))
    kinds = [kind for kind, _ in spec.column_kinds()]
    real = torch.tensor([kind == "real" for kind in kinds], device=row.device)[column]
    category = torch.tensor([kind == "category" for kind in kinds], device=row.device)[column]
    if real.any():
        few = found.means if found.means is not None else values
        share = found.weights[:, row] if found.means is not None else weights
        best = torch.where(real, (share * few).sum(0).to(best.dtype), best)
    if category.any():
        codes = values[:, category].long()
        votes = weights.new_zeros(int(codes.max()) + 1, codes.shape[1])
        best[category] = votes.scatter_add_(0, codes, weights[:, category]).argmax(0).to(best.dtype)
        low, high = torch.where(category, best, low), torch.where(category, best, high)
    return best, low, high


def _place(ordered: Tensor, index: Tensor) -> Tensor:
    return ordered.gather(0, index.clamp(0, len(ordered) - 1).unsqueeze(0)).squeeze(0)


def _multiple(
    model: Model, batch: Batch, found: Candidates, m: int, draw: torch.Generator
) -> Tensor:
    """m completed rows (m, n, *shape): sampling-importance-resampling of the codes."""
    assert batch.mask is not None
    if not m:
        return batch.x.expand(0, *batch.x.shape)
    shape, device = (m, len(batch)), batch.x.device
    u = torch.rand(shape, generator=draw, dtype=torch.float64, device=device)
    chosen = resampled(found.weights, u).unsqueeze(-1).expand(*shape, found.z.shape[-1])
    parts = found.z.gather(0, chosen).split(at_once(model, len(batch), m))
    drawn = [model.likelihood(z, batch).complete(batch.x, batch.mask, draw) for z in parts]
    return torch.where(batch.mask, batch.x, torch.cat(drawn).to(batch.x.dtype))
