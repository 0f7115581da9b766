"""Latent families against torch.distributions, closed forms, enumeration and frequencies."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Independent,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    kl_divergence,
)

from tests.fixtures import hermite
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.gaussian import Cholesky, CholeskyNormal, Diagonal, DiagonalNormal, Isotropic
from vaes.dist.point import Point

D = 4


def rand(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def diagonal(seed: int, n: int = 5) -> DiagonalNormal:
    return DiagonalNormal(2 * rand(n, D, seed=seed), rand(n, D, seed=seed + 1))


def full(seed: int, n: int = 5) -> CholeskyNormal:
    below = rand(n, D, D, seed=seed).tril(-1)
    return CholeskyNormal(
        2 * rand(n, D, seed=seed + 1),
        below + torch.diag_embed(rand(n, D, seed=seed + 2).exp()),
    )


def theirs(q: DiagonalNormal | CholeskyNormal) -> MultivariateNormal:
    tril = torch.diag_embed(q.stddev) if isinstance(q, DiagonalNormal) else q.tril
    return MultivariateNormal(q.loc, scale_tril=tril)


families = pytest.mark.parametrize("family", [diagonal, full])


@families
def test_normals_against_torch(family):
    q, z = family(0), 3 * rand(100, 5, D, seed=9)
    assert torch.allclose(q.log_prob(z), theirs(q).log_prob(z), rtol=1e-12, atol=1e-12)
    assert torch.allclose(q.entropy(), theirs(q).entropy(), atol=1e-12)
    assert torch.allclose(q.mean, theirs(q).mean)
    assert torch.allclose(q.variance, theirs(q).variance)
    assert torch.allclose(q.stddev.square(), q.variance)


@families
def test_density_of_a_draw_follows_from_its_noise(family):
    """log q = -1/2 |noise|^2 - sum log L_ii - d/2 log 2 pi, without solving for the noise."""
    q, noise = family(3), rand(50, 1, D, seed=8)
    log_det = theirs(q).scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    expected = -0.5 * noise.square().sum(-1) - log_det - 0.5 * D * math.log(2 * math.pi)
    assert (q.log_prob(q.draw(noise)) - expected).abs().max() < 1e-12


@families
def test_covariance_of_draws(family):
    """Every entry within 4 s.e.; Var(z_i z_j) = S_ii S_jj + S_ij^2 for a Gaussian."""
    q, n = family(6, 1), 200_000
    z = q.draw(rand(n, 1, D, seed=1)).squeeze(1) - q.mean
    s = theirs(q).covariance_matrix[0]
    error = (s.diagonal().unsqueeze(0) * s.diagonal().unsqueeze(1) + s.square()) / n
    assert (z.mean(0).abs() < 4 * (s.diagonal() / n).sqrt()).all()
    assert ((z.T @ z / n - s).abs() < 4 * error.sqrt()).all()
    torch.manual_seed(0)
    other = q.rsample((n,)).squeeze(1) - q.mean
    assert ((other.T @ other / n - s).abs() < 4 * error.sqrt()).all()


@pytest.mark.parametrize("of", [diagonal, full])
@pytest.mark.parametrize("to", [diagonal, full])
def test_kl_pairs(of, to):
    q, p = of(0), to(20)
    assert torch.allclose(
        kl_divergence(q, p), kl_divergence(theirs(q), theirs(p)), rtol=1e-12, atol=1e-12
    )
    assert kl_divergence(of(0), of(0)).abs().max() < 1e-12
    one = to(20, 1)  # a prior that is one for all rows broadcasts
    expected = kl_divergence(theirs(q), theirs(one))
    assert torch.allclose(kl_divergence(q, one), expected, rtol=1e-12)


def test_card_constants():
    """KL of the card of conventions; KL to N(0, I) and entropy of the Cholesky card."""
    m, s, mu, tau = torch.tensor([[0.5, -1], [0.8, 1.5], [0, 1], [2, 0.5]], dtype=torch.float64)
    kl = kl_divergence(DiagonalNormal(m, s.log()), DiagonalNormal(mu, tau.log()))
    assert kl.item() == pytest.approx(11.4289284432, abs=1e-10)
    m, *tril = torch.tensor([[0.3, -1], [1.2, 0], [-0.7, 0.5]], dtype=torch.float64)
    q = CholeskyNormal(m, torch.stack(tril))
    kl = kl_divergence(q, DiagonalNormal(0 * m, 0 * m))
    assert kl.item() == pytest.approx(1.1458256238, abs=1e-10)
    assert q.entropy().item() == pytest.approx(2.3270514426, abs=1e-10)


@pytest.mark.parametrize("head", [Isotropic(D), Diagonal(D), Cholesky(D)])
@pytest.mark.parametrize("size", [1.0, 50.0, 1e3])
def test_heads_stay_within_float32(head, size):
    """Whatever a network says, the scale lies in e^-8 ... e^4 and nothing overflows."""
    h = (size * rand(500, head.size)).float().requires_grad_()
    q = head(h)
    tril = theirs(q).scale_tril
    scale = tril.diagonal(dim1=-2, dim2=-1)
    assert scale.min() >= math.exp(-8) * 0.999
    assert scale.max() <= math.exp(4) * 1.001
    assert (tril.triu(1) == 0).all()
    if isinstance(head, Isotropic):
        assert (scale == scale[:, :1]).all()
    log_q = q.log_prob(q.draw(rand(500, D, seed=1).float()))
    (gradient,) = torch.autograd.grad(log_q.sum() + q.entropy().sum(), h)
    assert log_q.isfinite().all()
    assert gradient.isfinite().all()


def test_one_hot_against_torch():
    logits = 3 * rand(5, D)
    q, other = OneHot(logits), OneHotCategorical(logits=logits)
    states = q.enumerate_support()
    assert torch.equal(states, other.enumerate_support())
    assert torch.allclose(q.log_prob(states), other.log_prob(states))
    assert torch.allclose(q.log_prob(states).exp().sum(0), torch.ones(5).double())
    assert torch.allclose(q.entropy(), other.entropy())
    assert torch.equal(q.mean.argmax(-1), logits.argmax(-1))
    # a state of probability 0 costs infinitely much, the others nothing more
    impossible = OneHot(torch.tensor([0.0, -torch.inf]))
    assert impossible.log_prob(torch.eye(2)).tolist() == [0, -torch.inf]


def test_one_hot_draws_are_exact():
    """Gumbel-max on normal noise: frequencies within 4 s.e. of the probabilities."""
    q, n = OneHot(2 * rand(3, D)), 100_000
    p = q.logits.exp()
    z = q.draw(rand(n, 1, D, seed=2))
    assert z.sum(-1).eq(1).all()
    assert ((z.mean(0) - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()
    rare = OneHot(torch.tensor([[0.0, -40.0]])).draw(rand(n, 1, 2).float())
    assert rare[..., 1].sum() == 0


def test_point_is_where_it_is():
    loc = rand(5, D)
    q = Point(loc)
    assert q.draw(rand(7, 1, D)).sub(loc).abs().max() == 0
    assert q.log_prob(loc).tolist() == [0] * 5
    assert q.log_prob(loc + 1e-12).tolist() == [-torch.inf] * 5
    assert q.variance.sum() == 0


def gaussian_chain(n: int) -> tuple[Chain, MultivariateNormal]:
    """a ~ N(m, S), b | a ~ N(A a + u, diag), c | a, b ~ N(B (a, b) + v, T T^T): one Gaussian."""
    a, u, b, v = rand(2, 2, seed=1), rand(2, seed=2), rand(1, 4, seed=3), rand(1, seed=4)
    first = CholeskyNormal(
        rand(2, seed=5).expand(n, -1), torch.tensor([[0.8, 0], [0.4, 1.2]]).double()
    )
    log_scale, last = rand(2, seed=6), torch.tensor([[0.7]]).double()
    chain = Chain(
        first,
        lambda z: DiagonalNormal(z @ a.T + u, log_scale),
        lambda z: CholeskyNormal(z @ b.T + v, last),
        sizes=(2, 2, 1),
    )
    # z = M noise + m by pushing the noise's basis through the recursion
    zero = torch.zeros(2).double()
    s, t = first.tril[0], torch.diag(log_scale.exp())
    top = torch.cat([s, torch.zeros(2, 3)], 1)
    middle = torch.cat([a @ s, t, torch.zeros(2, 1)], 1)
    upper = torch.cat([top, middle])
    matrix = torch.cat([upper, b @ upper + torch.cat([zero, zero, last[0]])])
    m = first.loc[0]
    m = torch.cat([m, a @ m + u])
    return chain, MultivariateNormal(torch.cat([m, b @ m + v]), matrix @ matrix.T)


def test_gaussian_chain_is_one_gaussian():
    chain, joint = gaussian_chain(3)
    z = 2 * rand(50, 3, 5, seed=7)
    assert torch.allclose(chain.log_prob(z), joint.log_prob(z), rtol=1e-10)
    assert torch.allclose(chain.mean, joint.mean.expand(3, -1))
    n, s = 100_000, joint.covariance_matrix
    draws = chain.draw(rand(n, 1, 5, seed=8))[:, 1] - joint.mean
    error = (s.diagonal().unsqueeze(0) * s.diagonal().unsqueeze(1) + s.square()) / n
    assert (draws.mean(0).abs() < 4 * (s.diagonal() / n).sqrt()).all()
    assert ((draws.T @ draws / n - s).abs() < 4 * error.sqrt()).all()


def test_chain_of_a_label_and_a_gaussian_is_a_mixture():
    """Summing the labels out of p(y) p(z | y) gives the density of the mixture."""
    logits, means, log_scales = rand(3), 3 * rand(3, 2, seed=1), 0.5 * rand(3, 2, seed=2)
    chain = Chain(
        OneHot(logits.expand(1, -1)),
        lambda y: DiagonalNormal(y @ means, y @ log_scales),
        sizes=(3, 2),
    )
    z = 2 * rand(20, 1, 2, seed=3)
    labels = torch.eye(3).double().view(3, 1, 1, 3).expand(3, 20, 1, 3)
    joint = chain.log_prob(torch.cat([labels, z.expand(3, -1, -1, -1)], -1))
    parts = Independent(Normal(means, log_scales.exp()), 1).log_prob(z)
    expected = (parts + logits.log_softmax(-1)).logsumexp(-1)
    assert torch.allclose(joint.logsumexp(0).squeeze(-1), expected, atol=1e-12)
    mode = logits.argmax()
    assert torch.allclose(chain.mean[0, 3:], means[mode])
    n, p = 100_000, logits.softmax(-1)
    draws = chain.draw(rand(n, 1, 5, seed=4)).squeeze(1)
    mean = p @ means
    second = p @ (log_scales.exp().square() + means.square()) - mean.square()
    assert ((draws[:, 3:].mean(0) - mean).abs() < 4 * (second / n).sqrt()).all()
    # each draw's Gaussian belongs to the draw's own label
    centred = (draws[:, 3:] - draws[:, :3] @ means) / (draws[:, :3] @ log_scales).exp()
    assert (centred.square().mean(0) - 1).abs().max() < 4 * math.sqrt(2 / n)


@families
def test_density_integrates_to_the_moments(family):
    """Gauss-Hermite under the family's own draw: E z = mean, E (z - m)^2 = variance."""
    nodes, weights = hermite(5)
    q, d = family(1), torch.eye(D).double()
    for axis in range(D):
        z = q.draw(nodes * d[axis])
        along = (weights.view(-1, 1, 1) * z).sum(0)
        assert torch.allclose(along, q.mean, atol=1e-12)
    total = sum(
        (weights.view(-1, 1, 1) * (q.draw(nodes * d[axis]) - q.mean).square()).sum(0)
        for axis in range(D)
    )
    assert torch.allclose(total, q.variance, rtol=1e-10)


@pytest.mark.parametrize("head", [Isotropic(D), Diagonal(D), Cholesky(D)])
def test_every_number_of_a_head_moves_location_or_scale(head):
    """Never both, so that a code's place and its width are learned apart."""
    h = torch.zeros(head.size, dtype=torch.float64)
    loc, tril = torch.autograd.functional.jacobian(
        lambda h: (head(h).loc, theirs(head(h)).scale_tril.flatten()), h
    )
    moves_loc, moves_scale = loc.ne(0).any(0), tril.ne(0).any(0)
    assert (moves_loc ^ moves_scale).all()
    assert torch.equal(loc[:, moves_loc], torch.eye(D).double())
    assert torch.linalg.matrix_rank(tril[:, moves_scale]) == head.size - D
