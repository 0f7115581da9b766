"""New rows for training other models, and how near they are to the rows they were learnt from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaes.batch import Data, generator
from vaes.errors import DataError, UsageError, did_you_mean
from vaes.model import Model
from vaes.uses.nearest import Space
from vaes.uses.rows import sample, vary

MODES = ("vary", "sample")
EXACT = 1e-6  # distance below which two rows are the same


@dataclass(frozen=True)
class Augmented:
    """x (n, *shape), new rows in model space · origin (n,), the row of `data` that each varies
    (so that its label can be carried over), -1 for rows from the prior."""

    x: Tensor
    origin: Tensor


def augment(model: Model, data: Data, n: int, *, seed: int = 0, mode: str = "vary") -> Augmented:
    """n new rows: "vary", variations z ~ q(z|x), x ~ p(x|z) of rows of `data`, each taken equally
    often in random order; or "sample", z ~ p(z).

    Variations stay close to the rows that they vary and keep their labels; rows from the prior do
    not. `copies` says how close.
    """
    if mode not in MODES:
        raise UsageError(f"mode '{mode}' is not known; {did_you_mean(str(mode), MODES)}")
    if n < 1 or not len(data):
        raise UsageError(f"n={n} from {len(data)} rows: at least one of either is needed")
    if mode == "sample":
        x = sample(model, n, seed=seed)[0]
        return Augmented(x, torch.full((n,), -1))
    rounds = range(-(-n // len(data)))
    orders = [torch.randperm(len(data), generator=generator("augment", seed, i)) for i in rounds]
    origin = torch.cat(orders)[:n]
    varied = vary(model, data.part(origin.to(data.x.device)), 1, seed=seed)
    return Augmented(varied.squeeze(1), origin)


@dataclass(frozen=True)
class Audit:
    """How near new rows lie to training rows, against held-out rows as a yardstick.

    new (n,), held (h,): distance of each to its nearest training row; where held-out rows have
    gaps, new ones are given the same, row by row, since fewer entries lie elsewhere · nearest (n,):
    which training row is nearest to all of the new one · identical, held_identical: share at
    distance 0 · share: of all pairs of a
    new and a held-out row, in how many the new one is nearer to the training rows (1/2 where new
    rows are as far as rows of the source are), and `p_value` of that (one-sided rank-sum test) ·
    leaning: share of new rows that are nearer to a training row than to any held-out row,
    `expected`: what it is for rows that know neither, and `p_leaning` of the difference
    (one-sided, by the moments of all ways to choose which rows were trained on).

    A model that is smoother than its data has a high `share`; only one that has learnt rows by
    heart has a high `leaning`. Neither is a proof of privacy.
    """

    new: Tensor
    held: Tensor
    nearest: Tensor
    identical: float
    held_identical: float
    share: float
    p_value: float
    leaning: float
    expected: float
    p_leaning: float

    def flagged(self, level: float = 0.01) -> bool:
        """Whether new rows lean to the training rows beyond chance, or repeat them more often."""
        return self.p_leaning < level or self.identical > self.held_identical + 0.01


def copies(new: Tensor | Data, train: Data, held: Data) -> Audit:
    """Are new rows (n, *shape) copies of training rows? Distances to `train` beside those of
    held-out rows, which the model never saw.

    Distance: Euclidean over entries, each scaled by its standard deviation over `train` (one scale
    for all entries of an image or signal); bits and categories count 0 or 1; an entry missing in
    either row counts what two training rows differ in it on average. Blocks of rows, so memory is
    bounded; time is rows times rows.
    """
    new = new if isinstance(new, Data) else Data(train.spec, new)
    for rows, name in ((new, "new"), (train, "training"), (held, "held-out")):
        if not len(rows) or rows.spec.shape != train.spec.shape:
            raise DataError(
                f"{len(rows)} {name} rows of shape {rows.spec.shape}: at least one, of the shape "
                f"{train.spec.shape} of the training rows"
            )
    space = Space(train)
    to_train, nearest = space.nearest(new, train)
    to_held, other = space.nearest(new, held)
    held_to_train, _ = space.nearest(held, train)
    like_held = to_train
    if new.mask is None and held.mask is not None:
        pattern = held.mask[torch.arange(len(new), device=held.x.device) % len(held)]
        like_held, _ = space.nearest(replace(new, mask=pattern.to(new.x.device)), train)
    share, p_value = _ranks(like_held, held_to_train)
    apart = (to_train - to_held).abs() > EXACT  # a row that is in both parts says nothing
    trained = to_train < to_held
    place = torch.where(trained, nearest, len(train) + other)[apart]
    leaning, expected, p_leaning = _labels(place, len(train), len(held))
    return Audit(
        new=like_held,
        held=held_to_train,
        nearest=nearest,
        identical=float((to_train < EXACT).double().mean()),
        held_identical=float((held_to_train < EXACT).double().mean()),
        share=share,
        p_value=p_value,
        leaning=leaning,
        expected=expected,
        p_leaning=p_leaning,
    )


def _ranks(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Share of pairs with a < b, ties half, and the one-sided p-value of so many (Mann & Whitney
    1947; normal approximation with the variance of ties)."""
    b = b.sort().values
    above = len(b) - torch.searchsorted(b, a.contiguous(), right=True)
    ties = len(b) - torch.searchsorted(b, a.contiguous()) - above
    pairs, n = len(a) * len(b), len(a) + len(b)
    share = float((above + 0.5 * ties).sum()) / pairs
    counts = torch.cat([a, b]).unique(return_counts=True)[1].double()
    variance = (n + 1 - float((counts**3 - counts).sum()) / (n * (n - 1))) / 12 / pairs
    return share, _above(share - 0.5, variance)


def _labels(place: Tensor, train: int, held: int) -> tuple[float, float, float]:
    """Share of new rows whose nearest is one of the first `train` of all rows, the share to expect
    when the labels are chosen at random, and the p-value of so large a share."""
    n, count = train + held, len(place)
    expected = train / n
    if not count:
        return expected, expected, 1.0
    per_row = torch.bincount(place, minlength=n).double()
    leaning = float(per_row[:train].sum()) / count
    # of a sum over `train` rows drawn from n without replacement
    variance = train * held / (n * (n - 1)) * float((per_row - per_row.mean()).square().sum())
    return leaning, expected, _above(leaning - expected, variance / count**2)


def _above(excess: float, variance: float) -> float:
    return 0.5 * math.erfc(excess / math.sqrt(2 * variance)) if variance > 0 else 1.0
