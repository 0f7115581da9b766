"""Logistic, Laplace and Student codes against scipy: distribution, density, entropy, KL."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaes.dist import posterior_head
from vaes.dist.gaussian import DiagonalNormal
from vaes.dist.location_scale import LaplaceLatent
from vaes.dist.location_scale import LogisticLatent, StudentLatent

LOC = torch.tensor([[0.5]], dtype=torch.float64)
LOG_SCALE = torch.tensor([[-0.4]], dtype=torch.float64)
AT = {"loc": 0.5, "scale": float(LOG_SCALE.exp())}
DF = 3.5
FAMILIES = {
    "logistic": (LogisticLatent(LOC, LOG_SCALE), scipy.stats.logistic(**AT)),
    "laplace": (LaplaceLatent(LOC, LOG_SCALE), scipy.stats.laplace(**AT)),
    "student": (
        StudentLatent(LOC, LOG_SCALE, torch.tensor([[DF]], dtype=torch.float64)),
        scipy.stats.t(DF, **AT),
    ),
}
over = pytest.mark.parametrize("name", FAMILIES)


def grid(name: str) -> Tensor:
    """Noise whose distribution function takes evenly spread values, (k, 1, noise_size)."""
    steps = 200
    u = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    cells = u.unsqueeze(1) if name != "student" else torch.cartesian_prod(u, u)
    return torch.special.ndtri(cells).unsqueeze(1)


@over
def test_draws_have_the_distribution(name):
    """Every quantile, by noise on a grid of its own quantiles: no chance, no random numbers."""
    q, theirs = FAMILIES[name]
    z = q.draw(grid(name)).flatten().sort().values
    share = (torch.arange(len(z), dtype=torch.float64) + 0.5) / len(z)
    # one dimension of noise: exact; the two of Student's t: to the cells of the grid
    gap = (torch.from_numpy(theirs.cdf(z.numpy())) - share).abs().max().item()
    assert gap < (1e-12 if name != "student" else 5e-3)


@over
def test_density_variance_and_entropy(name):
    q, theirs = FAMILIES[name]
    z = torch.tensor([[[-30.0]], [[-1.0]], [[0.5]], [[0.6]], [[400.0]]], dtype=torch.float64)
    expected = torch.from_numpy(theirs.logpdf(z.numpy())).squeeze(-1)
    torch.testing.assert_close(q.log_prob(z), expected, rtol=1e-12, atol=1e-12)
    assert q.entropy().item() == pytest.approx(float(theirs.entropy()), abs=1e-9)
    assert q.variance.item() == pytest.approx(theirs.var(), rel=1e-12)


@over
def test_kl_to_a_normal_by_quadrature(name):
    q, theirs = FAMILIES[name]
    p = DiagonalNormal(torch.tensor([[-0.3]]).double(), torch.tensor([[0.2]]).double())
    other = scipy.stats.norm(-0.3, float(p.stddev))
    # over quantiles, which are even where z has tails
    step = 2e-6
    u = np.arange(step / 2, 1, step)
    z = theirs.ppf(u)
    expected = (theirs.logpdf(z) - other.logpdf(z)).mean()
    assert kl_divergence(q, p).item() == pytest.approx(expected, abs=2e-3)


def test_draws_reach_far_tails_in_single_precision():
    """Noise of -6 and 6: both tails finite and symmetric, where 1 - u rounds to 0."""
    noise = torch.tensor([[[-6.0]], [[6.0]]])
    for name in ("logistic", "laplace"):
        head = posterior_head(name, 1)
        z = head(torch.zeros(1, 2)).draw(noise).flatten()  # type: ignore[operator]
        assert z[0].item() == pytest.approx(-z[1].item(), rel=1e-5)
        assert 19 < z[1] < 22  # log 1 / Phi(-6) = 20.7
    student = FAMILIES["student"][0]
    far = student.draw(torch.tensor([[[-6.0, -6.0]], [[6.0, -6.0]]]))
    assert far.isfinite().all()
    assert far[0] > 100 > 1 > far[1]


def test_gradients_in_the_degrees_of_freedom():
    """d E log(1 + z^2) / d df of the draws is that of the distribution, by differences of it."""
    loc, noise = torch.zeros(1, 1, dtype=torch.float64), grid("student")

    def of_draws(df: Tensor) -> Tensor:
        return StudentLatent(loc, loc, df).draw(noise).square().log1p().mean()

    df = torch.tensor([[DF]], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(of_draws(df), df)[0].item()

    def by_density(df: float) -> float:
        z = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64).numpy()
        return float(np.trapezoid(np.log1p(z**2) * scipy.stats.t.pdf(z, df), z))

    expected = (by_density(DF + 0.01) - by_density(DF - 0.01)) / 0.02
    assert found == pytest.approx(expected, rel=0.05)
