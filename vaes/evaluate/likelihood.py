"""Bounds and evidence over data: batched over rows and draws, in bounded memory, in float64 sums.

All rows share one draw of noise per sample, a pure function of the seed: a row's score depends
neither on its neighbours nor on how rows are split into batches. Nats per row in the user's units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaes.batch import Batch, Data, generator
from vaes.dist.base import Latent
from vaes.errors import UsageError
from vaes.machine import compiler, freed_memory_kept
from vaes.model import Model
from vaes.objective import closed_kl, draw, terms
from vaes.plan import widest

ENTRIES = 2_000_000  # numbers that the widest tensor of one chunk may hold
CACHED = 400_000  # the same where each operation passes over memory: what a core's cache holds
COMPILE_FROM = 4_000_000_000  # numbers from which compiling, some five seconds, is soon paid back
BLOCKS = 10
DRAWS = 50  # per row and chunk, so that encoding a row and what is done once per row cost little


@dataclass(frozen=True)
class Bound:
    """The ELBO of many rows: mean and standard error over rows, its two parts, active units."""

    n: int
    elbo: float
    elbo_se: float
    distortion: float
    rate: float
    rates: Tensor
    active_units: int


@dataclass(frozen=True)
class Evidence:
    """log p(x) by importance sampling with k draws of q(z|x), and the ELBO of the same draws.

    per_row (n,) · se: standard error of the mean, from the spread over rows and the Monte Carlo
    error of the shared draws together · se_draws: the second alone, from blocks of k · ess: median
    effective sample size, (sum w)^2 / sum w^2, of k; ess_per_row (n,) · elbo, elbo_se: likewise ·
    curve: mean and standard error of the importance-weighted bound L_K for K = 1, 10, 100 ... k, by
    the same draws in groups of K; it rises to log p(x), so a curve that still climbs at k says that
    the mean is too low · left_out (blocks,): the mean without each block of draws, for the error of
    differences between models that share them (`error_of_draws`).
    """

    n: int
    mean: float
    se: float
    se_draws: float
    ess: float
    k: int
    per_row: Tensor
    elbo: float
    elbo_se: float
    ess_per_row: Tensor
    curve: dict[int, tuple[float, float]]
    left_out: Tensor


def shared_noise(model: Model, k: int, seed: int, like: Tensor, block: int = 0) -> Tensor:
    """The draws that all rows share, (k, 1, noise_size) normal, from (seed, block)."""
    draw = generator("score", seed, block, device=like.device)
    return torch.randn(k, 1, model.noise_size, generator=draw, dtype=like.dtype, device=like.device)


def with_noise(
    model: Model, data: Data, k: int, seed: int, rows: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches of at most `rows` rows, each with its own k draws (k, rows, d) from (seed, place)."""
    draw, start = generator("rows", seed, device=data.x.device), 0
    noise = None
    for batch in data.batches(rows):
        if noise is None:
            shape = (k, len(data), model.noise_size)
            like = batch.x
            noise = torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)
        yield batch, noise[:, start : start + len(batch)]
        start += len(batch)


def refuse_without_bound(model: Model) -> None:
    """One line where `log_weight` says nothing of the evidence."""
    if model.bound == "none":
        raise UsageError(
            "this model has no density over x, so no evidence; train a recipe with one"
        )


@torch.no_grad()
def bound(model: Model, data: Data, seed: int = 0, k: int = 1, rows: int = 1000) -> Bound:
    """The ELBO on every row, k draws each; active units as in Burda et al. 2016, sec. 5.2.

    Every row has draws of its own, by its place in `data` (draws that all rows shared would leave
    an error of nats in the mean, however many rows there are). For a model with `bound = "none"`
    the rate is not defined: `elbo` and `rate` are NaN.
    """
    was = model.training
    model.eval()
    found, means = [], []
    for batch, noise in with_noise(model, data, k, seed, rows):
        found.append(terms(model, batch, noise))
        means.append(model.posterior(batch).mean.double())
    model.train(was)
    distortion = torch.cat([f.distortion for f in found]).double()
    rates = torch.cat([f.rates for f in found]).double()
    if model.bound == "none":
        rates = torch.full_like(rates, math.nan)
    elbo = -(distortion + rates.sum(-1))
    codes = torch.cat(means)
    return Bound(
        n=len(elbo),
        elbo=elbo.mean().item(),
        elbo_se=standard_error(elbo),
        distortion=distortion.mean().item(),
        rate=rates.sum(-1).mean().item(),
        rates=rates.mean(0),
        active_units=int((codes.var(0, correction=0) > 0.01).sum()),
    )


