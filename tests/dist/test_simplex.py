"""Dirichlet and Beta codes: quantiles, implicit gradients, densities, rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Beta, Dirichlet, kl_divergence

from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist.simplex import BetaHead, BetaLatent, DirichletHead, DirichletLatent, log_gamma
from vaes.errors import UsageError
from vaes.objective import terms

SHAPES = [0.02, 0.1, 0.3, 0.5, 0.7, 1.0, 2.5, 30.0, 300.0, 1e4]
NOISE = torch.linspace(-6, 6, 121, dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_gammas_are_scipys_quantiles(shape):
    """Of both tails; 1e-9 in the logarithm wherever scipy's own is no zero."""
    found = log_gamma(torch.full_like(NOISE, shape), NOISE).numpy()
    noise = NOISE.numpy()
    low, high = stats.norm.cdf(noise), stats.norm.sf(noise)
    expected = np.where(noise < 0, stats.gamma.ppf(low, shape), stats.gamma.isf(high, shape))
    there = expected > 1e-290
    assert np.abs(found[there] - np.log(expected[there])).max() < 1e-9
    assert (np.diff(found) > 0).all()


def test_tiny_gammas_are_kept_as_logarithms():
    """P(x) = x^a / Gamma(a + 1) as x tends to 0: at a = .01 and Phi = .001 log x is -691.3."""
    a, phi = torch.tensor([[0.01], [0.001]], dtype=torch.float64)
    noise = torch.special.ndtri(phi)
    expected = (math.log(0.001) + math.lgamma(1.01)) / 0.01
    assert expected == pytest.approx(-691.35, abs=0.01)
    assert log_gamma(a, noise).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_quantile(shape):
    """By the shape and by the noise, against differences of the quantile."""
    a = torch.full_like(NOISE, shape).requires_grad_()
    n = NOISE.clone().requires_grad_()
    by_shape, by_noise = torch.autograd.grad(log_gamma(a, n).sum(), [a, n])
    h, a, n = 1e-5 * shape, a.detach(), n.detach()
    expected = (log_gamma(a + h, n) - log_gamma(a - h, n)) / (2 * h)
    torch.testing.assert_close(by_shape, expected, rtol=1e-5, atol=1e-8)
    expected = (log_gamma(a, n + 1e-5) - log_gamma(a, n - 1e-5)) / 2e-5
    torch.testing.assert_close(by_noise, expected, rtol=1e-6, atol=1e-8)


def test_gradients_agree_with_torchs_own_approximation():
    """torch._standard_gamma_grad has three digits."""
    a = torch.tensor([0.2, 0.9, 3.0, 50.0]).double().repeat(40).requires_grad_()
    x = log_gamma(a, rand(160)).exp()
    (found,) = torch.autograd.grad(x.sum(), a)
    other = torch._standard_gamma_grad(a.detach(), x.detach())
    torch.testing.assert_close(found, other, rtol=3e-3, atol=1e-8)


ALPHA = torch.tensor([[0.3, 1.0, 2.0], [5.0, 0.8, 0.1]], dtype=torch.float64)


def test_dirichlet_is_torchs():
    q, t, n = DirichletLatent(ALPHA), Dirichlet(ALPHA), 40_000
    torch.testing.assert_close(q.mean, t.mean)
    torch.testing.assert_close(q.variance, t.variance)
    z = q.draw(rand(n, 2, 3))
    torch.testing.assert_close(z.sum(-1), torch.ones(n, 2).double())
    torch.testing.assert_close(q.log_prob(z[:100]), t.log_prob(z[:100]))
    error = (q.variance / n).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 4 * error).all()
    logs = ALPHA.digamma() - ALPHA.sum(-1, keepdim=True).digamma()  # E log z_i
    spread = z.log().std(0) / math.sqrt(n)
    assert ((z.log().mean(0) - logs).abs() < 4 * spread).all()


