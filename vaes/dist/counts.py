"""Likelihoods of counts, whole numbers from 0 on: the negative binomial and the Poisson.

Rows of counts alone (cells x genes, documents x words) have the mean share * total: the decoder says
which share of a row each column takes, the row's observed total (its library size) is given. What is
scored is then log p(x | total), not log p(x). The total of a row with gaps is the sum over what is
observed, and shares are taken over the observed columns; those of the missing ones are on the same
scale. Counts beside columns of other kinds have no total: there the decoder says the log-mean.
Sources: Lopez et al. 2018 (scVI, doi:10.1038/s41592-018-0229-2), with the observed library size;
Eraslan et al. 2019 (doi:10.1038/s41467-018-07931-2) for dispersions.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import Batch, Data
from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide
from vaes.errors import UsageError

LOG_R = (math.log(1e-4), math.log(1e6))  # of inverse dispersions
LOG_MEAN = (-18.0, 18.0)  # of columns without a total
TINY = 1e-8  # stands for the total of a row of zeros
LARGE = 30.0  # inverse dispersion from which Stirling's series takes the place of lgamma
QUANTILES = 101  # of the training rows' totals
PACE = 5.0  # of learned dispersions beside other weights: logarithms have far to go


class CountLikelihood(Likelihood):
    """Independent counts with means exp(`log_mean`), (*k, n, columns).

    With `shares`, log_mean is a log-share until `given` has multiplied it by the rows' totals.
    """

    support = constraints.nonnegative_integer  # type: ignore[assignment]

    def __init__(self, log_mean: Tensor, event_dims: int = 1, shares: bool = False) -> None:
        super().__init__(log_mean, event_dims)
        self.log_mean, self.shares = log_mean, shares

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    @abstractmethod
    def variance(self) -> Tensor: ...

    def given(self, batch: Batch) -> CountLikelihood:
        if not self.shares:
            return self
        if batch.total is None:
            raise UsageError(
                "the rows come without totals, which a likelihood of counts is given: take batches "
                "from vaes.Data, or set Batch.total to the sum of each row's observed counts"
            )
        log_share = self.log_mean
        if batch.mask is not None:
            # of a row without any entry all columns count: there is nothing to scale by
            seen = batch.mask | ~batch.mask.any(-1, keepdim=True)
            log_share = log_share - log_share.masked_fill(~seen, -torch.inf).logsumexp(
                -1, keepdim=True
            )
        found = copy.copy(self)
        found.log_mean = log_share + batch.total.clamp(min=TINY).log().unsqueeze(-1)
        found.shares = False
        return found


class PoissonLikelihood(CountLikelihood):
    """Poisson(mean)."""

    @property
    def variance(self) -> Tensor:
        return self.mean

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = filled(x, mask)
        return masked(x * self.log_mean - self.mean - (x + 1).lgamma(), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.poisson(self.mean, generator)


class NegativeBinomialLikelihood(CountLikelihood):
    """Mean m, variance m + m^2 / r; the inverse dispersion exp(`log_r`) broadcasts against m.

    log p = x log(r m / (r + m)) - r log(1 + m / r) + log [G(x + r) / (G(r) r^x)] - log x!, whose
    parts tend to x log m, -m and 0 as r grows: the Poisson's.
    """

    def __init__(
        self, log_mean: Tensor, log_r: Tensor, event_dims: int = 1, shares: bool = False
    ) -> None:
        super().__init__(log_mean, event_dims, shares)
        self.log_r = log_r

    @property
    def variance(self) -> Tensor:
        return self.mean + (2 * self.log_mean - self.log_r).exp()

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x, r = filled(x, mask), self.log_r.exp()
        # in two parts whose derivatives, r x / (r + m) and r m / (r + m), lose no digits
        ratio = self.log_mean - self.log_r
        terms = x * (F.logsigmoid(ratio) + self.log_r) + r * F.logsigmoid(-ratio)
        return masked(terms + log_rising(x, r) - (x + 1).lgamma(), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        r = self.log_r.exp().expand_as(self.log_mean).contiguous()
        # a Poisson whose rate is a gamma of mean m and shape r
        gamma = torch._standard_gamma(r, generator=generator)  # type: ignore[attr-defined]
        return torch.poisson(gamma * (self.log_mean - self.log_r).exp(), generator)


def log_rising(x: Tensor, r: Tensor) -> Tensor:
    """log [G(x + r) / (G(r) r^x)] for x >= 0, r > 0: 0 at x = 0 and as r grows.

    The difference of two lgamma loses all digits where r is large; Stirling's series of both, from
    `LARGE` on exact to 1e-12, has the large parts cancelled.
    """
    small, large = r.clamp(max=LARGE), r.clamp(min=LARGE)
    exact = (x + small).lgamma() - small.lgamma() - x * small.log()
    ratio = (x / large).log1p()
    # x log(1 + x/r) + r (log(1 + x/r) - x/r): no difference of numbers that grow with r
    series = (x + large - 0.5) * ratio - x + _stirling(x + large) - _stirling(large)
    return torch.where(r < LARGE, exact, series)


def _stirling(y: Tensor) -> Tensor:
    """What lgamma(y) has beyond (y - 1/2) log y - y + 1/2 log 2 pi, to 1e-13 from 30 on."""
    square = y.square()
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * square)) / square) / square) / y


class Counts(nn.Module):
    """Head of counts: `columns` log-shares (log-means without `totals`) per row.

    scale: where the inverse dispersion r of a negative binomial comes from: "entry" (default) one
    learned number per column, "network" one per entry and row from the decoder, "shared" one for
    all, or a positive number that stays fixed. `fit` takes from the training rows what training
    need not find: the shares of the columns over all rows, which the decoder's numbers are added
    to, and the quantiles of the rows' totals, from which `totals` draws those of new rows.
    """

    log_r: Tensor
    log_share: Tensor
    quantiles: Tensor

    def __init__(
        self,
        columns: int,
        family: str = "negative_binomial",
        scale: str | float | None = None,
        totals: bool = False,
    ) -> None:
        super().__init__()
        self.columns, self.by_total = columns, totals
        self.poisson, scale = family == "poisson", "entry" if scale is None else scale
        self.network = scale == "network" and not self.poisson
        self.size = columns * (2 if self.network else 1)
        if totals:
            self.register_buffer("log_share", torch.full((columns,), -math.log(columns)))
            self.register_buffer("quantiles", torch.full((QUANTILES,), float(columns)))
        if self.poisson or self.network:
            return
        if scale == "entry":
            self.log_r = nn.Parameter(torch.zeros(columns))  # times PACE
        elif scale == "shared":
            self.log_r = nn.Parameter(torch.zeros(()))
        elif isinstance(scale, str) or not math.exp(LOG_R[0]) <= scale <= math.exp(LOG_R[1]):
            raise UsageError(
                f"scale {scale}: a negative binomial takes entry, shared, network or its inverse "
                "dispersion, a number from 0.0001 to 1000000"
            )
        else:
            self.register_buffer("log_r", torch.tensor(math.log(scale)))
        self.fixed = not isinstance(scale, str)

    def forward(self, h: Tensor) -> CountLikelihood:
        h = wide(h).unflatten(-1, (-1, self.columns))
        if self.by_total:
            log_mean = (h[..., 0, :] + self.log_share).log_softmax(-1)
        else:
            log_mean = soft_clip(h[..., 0, :], *LOG_MEAN)
        if self.poisson:
            return PoissonLikelihood(log_mean, 1, self.by_total)
        if self.network:
            log_r = soft_clip(h[..., 1, :], *LOG_R)
        else:
            log_r = self.log_r if self.fixed else soft_clip(PACE * self.log_r, *LOG_R)
        return NegativeBinomialLikelihood(log_mean, log_r, 1, self.by_total)

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Shares and totals of all training rows; of a row with gaps, the total that it would have
        at the shares of the others."""
        if not self.by_total:
            return
        size, device = (self.columns,), self.log_share.device
        sums, exposure = (torch.zeros(size, dtype=torch.float64, device=device) for _ in "ab")
        for batch in data.batches(1000):
            assert batch.total is not None
            seen = _seen(batch)
            sums += (batch.x.double() * seen).sum(0)
            exposure += seen.T @ batch.total.double()
        # half a count more, so that a column that is empty here is not impossible elsewhere
        share = (sums + 0.5) / exposure.clamp(min=1.0)
        share = share / share.sum()
        totals = torch.cat([
            b.total.double() / (_seen(b) @ share).clamp(min=TINY)
            for b in data.batches(1000)
            if b.total is not None
        ])  # fmt: skip
        totals, places = totals.sort().values, torch.linspace(0, 1, QUANTILES, device=device)
        self.log_share.copy_(share.log())
        self.quantiles.copy_(_between(totals, places.double()))

    def totals(self, n: int, draw: torch.Generator | None = None) -> Tensor:
        """Totals (n,) drawn from the quantiles of the training rows', or all their median."""
        found = self.quantiles
        if draw is None:
            return found[QUANTILES // 2].expand(n)
        u = torch.rand(n, generator=draw, dtype=found.dtype, device=found.device)
        return _between(found, u)


def _seen(batch: Batch) -> Tensor:
    return torch.ones_like(batch.x).double() if batch.mask is None else batch.mask.double()


def _between(ordered: Tensor, u: Tensor) -> Tensor:
    """The values at the places u of [0, 1] along `ordered`, linearly between its entries."""
    place = u * (len(ordered) - 1)
    low = place.floor().long().clamp(0, max(0, len(ordered) - 2))
    high = (low + 1).clamp(max=len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
