"""Evidence by draws of the prior, and of one q(z) for all rows."""

import math

import pytest
import torch

from tests.fixtures import (
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_PRECISION,
    LG_TRIL,
    LG_VAR,
    LG_W,
    LG_X,
    lg,
)
from vaes.batch import Data, Spec
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import DataError, UsageError
from vaes.evaluate.naive import naive_evidence, shared_proposal

ROW = Data(Spec((5,)), LG_X)
MODEL = lg(LG_MEAN, LG_TRIL)


def test_naive_draws_are_unbiased_and_vary_as_they_must():
    """LG: E p-hat / p = 1, relative variance of one draw 21.4844: 1,000 draws are worth 44."""
    k = 1_000_000
    found = naive_evidence(MODEL, ROW, k=k)
    ratio = math.exp(found.per_row.item() - LG_EVIDENCE)
    assert abs(ratio - 1) < 4 * math.sqrt(21.4844 / k)
    assert found.variance.item() == pytest.approx(21.4844, rel=0.05)
    assert found.ess.item() / k == pytest.approx(1 / 22.4844, rel=0.05)
    assert found.mean == found.per_row.item()


def relative_variance(loc, tril):
    """Of p(x|z) p(z) / q(z) = p(x) p(z|x) / q(z), in closed form for q = N(loc, tril tril^T):
    the integral of p(z|x)^2 / q(z) is Gaussian."""
    q = torch.linalg.inv(tril @ tril.T)
    both = 2 * LG_PRECISION - q
    lean = 2 * LG_PRECISION @ LG_MEAN - q @ loc
    quadratic = lean @ torch.linalg.solve(both, lean)
    quadratic -= 2 * LG_MEAN @ LG_PRECISION @ LG_MEAN - loc @ q @ loc
    log = torch.logdet(LG_PRECISION) - 0.5 * torch.logdet(q) - 0.5 * torch.logdet(both)
    return (log + 0.5 * quadratic).exp().item() - 1


def test_relative_variance_of_the_prior_in_closed_form():
    eye = torch.eye(2, dtype=torch.float64)
    assert relative_variance(0 * LG_MEAN, eye) == pytest.approx(21.4844, abs=1e-4)


def test_a_shared_proposal_weighs_by_the_prior_and_itself():
    loc, tril = LG_MEAN + 0.3, 1.5 * LG_TRIL
    found = naive_evidence(MODEL, ROW, 200_000, proposal=CholeskyNormal(loc[None], tril[None]))
    expected = relative_variance(loc, tril)
    assert found.variance.item() == pytest.approx(expected, rel=0.05)
    error = math.sqrt(expected / 200_000)
    assert found.per_row.item() == pytest.approx(LG_EVIDENCE, abs=4 * error)


def test_of_one_row_the_shared_proposal_is_its_posterior():
    q = shared_proposal(MODEL, ROW, draws=100_000)
    assert torch.allclose(q.mean[0], LG_MEAN, atol=0.006)
    assert torch.allclose(q.covariance_matrix[0], LG_TRIL @ LG_TRIL.T, atol=0.004)
    assert naive_evidence(MODEL, ROW, 1000, proposal=q).ess.item() > 990


def test_many_rows_share_what_covers_them_all():
    """Rows of LG itself, exact posteriors: q(z) is then the prior, so nothing is gained."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 2, generator=draw, dtype=torch.float64)
    x = z @ LG_W.T + LG_MU
    x = x + math.sqrt(LG_VAR) * torch.randn(x.shape, generator=draw, dtype=torch.float64)

    class Exact(type(MODEL)):
        def posterior(self, batch):
            gain = LG_TRIL @ LG_TRIL.T @ LG_W.T / LG_VAR
            return CholeskyNormal((batch.x - LG_MU) @ gain.T, LG_TRIL)

    model = Exact(LG_W, LG_MU, LG_VAR, LG_MEAN, LG_TRIL)
    q = shared_proposal(model, Data(Spec((5,)), x))
    assert q.mean.abs().max() < 0.1
    assert torch.allclose(q.covariance_matrix[0], torch.eye(2).double(), atol=0.12)


def test_mistakes_are_one_line():
    with pytest.raises(UsageError, match="at least two draws"):
        naive_evidence(MODEL, ROW, k=1)
    with pytest.raises(DataError, match="takes more"):
        shared_proposal(MODEL, ROW, draws=2)
