"""Clusters: planted groups come back, classes have the probabilities that enumeration gives."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from tests.fixtures import linear_vae
from tests.uses.models import ThreeClasses, class_rows, drawn, loaded, seeded, states
from vaes import uses
from vaes.batch import Batch, Data
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.gaussian import DiagonalNormal
from vaes.errors import UsageError
from vaes.model import Model

SOURCE = loaded(6, 3, seed=1, variance=0.05)
VAE = linear_vae(SOURCE.weight, SOURCE.bias, 0.05, "diagonal")
CENTRES = 3 * torch.tensor([[1, 0, 0], [0, 1, 0], [0, -1, 1], [-1, 0, -1.0]]).double()


def planted(sizes: list[int], seed: int) -> tuple[Data, Tensor]:
    """Rows around centres of the latent space, so many of each, shuffled; and their groups."""
    draw, groups = seeded(seed), torch.arange(4).repeat_interleave(torch.tensor(sizes))
    groups = groups[torch.randperm(len(groups), generator=draw)]
    z = CENTRES[groups] + 0.4 * torch.randn(len(groups), 3, generator=draw).double()
    noise = 0.05**0.5 * torch.randn(len(groups), 6, generator=draw).double()
    return Data(VAE.spec, z @ SOURCE.weight.T + noise), groups


@pytest.mark.parametrize("k", [None, 4])
def test_planted_groups_come_back(k):
    data, groups = planted([200, 150, 100, 50], 0)
    found = uses.cluster(VAE, data, k)
    assert adjusted_rand_score(groups, found.labels) > 0.98
    assert found.sizes.tolist() == sorted(found.sizes.tolist(), reverse=True)
    assert found.sizes.tolist() == pytest.approx([200, 150, 100, 50], abs=3)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(500).double())
    assert torch.equal(found.labels, found.probabilities.argmax(1))
    codes = uses.encode(VAE, data).mean
    for label, row in enumerate(found.representatives.tolist()):
        assert int(found.labels[row]) == label
        assert int((codes[row] - CENTRES).norm(dim=1).argmin()) == label
        assert float((codes[row] - CENTRES[label]).norm()) < 0.5


def test_new_rows_are_assigned():
    data, _ = planted([200, 150, 100, 50], 0)
    other, groups = planted([50, 50, 50, 50], 1)
    found = uses.cluster(VAE, data)
    labels, probabilities = found.assign(VAE, other)
    assert adjusted_rand_score(groups, labels) > 0.98
    assert float((labels == groups).double().mean()) > 0.98  # numbered as in the first rows
    again, same = found.assign(VAE, data)
    assert torch.equal(again, found.labels)
    torch.testing.assert_close(same, found.probabilities)
    assert probabilities.shape == (200, 4)


def test_one_group_is_one_cluster():
    found = uses.cluster(VAE, Data(VAE.spec, drawn(SOURCE, 400, 0)))
    assert found.sizes.tolist() == [400]


def test_dimensions_that_say_nothing_do_not_count():
    weight = torch.cat([SOURCE.weight, torch.zeros(6, 5).double()], 1)
    wide = linear_vae(weight, SOURCE.bias, 0.05, "diagonal")
    data, groups = planted([60, 50, 40, 30], 0)
    found = uses.cluster(wide, data)
    assert adjusted_rand_score(groups, found.labels) > 0.98


def test_rows_that_are_all_the_same():
    data = Data(VAE.spec, drawn(SOURCE, 1, 0).expand(30, -1).clone())
    assert uses.cluster(VAE, data).sizes.tolist() == [30]


def test_seeds_decide():
    data, _ = planted([40, 40, 40, 40], 2)
    a, b = (uses.cluster(VAE, data, 6, seed=3) for _ in range(2))
    assert torch.equal(a.probabilities, b.probabilities)
    state = torch.get_rng_state()
    uses.cluster(VAE, data, 6, seed=4)
    assert torch.equal(state, torch.get_rng_state())


# --- classes ----------------------------------------------------------------------------------
def test_classes_of_a_model_have_their_posterior_probabilities():
    model = ThreeClasses(exact=True)
    data = Data(model.spec, class_rows(200, 0))
    found = uses.cluster(model, data)
    joint = dict(states())
    for row, p in zip(data.x * torch.tensor([1, 1, 1, 4]), found.probabilities, strict=True):
        expected = joint[tuple(int(v) for v in row)]  # type: ignore[index]
        torch.testing.assert_close(p, expected / expected.sum())
    assert torch.equal(found.sizes, found.labels.bincount(minlength=3))
    labels, probabilities = found.assign(model, data.part(torch.arange(7)))
    torch.testing.assert_close(probabilities, found.probabilities[:7])
    assert torch.equal(labels, found.labels[:7])


class Chained(ThreeClasses):
    """A class and then a code, or a code u ~ N(1, 2^2) and then a class with logits (u, 0, 0)."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first

    def posterior(self, batch: Batch) -> Chain:
        ones = torch.ones(len(batch), 1, dtype=torch.float64)
        normal = DiagonalNormal(ones, (2 * ones).log())
        if self.first:
            logits = torch.tensor([0.2, 0.3, 0.5]).double().log().expand(len(batch), -1)
            return Chain(
                OneHot(logits), lambda z: DiagonalNormal(z[..., :1], z[..., :1]), sizes=(3, 1)
            )
        link = lambda z: OneHot(torch.nn.functional.pad(z, (0, 2)))  # noqa: E731
        return Chain(normal, link, sizes=(1, 3))


def test_classes_within_chains():
    batch = Batch(x=class_rows(5, 0))
    found = uses.cluster(Chained(first=True), batch).probabilities
    torch.testing.assert_close(found, torch.tensor([0.2, 0.3, 0.5]).double().expand(5, -1))
    found = uses.cluster(Chained(first=False), batch).probabilities
    u = 1 + 2 * torch.randn(100_000, generator=seeded(0)).double()
    share = float((u.exp() / (u.exp() + 2)).mean())
    expected = torch.tensor([share, (1 - share) / 2, (1 - share) / 2]).double()
    torch.testing.assert_close(found, expected.expand(5, -1), rtol=0, atol=0.08)


def test_empty_classes_have_no_representative():
    model: Model = ThreeClasses(exact=True)
    row = Batch(x=torch.tensor([[0, 1, 0, 1.0]]).double())
    found = uses.cluster(model, row)
    assert found.sizes.tolist() == [0, 1, 0]
    assert found.representatives.tolist() == [-1, 0, -1]


def test_mistakes():
    data, _ = planted([3, 3, 3, 3], 0)
    for k in (0, 13):
        with pytest.raises(UsageError, match=f"k={k}"):
            uses.cluster(VAE, data, k)
    with pytest.raises(UsageError, match="at least two"):
        uses.cluster(VAE, data.part(torch.arange(1)))
    with pytest.raises(UsageError, match="this model has 3 classes"):
        uses.cluster(ThreeClasses(), Batch(x=class_rows(9, 0)), 4)
