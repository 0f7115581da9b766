"""Trivial baselines: what a model must beat, in its own unit and on its own split.

All are log-evidences in nats per row of the test rows, in the user's units, of densities fitted
to the training rows. Those that are Gaussian lie in `vaes.evaluate.gaussians`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaes.batch import DISCRETE, Batch, Data, Spec
from vaes.dist.cells import CODED, Cells
from vaes.dist.counts import LOG_R, NegativeBinomialLikelihood
from vaes.errors import DataError
from vaes.evaluate.likelihood import evidence
from vaes.model import Step
from vaes.recipes import build

LOG_2PI = math.log(2 * math.pi)
FLOOR = math.exp(-12.0)  # of variances of reals, standardised: the floor of a Gaussian likelihood
CHUNK = 1000
CLASSES, PASSES = 100, 20  # of the mixture
CELLS = 20_000  # levels of all entries together up to which a mixture is fitted


@dataclass(frozen=True)
class Baseline:
    """log p(x) in nats per row: `per_row` (n,), its mean and the standard error of that mean.

    `bound` is "exact", or "lower" where the number is a lower bound on the baseline's own evidence.
    """

    name: str
    mean: float
    se: float
    per_row: Tensor
    bound: str = "exact"


def independent(train: Data, test: Data, gaps: bool = False) -> Baseline:
    """Every entry by itself, fitted to the observed training entries.

    Discrete entries and pieces of numeric columns: a histogram with a pseudo-count of 1 / levels
    per level (one extra observation, spread evenly). Reals: a Gaussian with the moments of the
    column (variance / N). Counts: a negative binomial with the column's mean, or its share of the
    row's total where that is given, and the likeliest of 41 dispersions. gaps: whether an entry is
    there counts too, as often as in training.
    """
    nonempty(train, test)
    kinds, levels, offset = _entries(train.spec, train.x.device)
    numeric = [i for i, (kind, _) in enumerate(train.spec.column_kinds()) if kind == "numeric"]
    cells = Cells(train.spec.columns(numeric)).to(train.x.device).double() if numeric else None
    table = _histograms(train, levels, offset)
    mean, variance = _column_moments(train)
    counted = [i for i, (kind, _) in enumerate(train.spec.column_kinds()) if kind == "count"]
    of_counts = _Counted(train, counted) if counted else None
    jacobian = train.spec.log_jacobian.flatten().to(train.x.device)
    there, scores = _observed(train), []
    for batch in test.batches(CHUNK):
        x, seen = flat(batch)
        place = offset + _codes(x, kinds, levels)
        normal = -0.5 * ((x - mean).square() / variance + variance.log() + LOG_2PI)
        terms = torch.where(levels > 0, table[place], normal + jacobian)
        if cells is not None:
            part = x[:, numeric]
            terms[:, numeric] += cells.log_within(part, cells.codes(part))
        if of_counts is not None:
            terms[:, counted] = of_counts.terms(batch)
        scores.append(torch.where(seen, terms, 0.0).sum(1))
        if gaps:
            scores[-1] += torch.where(seen, there.log(), (-there).log1p()).sum(1)
    return scored("independent", torch.cat(scores))


class _Counted:
    """Negative binomials of the columns numbered by `columns`, each fitted to them by itself."""

    def __init__(self, train: Data, columns: list[int]) -> None:
        self.columns, device = columns, train.x.device
        size = (len(columns),)
        sums, exposure = (torch.zeros(size, dtype=torch.float64, device=device) for _ in "ab")
        for batch in train.batches(CHUNK):
            x, seen = self._part(batch)
            sums += (seen * x).sum(0)
            exposure += (seen * self._total(batch)).sum(0)
        # half a count more, so that a column that is empty here is not impossible elsewhere
        mean = (sums + 0.5) / exposure.clamp(min=1.0)
        self.log_mean = (mean / mean.sum() if train.spec.totals else mean).log()
        grid = torch.linspace(*LOG_R, 41, dtype=torch.float64, device=device)
        self.log_r = grid[:1].expand(size)
        fits = torch.zeros(len(grid), *size, dtype=torch.float64, device=device)
        for batch in train.batches(CHUNK):
            for i, log_r in enumerate(grid):
                self.log_r = log_r.expand(size)
                fits[i] += torch.where(self._part(batch)[1], self.terms(batch), 0.0).sum(0)
        self.log_r = grid[fits.argmax(0)]

    def terms(self, batch: Batch) -> Tensor:
        """log p of every entry of the columns, (n, columns)."""
        log_mean = self.log_mean.expand(len(batch), -1)
        p = NegativeBinomialLikelihood(log_mean, self.log_r, shares=batch.total is not None)
        return p.given(batch.to(batch.x.device, torch.float64)).terms(self._part(batch)[0])

    def _part(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, seen = flat(batch)
        return x[:, self.columns], seen[:, self.columns]

    def _total(self, batch: Batch) -> Tensor:
        total = torch.ones(len(batch)) if batch.total is None else batch.total
        return total.to(batch.x.device).double().unsqueeze(1)


def latent_class(train: Data, test: Data) -> Baseline | None:
    """A mixture of rows with independent entries, by `PASSES` of EM from the recipe's own start.

    None where an entry is neither binary, level, category nor numeric, or has too many levels.
    """
    nonempty(train, test)
    spec, kinds = train.spec, train.spec.column_kinds()
    if any(kind not in CODED for kind, _ in kinds) or sum(n for _, n in kinds) > CELLS:
        return None
    spec = replace(spec, shape=(spec.size,), rows=len(train))
    train, test = (_flattened(data, spec) for data in (train, test))
    model = build("latent_class", spec, latent=min(CLASSES, max(2, len(train) // 60)))
    model = model.to(train.x.device)
    zero, one = torch.zeros(()), torch.ones(())
    with torch.no_grad():
        model.begin("train", train)
        for _ in range(PASSES):
            for start in range(0, len(train), CHUNK):
                last = start + CHUNK >= len(train)
                step = Step(zero, zero, one, zero, last_of_epoch=last)
                model.closed_form(train.rows(slice(start, start + CHUNK)), step)
    return scored(f"latent-class-{model.latent}", evidence(model, test).per_row)


def _flattened(data: Data, spec: Spec) -> Data:
    """The same rows without their layout."""
    flat = {k: getattr(data, k) for k in ("x", "mask", "unseen")}
    return replace(
        data, spec=spec, **{k: None if t is None else t.flatten(1) for k, t in flat.items()}
    )


def flat(batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows in model space and what of them is observed, (n, D), float64 and bool."""
    x = batch.x.flatten(1).double()
    seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask.flatten(1)
    return x, seen


