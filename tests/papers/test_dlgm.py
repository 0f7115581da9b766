"""The claims of recipe dlgm."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from tests.fixtures import LG_EVIDENCE, LG_MU, LG_PRECISION, LG_VAR, LG_W, descend, star
from tests.papers.helpers import X
from vaes.batch import Batch, Spec
from vaes.errors import UsageError
from vaes.objective import Elbo, log_likelihood, log_weight
from vaes.recipes import build


def test_two_linear_layers_have_the_evidence_of_their_normal():
    """x ~ N(b, A_1 A_1^T + A_2 A_2^T + s^2 I), A_l the product of the maps below layer l."""
    torch.manual_seed(0)
    model = build("dlgm", Spec((5,)), latent=4, hidden=(), scale=0.7).double()
    body, out = model.decoder.body, model.decoder.last
    with torch.no_grad():
        for p in model.decoder.parameters():
            torch.nn.init.normal_(p, std=0.4)
        first, second = (body.noise[i].weight for i in (0, 1))
        down = body.down[0][-1]
        maps = [out.weight @ first, out.weight @ down.weight @ second]
        mean = out.weight @ down.bias + out.bias
        covariance = sum(a @ a.T for a in maps) + 0.49 * torch.eye(5).double()
        x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        expected = MultivariateNormal(mean, covariance).log_prob(x)
        z = torch.randn(100_000, 1, 4, dtype=torch.float64)
        log_p = log_likelihood(model, z, Batch(x))
    p = (log_p - log_p.max(0).values).exp()
    found = log_p.logsumexp(0) - math.log(len(z))
    error = p.std(0) / p.mean(0) / len(z) ** 0.5
    assert ((found - expected).abs() < 4 * error).all()
    assert (error < 0.02).all()


@pytest.mark.parametrize(("covariance", "lost"), [("rank1", 0.0), ("diagonal", 0.027631339)])
def test_one_more_vector_closes_the_gap_of_a_diagonal(covariance, lost):
    """Rezende et al. 2014, sec. 4.3: of two dimensions D + u u^T is any precision, so that the
    bound comes to the evidence; the diagonal stays .027631339 below."""
    torch.manual_seed(0)
    model = build(
        "dlgm",
        Spec((5,)),
        layers=1,
        latent=2,
        hidden=(),
        scale=1.0,
        covariance=covariance,
        objective=Elbo(),
    ).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    model.decoder.requires_grad_(False)
    descend(model, X, star(2), steps=600, rate=0.03)
    elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert elbo == pytest.approx(LG_EVIDENCE - lost, abs=1e-4)
    if covariance == "rank1":
        q = model.posterior(X)
        found = torch.diag(q.log_precision[0].exp()) + torch.outer(q.along[0], q.along[0])
        torch.testing.assert_close(found, LG_PRECISION, rtol=0, atol=0.02)


def test_layers_that_do_not_divide_the_codes():
    with pytest.raises(UsageError, match="latent=5: 2 layers take a multiple of 2"):
        build("dlgm", Spec((5,)), latent=5)
    with pytest.raises(UsageError, match="covariance 'full' is not known"):
        build("dlgm", Spec((5,)), covariance="full")


def test_layers_are_independent_in_the_posterior():
    """Rezende et al. 2014, eq. 9: q(xi|x) = prod_l N(mu_l, C_l), and C_l is not diagonal."""
    torch.manual_seed(0)
    model = build("dlgm", Spec((5,)), layers=2, latent=6).double()
    q = model.posterior(X)
    axes = torch.eye(6, dtype=torch.float64).unsqueeze(1)
    root = (q.draw(axes) - q.draw(0 * axes)).squeeze(1).T
    covariance = root @ root.T
    assert (covariance[:3, 3:].abs() < 1e-12).all()
    assert (covariance[0, 1:3].abs() > 1e-4).all()
