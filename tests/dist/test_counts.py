"""Negative binomial and Poisson against scipy, mpmath, closed forms, mass and frequency."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from mpmath import mp, mpf
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist import likelihood_head
from vaes.dist.counts import (
    LARGE,
    Counts,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    log_rising,
)
from vaes.errors import DataError, UsageError

R = np.logspace(-4, 6, 21)
M = np.logspace(-8, 5, 14)
X = np.array([0.0, 1, 2, 7, 100, 12345, 2**24])
SPEC = Spec((4,), ("count",), (0,), totals=True)


def doubles(*values: np.ndarray) -> list[Tensor]:
    return [torch.as_tensor(v, dtype=torch.float64) for v in np.broadcast_arrays(*values)]


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.meshgrid(R, M, X, indexing="ij")


def test_negative_binomial_is_scipys():
    """With n = r and p = r / (r + m): to 1e-6 relative wherever scipy itself keeps its digits."""
    r, m, x = grid()
    m = np.maximum(m, 1e-6 * r)  # beyond, scipy's p rounds to 1
    found = NegativeBinomialLikelihood(*doubles(np.log(m), np.log(r))).terms(doubles(x)[0])
    expected = scipy.stats.nbinom.logpmf(x, r, r / (r + m))
    assert np.abs(found.numpy() / expected - 1).max() < 1e-6


def test_negative_binomial_to_fifty_digits():
    r, m, x = (v[::4, ::3] for v in grid())
    log_m, log_r, k = doubles(np.log(m), np.log(r), x)
    found = NegativeBinomialLikelihood(log_m, log_r).terms(k)
    with mp.workdps(50):

        def log_p(k, log_m, log_r):
            k, m, r = mpf(k), mp.exp(mpf(log_m)), mp.exp(mpf(log_r))
            binomial = mp.loggamma(k + r) - mp.loggamma(r) - mp.loggamma(k + 1)
            return float(binomial + r * mp.log(r / (r + m)) + k * mp.log(m / (r + m)))

        triples = zip(*(v.flatten().tolist() for v in (k, log_m, log_r)), strict=True)
        expected = np.array([log_p(*each) for each in triples]).reshape(k.shape)
    assert np.abs(found.numpy() / expected - 1).max() < 1e-8


def test_the_two_forms_of_the_rising_factorial_meet():
    x = torch.linspace(0, 1e4, 101, dtype=torch.float64)
    below, above = (log_rising(x, torch.tensor(LARGE + d).double()) for d in (-1e-9, 1e-9))
    assert torch.allclose(below, above, rtol=1e-9, atol=1e-9)


def test_single_precision_keeps_large_dispersions():
    """Two lgamma of 1e6 differ by whole nats in float32; the series does not."""
    x, m = np.arange(0, 300.0, 7), np.full(43, 90.0)
    p = NegativeBinomialLikelihood(torch.tensor(m).float().log(), torch.tensor(math.log(1e6)))
    expected = scipy.stats.nbinom.logpmf(x, 1e6, 1e6 / (1e6 + m))
    assert np.abs(p.terms(torch.tensor(x).float()).numpy() - expected).max() < 2e-3


def test_poisson_is_scipys():
    x, m = np.meshgrid(X, M)
    found = PoissonLikelihood(doubles(np.log(m))[0]).terms(doubles(x)[0])
    assert np.abs(found.numpy() / scipy.stats.poisson.logpmf(x, m) - 1).max() < 1e-9


def test_negative_binomial_tends_to_the_poisson():
    """To first order log NB - log Poisson = ((x - m)^2 - x) / 2 r."""
    x, m = doubles(*np.meshgrid(np.arange(30.0), [0.5, 3.0, 12.0]))
    for r in (1e4, 1e5, 1e6):
        p = NegativeBinomialLikelihood(m.log(), torch.tensor(math.log(r)).double())
        less = p.terms(x) - PoissonLikelihood(m.log()).terms(x)
        assert torch.allclose(r * less, ((x - m).square() - x) / 2, atol=8e3 / r)


@pytest.mark.parametrize("r", [0.05, 1.0, 40.0])
def test_mass_mean_and_variance(r):
    x = torch.arange(200_000, dtype=torch.float64)
    p = NegativeBinomialLikelihood(*doubles(math.log(6), math.log(r)), 0)
    mass = p.terms(x).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-8)
    assert (mass * x).sum().item() == pytest.approx(6, abs=1e-6)
    assert p.mean.item() == pytest.approx(6)
    assert p.variance.item() == pytest.approx((mass * (x - 6).square()).sum().item(), rel=1e-6)
    assert p.variance.item() == pytest.approx(6 + 36 / r, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere_and_known_for_the_mean(dtype):
    """d log p / d log m = r (x - m) / (r + m)."""
    r, m, x = (torch.as_tensor(v).to(dtype) for v in grid())
    log_m, log_r = m.log().requires_grad_(), r.log().requires_grad_()
    NegativeBinomialLikelihood(log_m, log_r).terms(x).sum().backward()
    assert log_m.grad.isfinite().all()
    assert log_r.grad.isfinite().all()
    size = r * (x + m) / (r + m)  # of the two parts
    error = (log_m.grad - r * (x - m) / (r + m)).abs() / size
    assert error.max() < {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]


@pytest.mark.parametrize("r", [0.2, 3.0, None])
def test_draws_have_the_law(r):
    """P(0), mean and variance of 200,000 draws: 4 standard errors."""
    n, log_m = 200_000, torch.full((1,), math.log(2.5), dtype=torch.float64)
    p = PoissonLikelihood(log_m.expand(n, 1))
    if r is not None:
        p = NegativeBinomialLikelihood(log_m.expand(n, 1), torch.tensor([math.log(r)]).double())
    x = p.draw(torch.Generator().manual_seed(0)).squeeze(1)
    assert torch.equal(x, x.round())
    assert torch.equal(x, p.draw(torch.Generator().manual_seed(0)).squeeze(1))
    variance = float(p.variance[0])
    assert abs(x.mean() - 2.5) < 4 * math.sqrt(variance / n)
    fourth = float((x - x.mean()).pow(4).mean())
    assert abs(x.var() - variance) < 4 * math.sqrt((fourth - variance**2) / n)
    zero = float(p.terms(torch.zeros(n, 1).double())[0].exp())
    assert abs((x == 0).double().mean() - zero) < 4 * math.sqrt(zero * (1 - zero) / n)


def test_gaps_reach_neither_density_nor_gradient():
    log_m = torch.zeros(2, 3, requires_grad=True)
    x = torch.tensor([[1.0, torch.nan, 3.0], [torch.inf, 2.0, 0.0]])
    mask = x.isfinite()
    for p in (PoissonLikelihood(log_m), NegativeBinomialLikelihood(log_m, torch.zeros(3))):
        terms = p.terms(x, mask)
        assert (terms[~mask] == 0).all()
        assert torch.allclose(terms[mask], p.terms(x.nan_to_num(posinf=0))[mask])
        (grad,) = torch.autograd.grad(terms.sum(), log_m)
        assert grad.isfinite().all()
        assert (grad[~mask] == 0).all()


def rows(mask: Tensor | None = None) -> Batch:
    x = torch.tensor([[3.0, 0, 5, 2], [0, 0, 0, 0], [100, 1, 0, 9]])
    return Data(SPEC, x, mask=mask).rows(slice(None))


def test_means_are_shares_of_the_total():
    """Of the observed entries' total over the observed columns; missing ones on the same scale."""
    head = Counts(4, totals=True)
    h = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    share = h.softmax(-1)
    whole = head(h).given(rows())
    assert torch.equal(rows().total, torch.tensor([10.0, 0, 110]))
    assert torch.allclose(whole.mean, rows().total.unsqueeze(1) * share, atol=1e-6)
    mask = torch.tensor([[True, True, False, True], [True] * 4, [False] * 4])
    batch = rows(mask)
    assert torch.equal(batch.total, torch.tensor([5.0, 0, 0]))
    p = head(h).given(batch)
    assert p.mean[0, mask[0]].sum().item() == pytest.approx(5, rel=1e-6)
    assert torch.allclose(p.mean[0] / share[0], (5 / share[0, mask[0]].sum()).expand(4))
    assert p.log_prob(batch.x, mask).isfinite().all()
    assert p.log_prob(batch.x, mask)[2] == 0  # nothing observed, nothing said
    draws = head(h.expand(7, 3, 4)).given(batch)  # k draws of z, the same totals
    assert torch.allclose(draws.mean[6], p.mean)


