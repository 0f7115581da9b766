"""Whether what a model is sure of happens as often as it says: the encoder, and the likelihood.

Simulation-based calibration: of z from the prior and x from the decoder, the rank of z_j among
draws of q(z_j|x) is uniform where q is the posterior (Talts et al. 2018, arXiv:1804.06788), and so
is the rank of the distance of z from a random point (TARP; Lemos et al. 2023, arXiv:2302.03026).
Predictive calibration: of a held-out row and z from its posterior, the rank of an entry among draws
of p(x_j|z) is uniform where model and posterior are right; ties are broken at random, so that
discrete entries have uniform ranks too (Czado et al. 2009). One z for each row: the mean over many
would not be uniform, since they have seen the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from vaes.batch import Batch, Data, generator
from vaes.dist.base import Latent
from vaes.dist.point import Point
from vaes.errors import DataError, UsageError
from vaes.evaluate.likelihood import ENTRIES, refuse_without_bound
from vaes.model import Model
from vaes.objective import draw as draw_from
from vaes.uses.common import at_once, evaluating, normal
from vaes.uses.rows import sample

LEVEL, BINS = 0.01, 20
PLACES = 19  # draws of an entry: central 10 and 18 of the 20 ranks hold exactly 50 and 90 %


@dataclass(frozen=True)
class Calibration:
    """Ranks of true codes among `draws` of the encoder, over `n` simulations.

    Statistics have one number for each of the d dimensions and a last one for the distance of z
    from a random point (TARP): chi2, the p-values of even counts in 20 bins · mean, z-scores of the
    mean rank: below 0 where codes lie lower than q says · spread, z-scores of the ranks' variance:
    above 0 where q is too narrow, below where it is too wide · coverage: share of the codes within
    the central 90 % of q, and of distances within that of their draws · alarm: whether any p-value
    of the three is below .01 over their number (Bonferroni). ranks (n, d + 1).
    """

    n: int
    draws: int
    chi2: Tensor
    mean: Tensor
    spread: Tensor
    coverage: Tensor
    alarm: bool
    ranks: Tensor


@dataclass(frozen=True)
class Intervals:
    """How often held-out entries lie within the central 50 and 90 % of p(x_j|z).

    inside50, inside90: over all observed entries of `n` rows, and standard errors from the spread
    over rows · half, most (*shape): entry by entry, NaN where none is observed · ranks (n, *shape):
    of every entry among 19 draws, 0 to 19, -1 in gaps. Both above nominal: the likelihood is too
    wide; both below: too narrow; the first above and the last not: its tails are too light.
    """

    n: int
    inside50: float
    inside50_se: float
    inside90: float
    inside90_se: float
    half: Tensor
    most: Tensor
    ranks: Tensor


def simulated(
    model: Model, *, simulations: int = 1000, draws: int = 99, seed: int = 0
) -> Calibration:
    """Simulation-based calibration of the encoder against the model's own prior and decoder.

    UsageError for what has no ranks: discrete codes, point masses, models without a density, and
    those of the gaps themselves, whose simulated rows would have to have gaps.
    """
    refuse_without_bound(model)
    if simulations < 100 or draws + 1 < BINS or (draws + 1) % BINS:
        raise UsageError(
            f"simulations={simulations}, draws={draws}: at least 100, and one less than a multiple "
            f"of {BINS}, so that every bin holds as many ranks"
        )
    if model.evidence not in ("x", "x|total"):
        raise UsageError(
            f"this model is of {model.evidence}, which it does not draw whole: its encoder has no "
            "simulated rows to be held against"
        )
    rows, codes = sample(model, simulations, seed=seed)
    data, draw = Data(model.spec, rows), generator("calibration", seed, device=rows.device)
    found, start = [], 0
    with evaluating(model):
        for batch in data.batches(at_once(model, draws)):
            q = model.posterior(batch)
            refuse_without_ranks(q)
            z = codes[start : start + len(batch)]
            drawn = q.draw(normal(draw, q.mean, draws, len(batch), q.noise_size))
            prior = model.prior(batch)
            point = prior.draw(normal(draw, q.mean, len(batch), prior.noise_size))
            below = (drawn < z).sum(0)
            nearer = (_far(drawn, point) < _far(z, point)).sum(0)
            found.append(torch.cat([below, nearer.unsqueeze(1)], 1))
            start += len(batch)
    return of_ranks(torch.cat(found), draws)


def refuse_without_ranks(q: Latent) -> None:
    """One line where values of z have no order or no spread."""
    links: Any = q.support if isinstance(q.support, list) else [q.support]
    if isinstance(q, Point):
        raise UsageError("a point posterior says nothing of its own error: nothing to calibrate")
    if any(link.is_discrete or link is constraints.one_hot for link in links):
        raise UsageError("codes are discrete: they have no ranks, so no simulated calibration")


def of_ranks(ranks: Tensor, draws: int) -> Calibration:
    """Tests of whether ranks (n, m), whole numbers from 0 to `draws`, are uniform."""
    from scipy.stats import chi2, norm

    n, m = ranks.shape
    cells = torch.nn.functional.one_hot(ranks * BINS // (draws + 1), BINS).sum(0).double()
    statistic = (cells - n / BINS).square().sum(1) / (n / BINS)
    even = torch.from_numpy(chi2.sf(statistic.cpu().numpy(), BINS - 1))
    # moments of a uniform whole number of K values, about its middle
    size, centred = draws + 1, ranks.double() - draws / 2
    variance = (size**2 - 1) / 12
    fourth = (size**2 - 1) * (3 * size**2 - 7) / 240
    mean = centred.mean(0) / math.sqrt(variance / n)
    spread = (centred.square().mean(0) - variance) / math.sqrt((fourth - variance**2) / n)
    both = torch.from_numpy(2 * norm.sf(torch.stack([mean, spread]).abs().cpu().numpy()))
    edge = size // BINS
    inside = ((ranks >= edge) & (ranks < size - edge)).double().mean(0)
    lowest = min(float(even.min()), float(both.min()))
    return Calibration(
        n, draws, even, mean.cpu(), spread.cpu(), inside.cpu(), lowest < LEVEL / (3 * m), ranks
    )


def intervals(model: Model, data: Data, *, k: int = 1, seed: int = 0) -> Intervals:
    """How often the entries of held-out `data` lie within central intervals of p(x_j|z).

    z is one draw of q(z|x); of `k` draws, one by its importance weight, which comes nearer to the
    posterior. Ranks have no order to speak of in a category: there they say only whether its
    probabilities are right on the whole.
    """
    if k < 1 or not len(data):
        raise UsageError(f"k={k}, {len(data)} rows: at least one draw and one row are needed")
    if k > 1:
        refuse_without_bound(model)
    if model.evidence == "x,s":
        raise UsageError(
            "this model is of values and gaps: what is observed is no draw of p(x|z) alone, so its "
            "intervals say nothing of p(x|z)"
        )
    draw = generator("intervals", seed, device=data.x.device)
    with evaluating(model):
        size = max(1, min(at_once(model, PLACES * k), ENTRIES // (PLACES * model.spec.size)))
        parts = [
            _places(model, batch, _code(model, batch, k, draw), draw)
            for batch in data.batches(size)
        ]
    ranks = torch.cat(parts)
    seen = ranks >= 0
    inside = torch.stack([(ranks >= 5) & (ranks < 15), (ranks >= 1) & (ranks < 19)]) & seen
    count = seen.sum(0)
    entry = torch.where(count > 0, inside.sum(1).double() / count, math.nan)
    means, errors = zip(*(_share(part, seen) for part in inside), strict=True)
    return Intervals(
        len(ranks), means[0], errors[0], means[1], errors[1], entry[0], entry[1], ranks
    )


def scores(ranks: Tensor, seed: int = 0) -> Tensor:
    """Normal scores of ranks 0 to 19 (n, *shape): N(0, 1), and independent of each other, where the
    model is right; 0 in gaps. float64."""
    draw = generator("scores", seed, device=ranks.device)
    u = torch.rand(ranks.shape, generator=draw, dtype=torch.float64, device=ranks.device)
    found = torch.special.ndtri((ranks + u.clamp(1e-6, 1 - 1e-6)) / (PLACES + 1))
    return torch.where(ranks >= 0, found, 0.0)


def _far(z: Tensor, point: Tensor) -> Tensor:
    return (z - point).double().square().sum(-1)


def _code(model: Model, batch: Batch, k: int, draw: torch.Generator) -> Tensor:
    """One z for every row, (n, d): a draw of q, or of k draws one by its importance weight."""
    q = model.posterior(batch)
    noise = normal(draw, q.mean, k, len(batch), q.noise_size)
    if k == 1:
        return q.draw(noise)[0]
    found = draw_from(model, batch, noise, q)
    chosen = torch.multinomial(found.log_weight.double().softmax(0).T, 1, generator=draw)
    return found.z[chosen[:, 0], torch.arange(len(batch), device=chosen.device)]


def _places(model: Model, batch: Batch, z: Tensor, draw: torch.Generator) -> Tensor:
    """Ranks of the entries (n, *shape) among draws of p(x|z), ties broken at random."""
    p = model.likelihood(z, batch)
    below = torch.zeros(batch.x.shape, dtype=torch.long, device=z.device)
    equal = torch.zeros_like(below)
    for _ in range(PLACES):
        drawn = p.draw(draw)
        below += drawn < batch.x
        equal += drawn == batch.x
    u = torch.rand(batch.x.shape, generator=draw, device=z.device)
    ranks = below + (u * (equal + 1)).floor().long().clamp(max=PLACES)
    return ranks if batch.mask is None else torch.where(batch.mask, ranks, -1)


def _share(inside: Tensor, seen: Tensor) -> tuple[float, float]:
    """Share of the observed entries inside, and its standard error over rows (a ratio's)."""
    hits, counts = inside.flatten(1).sum(1).double(), seen.flatten(1).sum(1).double()
    if not counts.sum():
        raise DataError(f"none of the entries of {len(seen)} rows is observed")
    share = float(hits.sum() / counts.sum())
    residual = (hits - share * counts).square().sum().sqrt() / counts.sum()
    return share, float(residual)
