"""Signs of what is wrong with a trained model or its rows: a number each, that `health` judges."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from vaes.batch import Data, generator
from vaes.dist.base import Likelihood
from vaes.dist.columns import ColumnsLikelihood
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, Normal, NormalLikelihood
from vaes.dist.pixels import DiscretisedLogistic, Logistic
from vaes.dist.selected import SelectedLikelihood
from vaes.evaluate.calibration import scores
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.uses.common import at_once, evaluating, normal

CHUNK = 1000
COLUMNS = 500  # whose values are sorted at once
NEAR = 0.3  # of a log-scale to the end of its range: there the soft clip has bent it
LAST = 0.25  # of the validations, that say whether a bound still rises
SURE = 1e-3  # chance of a false alarm over all entries together


def copies(train: Data, test: Data) -> tuple[int, float]:
    """How many rows of `test` are equal to a training row in every entry, gaps included; and the
    share of the training rows that are equal to another one."""
    seen = Counter(row for i in _starts(train) for row in _digests(train, i))
    found = sum(row in seen for i in _starts(test) for row in _digests(test, i))
    twins = sum(count for count in seen.values() if count > 1)
    return found, twins / max(1, len(train))


def constant(train: Data) -> Tensor:
    """Which entries hold one and the same value in all observed training rows, (*shape) bool."""
    low = torch.full(train.spec.shape, math.inf, device=train.x.device)
    high = -low
    for batch in train.batches(CHUNK):
        x = batch.x
        seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask
        low = torch.minimum(low, torch.where(seen, x, math.inf).amin(0))
        high = torch.maximum(high, torch.where(seen, x, -math.inf).amax(0))
    return low >= high


def shifted(train: Data, test: Data) -> tuple[Tensor, Tensor]:
    """The Kolmogorov-Smirnov distance of each entry between observed values of both, (*shape), and
    which of them chance does not explain (one false alarm in 1,000 over all entries)."""
    a, b = (_observed(data) for data in (train, test))
    width = a.shape[1]
    found = [
        _apart(a[:, i : i + COLUMNS], b[:, i : i + COLUMNS], SURE / width)
        for i in range(0, width, COLUMNS)
    ]
    distance, surely = (torch.cat(parts) for parts in zip(*found, strict=True))
    return distance.view(train.spec.shape), surely.view(train.spec.shape)


def reliance(model: Model, data: Data, draw: torch.Generator) -> float:
    """Nats per row that log p(x|z) loses when every row is told by the code of another row, which
    is any of the others."""
    size, lost, codes = at_once(model, 2), 0.0, []
    with evaluating(model):
        for batch in data.batches(size):
            q = model.posterior(batch)
            codes.append(q.draw(normal(draw, q.mean, len(batch), q.noise_size)))
        z = torch.cat(codes)
        order = torch.randperm(len(z), generator=draw, device=draw.device).to(z.device)
        other = torch.empty_like(order)
        other[order] = order.roll(1)  # one ring through all rows: none has its own
        for i, batch in enumerate(data.batches(size)):
            rows = slice(i * size, i * size + len(batch))
            own, strange = (log_likelihood(model, c, batch) for c in (z[rows], z[other[rows]]))
            lost += float((own.double() - strange.double()).sum())
    return lost / max(1, len(z))


def limits(model: Model, data: Data, draw: torch.Generator) -> tuple[float, float] | None:
    """Largest share over the entries of rows whose learnt log-scale is at the floor and at the
    ceiling of its range; None where nothing of the kind is learnt."""
    ranges = _ranges(model)
    if not ranges:
        return None
    low, high, n = torch.zeros(()), torch.zeros(()), 0
    with evaluating(model):
        for batch in data.batches(at_once(model, 1)):
            q = model.posterior(batch)
            z = q.draw(normal(draw, q.mean, len(batch), q.noise_size))
            ends = [
                (part.log_scale.expand(len(batch), *part.event_shape).flatten(1), *ranges[kind])
                for part in _parts(model.likelihood(z, batch))
                for kind in ranges
                if isinstance(part, kind)
            ]
            if not ends:  # a scale that is learnt first, and what it is of taken over later
                return None
            low = low + torch.cat([s < a + NEAR for s, a, _ in ends], 1).double().sum(0).cpu()
            high = high + torch.cat([s > b - NEAR for s, _, b in ends], 1).double().sum(0).cpu()
            n += len(batch)
    return float(low.max() / n), float(high.max() / n)


def shared(ranks: Tensor) -> float:
    """Nats per row that entries still tell of each other given z, which a likelihood of independent
    entries leaves lying: -1/2 log |correlations| of their normal scores, less what it is for
    entries that are shuffled over the rows; 0 on average where z tells all that they share.

    ranks (n, *shape): of `calibration.intervals`. Of many entries every second, third ... is taken,
    so that there are five rows for each, and the sum is for all.
    """
    x = scores(ranks).flatten(1)
    every = max(1, -(-x.shape[1] * 5 // len(x)))
    kept = x[:, ::every]
    order = torch.rand(kept.shape, generator=generator("shuffle")).argsort(0).to(x.device)
    found, chance = _correlated(kept), _correlated(kept.gather(0, order))
    return (found - chance) * x.shape[1] / kept.shape[1]


def rising(metrics: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """By how many nats the validation bound rose in a quarter of the training, by the line through
    the last quarter of the validations (at least five), and the standard error of that; None where
    fewer than four are known."""
    points = [(m["step"], m["valid_elbo"]) for m in metrics if m.get("valid_elbo") is not None]
    points = [(s, v) for s, v in points if math.isfinite(v)]
    points = points[-max(5, round(LAST * len(points))) :]
    if len(points) < 4:
        return None
    steps, values = zip(*points, strict=True)
    t = [(s - fmean(steps)) / (LAST * steps[-1]) for s in steps]
    power = sum(x * x for x in t)
    slope = sum(x * v for x, v in zip(t, values, strict=True)) / power
    rest = [v - fmean(values) - slope * x for x, v in zip(t, values, strict=True)]
    return slope, math.sqrt(sum(r * r for r in rest) / (len(points) - 2) / power)


def _starts(data: Data) -> range:
    return range(0, len(data), CHUNK)


def _digests(data: Data, start: int) -> list[bytes]:
    """16 bytes that stand for each of the rows from `start` on, gaps as gaps."""
    x = data.x[start : start + CHUNK].flatten(1)
    if x.is_floating_point():
        x = x + 0.0  # minus zero is zero
    if data.mask is not None:
        mask = data.mask[start : start + CHUNK].flatten(1)
        x = torch.cat([torch.where(mask, x, torch.zeros_like(x)), mask.to(x.dtype)], 1)
    rows = x.cpu().contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def _observed(data: Data) -> Tensor:
    """Rows as numbers (n, D) with NaN in gaps, float64."""
    batch = data.rows(slice(None))
    x = batch.x.flatten(1).double()
    return x if batch.mask is None else torch.where(batch.mask.flatten(1), x, math.nan)


def _apart(a: Tensor, b: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The distance of the distributions of each column (m,) of rows with NaN in gaps, and whether
    it is beyond what chance has with probability `level` (Smirnov's bound)."""
    n, m = ((~x.isnan()).sum(0).clamp(min=1).double() for x in (a, b))
    points, order = torch.cat([a, b]).sort(0)
    ours = (order < len(a)) & ~points.isnan()
    theirs = (order >= len(a)) & ~points.isnan()
    apart = (ours.cumsum(0) / n - theirs.cumsum(0) / m).abs()
    # of equal values only the last one is a place where both have been counted
    last = torch.ones_like(apart, dtype=torch.bool)
    last[:-1] = points[:-1] != points[1:]
    distance = torch.where(last, apart, 0.0).amax(0)
    return distance, distance > (-0.5 * math.log(level / 2) * (n + m) / (n * m)).sqrt()