def _entries(spec: Spec, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Per entry (D,): whether it holds codes, its levels (0 for reals), its place in the table."""
    pairs = spec.column_kinds()
    coded = torch.tensor([kind in ("category", "numeric") for kind, _ in pairs], device=device)
    counts = [n if kind in (*DISCRETE, "numeric") else 0 for kind, n in pairs]
    levels = torch.tensor(counts, device=device)
    return coded, levels, levels.cumsum(0) - levels


def _codes(x: Tensor, coded: Tensor, levels: Tensor) -> Tensor:
    """Level codes 0 ... levels - 1 of rows in model space; 0 for reals."""
    # a category's code is whole, and a numeric entry lies within its piece
    codes = torch.where(coded, x.floor(), (x * (levels - 1).clamp(min=0)).round()).long()
    return torch.minimum(codes.clamp(min=0), (levels - 1).clamp(min=0))


def _histograms(train: Data, levels: Tensor, offset: Tensor) -> Tensor:
    """log P of every level of every discrete entry, one after the other; never empty."""
    coded = _entries(train.spec, train.x.device)[0]
    size = int(levels.sum()) + 1  # one more, so that an index of reals points at something
    counts = torch.zeros(size, dtype=torch.float64, device=train.x.device)
    for batch in train.batches(CHUNK):
        x, seen = flat(batch)
        place = offset + _codes(x, coded, levels)
        counts += torch.bincount(place[seen & (levels > 0)], minlength=size)
    owner = torch.repeat_interleave(torch.arange(len(levels), device=levels.device), levels)
    total = torch.zeros(len(levels), dtype=torch.float64, device=levels.device)
    total.index_add_(0, owner, counts[:-1])
    table = torch.zeros_like(counts)
    table[:-1] = ((counts[:-1] + 1 / levels.double()[owner]) / (total[owner] + 1)).log()
    return table


def _column_moments(train: Data) -> tuple[Tensor, Tensor]:
    """Mean and variance / N of the observed entries of each column, (D,)."""
    shape = (train.spec.size,)
    count, total, square = (
        torch.zeros(shape, dtype=torch.float64, device=train.x.device) for _ in range(3)
    )
    for batch in train.batches(CHUNK):
        x, seen = flat(batch)
        count += seen.sum(0)
        total += torch.where(seen, x, 0.0).sum(0)
    mean = total / count.clamp(min=1)
    for batch in train.batches(CHUNK):
        x, seen = flat(batch)
        square += torch.where(seen, (x - mean).square(), 0.0).sum(0)
    return mean, (square / count.clamp(min=1)).clamp(min=FLOOR)


def _observed(train: Data) -> Tensor:
    """The share of rows that have each entry, with one row more that has half of it, (D,)."""
    if train.mask is None:
        return torch.full((train.spec.size,), (len(train) + 0.5) / (len(train) + 1)).double()
    return (train.mask.flatten(1).double().sum(0) + 0.5) / (len(train) + 1)


def nonempty(train: Data, test: Data) -> None:
    if not len(train) or not len(test):
        raise DataError(
            f"{len(train)} training rows and {len(test)} test rows: a baseline needs both"
        )


def scored(name: str, scores: Tensor, bound: str = "exact") -> Baseline:
    """Mean and standard error over rows; the error of a single row is not known (NaN)."""
    se = float(scores.std() / math.sqrt(len(scores))) if len(scores) > 1 else math.nan
    return Baseline(name, float(scores.mean()), se, scores, bound)