def test_beta_is_torchs():
    a, b = ALPHA, ALPHA.flip(-1) + 0.5
    q, t, n = BetaLatent(a, b), Beta(a, b), 40_000
    assert q.noise_size == 6
    torch.testing.assert_close(q.mean, t.mean)
    torch.testing.assert_close(q.variance, t.variance)
    z = q.draw(rand(n, 2, 6))
    torch.testing.assert_close(q.log_prob(z[:100]), t.log_prob(z[:100]).sum(-1))
    assert ((z.mean(0) - q.mean).abs() < 4 * (q.variance / n).sqrt()).all()
    for i in range(2):
        for j in range(3):
            where = stats.beta(a[i, j].item(), b[i, j].item())
            assert stats.kstest(z[:5000, i, j].numpy(), where.cdf).pvalue > 1e-4


def test_rates_are_those_of_quadrature():
    """KL of two Betas, and of two Dirichlets of two shares, which are Betas."""
    a, b, c, d = 2.0, 3.0, 0.7, 1.5
    q, p = stats.beta(a, b), stats.beta(c, d)
    expected = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), 0, 1)[0]
    one = [torch.tensor([[v]]).double() for v in (a, b, c, d)]
    found = kl_divergence(BetaLatent(one[0], one[1]), BetaLatent(one[2], one[3]))
    assert found.item() == pytest.approx(expected, abs=1e-6)
    pairs = [torch.tensor([v]).double() for v in ([a, b], [c, d])]
    found = kl_divergence(DirichletLatent(pairs[0]), DirichletLatent(pairs[1]))
    assert found.item() == pytest.approx(expected, abs=1e-6)
    three = DirichletLatent(ALPHA), DirichletLatent(ALPHA.flip(0))
    expected = kl_divergence(Dirichlet(ALPHA), Dirichlet(ALPHA.flip(0)))
    torch.testing.assert_close(kl_divergence(*three), expected)


def test_implicit_gradients_move_expectations_rightly():
    """d/d alpha of E z_0 under a Dirichlet: (alpha_1 + alpha_2, -alpha_0, -alpha_0) / total^2."""
    alpha = ALPHA[0].clone().requires_grad_()
    z = DirichletLatent(alpha).draw(rand(100_000, 3))
    (found,) = torch.autograd.grad(z[:, 0].mean(), alpha)
    a, total = ALPHA[0], ALPHA[0].sum()
    expected = torch.stack([total - a[0], -a[0], -a[0]]) / total.square()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("posterior", "prior"), [("dirichlet", "dirichlet"), ("beta", "beta")])
def test_heads_compose(posterior, prior):
    """auto takes the prior that fits; the closed rate is the mean of log q - log p."""
    torch.manual_seed(0)
    model = compose(Spec((4,)), latent=3, hidden=(8,), posterior=posterior).double()
    x = Batch(rand(5, 4))
    with torch.no_grad():
        noise = rand(4_000, 5, model.noise_size, seed=1)
        found = terms(model, x, noise)
        q, p = model.posterior(x), model.prior(x)
        assert type(model.latent_prior).__name__.lower().startswith(prior)
        z = q.draw(noise)
        drawn = q.log_prob(z) - p.log_prob(z)
    error = drawn.std(0) / math.sqrt(4_000)
    assert ((drawn.mean(0) - found.rate).abs() < 4 * error + 1e-9).all()


def test_single_precision_has_no_zeros_and_no_infinities():
    alpha = torch.full((1, 4), 0.02).requires_grad_()
    z = DirichletLatent(alpha).draw(
        torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    )
    log_q = DirichletLatent(alpha).log_prob(z)
    assert z.min() > 0
    assert log_q.isfinite().all()
    (grad,) = torch.autograd.grad(log_q.sum(), alpha)
    assert grad.isfinite().all()


def test_mistakes_are_one_line():
    with pytest.raises(UsageError, match="shares of a whole are at least two"):
        DirichletHead(1)
    with pytest.raises(UsageError, match="alpha=0"):
        compose(
            Spec((4,)), latent=2, posterior="dirichlet", prior={"name": "dirichlet", "alpha": 0}
        )
    with pytest.raises(UsageError, match="takes numbers from 1/2"):
        compose(Spec((4,)), latent=2, posterior="beta", prior={"name": "beta", "alpha": 0.1})
    with pytest.raises(UsageError, match="live in 'simplex'"):
        compose(Spec((4,)), latent=2, posterior="dirichlet", prior="standard")
    assert BetaHead(1).size == 2
