"""Likelihoods against scipy and mpmath, by mass, integral, expectation and frequency."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from mpmath import mp, mpf
from torch import Tensor

from vaes.batch import Spec
from vaes.dist import LIKELIHOODS, likelihood_head
from vaes.dist.base import soft_clip
from vaes.dist.discrete import Bernoulli, BernoulliLikelihood, Categorical, CategoricalLikelihood
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, LOG_SCALE, Normal, NormalLikelihood
from vaes.dist.pixels import DiscretisedLogistic, Logistic

N = 1000
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
LEVELS = (2, 17, 256)


def agree(found: Tensor, expected: np.ndarray, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    error = np.abs(found.double().numpy() - expected) / np.maximum(1, np.abs(expected))
    assert error.max() <= TOLERANCE[dtype], error.max()


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers with both ends among them, float64."""
    draw = torch.Generator().manual_seed(seed)
    u = low + (high - low) * torch.rand(shape, generator=draw, dtype=torch.float64)
    u.view(-1)[:2] = torch.tensor([low, high])
    return u


def log_logistic_mass(k: int, loc: float, log_scale: float, n: int) -> float:
    """log of sigmoid(b) - sigmoid(a) with 60 digits, on the side where both are small."""
    scale = mp.exp(mpf(log_scale))
    a = mpf("-inf") if k == 0 else (mpf(k) / n - mpf(loc)) / scale
    b = mpf("inf") if k == n - 1 else (mpf(k + 1) / n - mpf(loc)) / scale
    if a > 0:
        a, b = -b, -a
    return float(mp.log(1 / (1 + mp.exp(-b)) - 1 / (1 + mp.exp(-a))))


@both
def test_bernoulli(dtype):
    logits = uniform(-50, 50, N).to(dtype)
    x = (uniform(0, 1, N, seed=1) < 0.5).to(dtype)
    expected = scipy.special.log_expit(((2 * x - 1) * logits).double().numpy())
    agree(BernoulliLikelihood(logits, 1).terms(x), expected, dtype)


@both
def test_categorical(dtype):
    logits = uniform(-50, 50, N, 7).to(dtype)
    x = torch.arange(N) % 7
    expected = scipy.special.log_softmax(logits.double().numpy(), -1)[np.arange(N), x]
    agree(CategoricalLikelihood(logits, 0).terms(x.to(dtype)), expected, dtype)


@both
def test_normal(dtype):
    mean, log_scale = uniform(-3, 3, N).to(dtype), uniform(-6, 3, N, seed=1).to(dtype)
    sigmas = uniform(-6, 6, N, seed=2)
    sigmas[-100:] = uniform(-1e6, 1e6, 100, seed=3)
    x = (mean + log_scale.exp() * sigmas).to(dtype)
    expected = scipy.stats.norm.logpdf(
        x.double().numpy(), mean.double().numpy(), np.exp(log_scale.double().numpy())
    )
    agree(NormalLikelihood(mean, log_scale, 1).terms(x), expected, dtype)


@pytest.mark.parametrize("n", LEVELS)
@both
def test_discretised_logistic(dtype, n):
    low, high = Logistic((1,), n).bounds
    loc, log_scale = uniform(-0.5, 1.5, N).to(dtype), uniform(low, high, N, seed=1).to(dtype)
    k = torch.arange(N) % n
    # every fourth location is near its own bin, where the mass is
    loc[::4] = ((k + uniform(-1, 2, N, seed=2)) / n)[::4].to(dtype)
    x = (k.double() / (n - 1)).to(dtype)
    with mp.workdps(60):
        expected = np.array([
            log_logistic_mass(int(i), float(m), float(s), n)
            for i, m, s in zip(k, loc, log_scale, strict=True)
        ])  # fmt: skip
    agree(DiscretisedLogistic(loc, log_scale, n, 1).terms(x), expected, dtype)


