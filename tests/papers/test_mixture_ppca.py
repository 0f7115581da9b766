"""The claim of recipe mixture_ppca: the density of a mixture, and EM that never falls."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tests.fixtures import PPCA_EVIDENCE, PPCA_VARIANCE, ppca_data
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import log_weight, terms
from vaes.recipes import build


def two_planes(gaps: bool = False, n: int = 600) -> Data:
    """.3 of the rows on one line far from the line of the others, in 4 columns."""
    draw = torch.Generator().manual_seed(0)
    lines = torch.randn(2, 4, generator=draw).double()
    first = torch.rand(n, generator=draw) < 0.3
    u = torch.randn(n, 1, generator=draw).double()
    centre = torch.tensor([[2.0, -1.0, 1.0, 0.0], [-1.0, 1.0, -1.0, 1.0]]).double()
    x = torch.where(first[:, None], u * lines[0] + centre[0], u * lines[1] + centre[1])
    x = x + 0.3 * torch.randn(n, 4, generator=draw).double()
    mask = torch.rand(n, 4, generator=draw) < 0.8 if gaps else None
    x = x if mask is None else x * mask
    return Data(Spec((4,), missing=gaps, rows=n), x, mask=mask)


def em(model, data: Data, passes: int) -> list[float]:
    """The evidence of all rows before every pass and after the last."""
    whole, found = data.rows(slice(None)), []
    for _ in range(passes):
        found.append(score(model, whole).sum().item())
        model.closed_form(whole, Step.at(model, whole, 0, last_of_epoch=True))
    return [*found, score(model, whole).sum().item()]


def score(model, batch: Batch) -> Tensor:
    return log_weight(model, batch, noise=torch.zeros(1, 1, model.latent).double())[0]


def fitted(data: Data, passes: int, **options):
    model = build("mixture_ppca", data.spec, **options).double()
    model.begin("train", data)
    return model, em(model, data, passes)


def by_hand(model, batch: Batch) -> Tensor:
    """log sum_c p(c) N(x; mu_c, W_c W_c^T + s2_c I) of what is observed."""
    found = []
    for i in range(len(batch)):
        there = torch.ones_like(batch.x[i]).bool() if batch.mask is None else batch.mask[i]
        parts = []
        for c in range(len(model.shares)):
            w, mu = model.weight[c][there], model.bias[c][there]
            cov = w @ w.T + model.variance[c] * torch.eye(len(w)).double()
            density = MultivariateNormal(mu, cov).log_prob(batch.x[i][there]) if len(w) else 0.0
            parts.append(model.shares[c].log() + density)
        found.append(torch.stack(parts).logsumexp(0))
    return torch.stack(found)


@pytest.mark.parametrize("gaps", [False, True])
def test_every_log_weight_is_the_density_of_the_mixture(gaps):
    data = two_planes(gaps)
    model, _ = fitted(data, 3, components=3, latent=2)
    few, noise = data.rows(slice(0, 20)), torch.randn(6, 20, 5).double()
    expected = by_hand(model, few).expand(6, -1)
    torch.testing.assert_close(log_weight(model, few, noise=noise), expected)


def test_one_component_is_ppca():
    """Card 4b: the limit of EM is the closed form of Tipping & Bishop's pPCA, to 1e-9 nats."""
    model, found = fitted(ppca_data(), 600, components=1, latent=3)
    assert found[-1] / 500 == pytest.approx(PPCA_EVIDENCE[3], abs=1e-9)
    assert model.variance.item() == pytest.approx(PPCA_VARIANCE[3], abs=1e-4)


@pytest.mark.parametrize("gaps", [False, True])
def test_em_never_goes_down(gaps):
    _, found = fitted(two_planes(gaps), 40, components=3, latent=2)
    assert all(b >= a - 1e-7 for a, b in pairwise(found))
    assert found[-1] > found[0] + 10


@pytest.mark.parametrize("gaps", [False, True])
def test_the_two_planes_are_found(gaps):
    """In the proportions they were made with, their noise 0.09; one pPCA cannot say as much."""
    data = two_planes(gaps)
    model, found = fitted(data, 60, components=2, latent=1)
    assert sorted(model.shares.tolist()) == pytest.approx([0.3, 0.7], abs=0.05)
    assert model.variance.tolist() == pytest.approx([0.09, 0.09], abs=0.02)
    assert found[-1] > fitted(data, 60, components=1, latent=2)[1][-1] + 100


def test_how_rows_are_split_into_batches_does_not_matter():
    data = two_planes(gaps=True)
    one, many = (fitted(data, 0, components=2, latent=1)[0] for _ in "ab")
    for model, size in ((one, 600), (many, 110)):
        batches = list(data.batches(size))
        for i, batch in enumerate(batches):
            model.closed_form(batch, Step.at(model, batch, i, last_of_epoch=i == len(batches) - 1))
    torch.testing.assert_close(one.weight, many.weight)


def test_the_rate_splits_into_component_and_place():
    """Of u given c the KL is closed, of c it is the mean over draws; in all it is -log w."""
    data = two_planes()
    model, _ = fitted(data, 20, components=2, latent=2)
    few = data.rows(slice(0, 5))
    noise = torch.randn(40_000, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    found = terms(model, few, noise)
    assert found.rates.shape == (5, 2)
    torch.testing.assert_close(
        -(found.distortion + found.rate), score(model, few), atol=0.05, rtol=0
    )


def test_mistakes():
    with pytest.raises(UsageError, match="at least one is needed"):
        build("mixture_ppca", Spec((4,)), components=0)
    with pytest.raises(UsageError, match="takes 1 to 3"):
        build("mixture_ppca", Spec((4,)), latent=4)
    with pytest.raises(UsageError, match="there are 600 rows"):
        fitted(two_planes(), 0, components=601)
