"""The aggregate posterior q(z), the mean of q(z|x) over rows, beside the prior p(z).

Their difference is what draws of the prior meet that no row has taught the decoder, and the rate
splits along it: R = I(x; z) + KL(q(z) || p(z)), and for a prior of independent dimensions further
into R = I + total correlation + the sum of KL(q(z_j) || p(z_j)). Nats per row. Sources: Hoffman &
Johnson 2016 (the split); Chen et al. 2018, arXiv:1802.04942 (the further one, and the stratified
weights of a part of the rows); He et al. 2019, arXiv:1901.05534 (information by the mixture);
Lucas et al. 2019, arXiv:1911.02469 (eps-delta collapse).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaes.batch import Data, generator
from vaes.dist.base import HALF_LOG_2PI, Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.errors import DataError
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.evaluate.samples import mmd
from vaes.model import Model
from vaes.objective import closed_kl
from vaes.uses.codes import marginal_rates
from vaes.uses.common import at_once, blank, evaluating, normal

ROWS = 2000  # posteriors of the mixture at most: its cost is their square
CODES = 5000  # codes that the hole rate looks for neighbours among, at most
BLOCK = 2_000_000  # numbers of one block of densities or distances
EPS, DELTA = 0.01, 0.01  # nats, share of rows: of a collapsed dimension
NOMINAL = 0.01  # hole rate where aggregate and prior are one


@dataclass(frozen=True)
class Aggregate:
    """The rate and its parts, nats per row, by the mixture of `n` posteriors.

    rate: mean of KL(q(z|x) || p(z)) · information: I(x; z) under the rows, at most `cap` = log of
    the number of rows, and information_se from the spread over rows · divergence:
    KL(q(z) || p(z)) = rate - information · correlation: total correlation KL(q(z) || prod q(z_j)),
    None where the family has no closed marginals · dimensions (d,): KL(q(z_j) || p(z_j)), None
    where the prior's dimensions depend on one another too · mmd: squared maximum mean discrepancy
    between draws of both, by the prior's standard deviations; 0 on average where they are one.
    """

    n: int
    cap: float
    rate: float
    information: float
    information_se: float
    divergence: float
    correlation: float | None
    dimensions: Tensor | None
    mmd: float


@dataclass(frozen=True)
class Holes:
    """rate: share of draws of the prior farther from the nearest training code than 99 % of the
    held-out codes are; `nominal` (.01) where both have one source, and se that of a share. A code
    is one draw of q(z|x). draws: of the prior · codes: of training rows."""

    rate: float
    se: float
    draws: int
    codes: int
    nominal: float = NOMINAL


def aggregate(
    model: Model, data: Data, *, rows: int = ROWS, draws: int = 4, seed: int = 0
) -> Aggregate:
    """The rate of `data` split into information and distance from the prior.

    Of more than `rows` rows a part is drawn, whose mixture stands for all of them (`log_shares`).
    draws: of z per row.
    """
    refuse_without_bound(model)
    part = some(data, rows, "aggregate", seed)
    if len(part) < 2:
        raise DataError(f"{len(part)} rows: a mixture of posteriors takes at least two")
    found: dict[str, list[Tensor]] = {}
    with evaluating(model):
        families = [model.posterior(batch) for batch in part.batches(at_once(model, 1))]
        prior = model.prior(blank(model, 1))
        draw = generator("aggregate", seed, device=data.x.device)
        for _ in range(draws):
            z = _drawn(families, draw)
            for name, value in _once(families, prior, z, len(data)).items():
                found.setdefault(name, []).append(value)
        distance = _discrepancy(families, model, draw)
    numbers = {name: torch.stack(values).mean(0) for name, values in found.items()}
    return _split(numbers, len(part), len(data), distance)


def log_shares(rows: int, of: int, device: torch.device | str = "cpu") -> Tensor:
    """Log-weights (rows, rows) with which `rows` posteriors drawn from `of` stand for all: the row
    that z came from counts 1 / of, the others share the rest, so that the mean over draws of the
    rows is q(z) (Chen et al. 2018, appendix C.2; there as minibatch stratified sampling)."""
    other = math.log((of - 1) / (of * (rows - 1))) if of > 1 and rows > 1 else -math.inf
    shares = torch.full((rows, rows), other, dtype=torch.float64, device=device)
    return shares.fill_diagonal_(-math.log(of))


def collapsed(model: Model, data: Data, *, eps: float = EPS, delta: float = DELTA) -> int | None:
    """How many dimensions have KL(q(z_j|x) || p(z_j)) below `eps` nats on all but the share `delta`
    of the rows (Lucas et al. 2019, def. 1); None where a dimension's rate has no closed form."""
    rates = []
    with evaluating(model):
        for batch in data.batches(at_once(model, 1)):
            found = marginal_rates(model.posterior(batch), model.prior(batch))
            if found is None:
                return None
            rates.append(found)
    return int(((torch.cat(rates) < eps).double().mean(0) >= 1 - delta).sum())