def test_discretised_logistic_constant():
    """P(76) of 256 levels at mu = .3, log s = -2; x = 76 / 255 on the grid, bins of width 1/256."""
    loc, log_scale = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    p = DiscretisedLogistic(loc, log_scale, 256, 1)
    log_p = p.log_prob(torch.tensor([76 / 255], dtype=torch.float64))
    assert log_p.exp().item() == pytest.approx(0.00721561460947, abs=1e-13)
    assert -log_p.item() / math.log(2) == pytest.approx(7.11466, abs=5e-6)


@pytest.mark.parametrize("n", LEVELS)
@both
def test_masses_sum_to_one(dtype, n):
    low, high = Logistic((1,), n).bounds
    loc, log_scale = uniform(-0.5, 1.5, N).to(dtype), uniform(low, high, N, seed=1).to(dtype)
    grid = (torch.arange(n) / (n - 1)).to(dtype).unsqueeze(1)
    codes = torch.arange(n).to(dtype).unsqueeze(1)
    families = [
        (DiscretisedLogistic(loc, log_scale, n, 0), grid),
        (CategoricalLikelihood(uniform(-50, 50, N, n, seed=2).to(dtype), 0), codes),
    ]
    if n == 2:
        families.append((BernoulliLikelihood(uniform(-50, 50, N).to(dtype), 0), codes))
    for p, x in families:
        mass = p.log_prob(x).double().exp().sum(0)
        assert (mass - 1).abs().max() < 1e-6, type(p)
        if not isinstance(p, CategoricalLikelihood):  # its mean is the mode: codes have no order
            brute = (p.log_prob(x).double().exp() * x).sum(0)
            assert (p.mean - brute).abs().max() < 2e-6
    mode = families[1][0]
    assert torch.equal(mode.mean, mode.log_prob(codes).argmax(0).to(dtype))


def test_normal_integrates_to_one():
    mean, log_scale = uniform(-3, 3, N), uniform(-6, 3, N, seed=1)
    t = torch.linspace(-12, 12, 2001, dtype=torch.float64).unsqueeze(1)
    p, x = NormalLikelihood(mean, log_scale, 0), mean + log_scale.exp() * t
    density = p.log_prob(x).exp()
    assert (torch.trapezoid(density, x, dim=0) - 1).abs().max() < 1e-4
    assert (torch.trapezoid(density * x, x, dim=0) - p.mean).abs().max() < 1e-4
    second = torch.trapezoid(density * (x - mean).square(), x, dim=0)
    assert (second / p.variance - 1).abs().max() < 1e-4


SPEC = Spec(
    (6,),
    ("real", "category", "binary", "pixel", "real", "category"),
    (0, 3, 2, 5, 0, 3),
)


@both
def test_columns(dtype):
    """One row of four kinds in mixed order: the joint is the sum of the columns' references."""
    torch.manual_seed(0)
    head = likelihood_head(SPEC).to(dtype)
    h = (4 * torch.randn(N, head.size, dtype=torch.float64)).to(dtype)
    x = torch.stack([torch.randn(N).double() if n == 0 else torch.randint(n, (N,)).double()
                     for n in SPEC.levels], 1)  # fmt: skip
    x[:, 3] /= 4
    x = x.to(dtype)
    real, category, binary, pixel = (t.double().numpy() for t in h.split(head.sizes, -1))
    y = x.double().numpy()
    expected = np.zeros((N, 6))
    scale = math.exp(soft_clip(torch.zeros(()).double(), *LIKELIHOOD_LOG_SCALE).item())
    expected[:, [0, 4]] = scipy.stats.norm.logpdf(y[:, [0, 4]], real, scale)
    # numbers of a categorical head are laid out level by level
    logits = scipy.special.log_softmax(category.reshape(N, 3, 2), 1)
    for i, column in enumerate((1, 5)):
        expected[:, column] = logits[np.arange(N), y[:, column].astype(int), i]
    expected[:, 2] = scipy.special.log_expit((2 * y[:, 2] - 1) * binary[:, 0])
    low, high = Logistic((1,), 5).bounds
    raw = soft_clip(torch.from_numpy(pixel[:, 1] - 1.5), low, high).numpy()
    expected[:, 3] = [
        log_logistic_mass(round(4 * k), 0.5 + m, s, 5)
        for k, m, s in zip(y[:, 3], pixel[:, 0], raw, strict=True)
    ]
    with torch.no_grad():
        agree(head(h).terms(x), expected, dtype)
        agree(head(h).log_prob(x), expected.sum(1), dtype)


