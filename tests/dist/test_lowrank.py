"""Full covariances in few numbers: exact draws, densities and KLs, and what they hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from tests.fixtures import hermite
from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist import posterior_head
from vaes.dist.gaussian import DiagonalNormal
from vaes.dist.lowrank import LowRankNormal, PrecisionNormal, reflected
from vaes.errors import UsageError

D = torch.tensor([[2.0, 1.0, 0.5]], dtype=torch.float64)
U = torch.tensor([[0.6, -0.8, 0.3]], dtype=torch.float64)
NAMES = ("lowrank", "rank1", "householder")


def made(name: str, d: int = 6, n: int = 5, **options):
    torch.manual_seed(0)
    head = posterior_head({"name": name, **options}, d)
    return head(torch.randn(n, int(head.size), dtype=torch.float64))  # type: ignore[call-overload]


def covariance(q) -> Tensor:
    """From the map of a draw, which is affine: A A^T with the columns of A its images of axes."""
    k = q.noise_size
    axes = torch.eye(k, dtype=torch.float64).unsqueeze(1)
    columns = q.draw(axes) - q.draw(torch.zeros(1, 1, k, dtype=torch.float64))
    return torch.einsum("knd,kne->nde", columns, columns)


def test_rank_one_precision_of_the_paper():
    """C = (D + u u^T)^-1 and log |C| = -.693147181 = -log 2 for D = (2, 1, .5), u = (.6, -.8,
    .3)."""
    q = PrecisionNormal(torch.zeros_like(D), D.log(), U)
    expected = torch.linalg.inv(torch.diag(D[0]) + U.T @ U)
    torch.testing.assert_close(covariance(q)[0], expected, rtol=0, atol=1e-15)
    assert 2 * q.half_log_det.item() == pytest.approx(-0.693147181, abs=1e-9)
    flat = PrecisionNormal(torch.zeros_like(D), D.log(), 0 * U)
    torch.testing.assert_close(covariance(flat)[0], torch.diag(1 / D[0]), rtol=0, atol=1e-15)


def test_blocks_are_independent_normals_of_their_own():
    q = made("rank1", blocks=3)
    found, precision = covariance(q), torch.diag_embed(q.log_precision.exp())
    for i in range(3):
        part = slice(2 * i, 2 * i + 2)
        u = q.along[:, part]
        precision[:, part, part] += u.unsqueeze(-1) * u.unsqueeze(-2)
    torch.testing.assert_close(found, torch.linalg.inv(precision), rtol=1e-10, atol=1e-12)
    assert (found[:, :2, 2:].abs() < 1e-15).all()


def test_a_low_rank_covariance_is_f_ft_plus_the_diagonal():
    loc = torch.zeros(1, 3, dtype=torch.float64)
    factor = torch.tensor([[[1.0, 0.5], [0.0, -2.0], [3.0, 0.25]]], dtype=torch.float64)
    q = LowRankNormal(loc, torch.tensor([[0.1, -0.3, 0.2]], dtype=torch.float64), factor)
    expected = factor[0] @ factor[0].T + torch.diag((2 * q.log_scale[0]).exp())
    torch.testing.assert_close(covariance(q)[0], expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(q.covariance_matrix, covariance(q), rtol=1e-14, atol=1e-14)


def test_a_reflection_of_the_card():
    """v = (1, 2, -1), z = (1, 0, 2): z - 2 (v.z) / |v|^2 v = z + v / 3 = (4/3, 2/3, 5/3)."""
    v, z = torch.tensor([[1.0, 2.0, -1.0]]).double(), torch.tensor([1.0, 0.0, 2.0]).double()
    expected = torch.tensor([4.0, 2.0, 5.0]).double() / 3
    torch.testing.assert_close(reflected(z, v), expected, rtol=0, atol=1e-15)


def test_reflections_turn_axes_and_keep_the_volume():
    q = made("householder")
    values = torch.linalg.eigvalsh(covariance(q))
    torch.testing.assert_close(
        values, (2 * q.log_scale).exp().sort(-1).values, rtol=1e-10, atol=1e-12
    )
    assert (covariance(q) - torch.diag_embed(q.variance)).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_density_entropy_and_kl_are_those_of_torch(name):
    q = made(name)
    ours, theirs = covariance(q), MultivariateNormal(q.mean, covariance(q))
    z = q.draw(torch.randn(7, 1, q.noise_size, dtype=torch.float64))
    torch.testing.assert_close(q.log_prob(z), theirs.log_prob(z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q.entropy(), theirs.entropy(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q.variance, ours.diagonal(dim1=-2, dim2=-1), rtol=1e-10, atol=1e-12)
    loc, log_scale = torch.randn(2, 5, 6, dtype=torch.float64)
    p = DiagonalNormal(loc, log_scale)
    other = MultivariateNormal(loc, torch.diag_embed((2 * log_scale).exp()))
    torch.testing.assert_close(
        kl_divergence(q, p), kl_divergence(theirs, other), rtol=1e-10, atol=1e-10
    )


def test_where_the_network_says_nothing_reflections_cancel():
    head, plain = posterior_head("householder", 3), posterior_head("diagonal", 3)
    q, p = head(torch.zeros(2, 18)), plain(torch.zeros(2, 6))
    noise = torch.randn(4, 2, 3)
    torch.testing.assert_close(q.log_prob(noise), p.log_prob(noise))
    torch.testing.assert_close(q.draw(noise), p.draw(noise))


def test_options_that_cannot_be():
    for name, options, said in (
        ("lowrank", {"rank": 0}, "rank=0: of 4"),
        ("lowrank", {"rank": 5}, "rank=5: of 4"),
        ("rank1", {"blocks": 3}, "blocks=3: 4 latent"),
        ("householder", {"layers": 0}, "layers=0"),
    ):
        with pytest.raises(UsageError, match=said):
            posterior_head({"name": name, **options}, 4)


def test_gradients_of_an_expectation_by_the_root_of_the_covariance():
    """d/dC E f(z) = 1/2 E f''(z): of f = sin(a z) + z^3, C = 1/(D + u^2), by quadrature (card
    3)."""
    nodes, weights = hermite(60)
    log_d = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    u, loc = torch.tensor([[[0.7]], [[0.4]]], dtype=torch.float64)
    q = PrecisionNormal(loc, log_d, u)
    z = q.draw(nodes)[..., 0, 0]
    f = (weights * (torch.sin(1.3 * z) + z**3)).sum()
    found = torch.autograd.grad(f, log_d)[0].item()
    with torch.no_grad():
        curved = (weights * (-1.69 * torch.sin(1.3 * z) + 6 * z)).sum()
        c = 1 / (math.exp(0.3) + 0.49)
    assert found == pytest.approx(0.5 * curved.item() * -(c**2) * math.exp(0.3), abs=1e-10)


@pytest.mark.parametrize("name", ["lowrank", "student"])
@pytest.mark.parametrize("prior", ["ladder", "second_stage"])
def test_codes_that_take_more_noise_than_they_have_dimensions_go_into_hierarchies(name, prior):
    """log q of a draw is that of the same z, whichever way round the chain is drawn."""
    torch.manual_seed(0)
    x = Batch(torch.randn(5, 6, dtype=torch.float64))
    model = compose(Spec((6,)), latent=3, hidden=(8,), posterior=name, prior=prior).double()
    q = model.posterior(x)
    assert q.noise_size == model.noise_size > model.latent
    noise = torch.randn(4, 5, q.noise_size, dtype=torch.float64)
    z, log_q = q.drawn(noise)
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=0, atol=1e-9)
    assert z.shape[-1] == model.latent
    # all of the noise moves z
    for i in range(q.noise_size):
        moved = noise.clone()
        moved[..., i] += 1.0
        assert not torch.equal(q.draw(moved), z)
