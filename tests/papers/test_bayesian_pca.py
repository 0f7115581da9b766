"""The claim of recipe bayesian_pca: its bound never falls, and superfluous directions go to 0."""

from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal

from tests.fixtures import PPCA_EVIDENCE, ppca_data
from vaes.batch import Data, Spec
from vaes.dist.gaussian import CholeskyNormal
from vaes.model import Step
from vaes.objective import log_weight
from vaes.recipes import build

LOG_2PI = torch.tensor(2 * torch.pi).double().log()


def rows(gaps: bool) -> Data:
    data = ppca_data()
    x = data.x - data.x.mean(0)
    if not gaps:
        return Data(Spec((8,), rows=500), x)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    return Data(Spec((8,), missing=True, rows=500), x * mask, mask=mask)


def bound(model, data: Data) -> float:
    """E log p(x|z,W,mu) + E log p(W|alpha) + H(q(W,mu)) - KL(q(z) || N(0, I)), over all rows."""
    batch = data.rows(slice(None))
    q, d = model.expected(batch), model.latent
    seen = torch.ones_like(batch.x) if batch.mask is None else batch.mask.double()
    t = torch.cat([q.mean, torch.ones(500, 1).double()], 1)
    tt = t.unsqueeze(2) * t.unsqueeze(1)
    tt[:, :d, :d] += q.covariance_matrix
    m = torch.cat([model.weight, model.bias.unsqueeze(1)], 1)
    spread = model.spread.expand(8, -1, -1)
    ww = spread + m.unsqueeze(2) * m.unsqueeze(1)
    error = batch.x**2 - 2 * batch.x * (t @ m.T) + torch.einsum("jab,nab->nj", ww, tt)
    fit = -0.5 * (seen * ((LOG_2PI + model.variance.log()) + error / model.variance)).sum()
    prior = 0.5 * (model.alpha.log() - LOG_2PI - model.alpha * ww.diagonal(dim1=1, dim2=2)[:, :d])
    entropy = 0.5 * ((d + 1) * (LOG_2PI + 1) + torch.logdet(spread))
    trace = q.covariance_matrix.diagonal(dim1=1, dim2=2).sum(-1)
    rate = 0.5 * (trace + q.mean.square().sum(-1) - d - torch.logdet(q.covariance_matrix))
    return float(fit + prior.sum() + entropy.sum() - rate.sum())


def em(model, data: Data, passes: int) -> list[float]:
    whole, found = data.rows(slice(None)), []
    for _ in range(passes):
        model.closed_form(whole, Step.at(model, whole, 0, last_of_epoch=True))
        found.append(bound(model, data))
    return found


def started(gaps: bool, latent: int):
    data = rows(gaps)
    model = build("bayesian_pca", data.spec, latent=latent).double()
    model.begin("train", data)
    return model, data


@pytest.mark.parametrize("gaps", [False, True])
def test_the_bound_never_falls(gaps):
    found = em(*started(gaps, 5), 60)
    assert all(b >= a - 1e-7 for a, b in pairwise(found))
    assert found[-1] > found[0] + 1


@pytest.mark.parametrize("gaps", [False, True])
def test_the_e_step_is_the_best_there_is(gaps):
    """Any other mean or covariance of q(z) than what `expected` says has a lower bound."""
    model, data = started(gaps, 4)
    em(model, data, 5)
    model.spread.mul_(20)  # as of few rows, where the loadings' uncertainty counts
    q, best = model.expected(data.rows(slice(None))), bound(model, data)
    for shift, scale in ((1e-3, 1.0), (-1e-3, 1.0), (0.0, 1.001), (0.0, 0.999)):
        other = CholeskyNormal(q.mean + shift * q.mean.roll(1, 1), scale * q.tril)
        model.expected = lambda batch, other=other: other
        assert bound(model, data) < best


@pytest.mark.parametrize("gaps", [False, True])
def test_three_directions_are_left_of_seven(gaps):
    """The rows come of a rank-3 model (Bishop 1999, sec. 4, has the like); complete rows keep the
    evidence of pPCA with three directions, which is the most that three can have."""
    model, data = started(gaps, 7)
    em(model, data, 60)
    assert model.directions == 3
    if not gaps:
        whole = data.rows(slice(None))
        found = log_weight(model, whole, k=1).mean().item()
        assert PPCA_EVIDENCE[3] - 0.01 < found <= PPCA_EVIDENCE[3]


def test_log_weights_are_the_density_under_the_mean_loadings():
    model, data = started(True, 4)
    em(model, data, 10)
    few = data.rows(slice(0, 6))
    cov = model.weight @ model.weight.T + model.variance * torch.eye(8).double()
    expected = torch.stack(
        [
            MultivariateNormal(model.bias[seen], cov[seen][:, seen]).log_prob(x[seen])
            for x, seen in zip(few.x, few.mask, strict=True)
        ]
    )
    torch.testing.assert_close(log_weight(model, few, k=3), expected.expand(3, -1))