def test_learned_scale_finds_the_residual():
    """sigma^2 = MSE = .46875 of (.5, -1, .25, .75); there the NLL is 4.160382729."""
    head = Normal((4,), "shared").double()
    residual = torch.tensor([0.5, -1, 0.25, 0.75], dtype=torch.float64)

    def nll(raw: float) -> float:
        head.log_scale.data.fill_(raw)
        return -head(torch.zeros(4).double()).log_prob(residual).item()

    found = scipy.optimize.minimize_scalar(nll, (-1, 1), tol=1e-10)
    assert found.fun == pytest.approx(4.160382729, abs=1e-9)
    assert head(torch.zeros(4).double()).variance[0].item() == pytest.approx(0.46875, abs=1e-6)


HEADS = {
    "bernoulli": (Bernoulli((2, 3)), 2),
    "categorical": (Categorical((2, 3), 4), 4),
    "normal shared": (Normal((2, 3), "shared"), 0),
    "normal entry": (Normal((2, 3), "entry"), 0),
    "normal network": (Normal((2, 3), "network"), 0),
    "normal fixed": (Normal((2, 3), 0.3), 0),
    "logistic 2": (Logistic((2, 3), 2), 2),
    "logistic 256": (Logistic((2, 3), 256), 256),
    "logistic entry": (Logistic((2, 3), 17, "entry"), 17),
    "logistic shared": (Logistic((2, 3), 17, "shared"), 17),
}
heads = pytest.mark.parametrize("name", HEADS)


def values(name: str, n: int, seed: int = 0) -> Tensor:
    """(n, 2, 3) in model space."""
    levels, draw = HEADS[name][1], torch.Generator().manual_seed(seed)
    if not levels:
        return torch.randn(n, 2, 3, generator=draw, dtype=torch.float64)
    code = torch.randint(levels, (n, 2, 3), generator=draw).double()
    return code if name == "categorical" else code / (levels - 1)


@heads
def test_gradients_against_differences(name):
    head, x = HEADS[name][0].double(), values(name, 2)
    h = torch.randn(2, head.size, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(lambda h: head(h).log_prob(x), h.requires_grad_())


@heads
@both
def test_gradients_are_finite_at_extremes(name, dtype):
    head, x = HEADS[name][0].to(dtype), values(name, N).to(dtype)
    for size in (50.0, 1e4, 1e9):
        h = (size * uniform(-1, 1, N, head.size)).to(dtype).requires_grad_()
        log_p = head(h).log_prob(x)
        (gradient,) = torch.autograd.grad(log_p.sum(), h)
        assert log_p.isfinite().all()
        assert gradient.isfinite().all()


@heads
def test_draws_follow_the_density(name):
    """Frequencies of levels, or mean and variance, within 4 standard errors."""
    head, n = HEADS[name][0].double(), 20_000
    h = torch.randn(1, head.size, generator=torch.Generator().manual_seed(2)).double()
    p, levels = head(h), HEADS[name][1]
    x = head(h.expand(n, -1)).draw(torch.Generator().manual_seed(3))
    if not levels:
        z = (x - p.mean) / p.variance.sqrt()
        assert (z.mean(0).abs() < 4 / math.sqrt(n)).all()
        assert ((z.square().mean(0) - 1).abs() < 4 * math.sqrt(2 / n)).all()
        return
    codes = torch.arange(levels, dtype=torch.float64).view(-1, 1, 1, 1)
    grid = codes if name == "categorical" else codes / (levels - 1)
    assert torch.isin(x.unique(), grid.flatten()).all()
    mass = torch.cat([p.terms(g.expand(1, 2, 3)) for g in grid]).exp()
    for power in (1, 2):
        mean = (mass * grid[:, 0] ** power).sum(0)
        variance = (mass * (grid[:, 0] ** power - mean).square()).sum(0)
        assert ((x**power).mean(0) - mean).abs().le(4 * (variance / n).sqrt() + 1e-12).all()


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e30, -7.0])
@heads
def test_masked_entries_say_nothing(name, garbage):
    """0 to the density and 0 to its gradient, whatever stands in the gap."""
    head, x = HEADS[name][0].double(), values(name, 5)
    mask = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(4)) < 0.5
    h = torch.randn(5, head.size, generator=torch.Generator().manual_seed(1)).double()
    whole = head(h.requires_grad_()).terms(x)
    found = head(h).terms(x.masked_fill(~mask, garbage), mask)
    assert torch.equal(found, torch.where(mask, whole, 0.0))
    expected = torch.autograd.grad((whole * mask).sum(), h)[0]
    assert torch.allclose(torch.autograd.grad(found.sum(), h)[0], expected, atol=1e-12)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_masked_columns_say_nothing(garbage):
    head = likelihood_head(SPEC).double()
    h = torch.randn(4, head.size).double().requires_grad_()
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(4)) < 0.5
    x = torch.zeros(4, 6).double()
    found = head(h).terms(x.masked_fill(~mask, garbage), mask)
    assert torch.equal(found, torch.where(mask, head(h).terms(x), 0.0))
    assert torch.autograd.grad(found.sum(), h)[0].isfinite().all()


