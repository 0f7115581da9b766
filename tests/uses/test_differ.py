"""Differences of groups: closed forms of Gaussians and classes, and no difference where there is
none."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from tests.fixtures import LG_MU, LG_VAR, LG_W
from tests.uses.models import (
    BITS,
    CLASSES,
    GREYS,
    THREE,
    TWO,
    ThreeClasses,
    class_rows,
    drawn,
    lg_ppca,
    loaded,
    ppca,
    seeded,
    states,
)
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.recipes import build

MODEL = lg_ppca()


def group(shift: list[float], n: int, seed: int, variance: float = LG_VAR) -> Data:
    """Rows of the linear model whose codes lie around `shift`."""
    draw = seeded(seed)
    z = torch.tensor(shift).double() + torch.randn(n, 2, generator=draw).double()
    noise = variance**0.5 * torch.randn(n, 5, generator=draw).double()
    return Data(MODEL.spec, z @ LG_W.T + LG_MU + noise)


@pytest.mark.parametrize(("variance", "shift"), [(LG_VAR, 0.8), (6.0, 3.0)])
def test_effects_and_probabilities_of_the_linear_model(variance, shift):
    model = ppca(LG_W, LG_MU, variance)
    a, b = group([shift, 0], 4000, 0, variance), group([0, 0], 3000, 1, variance)
    found = uses.differ(model, a, b, pairs=40_000, permutations=99)
    # codes given rows are N(G (x - mu), C); over the rows of a group, N(G W m, G (W W' + v) G' + C)
    precision = torch.eye(2).double() + LG_W.T @ LG_W / variance
    cov = torch.linalg.inv(precision)
    gain = cov @ LG_W.T / variance
    spread = gain @ (LG_W @ LG_W.T + variance * torch.eye(5).double()) @ gain.T + cov
    effect = LG_W @ gain @ LG_W @ torch.tensor([shift, 0]).double()
    std = (2 * (LG_W @ spread @ LG_W.T).diagonal()).sqrt()
    error = (found.effect - effect) / (std * (0.5 / 4000 + 0.5 / 3000) ** 0.5)
    assert error.abs().max() < 4
    p = torch.special.ndtr(effect / std)
    torch.testing.assert_close(found.probability, p, rtol=0, atol=0.03)
    factor = torch.logit(found.probability)
    torch.testing.assert_close(found.bayes_factor, factor, rtol=0, atol=1e-3)
    assert (found.p_value[[0, 1, 3]] == 0.01).all()
    assert found.level.tolist() == [-1] * 5


def test_the_other_way_round():
    a, b = group([1.0, 0], 300, 0), group([0, 0.5], 200, 1)
    one, two = uses.differ(MODEL, a, b), uses.differ(MODEL, b, a)
    torch.testing.assert_close(one.effect, -two.effect)
    torch.testing.assert_close(one.probability, 1 - two.probability, rtol=0, atol=0.03)
    torch.testing.assert_close(one.bayes_factor, -two.bayes_factor, rtol=0, atol=0.3)


def test_shuffled_labels_make_no_difference():
    both = torch.cat([group([1.5, 0], 500, 0).x, group([0, 1.5], 500, 1).x])
    both = both[torch.randperm(1000, generator=seeded(2))]
    a, b = Data(MODEL.spec, both[:500]), Data(MODEL.spec, both[500:])
    found = uses.differ(MODEL, a, b)
    assert (found.probability - 0.5).abs().max() < 0.06
    assert found.p_value.min() > 0.01
    real = uses.differ(MODEL, group([1.5, 0], 500, 0), group([0, 1.5], 500, 1))
    assert (real.probability - 0.5).abs().max() > 0.3
    assert real.p_value.min() == pytest.approx(1 / 1001)


def test_p_values_without_a_difference_are_uniform():
    model = loaded(4, 2, seed=0)
    every = [
        uses.differ(
            model,
            Data(model.spec, drawn(model, 30, 2 * s)),
            Data(model.spec, drawn(model, 50, 2 * s + 1)),
            pairs=1,
            permutations=99,
        ).p_value[0]
        for s in range(200)
    ]
    assert kstest(torch.stack(every).numpy(), "uniform").pvalue > 0.01


def of_classes(weights: list[float], n: int, seed: int) -> Tensor:
    """Rows of the classes with other weights."""
    x, draw = class_rows(20 * n, seed), seeded(seed)
    joint = dict(states())
    shares = torch.stack(
        [joint[tuple(int(v) for v in row)] for row in x * torch.tensor([1, 1, 1, 4])]
    )  # type: ignore[index]
    ratio = (shares / shares.sum(1, keepdim=True)) @ (
        torch.tensor(weights).double() / torch.tensor([0.5, 0.3, 0.2])
    )
    return x[torch.multinomial(ratio, n, replacement=True, generator=draw)]


def largest(change: Tensor) -> int:
    """The first of the levels that change most: of two, both change alike."""
    return int((change.abs() > 0.999 * change.abs().max()).int().argmax())


def test_categories_differ_by_the_probabilities_of_their_levels():
    model = ThreeClasses(exact=True)
    a, b = (
        Data(CLASSES, of_classes(w, 3000, i))
        for i, w in enumerate(([0.8, 0.1, 0.1], [0.1, 0.8, 0.1]))
    )
    found = uses.differ(model, a, b, pairs=20_000, permutations=49)
    posterior = [model.posterior(d.rows(slice(None))).logits.exp().mean(0).detach() for d in (a, b)]
    change = posterior[0] - posterior[1]
    # bits and greys by their means, categories by the level that changes most
    columns = [TWO.T @ change, THREE.T @ change]
    greys = (GREYS @ (torch.arange(5) / 4).double()) @ change
    expected = [BITS @ change, *(c[largest(c)] for c in columns), greys]
    torch.testing.assert_close(found.effect, torch.stack(expected), rtol=0, atol=0.03)
    assert found.level.tolist() == [-1, *(largest(c) for c in columns), -1]
    # the level's probability of a row is that of its class: ties where the classes are the same
    level = int(found.level[2])
    above = sum(
        posterior[0][i] * posterior[1][j] * (THREE[i, level] > THREE[j, level])
        + 0.5 * posterior[0][i] * posterior[1][j] * (THREE[i, level] == THREE[j, level])
        for i in range(3)
        for j in range(3)
    )
    assert float(found.probability[2]) == pytest.approx(float(above), abs=0.02)
    assert (found.p_value == 0.02).all()


def test_groups_may_be_batches_and_seeds_decide():
    a, b = group([0.3, 0], 40, 0), group([0, 0], 30, 1)
    one = uses.differ(MODEL, a, b, seed=1)
    two = uses.differ(MODEL, Batch(x=a.x), Batch(x=b.x), seed=1)
    other = uses.differ(MODEL, a, b, seed=2)
    assert torch.equal(one.probability, two.probability)
    assert torch.equal(one.p_value, two.p_value)
    assert not torch.equal(one.probability, other.probability)


def test_mistakes():
    a = group([0, 0], 4, 0)
    with pytest.raises(UsageError, match="4 and 0 rows"):
        uses.differ(MODEL, a, a.part(torch.arange(0)))
    with pytest.raises(UsageError, match="permutations=0"):
        uses.differ(MODEL, a, a, permutations=0)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_how_surely_groups_differ_is_that_of_their_means(shift):
    """Rows of n random decoded means N(m, v): given them, the difference is about N(size, its
    error), so that P(more than .2 spreads) and the interval are those of that Gaussian."""
    model = loaded(3, 1, seed=1)
    draw = seeded(3)
    z = torch.randn(400, 1, generator=draw).double()
    z[:150] += shift
    x = z @ model.weight.T + 0.3**0.5 * torch.randn(400, 3, generator=draw).double()
    a, b = Data(model.spec, x[:150]), Data(model.spec, x[150:])
    found = uses.differ(model, a, b, pairs=10, permutations=10)
    gain = torch.linalg.solve(model.weight @ model.weight.T + 0.3 * torch.eye(3), model.weight)
    means = x @ gain @ model.weight.T  # E[W z | x]; the draws of z add a little to it
    spread = x.std(0, correction=0)
    size = (means[:150].mean(0) - means[150:].mean(0)) / spread
    error = (means[:150].var(0) / 150 + means[150:].var(0) / 250).sqrt() / spread
    torch.testing.assert_close(found.size, size, rtol=0, atol=0.1)
    torch.testing.assert_close(found.effect, found.size * spread)
    std = (found.high - found.low) / (2 * 1.645)
    torch.testing.assert_close(std, error, rtol=0.15, atol=0)
    expected = 1 - (
        torch.special.ndtr((0.2 - found.size) / std) - torch.special.ndtr((-0.2 - found.size) / std)
    )
    torch.testing.assert_close(found.differs, expected, rtol=0, atol=0.06)


def test_entries_that_depend_on_one_another_are_compared_as_they_are():
    """Of an autoregressive likelihood z need not say anything: the rows' own means, whatever the
    weights; gaps are filled."""
    spec = Spec((3,), ("binary", "category", "category"), (2, 2, 3), missing=True)
    torch.manual_seed(0)
    model = build("tabular", spec, latent=1, hidden=(4,))
    draw = seeded(5)
    x = torch.stack([torch.randint(n, (300,), generator=draw) for n in (2, 2, 3)], 1).float()
    x[:100, 2] = 2
    a, b = Data(spec, x[:100], mask=x[:100] > -1), Data(spec, x[100:], mask=x[100:] > -1)
    found = uses.differ(model, a, b, pairs=2000, permutations=19)
    share = (x[100:, 2] == 2).double().mean()
    assert found.level.tolist()[2] == 2
    assert float(found.effect[2]) == pytest.approx(float(1 - share))
    change = x[:100, 0].mean() - x[100:, 0].mean()
    assert float(found.effect[0]) == pytest.approx(float(change), abs=1e-6)
    assert float(found.probability[2]) == pytest.approx(1 - 0.5 * float(share), abs=0.04)
    assert found.differs[2] == 1
    assert found.differs[:2].max() < 0.95
    holed = Data(spec, x[:100], mask=torch.rand(100, 3, generator=draw) < 0.5)
    assert bool(uses.differ(model, holed, b, pairs=10, permutations=2).effect.isfinite().all())
