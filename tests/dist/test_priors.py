"""Priors that are learnt with the model: densities, draws, gradients, closed rates."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Laplace, Normal, kl_divergence

from tests.fixtures import hermite, star, step_of
from vaes.batch import Batch, Data, Spec
from vaes.composed import compose
from vaes.dist import mixture, priors
from vaes.dist.gaussian import Cholesky, CholeskyNormal, Diagonal, DiagonalNormal
from vaes.dist.location_scale import LaplaceLatent
from vaes.dist.mixture import Blend, LearntMixture, Mixture, chosen
from vaes.dist.priors import LearntNormal
from vaes.dist.vamp import Vamp
from vaes.errors import UsageError
from vaes.objective import terms


def rand(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MEANS = torch.tensor([[0.0, 0.0], [2.0, -1.0], [-1.0, 1.5]], dtype=torch.float64)
VARIANCES = torch.tensor([[1.0, 0.5], [0.3, 0.8], [0.6, 0.6]], dtype=torch.float64)


def diagonal_mixture(n: int = 1) -> Mixture:
    return Mixture(DiagonalNormal(MEANS, 0.5 * VARIANCES.log()), WEIGHTS.log(), n)


def full_mixture(n: int = 1) -> Mixture:
    tril = torch.diag_embed(VARIANCES.sqrt())
    tril[:, 1, 0] = torch.tensor([0.4, -0.6, 0.2])
    return Mixture(CholeskyNormal(MEANS, tril), WEIGHTS.log(), n)


def blend(n: int = 1) -> Blend:
    normals = [
        DiagonalNormal(MEANS[k].expand(n, -1), 0.5 * VARIANCES[k].log().expand(n, -1))
        for k in (0, 1)
    ]
    return Blend([*normals, diagonal_mixture(n)], WEIGHTS.log())


KINDS = pytest.mark.parametrize("make", [diagonal_mixture, full_mixture, blend])


@KINDS
def test_the_density_sums_to_one(make):
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)
    mass = make(len(z)).log_prob(z).exp().sum() * (grid[1] - grid[0]).square()
    assert mass.item() == pytest.approx(1.0, abs=1e-6)


def test_the_density_is_the_weighted_sum():
    z, total = rand(5, 2), torch.zeros(5, dtype=torch.float64)
    for w, m, v in zip(WEIGHTS, MEANS, VARIANCES, strict=True):
        total = total + w * Normal(m, v.sqrt()).log_prob(z).sum(-1).exp()
    torch.testing.assert_close(diagonal_mixture(5).log_prob(z), total.log(), rtol=0, atol=1e-12)
    # in single precision too, where components are narrow and far out: squares would cancel
    narrow = DiagonalNormal(torch.tensor([[30.0], [-30.0]]), torch.full((2, 1), -6.0))
    found = Mixture(narrow, torch.zeros(2), 1).log_prob(torch.tensor([[30.001]]))
    exact = Normal(30.0, math.exp(-6)).log_prob(torch.tensor(30.001)) - math.log(2)
    assert found.item() == pytest.approx(exact.item(), abs=1e-3)


@KINDS
def test_draws_have_the_moments_and_the_density(make):
    """Means and variances within 4 s.e.; E log p of draws is that of the grid."""
    p, n = make(1), 200_000
    z = p.draw(rand(n, 1, p.noise_size)).squeeze(1)
    assert z.shape == (n, 2)
    error = z.std(0) / math.sqrt(n)
    assert ((z.mean(0) - p.mean[0]).abs() < 4 * error).all()
    squares = (z - p.mean[0]).square()
    spread = squares.std(0) / math.sqrt(n)
    assert ((squares.mean(0) - p.variance[0]).abs() < 4 * spread).all()
    grid = torch.linspace(-9, 9, 401, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    log_p = make(len(points)).log_prob(points)
    entropy = -(log_p.exp() * log_p).sum() * (grid[1] - grid[0]).square()
    own = -make(n).log_prob(z)
    assert own.mean().item() == pytest.approx(
        entropy.item(), abs=4 * float(own.std()) / math.sqrt(n)
    )


def test_components_are_chosen_by_their_weights():
    """Borders of u = Phi(noise) at .5 and .8; a component without weight is never chosen."""
    noise = torch.special.ndtri(torch.tensor([0.01, 0.499, 0.501, 0.799, 0.801, 0.999]).double())
    assert chosen(WEIGHTS.log(), noise).tolist() == [0, 0, 1, 1, 2, 2]
    none = torch.tensor([0.5, 0.0, 0.5]).log()
    assert 1 not in chosen(none, rand(10_000))
    assert chosen(WEIGHTS.log(), torch.tensor([-40.0, 40.0])).tolist() == [0, 2]


def test_chunks_change_neither_density_nor_gradient(monkeypatch):
    found = []
    for most in (mixture.ENTRIES, 7):
        monkeypatch.setattr(mixture, "ENTRIES", most)
        z, p = rand(40, 2).requires_grad_(), full_mixture(40)
        value = p.log_prob(z)
        found.append((value, torch.autograd.grad(value.sum(), z)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


# --- VampPrior ------------------------------------------------------------------------------------
def vamp_model(components: int, posterior: str = "diagonal", hidden=(), spec: Spec | None = None):
    torch.manual_seed(0)
    prior = {"name": "vamp", "components": components}
    return compose(
        spec or Spec((3,)), latent=2, hidden=hidden, posterior=posterior, prior=prior
    ).double()


def test_all_rows_as_pseudo_inputs_cost_the_information_about_the_row():
    """Six posteriors N(m_n, .2): the rate is I(n; z) <= log 6, here by quadrature; N(0, 1) costs
    1/2 sum (m^2 + .2 - 1 - log .2)."""
    means, scale = [-6.0, -3.0, -2.0, 0.5, 1.0, 5.0], math.sqrt(0.2)
    q = [stats.norm(m, scale) for m in means]

    def integrand(z: float) -> float:
        p = [one.pdf(z) for one in q]
        mean = sum(p) / 6
        return sum(v * math.log(v / mean) for v in p if v > 0) / 6

    expected = integrate.quad(integrand, -10, 10, limit=400, points=means)[0]
    model = compose(
        Spec((1,)),
        latent=1,
        hidden=(),
        posterior="isotropic",
        prior={"name": "vamp", "components": 6},
    ).double()
    x = torch.tensor(means).double().unsqueeze(1)
    with torch.no_grad():
        model.encoder.last.weight.copy_(torch.tensor([[1.0], [0.0]]))
        model.encoder.last.bias.copy_(torch.tensor([0.0, math.log(scale)]))
        model.latent_prior.pseudo.copy_(x)
        scale_here = model.posterior(Batch(x)).stddev[0].item()
        model.encoder.last.bias[1] += math.log(scale / scale_here)  # what soft_clip took away
        nodes, weights = hermite(64)
        p, found = model.prior(Batch(x)), model.posterior(Batch(x))
        z = found.draw(nodes)
        rate = ((found.log_prob(z) - p.log_prob(z)) * weights.unsqueeze(1)).sum(0).mean().item()
    assert rate == pytest.approx(expected, abs=2e-3)
    assert expected < math.log(6)
    standard = 0.5 * sum(m * m + 0.2 - 1 - math.log(0.2) for m in means) / 6
    assert standard > 3 * math.log(6)


def test_one_pseudo_input_is_one_gaussian():
    """With a linear encoder the rate and its gradient are those of KL(q(z|x) || q(z|u)), which the
    draws give exactly, since log q - log p is a quadratic in z."""
    model = vamp_model(1)
    x, noise = Batch(rand(7, 3)), star(2)
    rate = terms(model, x, noise).rate.mean()
    own = [*model.encoder.parameters(), model.latent_prior.pseudo]
    ours = torch.autograd.grad(rate, own)
    q, p = model.posterior(x), model.encoder(model.latent_prior.pseudo)
    closed = kl_divergence(Normal(q.loc, q.stddev), Normal(p.loc, p.stddev)).sum(-1).mean()
    assert rate.item() == pytest.approx(closed.item(), abs=1e-12)
    for a, b in zip(ours, torch.autograd.grad(closed, own), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        assert b.abs().max() > 1e-3


@pytest.mark.parametrize("posterior", ["isotropic", "diagonal", "cholesky"])
def test_the_vamp_density_is_the_mean_over_a_loop(posterior):
    """As are its draws: a pseudo-input, then its posterior; their order does not matter."""
    model = vamp_model(9, posterior, hidden=(8,))
    z = rand(4, 5, 2)
    with torch.no_grad():
        p = model.prior(Batch(rand(5, 3)))
        u = model.latent_prior.pseudo
        each = [model.encoder(one).log_prob(z) for one in u.split(1)]
        expected = torch.stack(each).logsumexp(0) - math.log(9)
        torch.testing.assert_close(p.log_prob(z), expected, rtol=0, atol=1e-10)
        noise = rand(50, 1, p.noise_size)
        drawn = p.draw(noise)
        assert drawn.shape == (50, 5, 2)
        index = (torch.special.ndtr(noise[:, 0, -1]) * 9).long()
        for i in (0, 17, 49):
            own = model.encoder(u[index[i]].unsqueeze(0)).draw(noise[i, :, :-1])
            torch.testing.assert_close(drawn[i, 0], own[0], rtol=0, atol=1e-12)
        u.copy_(u.flip(0))
        torch.testing.assert_close(model.prior(Batch(rand(5, 3))).log_prob(z), expected)


def test_gradients_of_the_vamp_density_reach_the_encoder():
    model = vamp_model(4, hidden=(8,))
    log_p = model.prior(Batch(rand(5, 3))).log_prob(rand(5, 2)).sum()
    for weight in [*model.encoder.parameters(), model.latent_prior.pseudo]:
        assert torch.autograd.grad(log_p, weight, retain_graph=True)[0].abs().max() > 0
    stopped = model.prior(Batch(rand(5, 3))).stopped().log_prob(rand(5, 2))
    assert not stopped.requires_grad


def test_pseudo_inputs_start_at_training_rows():
    """As the encoder sees them; all of them where there are as many as rows."""
    model, x = vamp_model(20), rand(20, 3)
    with torch.no_grad():
        model.begin("train", Data(model.spec, x))
    apart = (model.latent_prior.pseudo.unsqueeze(1) - x).square().sum(-1).sqrt()
    assert sorted(apart.argmin(1).tolist()) == list(range(20))
    assert apart.min(1).values.max() < 0.1
    before = model.latent_prior.pseudo.clone()
    model.begin("codes", Data(model.spec, x + 1))
    assert torch.equal(before, model.latent_prior.pseudo)


def test_mistakes_are_one_line():
    spec = Spec((3,), rows=40)
    with pytest.raises(UsageError, match="components=41: there are 40 training rows"):
        compose(spec, latent=2, prior={"name": "vamp", "components": 41})
    with pytest.raises(UsageError, match="at least one pseudo-input"):
        compose(spec, latent=2, prior={"name": "vamp", "components": 0})
    with pytest.raises(UsageError, match="at least one is needed"):
        compose(spec, latent=2, prior={"name": "mixture", "components": 0})
    with pytest.raises(UsageError, match="scale=-1"):
        compose(spec, latent=2, prior={"name": "laplace", "scale": -1})


# --- learnt and Laplace ---------------------------------------------------------------------------
def test_a_learnt_normal_becomes_that_of_the_codes():
    """Its best numbers are the moments of q(z) = mean of N(m_n, s_n^2): rows + spread."""
    m, s = 2 * rand(30, 2) + 1, (0.3 * rand(30, 2, seed=1)).exp()
    prior = LearntNormal(2).double()
    adam = torch.optim.LBFGS(prior.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def rate() -> Tensor:
        adam.zero_grad()
        p = prior(None, Batch(m))
        loss = kl_divergence(Normal(m, s), Normal(p.loc, p.stddev)).sum(-1).mean()
        loss.backward()
        return loss

    adam.step(rate)
    torch.testing.assert_close(prior.loc.data, m.mean(0), rtol=0, atol=1e-5)
    second = (s.square() + (m - m.mean(0)).square()).mean(0)
    torch.testing.assert_close((2 * prior.log_scale.data).exp(), second, rtol=1e-5, atol=0)


def test_a_learnt_mixture_finds_the_mixture():
    """To within .02 nats of the density that the points are drawn from."""
    p = diagonal_mixture(1)
    z = p.draw(rand(4000, 1, 3)).squeeze(1)
    prior = LearntMixture(2, 3).double()
    adam = torch.optim.Adam(prior.parameters(), 0.03)
    for _ in range(900):
        adam.zero_grad()
        loss = -prior(None, Batch(z)).log_prob(z).mean()
        loss.backward()
        adam.step()
    assert loss.item() == pytest.approx(-diagonal_mixture(4000).log_prob(z).mean().item(), abs=0.02)
    assert prior.log_weights.softmax(0).sort().values.tolist() == pytest.approx(
        [0.2, 0.3, 0.5], abs=0.06
    )


def test_laplace_against_torch_and_scipy():
    q = LaplaceLatent(2 * rand(5, 3), rand(5, 3, seed=1))
    p = LaplaceLatent(rand(5, 3, seed=2), rand(5, 3, seed=3))
    t, u = Laplace(q.loc, q.log_scale.exp()), Laplace(p.loc, p.log_scale.exp())
    z = 3 * rand(7, 5, 3, seed=4)
    torch.testing.assert_close(q.log_prob(z), t.log_prob(z).sum(-1))
    torch.testing.assert_close(q.entropy(), t.entropy().sum(-1))
    torch.testing.assert_close(q.variance, t.variance)
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(t, u).sum(-1))
    noise = torch.tensor([[-9.0], [-2.0], [0.0], [0.5], [9.0]]).double()
    one = LaplaceLatent(*torch.tensor([[1.0], [math.log(2.0)]], dtype=torch.float64))
    found = one.draw(noise)[:, 0]
    expected = stats.laplace(1.0, 2.0).ppf(stats.norm.cdf(noise[:4, 0].numpy()))
    assert found[:4].tolist() == pytest.approx(expected.tolist(), abs=1e-10)
    assert found[4].item() - 1 == pytest.approx(1 - found[0].item(), abs=1e-12)  # no tail is lost


def test_the_rate_of_a_normal_under_a_laplace():
    """KL(N(m, s^2) || Laplace(a, b)) by quadrature."""
    for m, s, a, b in ((0.5, 0.8, 0.0, 0.7), (-3.0, 0.1, 1.0, 2.0), (0.0, 2.0, 0.0, 0.5)):
        q, p = stats.norm(m, s), stats.laplace(a, b)
        expected = integrate.quad(
            lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)),
            m - 12 * s,
            m + 12 * s,
            points=[a, m] if abs(a - m) < 12 * s else [m],
        )[0]
        numbers = [
            torch.full((1, 1), v, dtype=torch.float64) for v in (m, math.log(s), a, math.log(b))
        ]
        found = kl_divergence(DiagonalNormal(*numbers[:2]), LaplaceLatent(*numbers[2:]))
        assert found.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["normal", "laplace", "mixture", "vamp", "flow"])
@pytest.mark.parametrize("head", [Diagonal, Cholesky])
def test_priors_compose_with_gaussian_posteriors(name, head):
    """The loss is minus the mean of log w, to the noise of the draws; all of it moves."""
    torch.manual_seed(0)
    made = {"name": name, "components": 3} if name in ("mixture", "vamp") else name
    model = compose(Spec((3,)), latent=2, hidden=(8,), posterior=head(2), prior=made).double()
    x = Batch(rand(6, 3))
    noise = rand(4000, 6, 2, seed=7)
    loss = model.losses(x, step_of(noise))["model"]
    q, p = model.posterior(x), model.prior(x)
    z = q.draw(noise)
    log_w = model.likelihood(z, x).log_prob(x.x) + p.log_prob(z) - q.log_prob(z)
    log_w = log_w.detach()
    assert loss.item() == pytest.approx(-log_w.mean().item(), abs=4 * float(log_w.std()) / 150)
    loss.backward()
    assert all(w.grad is not None for w in model.parameters())


def test_the_table_names_every_prior():
    spec = Spec((4,), rows=100)
    for name in ("standard", "normal", "laplace", "mixture", "vamp", "flow", "fitted"):
        made = priors.PRIORS[name](spec, 2)
        assert isinstance(made, priors.Prior)
    assert len(priors.PRIORS["vamp"](spec, 2).pseudo) == 10
    assert isinstance(priors.PRIORS["vamp"](Spec((4,)), 2, components=7), Vamp)