def test_a_batch_without_totals_is_refused_in_one_line():
    with pytest.raises(UsageError, match="without totals"):
        Counts(4, totals=True)(torch.zeros(3, 4)).given(Batch(torch.zeros(3, 4)))


def test_without_totals_the_numbers_are_log_means():
    spec = Spec((4,), ("count",), (0,))
    batch = Data(spec, torch.ones(2, 4)).rows(slice(None))
    assert batch.total is None
    h = torch.tensor([[-3.0, 0, 1, 5], [-900, 900, 0, 0]])
    p = likelihood_head(spec)(h).given(batch)
    assert torch.allclose(p.mean[0], h[0].exp(), rtol=1e-4)
    assert p.log_prob(batch.x).isfinite().all()
    with pytest.raises(DataError, match="all of whose entries are counts"):
        Spec((4,), ("real",), (0,), totals=True)


@pytest.mark.parametrize(
    ("scale", "numbers", "free"), [(None, 4, 4), ("entry", 4, 4), ("shared", 4, 1),
                                   ("network", 8, 0), (2.5, 4, 0)]
)  # fmt: skip
def test_where_the_dispersion_comes_from(scale, numbers, free):
    head = likelihood_head(SPEC, "auto", scale)
    assert head.size == numbers
    assert sum(p.numel() for p in head.parameters()) == free
    h = torch.randn(3, numbers, generator=torch.Generator().manual_seed(1))
    p = head(h).given(rows())
    r = torch.broadcast_to(p.log_r.exp(), (3, 4))
    if scale == "network":
        assert torch.allclose(r, h[:, 4:].exp(), rtol=1e-3)
    else:
        assert torch.allclose(r, torch.tensor(float(scale) if free == 0 else 1.0), rtol=1e-3)


