"""What an encoder loses: from its ELBO over the best Gaussian posteriors of each row to log p(x).

ELBO of the encoder -> of the best diagonal Gaussian -> of the best full Gaussian -> log p(x). The
encoder's distance to the best of its own family is the amortisation gap, that from there to log
p(x) the approximation gap. Nats per row in the user's units. Source: Cremer, Li & Duvenaud 2018
(arXiv:1801.03558).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import UsageError
from vaes.evaluate.likelihood import ENTRIES, error_of_draws, shared_noise, standard_error
from vaes.evaluate.refined import ROWS, log_weight_full, refine_full, refuse_without_gaussian
from vaes.model import Model
from vaes.objective import log_weight
from vaes.plan import widest
from vaes.uses.common import Rows, at_once, batches, evaluating
from vaes.uses.refine import REFINE_DRAWS, refine

BLOCKS = 10  # of draws, that tell the Monte Carlo error

Statistic = Callable[[list[int]], Tensor]


@dataclass(frozen=True)
class Gaps:
    """Nats per row, means over rows, each with its standard error: from the spread over rows and
    the Monte Carlo error of the draws, which rows share.

    per_row (4, n): ELBO of the encoder, of the best diagonal and of the best full Gaussian, and
    `evidence`, their means in this order above it · family: the encoder's, "diagonal" or "full" ·
    amortisation: best of that family - encoder · approximation: evidence - best of that family ·
    correlation: best full - best diagonal, what a diagonal posterior gives away · k: draws.
    """

    n: int
    elbo: float
    diagonal: float
    full: float
    evidence: float
    family: Literal["diagonal", "full"]
    amortisation: float
    amortisation_se: float
    approximation: float
    approximation_se: float
    correlation: float
    correlation_se: float
    k: int
    per_row: Tensor


def gaps(
    model: Model,
    data: Rows,
    *,
    k: int = 1000,
    steps: int = 500,
    lr: float = 0.05,
    seed: int = 0,
    reference: Tensor | None = None,
) -> Gaps:
    """Where the nats between the encoder's ELBO and log p(x) are lost.

    k: draws per row and posterior, the same for all three · steps, lr: of Adam, for the diagonal
    and again for the full Gaussian · reference (n,): log p(x) from elsewhere, such as
    `anneal(...).per_row`; without it, importance sampling with the k draws of the full Gaussian,
    which is never below that Gaussian's ELBO.
    """
    refuse_without_gaussian(model, data, k)
    if reference is not None and reference.shape != (len(data),):
        raise UsageError(f"reference of shape {tuple(reference.shape)}: {len(data)} rows have one")
    found: list[tuple[_Weighed, ...]] = []
    with evaluating(model):
        first = model.posterior(next(batches(data, 1)))
        family = "full" if isinstance(first, CholeskyNormal) else "diagonal"
        for batch in batches(data, at_once(model, REFINE_DRAWS, ROWS)):
            q = model.posterior(batch)
            best = refine(model, batch, steps=steps, lr=lr, seed=seed, chunk=REFINE_DRAWS * ROWS)
            start = q if isinstance(q, CholeskyNormal) else best
            full = refine_full(model, batch, steps=steps, lr=lr, seed=seed, start=start)
            found.append(tuple(_weigh(model, batch, p, k, seed) for p in (q, best, full)))
    encoder, diagonal, full = (_Weighed.joined(parts) for parts in zip(*found, strict=True))
    log_p = (
        full.log_p if reference is None else lambda _: reference.double().to(encoder.sums.device)
    )
    own = full if family == "full" else diagonal
    everything = list(range(len(encoder.sizes)))
    per_row = [encoder.elbo, diagonal.elbo, full.elbo, log_p]
    means = [of(everything).mean().item() for of in per_row]
    told = {}
    for name, high, low in (
        ("amortisation", own.elbo, encoder.elbo),
        ("approximation", log_p, own.elbo),
        ("correlation", full.elbo, diagonal.elbo),
    ):
        told[name], told[f"{name}_se"] = _difference(high, low, everything)
    values = dict(zip(("elbo", "diagonal", "full", "evidence"), means, strict=True))
    every = torch.stack([of(everything) for of in per_row])
    return Gaps(n=len(data), family=family, k=k, per_row=every, **values, **told)


class _Weighed(NamedTuple):
    """Blocks of draws of one posterior: log of the sum of w and the sum of log w, (blocks, n), and
    the blocks' sizes."""

    log_sums: Tensor
    sums: Tensor
    sizes: list[int]

    @classmethod
    def joined(cls, parts: list[_Weighed] | tuple[_Weighed, ...]) -> _Weighed:
        """Of all rows, from those of some."""
        return cls(
            torch.cat([p.log_sums for p in parts], 1),
            torch.cat([p.sums for p in parts], 1),
            parts[0].sizes,
        )

    def elbo(self, blocks: list[int]) -> Tensor:
        """Mean of log w over the draws of some blocks, (n,)."""
        return self.sums[blocks].sum(0) / sum(self.sizes[b] for b in blocks)

    def log_p(self, blocks: list[int]) -> Tensor:
        """Log of the mean of w over the draws of some blocks, (n,)."""
        return self.log_sums[blocks].logsumexp(0) - math.log(sum(self.sizes[b] for b in blocks))


def _weigh(model: Model, batch: Batch, q: Latent, k: int, seed: int) -> _Weighed:
    """k draws of q for every row, from the noise that all rows share."""
    count = min(BLOCKS, k)
    edges = [round(i * k / count) for i in range(count + 1)]
    sizes = [b - a for a, b in pairwise(edges)]
    chunk = max(1, ENTRIES // (len(batch) * widest(model)))
    log_sums, sums = [], []
    for block, size in enumerate(sizes):
        log_w = []
        for noise in shared_noise(model, size, seed, batch.x, block).split(chunk):
            if isinstance(q, CholeskyNormal):
                log_w.append(log_weight_full(model, batch, q.loc, q.tril, noise).double())
            else:
                log_w.append(log_weight(model, batch, noise=noise, q=q).double())
        weights = torch.cat(log_w)
        log_sums.append(weights.logsumexp(0))
        sums.append(weights.sum(0))
    return _Weighed(torch.stack(log_sums), torch.stack(sums), sizes)


def _difference(high: Statistic, low: Statistic, blocks: list[int]) -> tuple[float, float]:
    """Mean over rows of a difference and its standard error."""

    def apart(kept: list[int]) -> Tensor:
        return high(kept) - low(kept)

    found = apart(blocks)
    return found.mean().item(), math.hypot(standard_error(found), _jackknife(apart, len(blocks)))


def _jackknife(of: Statistic, blocks: int) -> float:
    """Monte Carlo error of the mean over rows: one block of draws left out at a time."""
    if blocks < 2:
        return math.nan
    left = [of([i for i in range(blocks) if i != out]).mean().item() for out in range(blocks)]
    return error_of_draws(torch.tensor(left, dtype=torch.float64))
