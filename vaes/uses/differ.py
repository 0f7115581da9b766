"""Which entries differ between two groups of rows, by what the model makes of each row.

Decoded means of posterior draws are compared, not the rows, so noise that the likelihood explains
does not blur a difference. Rows of counts are compared at one total, the training rows' median: how
much of a row was counted is no difference between rows. Where entries depend on one another given
z, the code holds only what they share, so that rows are compared as they are, their gaps filled by
the model. Sources: Lopez et al. 2018 (scVI, doi:10.1038/s41592-018-0229-2); Rubin 1981 (the
Bayesian bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.base import filled
from vaes.errors import UsageError
from vaes.evaluate.likelihood import ENTRIES
from vaes.model import Model
from vaes.uses.common import CHUNK, Rows, at_once, batches, evaluating, normal, shared

DRAWS = 8  # of z per row, for the mean of a row
BOOTSTRAPS = 1000  # weightings of the rows, for `differs`
DELTA = 0.2  # spreads: what is usually called a small difference (Cohen 1988)


@dataclass(frozen=True)
class Differences:
    """Of each entry, all (*shape):

    effect: mean of a minus mean of b, of decoded means, in model space (standard deviations for
    reals); of a category, of the probability of the level that differs most · level: which one
    that is, -1 for other entries · differs: probability, given the rows, that the means of the two
    groups are more than `delta` standard deviations of the entry apart · size, low, high: effect in
    such standard deviations, and the interval that holds it with probability .9 · probability: that
    the decoded mean of a random row of a is above that of a random row of b · bayes_factor: log of
    probability / (1 - probability), nats; beyond 3 either way is usually called strong · p_value:
    of the effect, two-sided, against random relabellings of the rows, for each entry by itself (see
    `discoveries` for many).

    `probability` is about two rows and stays near 1/2 for a small shift however many rows there
    are; `differs` and `p_value` are about the groups. With many rows any difference is significant
    that the model lets through, of whatever size; `differs` asks for one that matters.
    """

    effect: Tensor
    probability: Tensor
    bayes_factor: Tensor
    p_value: Tensor
    level: Tensor
    differs: Tensor
    size: Tensor
    low: Tensor
    high: Tensor


def differ(
    model: Model,
    a: Rows,
    b: Rows,
    *,
    pairs: int = 5000,
    permutations: int = 1000,
    delta: float = DELTA,
    seed: int = 0,
) -> Differences:
    """In which entries two groups of rows differ, and which way.

    pairs: of rows, each with posterior draws of its own, for `probability` · permutations: of the
    labels, for `p_value`, which is never below 1 / (permutations + 1) · delta: of `differs`. Raises
    UsageError for an empty group.
    """
    if min(len(a), len(b), pairs, permutations) < 1 or not delta >= 0:
        raise UsageError(
            f"{len(a)} and {len(b)} rows, pairs={pairs}, permutations={permutations}, "
            f"delta={delta}: at least one of each is needed, and delta >= 0"
        )
    with evaluating(model):
        means = torch.cat([_means(model, rows, seed, side) for rows, side in ((a, "a"), (b, "b"))])
        effects, p_values, level = _permuted(model.spec, means, len(a), permutations, seed)
        wins = _wins(model, a, b, pairs, seed)
    best = _columns(model.spec, means.device)[0] + level.clamp(min=0)
    effect, wins = effects[best], wins[best]
    factor = (wins + 0.5).log() - (pairs - wins + 0.5).log()
    spread = _spread(model.spec, a, b)[best]
    sizes = _weighted(means[:, best] / spread, len(a), seed)
    low, high = sizes.quantile(torch.tensor([0.05, 0.95]).to(sizes), 0)
    differs = (sizes.abs() > delta).double().mean(0)
    found = (effect, wins / pairs, factor, p_values, level, differs, effect / spread, low, high)
    return Differences(*(each.view(model.spec.shape) for each in found))


def _columns(spec: Spec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the features of each entry start, and how many there are: the levels of a category."""
    kinds = spec.column_kinds()
    counts = torch.tensor([n if kind == "category" else 1 for kind, n in kinds], device=device)
    return counts.cumsum(0) - counts, counts


def _features(model: Model, z: Tensor, batch: Batch, draw: torch.Generator) -> Tensor:
    """Decoded means (*k, n, features): of a category the probability of each level; of entries
    that depend on one another completed rows."""
    if batch.total is not None:
        batch = replace(batch, total=model.totals(len(batch)), mask=None)
    p, spec = model.likelihood(z, batch), model.spec
    mask = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
    if p.expected(batch.x, mask) is None:
        return _indicators(spec, p.complete(batch.x, mask, draw))
    mean = p.mean.flatten(z.dim() - 1).double()
    start, counts = _columns(spec, z.device)
    if "category" not in spec.kinds:
        return mean
    category = torch.tensor([kind == "category" for kind, _ in spec.column_kinds()]).to(z.device)
    found = mean.repeat_interleave(counts, -1)
    for level in range(int(counts[category].max())):
        having = category & (counts > level)
        code = torch.where(category, (counts - 1).clamp(max=level), 0).to(batch.x)
        terms = p.terms(code.expand(*z.shape[:-1], -1)).exp().double()
        found[..., (start + level)[having]] = terms[..., having]
    return found


