"""Families of likelihoods by name: mass, integral, references of scipy, moments of draws, gaps."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist import likelihood_head
from vaes.dist.bounded import ContinuousBernoulli, TruncatedNormal, log_normaliser
from vaes.dist.heavy import LaplaceLikelihood, StudentLikelihood
from vaes.dist.joint import FullNormalLikelihood
from vaes.dist.ordinal import OrdinalLikelihood
from vaes.dist.pixel_normal import DiscretisedNormal
from vaes.errors import UsageError

N = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0, low: float = -3, high: float = 3) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator(seed), dtype=torch.float64)


REAL = Spec((4,), shift=(1.0, 2.0, 0.0, 1.0), scale=(1.0, 0.5, 2.0, 3.0))
PIXELS, COLOUR = Spec((1, 2, 3), ("pixel",), (5,)), Spec((3, 2, 2), ("pixel",), (4,))
FLAT, COUNTS = Spec((4,), ("pixel",), (5,)), Spec((4,), ("count",), (0,))
RANGE = {"low": -20.0, "high": 30.0}
HEADS = {  # family, its options, rows of some kind, scale
    "laplace": ("laplace", {}, REAL, None),
    "laplace network": ("laplace", {}, REAL, "network"),
    "student": ("student", {"df": "entry"}, REAL, None),
    "student fixed": ("student", {"df": 5.0}, REAL, 0.7),
    "full_normal": ("full_normal", {}, REAL, None),
    "structured": ("structured", {}, REAL, None),
    "continuous_bernoulli": ("continuous_bernoulli", RANGE, REAL, None),
    "truncated": ("truncated", RANGE, REAL, "network"),
    "normal of pixels": ("normal", {}, PIXELS, None),
    "normal of pixels, shared": ("normal", {}, PIXELS, "shared"),
    "logistic_mixture": ("logistic_mixture", {"components": 3}, PIXELS, None),
    "logistic_mixture of colours": ("logistic_mixture", {"components": 2}, COLOUR, None),
    "logistic_mixture of columns": ("logistic_mixture", {}, FLAT, None),
    "ordinal": ("ordinal", {}, FLAT, None),
    "ordinal of an image": ("ordinal", {}, PIXELS, None),
    "zero-inflated Poisson": ("zero_inflated_poisson", {}, COUNTS, None),
    "zero-inflated binomial": ("zero_inflated_negative_binomial", {}, COUNTS, "network"),
}
heads = pytest.mark.parametrize("name", HEADS)


def head(name: str, dtype: torch.dtype = torch.float64) -> tuple[torch.nn.Module, Spec]:
    """The head, its own weights moved from where they start."""
    family, options, spec, scale = HEADS[name]
    found = likelihood_head(spec, {"name": family, **options}, scale).to(dtype)
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator(9)).to(dtype))
    return found, spec


def rows(spec: Spec, n: int, seed: int = 1) -> Tensor:
    if spec.kinds[0] == "count":
        return torch.randint(6, (n, *spec.shape), generator=generator(seed)).double()
    if spec.levels[0]:
        levels = spec.levels[0]
        codes = torch.randint(levels, (n, *spec.shape), generator=generator(seed))
        return codes.double() / (levels - 1)
    return numbers(n, *spec.shape, seed=seed, low=-1.5, high=1.5)


@heads
def test_gradients_against_differences(name):
    made, spec = head(name)
    x, h = rows(spec, 2), numbers(2, made.size, low=-1, high=1)
    assert torch.autograd.gradcheck(lambda h: made(h).log_prob(x), h.requires_grad_())
    loss = -made(h).log_prob(x).sum()
    found = torch.autograd.grad(loss, [*made.parameters()]) if [*made.parameters()] else ()
    assert all(g.isfinite().all() and g.any() for g in found)


@heads
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_finite(name, dtype):
    made, spec = head(name, dtype)
    x = rows(spec, 200).to(dtype)
    for size in (50.0, 1e4):
        h = (size * numbers(200, made.size, low=-1, high=1)).to(dtype).requires_grad_()
        log_p = made(h).log_prob(x)
        assert log_p.dtype == dtype
        assert log_p.isfinite().all()
        assert torch.autograd.grad(log_p.sum(), h)[0].isfinite().all()


@heads
def test_a_gap_tells_nothing(name):
    """What stands in a gap reaches no term, gaps score 0, and what is filled in leaves the rest."""
    made, spec = head(name)
    x, h = rows(spec, 6), numbers(6, made.size, low=-1, high=1)
    mask = torch.rand(x.shape, generator=generator(3)) < 0.6
    p, other = made(h), torch.where(mask, x, torch.full_like(x, torch.nan))
    found = p.terms(x, mask)
    assert torch.equal(found, p.terms(other, mask))
    assert not found[~mask].any()
    whole = p.complete(other, mask, generator(4))
    assert torch.equal(whole[mask], x[mask])
    assert whole.isfinite().all()
    expected = p.expected(other, mask)
    if expected is not None:
        assert torch.equal(expected[mask], x[mask])
        assert expected.isfinite().all()
    everything = torch.ones_like(mask)
    assert torch.allclose(p.terms(x, everything).sum(), p.terms(x).sum())


@heads
def test_draws_follow_the_density(name):
    """Mean and variance of draws, or the frequencies of levels and small counts, within 4.5
    standard errors of what the density says."""
    made, spec = head(name)
    h = numbers(1, made.size, seed=5, low=-1, high=1)
    p, x = made(h), made(h.expand(N, -1)).draw(generator(6)).flatten(1)
    if spec.kinds[0] == "real":
        if name.startswith(("continuous", "truncated")):
            first, second = by_quadrature(p)
        else:
            first, second = p.mean[0].flatten(), p.variance[0].flatten()
        assert ((x.mean(0) - first).abs() < 4.5 * (second / N).sqrt()).all()
        spread = (x - first).square()
        assert ((spread.mean(0) - second).abs() < 4.5 * spread.std(0) / math.sqrt(N)).all()
        assert torch.allclose(p.mean[0].flatten(), first, atol=1e-6)
        return
    if spec is COLOUR:
        return  # its channels depend on one another: below
    n = spec.levels[0] or 40
    values = torch.arange(n, dtype=torch.float64) / (spec.levels[0] - 1 if spec.levels[0] else 1)
    one = torch.stack([p.terms(v.expand(1, *spec.shape))[0].flatten() for v in values]).exp()
    if spec.levels[0]:
        assert torch.allclose(one.sum(0), torch.ones(spec.size).double(), atol=1e-9)
        assert torch.allclose(p.mean[0].flatten(), (one * values.unsqueeze(1)).sum(0), atol=1e-9)
    share = torch.stack([(x == v).double().mean(0) for v in values])
    error = (one * (1 - one) / N).sqrt()
    assert ((share - one).abs() <= 4.5 * error + 1e-4).all()


def by_quadrature(p) -> tuple[Tensor, Tensor]:
    """Mean and variance of each entry from its density over its range; the mass must be 1."""
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64).unsqueeze(1)
    x = p.low + p.width * t
    density = p.terms(x).exp()
    mass = torch.trapezoid(density, x, dim=0)
    assert torch.allclose(mass, torch.ones_like(mass), atol=1e-5)
    mean = torch.trapezoid(density * x, x, dim=0)
    return mean, torch.trapezoid(density * (x - mean).square(), x, dim=0)


def test_laplace_and_student_are_those_of_scipy():
    loc, log_scale = numbers(1000), numbers(1000, seed=1)
    log_df, scale = numbers(1000, seed=2, low=0.01, high=6.9), log_scale.exp()
    x = loc + scale * numbers(1000, seed=3, low=-50, high=50)
    expected = scipy.stats.laplace.logpdf(x.numpy(), loc.numpy(), scale.numpy())
    assert np.allclose(LaplaceLikelihood(loc, log_scale, 1).terms(x), expected, atol=1e-10)
    expected = scipy.stats.t.logpdf(*(v.numpy() for v in (x, log_df.exp(), loc, scale)))
    found = StudentLikelihood(loc, log_scale, log_df, 1)
    assert np.allclose(found.terms(x), expected, atol=1e-9)
    expected = scipy.stats.t.var(log_df.exp().numpy(), 0, scale.numpy())
    assert np.allclose(found.variance, expected)


def test_student_finds_its_degrees_of_freedom():
    """Rows of Student's t with 3: the maximum over df, at the true scale, is within .3 of it."""
    x = torch.from_numpy(scipy.stats.t.rvs(3, size=20_000, random_state=0))
    zero, grid = torch.zeros(()).double(), torch.linspace(2, 5, 61).double()
    scores = [StudentLikelihood(0 * x, zero, df.log(), 1).log_prob(x).item() for df in grid]
    assert grid[int(np.argmax(scores))].item() == pytest.approx(3, abs=0.3)