def test_a_dispersion_that_is_none():
    for scale in ("gene", 0.0, -1.0, 1e9):
        with pytest.raises(UsageError, match=f"scale {scale}: a negative binomial takes"):
            likelihood_head(SPEC, "auto", scale)
    with pytest.raises(UsageError, match="a poisson likelihood has no scale"):
        likelihood_head(SPEC, "poisson", "entry")


def test_new_rows_get_totals_as_the_training_rows_have_them():
    """Kolmogorov-Smirnov against the 5,000 totals that were seen, at 1 in 1,000."""
    draw = np.random.default_rng(0)
    totals = np.where(draw.random(5000) < 0.3, 40, 900) * np.exp(0.3 * draw.standard_normal(5000))
    share = np.array([0.1, 0.2, 0.3, 0.4])
    x = draw.poisson(totals[:, None] * share)
    head = Counts(4, totals=True)
    head.fit(Data(SPEC, torch.from_numpy(x).float()))
    assert np.allclose(head.log_share.exp(), x.sum(0) / x.sum(), atol=1e-5)
    found = head.totals(5000, torch.Generator().manual_seed(0)).numpy()
    assert scipy.stats.ks_2samp(found, x.sum(1)).pvalue > 1e-3
    assert found.min() >= x.sum(1).min()
    assert found.max() <= x.sum(1).max()
    assert head.totals(2).tolist() == [pytest.approx(np.median(x.sum(1)))] * 2


def test_rows_with_gaps_tell_the_totals_of_whole_ones():
    draw = np.random.default_rng(1)
    share = np.array([0.05, 0.25, 0.3, 0.4])
    x = torch.from_numpy(draw.poisson(2000 * share, size=(4000, 4))).float()
    mask = torch.from_numpy(draw.random((4000, 4)) < 0.7)
    head = Counts(4, totals=True)
    head.fit(Data(SPEC, torch.where(mask, x, 0.0), mask=mask))
    assert float(head.totals(1)) == pytest.approx(2000, rel=0.02)
