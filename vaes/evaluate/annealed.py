"""Annealed importance sampling: the evidence bounded from below and, where z is known, from above.

Chains go from a distribution that can be drawn from to the posterior over f_b(z) = start(z)^(1-b)
[p(z) p(x|z)]^b, b from 0 to 1. The mean of their weights is p(x) without bias, so its logarithm is
a stochastic lower bound; back from an exact draw of the posterior, which a simulated row comes
with, the mean of 1 / w is 1 / p(x), a stochastic upper bound. The gap between both certifies the
chains (bidirectional Monte Carlo). Nats per row in the user's units, accumulated in float64.
Sources: Neal 2001; Grosse et al. 2015 (arXiv:1511.02543); Wu et al. 2016 (arXiv:1611.04273).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.evaluate.hmc import Hmc, Kernels, Move, Noise, Path
from vaes.evaluate.likelihood import refuse_without_bound, standard_error
from vaes.model import Model
from vaes.uses.common import (
    CHUNK,
    Rows,
    at_once,
    batches,
    blank,
    drawing,
    evaluating,
    normal,
    values,
)

RADIUS = 4.0  # of the sigmoid that spaces temperatures
LAYERS = 4  # tensors as wide as the widest layer that a gradient keeps


@dataclass(frozen=True)
class Annealing:
    """How chains are run.

    chains per row · steps: weights from one temperature to the next · start: "prior", or "encoder"
    for q(z|x) · spacing of temperatures: "sigmoid" (close at both ends), or "linear" · kernels:
    what leaves each f_b as it is.
    """

    chains: int = 16
    steps: int = 1000
    start: Literal["prior", "encoder"] = "prior"
    spacing: Literal["sigmoid", "linear"] = "sigmoid"
    kernels: Kernels = field(default_factory=Hmc)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chains < 1 or self.steps < 1:
            raise UsageError(f"chains={self.chains}, steps={self.steps}: both are at least 1")
        for name, known in (("start", ("prior", "encoder")), ("spacing", ("sigmoid", "linear"))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}='{getattr(self, name)}': use {' or '.join(known)}")

    @property
    def betas(self) -> list[float]:
        """0 = b_0 < ... < b_steps = 1."""
        t = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        if self.spacing == "sigmoid":
            t = torch.sigmoid(RADIUS * (2 * t - 1))
            t = (t - t[0]) / (t[-1] - t[0])
        return t.tolist()


@dataclass(frozen=True)
class Annealed:
    """A stochastic bound on log p(x) of every row, nats in the user's units.

    per_row (n,) · errors (n,): Monte Carlo error of each, from the spread of its chains (NaN of a
    single chain; too small where all chains miss the same mass, which only the distance of both
    bounds can tell) · mean, se: over rows; rows have chains of their own, so their spread holds the
    Monte Carlo error too · ess: median effective number of chains · acceptance: mean share of
    accepted moves (NaN where none was needed).
    """

    n: int
    mean: float
    se: float
    per_row: Tensor
    errors: Tensor
    ess: float
    chains: int
    steps: int
    acceptance: float


@dataclass(frozen=True)
class Certificate:
    """Both bounds on rows that the model itself made, and their distance: what annealing as it was
    run may be wrong by, in nats per row, on rows like those (Grosse et al. 2015)."""

    lower: Annealed
    upper: Annealed
    gap: float
    gap_se: float


def anneal(model: Model, data: Rows, how: Annealing | None = None) -> Annealed:
    """A stochastic lower bound on log p(x) per row: E exp(per_row) = p(x).

    It is below log p(x) on average; a single row's may lie above by some of its `errors`.
    """
    how = how or Annealing()
    with evaluating(model):
        _refuse_discrete_start(model, data, how)
        parts = [
            _lower(path, how.betas, how.kernels(path, how.betas, pilot), noise)
            for path, pilot, noise, _ in _paths(model, data, how, "annealed")
        ]
    return _annealed(parts, how, sign=1)


def anneal_back(model: Model, data: Rows, z: Tensor, how: Annealing | None = None) -> Annealed:
    """A stochastic upper bound on log p(x) per row: E exp(-per_row) = 1 / p(x).

    z (n, d): exact draws of p(z|x), which is what made a simulated row. All chains of a row start
    there.
    """
    how = how or Annealing()
    if z.shape != (len(data), model.latent):
        raise UsageError(
            f"z of shape {tuple(z.shape)}: {len(data)} rows have ({len(data)}, {model.latent})"
        )
    with evaluating(model):
        _refuse_discrete_start(model, data, how)
        parts = [
            _upper(path, how.betas, how.kernels(path, how.betas, pilot), noise, z[rows])
            for path, pilot, noise, rows in _paths(model, data, how, "annealed back")
        ]
    return _annealed(parts, how, sign=-1)


def bdmc(model: Model, n: int = 100, how: Annealing | None = None) -> Certificate:
    """Both bounds on n rows simulated from the model."""
    how = how or Annealing()
    refuse_without_bound(model)
    batch, z = simulated(model, n, how.seed)
    lower, upper = anneal(model, batch, how), anneal_back(model, batch, z, how)
    gaps = upper.per_row - lower.per_row
    return Certificate(lower, upper, gaps.mean().item(), standard_error(gaps))


def simulated(model: Model, n: int, seed: int = 0) -> tuple[Batch, Tensor]:
    """n complete rows of the model and the z (n, d) that each came from."""
    if n < 1:
        raise UsageError(f"n={n}: at least one row is drawn")
    if model.evidence not in ("x", "x|total"):
        raise UsageError(
            f"the evidence of this model is of {model.evidence}, and only x can be simulated here; "
            "bound its rows with `anneal`"
        )
    draw, rows, codes, totals = drawing(model, "simulated", seed), [], [], []
    with evaluating(model):
        for start in range(0, n, CHUNK):
            batch = blank(model, min(CHUNK, n - start), draw)
            p = model.prior(batch)
            codes.append(p.draw(normal(draw, batch.x, len(batch), p.noise_size)))
            rows.append(values(model, codes[-1], batch, draw).to(batch.x.dtype))
            totals.append(batch.total)
    batch = Batch(x=torch.cat(rows))
    if totals[0] is not None:
        batch = replace(batch, total=torch.cat(totals))
    return batch, torch.cat(codes)


def refuse_discrete(model: Model, batch: Batch) -> None:
    """One line where z is not made of real numbers, which chains and Gaussians move in."""
    refuse_without_bound(model)
    for p in (model.prior(batch), model.posterior(batch)):
        supports = p.support if isinstance(p.support, list) else [p.support]
        for support in supports:
            while isinstance(support, constraints.independent):
                support = support.base_constraint
            if support is not constraints.real:
                raise UsageError(
                    "the latent variables of this model are not all real numbers, so nothing can "
                    "be annealed or refined; use importance sampling (`evidence`)"
                )


def _refuse_discrete_start(model: Model, data: Rows, how: Annealing) -> None:
    if not len(data):
        raise UsageError("no rows: at least one is needed")
    refuse_discrete(model, next(batches(data, 1)))


def _paths(
    model: Model, data: Rows, how: Annealing, name: str
) -> Iterator[tuple[Path, Noise, Noise, slice]]:
    """Chunks of rows: path, noise of the pilot (the same for both directions), noise, which."""
    first = 0
    for batch in batches(data, at_once(model, LAYERS * how.chains)):
        path, n = Path(model, batch, how.start), len(batch)
        like = path.scale
        pilot = Noise(("annealing pilot", how.seed), first, n, how.chains, like)
        noise = Noise((name, how.seed), first, n, how.chains, like)
        yield path, pilot, noise, slice(first, first + n)
        first += n


class _Weights(NamedTuple):
    """log w (k, n) of chains and the mean probability of acceptance of each, 0 / 0 for no move."""

    log_w: Tensor
    acceptance: Tensor


def _lower(path: Path, betas: list[float], move: Move, noise: Noise) -> _Weights:
    at = path.begin(noise)
    log_w = accepted = torch.zeros_like(at.log_ratio, dtype=torch.float64)
    for t in range(1, len(betas)):
        log_w = log_w + (betas[t] - betas[t - 1]) * at.log_ratio.double()
        if t < len(betas) - 1:  # where the last chain goes to weighs nothing
            at, rate = move(at, t, noise)
            accepted = accepted + rate
    return _Weights(log_w, accepted / (len(betas) - 2) if len(betas) > 2 else accepted / 0.0)


def _upper(path: Path, betas: list[float], move: Move, noise: Noise, z: Tensor) -> _Weights:
    at = path.at(z.expand(noise.k, *z.shape).to(noise.like))
    log_w = accepted = torch.zeros_like(at.log_ratio, dtype=torch.float64)
    for t in range(len(betas) - 1, 0, -1):
        at, rate = move(at, t, noise)
        accepted = accepted + rate
        log_w = log_w + (betas[t] - betas[t - 1]) * at.log_ratio.double()
    return _Weights(log_w, accepted / (len(betas) - 1))


def _annealed(parts: list[_Weights], how: Annealing, sign: int) -> Annealed:
    """sign 1: log of the mean of w; -1: minus the log of the mean of 1 / w."""
    log_w, k = sign * torch.cat([p.log_w for p in parts], 1), how.chains
    total = log_w.logsumexp(0)
    ess = (2 * total - (2 * log_w).logsumexp(0)).exp()
    per_row = sign * (total - math.log(k))
    # relative error of a mean of k weights
    spread = (k / ess - 1).clamp(min=0.0) / (k - 1) if k > 1 else torch.full_like(ess, math.nan)
    return Annealed(
        n=len(per_row),
        mean=per_row.mean().item(),
        se=standard_error(per_row),
        per_row=per_row,
        errors=spread.sqrt(),
        ess=ess.median().item(),
        chains=k,
        steps=how.steps,
        acceptance=torch.cat([p.acceptance for p in parts], 1).mean().item(),
    )
