"""Evidence by quadrature over the prior, for models of few latent dimensions; no encoder is asked.

Randomised quasi-Monte Carlo: scrambled Sobol points, as standard normal noise that the prior turns
into z, the same for all rows. Each scrambling's mean of p(x|z) is p(x) without bias, and their
spread is its error. Leaving entries out gives the conditionals of any entries given any others.
Nats per row in the user's units, sums in float64. Source: Owen 1997 (scrambled nets).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from vaes.batch import Batch, generator
from vaes.dist.base import Latent
from vaes.errors import UsageError
from vaes.evaluate.likelihood import ENTRIES, refuse_without_bound
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.plan import widest
from vaes.uses.common import Rows, batches, evaluating
from vaes.uses.proposals import refuse_without_masks

MOST = 4  # dimensions: beyond, points that explain a row become too few
CELL = 2.0**-31  # half of the grid that points lie on, so that none is 0


@dataclass(frozen=True)
class Quadrature:
    """log p of every row, nats in the user's units.

    per_row (n,) · errors (n,): of each, from independent scramblings; near 1 where few points
    explain the row (then take more points, or `anneal`) · mean, se: over rows, from their spread
    and from the scramblings, which rows share · se_points: the second alone · points in each of
    `scrambles` scramblings.
    """

    n: int
    mean: float
    se: float
    se_points: float
    per_row: Tensor
    errors: Tensor
    points: int
    scrambles: int


def quadrature(
    model: Model, data: Rows, *, points: int = 4096, scrambles: int = 16, seed: int = 0
) -> Quadrature:
    """log p(x) of every row; at most four latent dimensions, `points` a power of two."""
    _refuse(model, data, points, scrambles)
    log_p = _log_p(model, data, [None], points, scrambles, seed)[0]
    return _result(log_p, log_p.logsumexp(0) - math.log(scrambles), points)


def conditional(
    model: Model,
    data: Rows,
    of: Sequence[int],
    given: Sequence[int] = (),
    *,
    points: int = 4096,
    scrambles: int = 16,
    seed: int = 0,
) -> Quadrature:
    """log p(x_of | x_given) of every row, as log p(x_of, x_given) - log p(x_given).

    `of` and `given`: numbers of entries of a row, flattened; what is in neither is integrated out,
    as are gaps. Both terms are taken at the same points, so that the parts of a chain of
    conditionals add up to the evidence of the whole.
    """
    _refuse(model, data, points, scrambles)
    size = model.spec.size
    if not of or not all(0 <= i < size for i in (*of, *given)) or {*of} & {*given}:
        raise UsageError(
            f"of={list(of)}, given={list(given)}: entries are numbered 0 to {size - 1}, at least "
            "one is asked for, and none is in both"
        )
    if model.evidence == "x,s":
        raise UsageError(
            "of a model of where gaps are, an entry that is left out says something of its value; "
            "conditionals take a model of x alone"
        )
    with evaluating(model):
        batch = next(batches(data, 1))
        refuse_without_masks(model, _grid(model.prior(batch), 1, 0, 0, batch.x), batch)
    pair = [_entries(model, [*of, *given]), _entries(model, given)]
    if not given:
        joint, rest = _log_p(model, data, pair[:1], points, scrambles, seed)[0], None
    else:
        joint, rest = _log_p(model, data, pair, points, scrambles, seed)
    log_p = joint if rest is None else joint - rest
    whole = joint.logsumexp(0) - (math.log(scrambles) if rest is None else rest.logsumexp(0))
    return _result(log_p, whole, points)


def _refuse(model: Model, data: Rows, points: int, scrambles: int) -> None:
    refuse_without_bound(model)
    if not len(data):
        raise UsageError("no rows: at least one is needed")
    if points < 1 or points & (points - 1) or points > 2**30 or scrambles < 2:
        raise UsageError(
            f"points={points}, scrambles={scrambles}: points are a power of two, and two "
            "scramblings are the fewest that tell an error"
        )
    with evaluating(model):
        d = model.prior(next(batches(data, 1))).noise_size
    if d > MOST:
        raise UsageError(
            f"quadrature takes at most {MOST} latent dimensions, this model has {d}; use annealed "
            "importance sampling (`anneal`) or importance sampling (`evidence`)"
        )


def _entries(model: Model, chosen: Sequence[int]) -> Tensor:
    """True at the entries of a row numbered by `chosen`, (*shape,)."""
    flat = torch.zeros(model.spec.size, dtype=torch.bool)
    flat[list(chosen)] = True
    return flat.view(model.spec.shape)


def _grid(prior: Latent, points: int, seed: int, scramble: int, like: Tensor) -> Tensor:
    """One scrambling as noise (points, 1, d)."""
    key = generator("quadrature", seed, scramble).initial_seed() % 2**31
    sobol = SobolEngine(prior.noise_size, scramble=True, seed=key)
    u = sobol.draw(points, dtype=torch.float64) + CELL
    return torch.special.ndtri(u).to(like.device, like.dtype).unsqueeze(1)


def _log_p(
    model: Model,
    data: Rows,
    kept: Sequence[Tensor | None],
    points: int,
    scrambles: int,
    seed: int,
) -> list[Tensor]:
    """For each choice of entries log p of them by every scrambling, (scrambles, n) float64."""
    # where nothing is given, z is the same for all rows, and is decoded once for many
    alone, width = model.evidence == "x", widest(model)
    rows = max(1, min(1000, ENTRIES // (8 * width)))
    found: list[list[Tensor]] = [[] for _ in kept]
    with evaluating(model):
        for batch in batches(data, rows):
            chunk = max(1, ENTRIES // (len(batch) * width))
            first = batch[:1] if alone else batch
            prior, masked = model.prior(first), [_only(batch, keep) for keep in kept]
            sums: list[list[Tensor]] = [[] for _ in kept]
            for scramble in range(scrambles):
                grid = _grid(prior, points, seed, scramble, batch.x)
                parts = [_scores(model, prior, part, masked, alone) for part in grid.split(chunk)]
                for total, part in zip(sums, zip(*parts, strict=True), strict=True):
                    total.append(torch.stack(part).logsumexp(0) - math.log(points))
            for whole, total in zip(found, sums, strict=True):
                whole.append(torch.stack(total))
    return [torch.cat(whole, 1) for whole in found]


def _only(batch: Batch, keep: Tensor | None) -> Batch:
    """The rows with nothing but the entries `keep`."""
    if keep is None:
        return batch
    mask = keep.to(batch.x.device).expand_as(batch.x)
    mask = mask if batch.mask is None else mask & batch.mask
    return replace(batch, x=torch.where(mask, batch.x, 0.0), mask=mask)


def _scores(
    model: Model, prior: Latent, noise: Tensor, masked: Sequence[Batch], alone: bool
) -> list[Tensor]:
    """log of the sum of p(x|z) over the points of `noise` (k, 1, d), (n,) for each batch."""
    z = prior.draw(noise if alone else noise.expand(-1, len(masked[0]), -1))
    return [log_likelihood(model, z, batch).double().logsumexp(0) for batch in masked]


def _result(log_p: Tensor, per_row: Tensor, points: int) -> Quadrature:
    """From log p by every scrambling (s, n) and by all together (n,)."""
    s, n = log_p.shape
    # relative error of a mean over scramblings, and that of what all rows share
    ratio = (log_p - log_p.logsumexp(0) + math.log(s)).exp()
    shared = (log_p.mean(1).std() / math.sqrt(s)).item()
    spread = per_row.std().item() / math.sqrt(n) if n > 1 else math.nan
    return Quadrature(
        n=n,
        mean=per_row.mean().item(),
        se=math.hypot(spread, shared),
        se_points=shared,
        per_row=per_row,
        errors=ratio.std(0) / math.sqrt(s),
        points=points,
        scrambles=s,
    )