def _correlated(x: Tensor) -> float:
    """-1/2 log |R| of the correlations R of the columns."""
    x = x - x.mean(0)
    x = x / x.square().mean(0).sqrt().clamp(min=1e-6)
    r = x.T @ x / len(x)
    # a column of gaps has no spread, copies of one another have no inverse
    ridge = 1e-3 * torch.eye(len(r), dtype=r.dtype, device=r.device)
    return -0.5 * float(torch.linalg.slogdet(r.fill_diagonal_(1.0) + ridge).logabsdet)


def _ranges(model: Model) -> dict[type[Any], tuple[float, float]]:
    """The ends of the log-scales that the model learns, by the likelihood that has them."""
    found: dict[type[Any], tuple[float, float]] = {}
    for part in model.modules():
        if isinstance(part, Normal) and not part.fixed:
            found[NormalLikelihood] = LIKELIHOOD_LOG_SCALE
        elif isinstance(part, Logistic):
            # a mass is bounded: its floor is where constant pixels belong
            found[DiscretisedLogistic] = (-math.inf, part.bounds[1])
    return found


def _parts(p: Likelihood) -> list[Any]:
    """The likelihoods that `p` is made of."""
    if isinstance(p, ColumnsLikelihood):
        return [part for _, group in p.groups for part in _parts(group)]
    return [p.x if isinstance(p, SelectedLikelihood) else p]