def holes(model: Model, train: Data, held: Data, *, draws: int = 2000, seed: int = 0) -> Holes:
    """How often the prior draws where no training row has its code."""
    if not len(train) or not len(held):
        raise DataError(
            f"{len(train)} training and {len(held)} held-out rows: the hole rate needs both"
        )
    with evaluating(model):
        near = _codes(model, some(train, CODES, "codes", seed), "train", seed)
        away = _codes(model, some(held, CODES, "held", seed), "held", seed)
        noise = generator("holes", seed, device=train.x.device)
        prior = model.prior(blank(model, draws, noise))
        drawn = prior.draw(normal(noise, near, draws, prior.noise_size))
    rate = hole_rate(near, away, drawn)
    return Holes(rate, math.sqrt(rate * (1 - rate) / draws), draws, len(near))


def hole_rate(train: Tensor, held: Tensor, drawn: Tensor) -> float:
    """Share of the codes `drawn` (m, d) whose nearest of `train` (n, d) is farther than the nearest
    ones of 99 % of `held` (k, d) are."""
    border = nearest(held, train).quantile(1 - NOMINAL)
    return float((nearest(drawn, train) > border).double().mean())


def nearest(codes: Tensor, among: Tensor) -> Tensor:
    """Distance of each of `codes` (m, d) to the nearest of `among` (n, d), (m,) float64."""
    size = max(1, BLOCK // len(among))
    parts = [torch.cdist(part.double(), among.double()).amin(1) for part in codes.split(size)]
    return torch.cat(parts)


def some(data: Data, rows: int, *key: str | int) -> Data:
    """At most `rows` rows, drawn without repeats by `key`, in the order that they lie in."""
    if len(data) <= rows:
        return data
    order = torch.randperm(len(data), generator=generator("some", *key))[:rows].sort().values
    return data.part(order.to(data.x.device))


def _drawn(families: list[Latent], draw: torch.Generator) -> Tensor:
    """One draw of every row's posterior, (n, d), however the rows are cut into families."""
    sizes = [q.batch_shape[0] for q in families]
    noise = normal(draw, families[0].mean, sum(sizes), families[0].noise_size)
    return torch.cat([q.draw(part) for q, part in zip(families, noise.split(sizes), strict=True)])


def _codes(model: Model, data: Data, *key: str | int) -> Tensor:
    """One draw of q(z|x) for every row, (n, d)."""
    families = [model.posterior(batch) for batch in data.batches(at_once(model, 1))]
    return _drawn(families, generator("codes", *key, device=data.x.device))


def _once(families: list[Latent], prior: Latent, z: Tensor, of: int) -> dict[str, Tensor]:
    """For one draw z (n, d) of every row's posterior, (n,) each: log q(z|x), log p(z), log q(z) and
    the closed rate where there is one; `each` (n, d) log q(z_j), `apart` (n, d) log p(z_j)."""
    n = len(z)
    shares = log_shares(n, of, z.device)
    mixture = torch.full((n,), -torch.inf, dtype=torch.float64, device=z.device)
    each = torch.full(z.shape, -torch.inf, dtype=torch.float64, device=z.device)
    own, closed, split = torch.empty_like(mixture), [], True
    start = 0
    for q in families:
        end = start + q.batch_shape[0]
        if closed_kl(q, prior):
            closed.append(kl_divergence(q, prior).double())
        own[start:end] = q.log_prob(z[start:end]).double()
        for rows, density, marginals in _densities(q, z):
            weight = shares[rows, start:end]
            mixture[rows] = torch.logaddexp(mixture[rows], (density + weight).logsumexp(1))
            split = split and marginals is not None
            if marginals is not None:
                summed = (marginals + weight.unsqueeze(-1)).logsumexp(1)
                each[rows] = torch.logaddexp(each[rows], summed)
        start = end
    found = {"own": own, "mixture": mixture, "prior": prior.log_prob(z).double()}
    if closed:
        found["closed"] = torch.cat(closed)
    if split:
        found["each"] = each
    if isinstance(prior, DiagonalNormal):
        found["apart"] = _terms(z, prior.mean, prior.stddev)
    return found


def _densities(q: Latent, z: Tensor) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Blocks of rows of z (n, d) with their log-density (b, m) under every one of the m posteriors
    and, of Gaussians, that of every dimension by itself (b, m, d); float64."""
    m, d = q.batch_shape[0], q.event_shape[0]
    gaussian = isinstance(q, (DiagonalNormal, CholeskyNormal))
    size = max(1, BLOCK // (m * d * (1 if isinstance(q, DiagonalNormal) else d)))
    for start in range(0, len(z), size):
        part = z[start : start + size].unsqueeze(1)
        marginals = _terms(part, q.mean, q.stddev) if gaussian else None
        if isinstance(q, DiagonalNormal) and marginals is not None:
            density = marginals.sum(-1)
        else:
            density = q.log_prob(part.expand(-1, m, -1)).double()
        yield slice(start, start + len(part)), density, marginals


def _terms(z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(z_j; mean_j, std_j^2) of every dimension."""
    z, mean, std = z.double(), mean.double(), std.double()
    return -0.5 * ((z - mean) / std).square() - std.log() - HALF_LOG_2PI


def _discrepancy(families: list[Latent], model: Model, draw: torch.Generator) -> float:
    z = _drawn(families, draw)[: ROWS // 2]
    prior = model.prior(blank(model, len(z), draw))
    drawn = prior.draw(normal(draw, z, len(z), prior.noise_size))
    scale = drawn.double().std(0).clamp(min=1e-12)
    return mmd(z / scale, drawn / scale)


def _split(numbers: dict[str, Tensor], n: int, of: int, distance: float) -> Aggregate:
    """The parts of the rate from means over draws, by row.

    Where the rate is closed, what its draws miss it by is noise of the divergence too: the share of
    it that regression finds is taken out.
    """
    drawn = numbers["own"] - numbers["prior"]
    apart = numbers["mixture"] - numbers["prior"]
    rate = numbers.get("closed", drawn)
    noise = drawn - rate
    centred = noise - noise.mean()
    power = centred.square().mean()
    slope = (centred * apart).mean() / power if power > 0 else power
    apart = apart - slope * noise
    per_row = rate - apart
    information = min(float(per_row.mean()), math.log(of))
    each = numbers.get("each")
    correlation = None if each is None else float((numbers["mixture"] - each.sum(1)).mean())
    dimensions = None
    if each is not None and "apart" in numbers:
        dimensions = (each - numbers["apart"]).mean(0)
    return Aggregate(
        n=n,
        cap=math.log(of),
        rate=float(rate.mean()),
        information=information,
        information_se=float(per_row.std() / math.sqrt(n)),
        divergence=float(rate.mean()) - information,
        correlation=correlation,
        dimensions=dimensions,
        mmd=distance,
    )
