"""Evidence from posterior draws, on the linear-Gaussian model."""

import pytest
import torch

from tests.fixtures import LG_EVIDENCE, LG_MEAN, LG_MU, LG_TRIL, LG_VAR, LG_W, LG_X, lg, linear_vae
from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import UsageError
from vaes.evaluate.posterior_draws import inverse_evidence, normal_of, posterior_evidence
from vaes.recipes import build


def test_every_draw_is_exact_where_r_is_the_posterior():
    """r(z) / p(x, z) = 1 / p(x) at every z, also where no draw would be: no variance."""
    model = lg(LG_MEAN, LG_TRIL)
    r = CholeskyNormal(LG_MEAN.expand(1, -1), LG_TRIL)
    z = 5 * torch.randn(200, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    for one in z[:20].split(1):
        assert inverse_evidence(model, Batch(LG_X), one, r).item() == pytest.approx(LG_EVIDENCE)


def test_another_r_is_unbiased_for_one_over_p():
    """r narrower than the posterior: the mean of p(x) r / p(x, z) over its draws is 1, 4 s.e."""
    model, n = lg(LG_MEAN, LG_TRIL), 20_000
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(1)).double()
    z = LG_MEAN + noise @ LG_TRIL.T
    r = CholeskyNormal(LG_MEAN.expand(1, -1) + 0.1, 0.7 * LG_TRIL)
    each = inverse_evidence(model, Batch(LG_X.expand(n, -1)), z.unsqueeze(0), r)
    ratio = (LG_EVIDENCE - each).exp()
    assert ratio.std() > 0.5
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / n**0.5
    whole = (LG_EVIDENCE - inverse_evidence(model, Batch(LG_X), z.unsqueeze(1), r)).exp()
    assert whole.item() == pytest.approx(ratio.mean().item())


def test_the_normal_of_draws_has_their_moments():
    z = torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(2)).double()
    found = normal_of(z)
    for i in range(3):
        assert torch.allclose(found.covariance_matrix[i], torch.cov(z[:, i].T), atol=1e-12)
        assert torch.allclose(found.mean[i], z[:, i].mean(0))


def test_chains_find_the_evidence():
    """From a q that is diagonal, so not the posterior; of ten rows, by the marginal
    N(mu, W W^T + v I)."""
    model = linear_vae(LG_W, LG_MU, LG_VAR, "diagonal")
    marginal = torch.distributions.MultivariateNormal(LG_MU, LG_W @ LG_W.T + LG_VAR * torch.eye(5))
    x = torch.cat(
        [LG_X, LG_MU + torch.randn(9, 5, generator=torch.Generator().manual_seed(3)).double()]
    )
    found = posterior_evidence(model, Data(Spec((5,)), x), moves=10)
    assert (found - marginal.log_prob(x)).abs().max() < 0.1
    assert (found - marginal.log_prob(x)).abs().mean() < 0.04


def test_what_it_is_not_for_is_one_line():
    torch.manual_seed(0)
    model, data = build("vae", Spec((5,)), latent=5, hidden=(4,)), Data(Spec((5,)), LG_X.float())
    with pytest.raises(UsageError, match="latent=5: posterior draws"):
        posterior_evidence(model, data)
    with pytest.raises(UsageError, match="chains=8"):
        posterior_evidence(build("vae", Spec((5,)), latent=2, hidden=(4,)), data, chains=8)
    with pytest.raises(UsageError, match="no density over x"):
        posterior_evidence(build("autoencoder", Spec((5,)), latent=2, hidden=(4,)), data)