@torch.no_grad()
@freed_memory_kept()
def evidence(model: Model, data: Data, k: int = 1000, seed: int = 0) -> Evidence:
    """log p(x) of every row as log-mean-exp of k log-weights (Burda et al. 2016, eq. 8).

    Memory is bounded whatever k and the number of rows: both are taken in chunks of `ENTRIES`
    numbers. An exact model needs one draw, as does a posterior that is a point.
    """
    refuse_without_bound(model)
    if k < 1:
        raise UsageError(f"k={k}: at least one draw per row is needed")
    was = model.training
    model.eval()
    # an exact model and a posterior without noise weigh every draw alike
    k = 1 if model.bound == "exact" or not model.noise_size else k
    width = widest(model)
    scorer = _Scorer(len(data) * k * width >= COMPILE_FROM and compiler() is not None)
    entries = ENTRIES if scorer.compiled or data.x.is_cuda else CACHED
    draws = min(-(-k // BLOCKS), DRAWS)
    # few draws leave room for more rows: what is called is the same for either
    at_once = max(1, min(max(500, 8000 // draws), entries // width // draws))
    chunk = max(1, entries // (at_once * width))
    parts = [_rows(model, batch, k, seed, chunk, scorer) for batch in data.batches(at_once)]
    model.train(was)
    log_sums = torch.cat([p.log_sums for p in parts], 1)
    sizes = torch.tensor(parts[0].sizes, dtype=torch.float64)
    total, squares = log_sums.logsumexp(0), torch.cat([p.log_squares for p in parts])
    per_row, elbos = total - math.log(k), torch.cat([p.elbos for p in parts], 1)
    elbo = (elbos * sizes.to(elbos.device)[:, None]).sum(0) / k
    left_out = _left_out(
        lambda keep: log_sums[keep].logsumexp(0).mean().item() - math.log(sizes[keep].sum()),
        len(sizes),
    )
    se_draws = error_of_draws(left_out)
    ess = (2 * total - squares).exp()
    means = elbos.mean(1).cpu() * sizes
    elbo_draws = error_of_draws(
        _left_out(lambda keep: means[keep].sum().item() / sizes[keep].sum().item(), len(sizes))
    )
    return Evidence(
        n=len(per_row),
        mean=per_row.mean().item(),
        se=math.hypot(standard_error(per_row), se_draws),
        se_draws=se_draws,
        ess=ess.median().item(),
        k=k,
        per_row=per_row,
        elbo=elbo.mean().item(),
        elbo_se=math.hypot(standard_error(elbo), elbo_draws),
        ess_per_row=ess,
        curve=_curve(torch.cat([p.curve for p in parts], 2).cpu(), log_sums.cpu(), parts[0].sizes),
        left_out=left_out,
    )


def _curve(within: Tensor, log_sums: Tensor, sizes: list[int]) -> dict[int, tuple[float, float]]:
    """L_K of `Evidence.curve`: for groups within a block from `within` (levels, blocks, n), for
    groups of whole blocks and for all draws from the blocks' log-sums (blocks, n)."""
    k, size, found = sum(sizes), min(sizes), {10**i: means for i, means in enumerate(within)}
    for n in (10**i for i in range(len(within), 1 + round(math.log10(max(sizes) * len(sizes))))):
        blocks = n // size
        if n < k and max(sizes) == size and blocks * size == n:
            groups = log_sums[: len(sizes) // blocks * blocks].unflatten(0, (-1, blocks))
            found[n] = groups.logsumexp(1) - math.log(n)
    found[k] = (log_sums.logsumexp(0) - math.log(k)).unsqueeze(0)
    told = {}
    for n, means in found.items():  # (groups of draws, rows)
        draws = means.mean(1)
        spread = draws.std().item() / math.sqrt(len(draws)) if len(draws) > 1 else 0.0
        told[n] = (draws.mean().item(), math.hypot(standard_error(means.mean(0)), spread))
    return told


class _Blocks(NamedTuple):
    """Sums over blocks of draws: of weights, log (blocks, n); of their squares, log (n,); the ELBO
    of each block (blocks, n); the blocks' sizes; L_1, L_10 ... of each (levels, blocks, n)."""

    log_sums: Tensor
    log_squares: Tensor
    elbos: Tensor
    sizes: list[int]
    curve: Tensor


def _score(model: Model, batch: Batch, noise: Tensor, q: Latent) -> tuple[Tensor, Tensor]:
    """log w and log p(x|z) of every draw, (k, n) each, in float64."""
    drawn = draw(model, batch, noise, q)
    return drawn.log_weight.double(), drawn.log_likelihood.double()


@cache
def _compiled_score() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(_score, dynamic=False)


class _Scorer:
    """`_score`, compiled for the shape that comes first, which is that of nearly all chunks."""

    def __init__(self, compiled: bool) -> None:
        self.compiled = compiled
        self._shape: tuple[int, ...] | None = None

    def __call__(
        self, model: Model, batch: Batch, noise: Tensor, q: Latent
    ) -> tuple[Tensor, Tensor]:
        shape = (len(noise), len(batch))
        self._shape = self._shape or shape
        if self.compiled and shape == self._shape:
            try:
                return _compiled_score()(model, batch, noise, q)
            except Exception:  # whatever the compiler could not take: slower, never wrong
                self.compiled = False
        return _score(model, batch, noise, q)


def _rows(model: Model, batch: Batch, k: int, seed: int, chunk: int, scorer: _Scorer) -> _Blocks:
    q, p = model.posterior(batch), model.prior(batch)
    # an exact posterior has constant log-weights: their mean is the ELBO without error; else the
    # closed KL leaves only the distortion to the draws
    rate = kl_divergence(q, p).double() if model.bound != "exact" and closed_kl(q, p) else None
    edges = [round(i * k / min(BLOCKS, k)) for i in range(min(BLOCKS, k) + 1)]
    sizes = [b - a for a, b in pairwise(edges)]
    sums, squares, elbos, curve = [], [], [], []
    for block, size in enumerate(sizes):
        log_w, distortion = [], 0.0
        for noise in shared_noise(model, size, seed, batch.x, block).split(chunk):
            weight, likelihood = scorer(model, batch, noise, q)
            log_w.append(weight)
            distortion = distortion - likelihood.sum(0)
        weights = torch.cat(log_w)
        sums.append(weights.logsumexp(0))
        squares.append((2 * weights).logsumexp(0))
        curve.append(_levels(weights, min(sizes)))
        elbos.append(weights.mean(0) if rate is None else -distortion / size - rate)
    return _Blocks(
        torch.stack(sums),
        torch.stack(squares).logsumexp(0),
        torch.stack(elbos),
        sizes,
        torch.stack(curve, 1),
    )


def _levels(weights: Tensor, most: int) -> Tensor:
    """Means over groups of 1, 10, 100 ... at most `most` draws of their log-mean-exp, (levels, n),
    of log-weights (k, n)."""
    found, size = [weights.mean(0)], 1
    while 10 * size <= most:
        weights, size = (
            weights[: len(weights) // 10 * 10].unflatten(0, (-1, 10)).logsumexp(1),
            10 * size,
        )
        found.append(weights.mean(0) - math.log(size))
    return torch.stack(found)


def _left_out(statistic: Callable[[list[int]], float], blocks: int) -> Tensor:
    """A statistic with one block of draws left out at a time, (blocks,); empty of one block."""
    if blocks < 2:
        return torch.zeros(0, dtype=torch.float64)
    left = [statistic([i for i in range(blocks) if i != out]) for out in range(blocks)]
    return torch.tensor(left, dtype=torch.float64)


def error_of_draws(left_out: Tensor) -> float:
    """Monte Carlo error of a number by the jackknife, from what it is without each block of draws
    (blocks,): of a difference of two, from their differences."""
    blocks = len(left_out)
    if blocks < 2:
        return 0.0
    return math.sqrt((blocks - 1) / blocks * (left_out - left_out.mean()).square().sum().item())


def standard_error(values: Tensor) -> float:
    """Of the mean of values (n,); NaN of a single one."""
    return (values.std().item() / math.sqrt(len(values))) if len(values) > 1 else math.nan