def test_continuous_bernoulli_constant():
    """C(.2) = 2.3104906, C(1/2) = 2, and the series meets the closed form where they part."""
    logit = torch.tensor([math.log(0.2 / 0.8), 0.0, 0.049999999, 0.050000001], dtype=torch.float64)
    c = log_normaliser(logit).exp()
    assert c[0].item() == pytest.approx(2.3104906, abs=5e-8)
    assert c[1].item() == 2.0
    lam = logit[2:].sigmoid().numpy()
    assert np.allclose(c[2:], 2 * np.arctanh(1 - 2 * lam) / (1 - 2 * lam), rtol=1e-12)
    p = ContinuousBernoulli(logit[:1], torch.zeros(1), torch.ones(1), 0)
    density = 2.3104906018664844 * 0.2**0.3 * 0.8**0.7
    assert p.log_prob(torch.tensor([0.3]).double()).exp().item() == pytest.approx(density)
    # in the user's units: a range ten times as wide has a tenth of the density
    wide = ContinuousBernoulli(logit[:1], torch.zeros(1), 10 * torch.ones(1).double(), 0)
    assert wide.log_prob(torch.tensor([3.0]).double()).exp().item() == pytest.approx(density / 10)
    assert wide.log_prob(torch.tensor([11.0]).double()).item() == -math.inf


