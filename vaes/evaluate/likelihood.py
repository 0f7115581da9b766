"""Bounds and evidence over data: batched over rows and draws, in bounded memory, in float64 sums.

All rows share one draw of noise per sample, a pure function of the seed: a row's score depends
neither on its neighbours nor on how rows are split into batches. Nats per row in the user's units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vaes.batch import Batch, Data, generator
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import log_weight, terms
from vaes.plan import widest

ENTRIES = 2_000_000  # numbers that the widest tensor of one chunk may hold
BLOCKS = 10


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
    """log p(x) by importance sampling with k draws of q(z|x).

    per_row (n,) · se: standard error of the mean, from the spread over rows and the Monte Carlo
    error of the shared draws together · se_draws: the second alone, from blocks of k · ess: median
    effective sample size, (sum w)^2 / sum w^2, of k.
    """

    n: int
    mean: float
    se: float
    se_draws: float
    ess: float
    k: int
    per_row: Tensor


def shared_noise(model: Model, k: int, seed: int, like: Tensor, block: int = 0) -> Tensor:
    """The draws that all rows share, (k, 1, d) standard normal, from (seed, block)."""
    draw = generator("score", seed, block, device=like.device)
    return torch.randn(k, 1, model.latent, generator=draw, dtype=like.dtype, device=like.device)


def refuse_without_bound(model: Model) -> None:
    """One line where `log_weight` says nothing of the evidence."""
    if model.bound == "none":
        raise UsageError(
            "this model has no density over x, so no evidence; train a recipe with one"
        )


@torch.no_grad()
def bound(model: Model, data: Data, seed: int = 0, k: int = 1, rows: int = 1000) -> Bound:
    """The ELBO on every row, k draws each; active units as in Burda et al. 2016, sec. 5.2.

    For a model with `bound = "none"` the rate is not defined: `elbo` and `rate` are NaN and the
    distortion is that at the posterior's mean.
    """
    was = model.training
    model.eval()
    found, means = [], []
    for batch in data.batches(rows):
        noise = shared_noise(model, k, seed, batch.x)
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
        elbo_se=_se(elbo),
        distortion=distortion.mean().item(),
        rate=rates.sum(-1).mean().item(),
        rates=rates.mean(0),
        active_units=int((codes.var(0, correction=0) > 0.01).sum()),
    )


@torch.no_grad()
def evidence(model: Model, data: Data, k: int = 1000, seed: int = 0) -> Evidence:
    """log p(x) of every row as log-mean-exp of k log-weights (Burda et al. 2016, eq. 8).

    Memory is bounded whatever k and the number of rows: both are taken in chunks of `ENTRIES`
    numbers. An exact model needs one draw.
    """
    refuse_without_bound(model)
    if k < 1:
        raise UsageError(f"k={k}: at least one draw per row is needed")
    was = model.training
    model.eval()
    k = 1 if model.bound == "exact" else k
    width = max(model.spec.size, model.latent, widest(model))
    at_once = max(1, min(500, ENTRIES // width // min(k, 4)))
    parts = [_rows(model, batch, k, seed, width) for batch in data.batches(at_once)]
    model.train(was)
    log_blocks = torch.cat([p[0] for p in parts], 1)
    total, squares = log_blocks.logsumexp(0), torch.cat([p[1] for p in parts])
    per_row = total - math.log(k)
    se_draws = _jackknife(log_blocks, torch.tensor(parts[0][2], dtype=torch.float64))
    return Evidence(
        n=len(per_row),
        mean=per_row.mean().item(),
        se=math.hypot(_se(per_row), se_draws),
        se_draws=se_draws,
        ess=(2 * total - squares).exp().median().item(),
        k=k,
        per_row=per_row,
    )


def _rows(
    model: Model, batch: Batch, k: int, seed: int, width: int
) -> tuple[Tensor, Tensor, list[int]]:
    """Per block of draws the log-sum of the weights (blocks, n); of squares (n,); block sizes."""
    q = model.posterior(batch)
    edges = [round(i * k / min(BLOCKS, k)) for i in range(min(BLOCKS, k) + 1)]
    sizes = [b - a for a, b in pairwise(edges)]
    chunk = max(1, ENTRIES // (len(batch) * width))
    sums, squares = [], []
    for block, size in enumerate(sizes):
        noise = shared_noise(model, size, seed, batch.x, block).split(chunk)
        log_w = torch.cat([log_weight(model, batch, noise=part, q=q).double() for part in noise])
        sums.append(log_w.logsumexp(0))
        squares.append((2 * log_w).logsumexp(0))
    return torch.stack(sums), torch.stack(squares).logsumexp(0), sizes


def _jackknife(log_blocks: Tensor, sizes: Tensor) -> float:
    """Monte Carlo error of the mean over rows: leave one block of draws out at a time."""
    blocks = len(sizes)
    if blocks < 2:
        return 0.0
    left = []
    for out in range(blocks):
        keep = [i for i in range(blocks) if i != out]
        left.append(log_blocks[keep].logsumexp(0).mean().item() - math.log(sizes[keep].sum()))
    values = torch.tensor(left, dtype=torch.float64)
    return math.sqrt((blocks - 1) / blocks * (values - values.mean()).square().sum().item())


def _se(values: Tensor) -> float:
    return (values.std().item() / math.sqrt(len(values))) if len(values) > 1 else math.nan
