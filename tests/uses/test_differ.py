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
from vaes.batch import Batch, Data
from vaes.errors import UsageError

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