@heads
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(name, half):
    head, x = HEADS[name][0].float(), values(name, 200).float()
    h = torch.randn(200, head.size, generator=torch.Generator().manual_seed(5)).to(half)
    found = head(h).log_prob(x).detach()
    agree(found, head.double()(h.double()).log_prob(x.double()).detach().numpy(), torch.float32)


@pytest.mark.parametrize("bounds", [LOG_SCALE, LIKELIHOOD_LOG_SCALE, Logistic((1,), 256).bounds])
@both
def test_soft_clip_rises_within_its_bounds(dtype, bounds):
    low, high = bounds
    x = torch.cat([-torch.logspace(38, 1, 500), torch.linspace(-10, 10, 2001)])
    x = torch.cat([x, -x.flip(0), torch.tensor([torch.inf])]).sort().values.to(dtype)
    y = soft_clip(x, low, high)
    eps = 1e-5 if dtype == torch.float32 else 1e-8
    assert y.min() >= low - eps
    assert y.max() <= high + eps
    assert y.diff().min() >= -eps
    assert y[-1].item() == pytest.approx(high, abs=eps)
    middle = (low + high) / 2
    assert soft_clip(torch.tensor(middle), low, high).item() == pytest.approx(middle, abs=0.03)


@pytest.mark.parametrize("kind", ["binary", "pixel", "category"])
@pytest.mark.parametrize("levels", [2, 5])
def test_every_family_of_a_kind_is_a_mass_on_its_alphabet(kind, levels):
    """Through the table that `--set likelihood=` reads: mass 1, draws and mean on the same places."""
    if kind == "binary" and levels > 2:
        return
    spec = Spec((3,), (kind,), (levels,))
    unit = 1 if kind == "category" else levels - 1
    places = torch.arange(levels, dtype=torch.float32) / unit
    for name in LIKELIHOODS[kind]:
        head = likelihood_head(spec, name)
        p = head(torch.randn(4, head.size, generator=torch.Generator().manual_seed(levels)))
        mass = torch.stack([p.terms(torch.full((4, 3), x.item())).exp() for x in places])
        assert (mass.sum(0) - 1).abs().max() < 1e-6, name
        drawn = p.draw(torch.Generator().manual_seed(1))
        assert torch.isin(drawn, places).all(), name
        if kind != "category":
            mean = (mass * places.view(-1, 1, 1)).sum(0)
            assert (p.mean - mean).abs().max() < 1e-5, name