def test_truncated_normal_is_that_of_scipy():
    loc, log_scale = numbers(1000, low=-4, high=5), numbers(1000, seed=1, low=-3, high=2)
    low, width = torch.full((), -1.0).double(), torch.full((), 3.0).double()
    p = TruncatedNormal(loc, log_scale, low, width, 1)
    x, m, s = numbers(1000, seed=2, low=-1, high=2), loc.numpy(), log_scale.exp().numpy()
    reference = scipy.stats.truncnorm((-1 - m) / s, (2 - m) / s, m, s)
    assert np.allclose(p.terms(x), reference.logpdf(x.numpy()), atol=1e-8)
    assert np.allclose(p.mean, reference.mean(), atol=1e-6)
    u = reference.cdf(p.draw(generator(7)).numpy())
    assert scipy.stats.kstest(u, "uniform").pvalue > 0.001


def test_a_range_that_the_rows_leave_is_one_line():
    spec = Spec((2,), shift=(1.0, 1.0), scale=(2.0, 2.0))
    made = likelihood_head(spec, {"name": "continuous_bernoulli", "low": 0.0, "high": 3.0})
    within = torch.tensor([[-0.5, 0.0], [1.0, 1.0]])  # 0 to 3 in the user's units
    made.range.fit(Data(spec, within))
    with pytest.raises(UsageError, match="beyond 0 to 3"):
        made.range.fit(Data(spec, within + 0.1))
    with pytest.raises(UsageError, match="low below high"):
        likelihood_head(spec, {"name": "truncated", "low": 3.0, "high": 3.0})
    with pytest.raises(UsageError, match="needs low"):
        likelihood_head(spec, "truncated")


def test_discretised_normal_is_the_mass_of_its_cell():
    """And sums to 1 however narrow or wide it is; sigma = 1 over 256 levels, as 8 bits have."""
    loc, log_scale = numbers(500, low=-0.5, high=1.5), numbers(500, seed=1, low=-8, high=3)
    for dtype, bar in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        p = DiscretisedNormal(loc.to(dtype), log_scale.to(dtype), 256, 0)
        grid = (torch.arange(256) / 255).to(dtype).unsqueeze(1)
        mass = p.log_prob(grid).double().exp().sum(0)
        assert (mass - 1).abs().max() < bar
    p = DiscretisedNormal(torch.tensor([0.3]).double(), torch.zeros(1).double(), 256, 1)
    cell = scipy.stats.norm.cdf(77 / 256 - 0.3) - scipy.stats.norm.cdf(76 / 256 - 0.3)
    found = p.log_prob(torch.tensor([76 / 255]).double())
    assert found.item() == pytest.approx(math.log(cell), abs=1e-9)


def test_ordinal_levels_have_the_mass_between_their_cuts():
    cuts = torch.tensor([[-1.0, 0.5, 2.0]], dtype=torch.float64)
    p = OrdinalLikelihood(torch.tensor([[0.4]], dtype=torch.float64), cuts, 1)
    edges = scipy.special.expit(np.array([-np.inf, -1.4, 0.1, 1.6, np.inf]))
    found = [p.log_prob(torch.tensor([[k / 3]]).double()).exp().item() for k in range(4)]
    assert found == pytest.approx(np.diff(edges).tolist(), abs=1e-12)