def _indicators(spec: Spec, x: Tensor) -> Tensor:
    """Entries (…, *shape) as features (…, features): of a category 1 at its level."""
    x = x.flatten(x.dim() - len(spec.shape)).double()
    start, counts = _columns(spec, x.device)
    category = torch.tensor([kind == "category" for kind, _ in spec.column_kinds()]).to(x.device)
    found, owner = x.repeat_interleave(counts, -1), category.repeat_interleave(counts)
    level = torch.arange(found.shape[-1], device=x.device) - start.repeat_interleave(counts)
    return torch.where(owner, (found == level).double(), found)


def _spread(spec: Spec, a: Rows, b: Rows) -> Tensor:
    """Standard deviations of the observed entries of all rows, (features,); 1 where it is 0."""
    total, counts = torch.zeros(()), _columns(spec, a.x.device)[1]
    for batch in (batch for rows in (a, b) for batch in batches(rows, CHUNK)):
        mask = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
        seen = mask.flatten(1).repeat_interleave(counts, -1).double()
        x = _indicators(spec, filled(batch.x, mask)) * seen
        total = total.to(x) + torch.stack([seen.sum(0), x.sum(0), x.square().sum(0)])
    count = total[0].clamp(min=1)
    spread = (total[2] / count - (total[1] / count).square()).clamp(min=0).sqrt()
    return torch.where(spread > 1e-6, spread, 1.0)


def _weighted(means: Tensor, first: int, seed: int) -> Tensor:
    """How far the groups' means are apart where the rows of each are weighted at random,
    (BOOTSTRAPS, entries): the Bayesian bootstrap."""
    draw, n, parts = generator("bootstrap", seed, device=means.device), len(means), []
    some = max(1, min(BOOTSTRAPS, ENTRIES // n))
    for start in range(0, BOOTSTRAPS, some):
        shape = (min(some, BOOTSTRAPS - start), n)
        weights = torch.empty(shape, dtype=means.dtype, device=means.device)
        weights.exponential_(generator=draw)
        a, b = weights[:, :first], weights[:, first:]
        a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
        parts.append(a @ means[:first] - b @ means[first:])
    return torch.cat(parts)


def _means(model: Model, rows: Rows, seed: int, side: str) -> Tensor:
    """The mean of every row's features over draws of its code, (n, features)."""
    parts, draw = [], generator("differ", side, seed, device=rows.x.device)
    for batch in batches(rows, at_once(model, DRAWS)):
        q = model.posterior(batch)
        z = q.draw(shared("differ", seed, q, DRAWS))
        parts.append(_features(model, z, batch, draw).mean(0))
    return torch.cat(parts)


def _wins(model: Model, a: Rows, b: Rows, pairs: int, seed: int) -> Tensor:
    """In how many pairs the feature of the row of a is above that of b, ties half, (features,)."""
    total, size = torch.zeros(()), at_once(model, 1)
    for start in range(0, pairs, size):
        n, sides = min(size, pairs - start), []
        for side, rows in (("a", a), ("b", b)):
            draw = generator("pairs", side, seed, start)
            batch = _take(rows, torch.randint(len(rows), (n,), generator=draw))
            q = model.posterior(batch)
            noise = generator("pairs", side, seed, start, device=q.mean.device)
            z = q.draw(normal(noise, q.mean, 1, n, q.noise_size))
            sides.append(_features(model, z, batch, noise).squeeze(0))
        total = total.to(sides[0]) + (0.5 + 0.5 * (sides[0] - sides[1]).sign()).sum(0)
    return total


def _take(rows: Rows, index: Tensor) -> Batch:
    index = index.to(rows.x.device)
    return rows.rows(index) if isinstance(rows, Data) else rows[index]


def _permuted(
    spec: Spec, means: Tensor, first: int, permutations: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Effects (features,), p-values and the chosen level per entry, by relabelling the rows."""
    n, device = len(means), means.device
    start, counts = _columns(spec, device)
    entry = torch.arange(len(counts), device=device).repeat_interleave(counts)
    centred, draw = means - means.mean(0), generator("labels", seed)
    labels = torch.zeros(n, dtype=torch.float64, device=device)
    labels[:first] = 1

    def largest(effects: Tensor) -> Tensor:
        """Over the levels of each entry: what is searched here is searched in every relabelling."""
        found = torch.zeros(len(counts), dtype=torch.float64, device=device)
        return found.scatter_reduce_(0, entry, effects.abs(), "amax")

    def difference(labels: Tensor) -> Tensor:
        # of centred features, both means follow from the sum over one group
        return labels @ centred * (1 / first + 1 / (n - first))

    effects = difference(labels)
    size, beyond = largest(effects), torch.ones(len(counts), dtype=torch.float64, device=device)
    for _ in range(permutations):
        shuffled = labels[torch.randperm(n, generator=draw).to(device)]
        beyond += largest(difference(shuffled)) >= size * (1 - 1e-9)
    level = torch.full_like(counts, -1)
    for j in range(len(counts)) if int(counts.max()) > 1 else ():
        if counts[j] > 1:
            # the first of those that differ most: of two levels, both differ alike
            change = effects[start[j] : start[j] + counts[j]].abs()
            level[j] = (change >= change.max() * (1 - 1e-9)).int().argmax()
    return effects, beyond / (permutations + 1), level
