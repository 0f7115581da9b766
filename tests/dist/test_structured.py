"""Structured residuals against a chain worked out by hand, scipy, differences and a known field."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from vaes.dist.gaussian import NormalLikelihood
from vaes.dist.structured import Structured, StructuredNormal, following


def chain() -> StructuredNormal:
    """L = [[1, 0, 0], [-.5, 2, 0], [0, .3, .5]] of three pixels in a line."""
    zero = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    diagonal = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64).log().view(1, 1, 1, 3)
    below = torch.zeros(1, 4, 1, 1, 3, dtype=torch.float64)
    below[0, 0, 0, 0] = torch.tensor(
        [-0.5, 0.3, 7.0], dtype=torch.float64
    )  # the last has none that follows
    below[0, 1:] = 9.0  # there is no line below
    return StructuredNormal(zero, diagonal, below, 3, True)


def random_field(n: int = 2, seed: int = 0, neighbourhood: int = 3) -> tuple[Structured, Tensor]:
    """A head over 2 x 6 x 6 and numbers for it, double precision."""
    head = Structured((2, 6, 6), neighbourhood).double()
    h = torch.randn(n, head.size, generator=torch.Generator().manual_seed(seed)).double()
    h[:, 72:] *= 0.6
    h[:, 144:] *= 5
    return head, h


def test_chain():
    """F-CHAIN: r^T P r = 5.735, NLL 5.6243155996, the covariance, what noise (1, 1, 1) draws."""
    p, r = chain(), torch.tensor([[1.0, -1.0, 0.5]], dtype=torch.float64)
    white = p._white(r.view(1, 1, 1, 3))
    assert white.square().sum().item() == pytest.approx(5.735, abs=1e-12)
    assert -p.log_prob(r).item() == pytest.approx(5.6243155996, abs=1e-9)
    expected = [[1.085, 0.17, -0.3], [0.17, 0.34, -0.6], [-0.3, -0.6, 4]]
    assert np.allclose(p.covariance()[0, 0].numpy(), expected, atol=1e-12)
    assert p.variance[0].tolist() == pytest.approx([1.085, 0.34, 4])
    e = p.solved(torch.ones(1, 1, 1, 3, dtype=torch.float64))
    assert e.flatten().tolist() == pytest.approx([1.1, 0.2, 2.0], abs=1e-12)


@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_dense(neighbourhood):
    """log p and that of a part of the entries, as scipy has them of the dense covariance."""
    head, h = random_field(neighbourhood=neighbourhood)
    p, draw = head(h), torch.Generator().manual_seed(1)
    x = torch.randn(2, 2, 6, 6, generator=draw, dtype=torch.float64)
    mask = torch.rand(2, 2, 6, 6, generator=draw) < 0.6
    covariance, part = p.covariance(), p.terms(x, mask)
    assert not part[~mask].any()
    for i in range(2):
        whole, seen = 0.0, 0.0
        for c in range(2):
            mean, sigma = p.mean[i, c].flatten().numpy(), covariance[i, c].numpy()
            at, m = x[i, c].flatten().numpy(), mask[i, c].flatten().numpy()
            whole += scipy.stats.multivariate_normal(mean, sigma).logpdf(at)
            seen += scipy.stats.multivariate_normal(mean[m], sigma[np.ix_(m, m)]).logpdf(at[m])
        assert p.log_prob(x)[i].item() == pytest.approx(whole, abs=1e-9)
        assert part[i].sum().item() == pytest.approx(seen, abs=1e-9)


def test_each_neighbour_is_where_it_is_said_to_be():
    """L has what follows, by rows of the image, in the rows below its diagonal, and nothing wraps
    around the border."""
    assert following(3) == [(0, 1), (1, -1), (1, 0), (1, 1)]
    assert [len(following(k)) for k in (1, 3, 5)] == [0, 4, 12]
    p = random_field()[0](random_field()[1])
    factor = p.factor()[0, 0]
    assert torch.equal(factor, factor.tril())
    for j in range(36):
        y, x = divmod(j, 6)
        for i in range(j + 1, 36):
            down, right = i // 6 - y, i % 6 - x
            near = (down, right) in following(3)
            assert bool(factor[i, j] != 0) == near
            if near:
                o = following(3).index((down, right))
                assert factor[i, j] == p.below[0, o, 0, y, x]


def test_gradients_are_those_of_differences_and_0_beyond_the_border():
    head, h = random_field(1)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(lambda h: head(h).log_prob(x), h.requires_grad_())
    (g,) = torch.autograd.grad(head(h).log_prob(x), h)
    below = g[0, 144:].view(4, 2, 6, 6)
    assert not below[0, :, :, -1].any()  # to the right of the last column
    assert not below[1, :, :, 0].any()
    assert not below[1:, :, -1].any()  # below the last row
    assert below[0, :, :, :-1].all()
    assert below[1, :, :-1, 1:].all()


def test_without_neighbours_it_is_a_gaussian_with_a_scale_for_each_pixel():
    head, h = random_field(neighbourhood=1)
    p, x = head(h), torch.zeros(2, 2, 6, 6).double()
    plain = NormalLikelihood(p.mean, -p.log_diagonal, 3)
    assert torch.allclose(p.terms(x), plain.terms(x), atol=1e-12)


def test_draws_have_the_covariance():
    """20,000 draws of the chain: every product within 4.5 standard errors, which for a Gaussian are
    (S_ii S_jj + S_ij^2)^1/2 / n^1/2."""
    p, n = chain(), 20_000
    wide = StructuredNormal(
        p._mean.expand(n, 1, 1, 3), p.log_diagonal, p.below, 3, True
    )  # one distribution for each draw
    x = wide.draw(torch.Generator().manual_seed(0)).numpy()
    found, true = x.T @ x / n, p.covariance()[0, 0].numpy()
    error = np.sqrt((np.outer(true.diagonal(), true.diagonal()) + true**2) / n)
    assert (np.abs(found - true) < 4.5 * error).all()
    head, h = random_field(1)
    q = head(h.expand(4000, -1))
    y = q.draw(torch.Generator().manual_seed(1))[:, 1].flatten(1) - q.mean[:1, 1].flatten(1)
    white = (y @ q.factor()[0, 1]).numpy()  # L^T r is standard normal
    assert np.abs(white.T @ white / 4000 - np.eye(36)).max() < 6 * math.sqrt(2 / 4000)


def test_missing_pixels_given_the_others():
    """x_3 | x_1, x_2 of the chain: the mean -.3, -.6 times the inverse of the 2 x 2 block has; what
    is drawn has that mean, and the rest of the variance,
    4 - .36 / .34 = 2.9412 by hand: given x_2, x_1 tells nothing more."""
    p, n = chain(), 20_000
    x = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    sigma = p.covariance()[0, 0].numpy()
    gain = sigma[2, :2] @ np.linalg.inv(sigma[:2, :2])
    mean, rest = gain @ [1.0, -1.0], sigma[2, 2] - gain @ sigma[:2, 2]
    assert p.expected(x, mask)[0, 2].item() == pytest.approx(mean, abs=1e-9)
    wide = StructuredNormal(p._mean.expand(n, 1, 1, 3), p.log_diagonal, p.below, 3, True)
    drawn = wide.complete(x.expand(n, 3), mask.expand(n, 3), torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, :2], x.expand(n, 3)[:, :2])
    assert drawn[:, 2].mean().item() == pytest.approx(mean, abs=4.5 * math.sqrt(rest / n))
    assert drawn[:, 2].var().item() == pytest.approx(rest, rel=4.5 * math.sqrt(2 / n))


def test_the_maximum_of_the_likelihood_is_the_field_that_was_drawn():
    """5,000 images of 4 x 4 from one L: the same numbers for every image, fitted, come within 5 %
    of it (of the largest, where one is small). Column j of L is a regression of its pixel on those
    that follow, so least squares has the maximum."""
    n, draw = 5000, torch.Generator().manual_seed(0)
    shape = (n, 1, 4, 4)
    diagonal = torch.full(shape, math.log(1.5), dtype=torch.float64)
    below = torch.zeros(n, 4, 1, 4, 4, dtype=torch.float64)
    below[:, 0], below[:, 2] = -0.6, -0.5  # right and down: four neighbours in all
    p = StructuredNormal(torch.zeros(shape, dtype=torch.float64), diagonal, below, 3, False)
    x = p.draw(draw)
    log_d = torch.zeros((), dtype=torch.float64, requires_grad=True)
    b = torch.zeros(4, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([log_d, b], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        q = StructuredNormal(0 * x, log_d.expand(shape), b.expand(n, 4, 1, 4, 4), 3, False)
        nll = -q.log_prob(x).mean()
        nll.backward()
        return nll

    fit.step(loss)
    assert log_d.exp().item() == pytest.approx(1.5, rel=0.05)
    assert b.flatten().tolist() == pytest.approx([-0.6, 0.0, -0.5, 0.0], abs=0.05 * 0.6)