def test_zeros_of_their_own():
    """pi = 1/4 beside a Poisson of mean 2: P(0) = 1/4 + 3/4 e^-2, mean 1.5, variance
    3/4 (2 + 1/4 * 4) = 2.25; totals reach the counts beneath."""
    made = likelihood_head(Spec((1,), ("count",), (0,)), "zero_inflated_poisson").double()
    h = torch.tensor([[math.log(2), math.log(1 / 3) + 2.0]]).double()
    p = made(h)
    zero = p.log_prob(torch.zeros(1, 1).double()).exp().item()
    assert zero == pytest.approx(0.25 + 0.75 * math.exp(-2), abs=1e-4)
    assert p.mean.item() == pytest.approx(1.5, abs=1e-3)
    assert p.variance.item() == pytest.approx(2.25, abs=1e-2)
    spec = Spec((2,), ("count",), (0,), totals=True)
    made = likelihood_head(spec, "zero_inflated_poisson").double()
    batch = Batch(torch.zeros(1, 2).double(), total=torch.tensor([8.0]).double())
    p = made(torch.tensor([[0.0, 0.0, 2.0, 2.0]]).double()).given(batch)
    assert p.mean[0].tolist() == pytest.approx([2.0, 2.0], abs=1e-3)


LG_COVARIANCE = torch.tensor(
    [[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 0.8]], dtype=torch.float64
)


def test_full_normal_marginalises_and_conditions():
    """Against scipy's joint, marginal, and the textbook's conditional."""
    tril, mean = torch.linalg.cholesky(LG_COVARIANCE), torch.tensor([[0.5, -1.0, 2.0]]).double()
    p, x = FullNormalLikelihood(mean, tril), torch.tensor([[1.0, 0.3, -0.7]], dtype=torch.float64)
    sigma = LG_COVARIANCE.numpy()
    joint = scipy.stats.multivariate_normal(mean[0].numpy(), sigma)
    assert p.log_prob(x).item() == pytest.approx(joint.logpdf(x[0].numpy()), abs=1e-12)
    mask = torch.tensor([[True, False, True]])
    part = scipy.stats.multivariate_normal([0.5, 2.0], sigma[np.ix_([0, 2], [0, 2])])
    assert p.log_prob(x, mask).item() == pytest.approx(part.logpdf([1.0, -0.7]), abs=1e-12)
    gain = sigma[1, [0, 2]] @ np.linalg.inv(sigma[np.ix_([0, 2], [0, 2])])
    given, rest = -1 + gain @ [0.5, -2.7], sigma[1, 1] - gain @ sigma[[0, 2], 1]
    assert p.expected(x, mask)[0, 1].item() == pytest.approx(given, abs=1e-12)
    many = FullNormalLikelihood(mean.expand(N, -1), tril)
    drawn = many.complete(x.expand(N, -1), mask.expand(N, -1), generator())[:, 1]
    assert drawn.mean().item() == pytest.approx(given, abs=4.5 * math.sqrt(rest / N))
    assert drawn.var().item() == pytest.approx(rest, rel=4.5 * math.sqrt(2 / N))
    every = many.draw(generator(1))
    assert np.allclose(np.cov(every.T), sigma, atol=0.07)


def test_colours_sum_to_one_together():
    """A mixture over 2 x 1 pixels of three channels of three levels: the 27 colours of a pixel have
    mass 1, draws have their frequencies, and a channel does depend on the one before."""
    spec = Spec((3, 2, 1), ("pixel",), (3,))
    made = likelihood_head(spec, {"name": "logistic_mixture", "components": 2}).double()
    p = made(numbers(1, made.size, seed=2, low=-1, high=1))
    levels = torch.tensor([0.0, 0.5, 1.0]).double()
    colours = torch.cartesian_prod(levels, levels, levels)  # (27, 3)
    x = colours.view(27, 3, 1, 1).expand(27, 3, 2, 1)
    mass = p.terms(x).sum(-3).exp().squeeze(-1)  # of either pixel
    assert torch.allclose(mass.sum(0), torch.ones(2).double(), atol=1e-12)
    drawn = made(numbers(1, made.size, seed=2, low=-1, high=1).expand(N, -1)).draw(generator())
    code = (drawn[:, :, 0, 0] * 2 * torch.tensor([9, 3, 1])).sum(1).long()
    share = torch.bincount(code, minlength=27).double() / N
    error = (mass[:, 0] * (1 - mass[:, 0]) / N).sqrt()
    assert ((share - mass[:, 0]).abs() < 4.5 * error).all()
    joint = mass[:, 0].view(3, 3, 3).sum(2)
    apart = joint.sum(1, keepdim=True) * joint.sum(0)
    assert (joint - apart).abs().max() > 0.005


def test_what_a_family_does_not_take_is_one_line():
    for spec, part, said in (
        (Spec((1, 2, 2)), "full_normal", "images take structured"),
        (PIXELS, {"name": "logistic_mixture", "components": 0}, "one component or more"),
        (REAL, {"name": "student", "df": 1.0}, "above 1"),
        (REAL, {"name": "structured", "neighbourhood": 2}, "odd"),
    ):
        with pytest.raises(UsageError, match=said):
            likelihood_head(spec, part)
    with pytest.raises(UsageError, match="must be positive"):
        likelihood_head(REAL, "laplace", -1.0)
