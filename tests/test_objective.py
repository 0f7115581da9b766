"""Bounds, gradients and units on linear-Gaussian problems, by formula and by quadrature."""

import math

import pytest
import torch
from torch import Tensor

from tests.fixtures import (
    GRAD_X,
    LG_DIAGONAL,
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_VAR,
    LG_W,
    LG_X,
    LinearGaussian,
    cube,
    grad_model,
    hermite,
    lg,
    linear_vae,
    star,
    step_of,
    unclip,
)
from vaes.batch import Batch, Spec
from vaes.dist.gaussian import LOG_SCALE
from vaes.errors import UsageError
from vaes.objective import Elbo, Iwae, draw, log_jacobian, log_weight, terms
from vaes.recipes import build

X = Batch(LG_X)
ZERO, ONE = torch.zeros(2).double(), torch.ones(2).double()
EXACT = lg(LG_MEAN, LG_TRIL)
DIAGONAL = lg(LG_MEAN, LG_DIAGONAL)
PRIOR = lg(ZERO, ONE)
SHIFTED = lg(LG_MEAN + 0.3, LG_DIAGONAL * math.sqrt(1.5))


def test_fixture_is_the_card():
    assert LG_MEAN.tolist() == pytest.approx([1.18484848, 1.28787879], abs=1e-8)
    assert LG_TRIL.flatten().tolist() == pytest.approx(
        [0.43344987, 0, 0.06991127, 0.29329423], abs=1e-8
    )
    assert LG_DIAGONAL.square().tolist() == pytest.approx([0.17777778, 0.08602151], abs=1e-8)


def test_exact_posterior_gives_a_constant_weight():
    """Also far out in the tails: log w is log p(x) for every z, for every row of x."""
    noise = 5 * torch.randn(200, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    for model in (EXACT, linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")):
        log_w = log_weight(model, X, noise=noise)
        assert (log_w - LG_EVIDENCE).abs().max() < 1e-9
    # the amortised one is exact for any x: N(mu, W W^T + v I)
    rows = 3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).double()
    covariance = LG_W @ LG_W.T + LG_VAR * torch.eye(5).double()
    marginal = torch.distributions.MultivariateNormal(LG_MU, covariance)
    log_w = log_weight(model, Batch(rows), noise=noise)
    assert (log_w - marginal.log_prob(rows)).abs().max() < 1e-9
    for k in (1, 2, 50):
        assert Iwae(k)(EXACT, X, step_of(noise[:k])).item() == pytest.approx(-LG_EVIDENCE)


@pytest.mark.parametrize(
    ("model", "reconstruction", "rate", "elbo"),
    [
        (EXACT, -4.963151620, 2.733200902, LG_EVIDENCE),
        (DIAGONAL, -4.970645918, 2.753337944, -7.723983861),
        (PRIOR, -23.986824715, 0.0, -23.986824715),
    ],
)
def test_elbo_terms(model, reconstruction, rate, elbo):
    for noise in (star(2), cube(2)):
        found = terms(model, X, noise)
        assert -found.distortion.item() == pytest.approx(reconstruction, abs=1e-9)
        assert found.rate.item() == pytest.approx(rate, abs=1e-9)
        assert found.rates.sum().item() == pytest.approx(rate, abs=1e-9)
        assert log_weight(model, X, noise=noise).mean().item() == pytest.approx(elbo, abs=1e-9)
        assert Elbo()(model, X, step_of(noise)).item() == pytest.approx(-elbo, abs=1e-9)


def test_log_joint_at_the_map():
    """log p(x, z) at the posterior's mean: -7.471671478."""
    found = draw(EXACT, X, torch.zeros(1, 1, 2).double())
    joint = (found.log_likelihood + found.log_prior).item()
    assert joint == pytest.approx(-7.471671478, abs=1e-9)


# K: (q = prior, best diagonal, mean + .3 with 1.5 x the variance); the reference's s.e. beside
IWAE = {
    1: (-23.986824715, -7.723983861, -8.4266),
    2: (-16.343, -7.7109, -8.0851),
    5: (-11.325, -7.7025, -7.8633),
    10: (-9.478, -7.6996, -7.7814),
    50: (-7.969, -7.6971, -7.7136),
    500: (-7.7185, -7.6965, -7.6980),
}
REFERENCE = (0.008, 0.0005, 0.0015)


@pytest.mark.parametrize("k", IWAE)
def test_importance_weighted_bounds(k):
    n = max(2000, 40_000 // k)
    rows = Batch(LG_X.expand(n, -1))
    noise = torch.randn(k, n, 2, generator=torch.Generator().manual_seed(k)).double()
    for model, expected, reference in zip(
        (PRIOR, DIAGONAL, SHIFTED), IWAE[k], REFERENCE, strict=True
    ):
        log_w = log_weight(model, rows, noise=noise)
        bound = log_w.logsumexp(0) - math.log(k)
        error = (bound.std() / math.sqrt(n)).item()
        assert abs(bound.mean().item() - expected) < 4 * math.hypot(error, reference), error
        assert Iwae(k)(model, rows, step_of(noise)).item() == pytest.approx(-bound.mean().item())


def test_bounds_are_ordered():
    """ELBO <= IWAE_5 <= IWAE_50 <= log p(x) on draws of their own, beyond 4 s.e."""
    n, means, errors = 20_000, [], []
    for k in (1, 5, 50):
        noise = torch.randn(k, n, 2, generator=torch.Generator().manual_seed(k)).double()
        log_w = log_weight(SHIFTED, Batch(LG_X.expand(n, -1)), noise=noise)
        bound = log_w.logsumexp(0) - math.log(k)
        means.append(bound.mean().item())
        errors.append(bound.std().item() / math.sqrt(n))
    assert means[0] + 4 * errors[0] < means[1] - 4 * errors[1]
    assert means[1] + 4 * errors[1] < means[2] - 4 * errors[2]
    assert means[2] - 4 * errors[2] < LG_EVIDENCE


def observed_model(columns: list[int]) -> LinearGaussian:
    """LG with q the exact posterior given only `columns`; its rows have gaps."""
    w, x = LG_W[columns], LG_X[0, columns] - LG_MU[columns]
    precision = torch.eye(2).double() + w.T @ w / LG_VAR
    tril = torch.linalg.cholesky(torch.linalg.inv(precision))
    return lg(torch.linalg.solve(precision, w.T @ x / LG_VAR), tril, spec=Spec((5,), missing=True))


def test_missing_entries_are_integrated_out():
    """log p(x1..3) = -4.862598629, and log p(x4, x5 | x1..3) = -2.833753893 is the rest."""
    mask = torch.tensor([[True, True, True, False, False]])
    batch = Batch(LG_X * mask, mask=mask)
    noise = torch.randn(20, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    log_w = log_weight(observed_model([0, 1, 2]), batch, noise=noise)
    assert (log_w + 4.862598629).abs().max() < 1e-9
    assert (LG_EVIDENCE - log_w + 2.833753893).abs().max() < 2e-9
    nothing = Batch(LG_X * 0, mask=torch.zeros(1, 5, dtype=torch.bool))
    assert log_weight(PRIOR, nothing, noise=noise).abs().max() < 1e-12


# --- gradients --------------------------------------------------------------------------------


def gradient(model: LinearGaussian, value: Tensor) -> tuple[float, float]:
    m, s = torch.autograd.grad(value, [model.loc, model.scale], retain_graph=True)
    return m.item(), s.item()


def test_elbo_gradient_and_its_variance():
    """d/dm = 1, d/ds = -.35; the pathwise gradient of one draw has variance 2.56 and 6.12."""
    model, (noise, weights) = grad_model(), hermite(20)
    log_w = log_weight(model, Batch(GRAD_X), noise=noise).squeeze(1)
    assert (weights @ log_w).item() == pytest.approx(-2.5320820845, abs=1e-10)
    per_draw = torch.tensor([gradient(model, w) for w in log_w]).double()
    mean = weights @ per_draw
    assert mean.tolist() == pytest.approx([1, -0.35], abs=1e-6)
    variance = weights @ (per_draw - mean).square()
    assert variance.tolist() == pytest.approx([2.56, 6.12], abs=1e-5)
    # the closed KL: the same expectation, another variance
    loss = Elbo()(model, Batch(GRAD_X), step_of(torch.tensor([-1.0, 1.0]).double().view(2, 1, 1)))
    assert gradient(model, -loss) == pytest.approx((1, -0.35), abs=1e-12)


def test_iwae_gradient():
    """Two draws over all pairs of 32 nodes: -2.3857187161, d/dm .50179881, d/ds .07940449."""
    nodes, weights = hermite(32)
    pairs = torch.cartesian_prod(nodes.flatten(), nodes.flatten()).T.unsqueeze(-1)
    weight = torch.outer(weights, weights).flatten()
    model = grad_model(Iwae(2))
    rows = Batch(GRAD_X.expand(len(weight), -1))
    bound = log_weight(model, rows, noise=pairs).logsumexp(0) - math.log(2)
    assert (weight @ bound).item() == pytest.approx(-2.3857187161, abs=1e-7)
    expected = (0.50179881, 0.07940449)
    assert gradient(model, weight @ bound) == pytest.approx(expected, abs=1e-6)
    # and the objective itself, one pair at a time, where pairs weigh anything
    total = torch.zeros((), dtype=torch.float64)
    for pair, w in zip(pairs.unbind(1), weight, strict=True):
        if w > 1e-9:
            total = total - w * model.losses(Batch(GRAD_X), step_of(pair.unsqueeze(1)))["model"]
    assert gradient(model, total) == pytest.approx(expected, abs=1e-6)


# --- the weights of the rate ------------------------------------------------------------------


def test_elbo_objective_by_hand():
    """Distortion 4.970645918, rate 2.753337944 = sum of two dimensions' rates."""
    d, r, step = 4.970645918, 2.753337944, step_of(star(2))
    loss = lambda objective, step=step: objective(DIAGONAL, X, step).item()  # noqa: E731
    assert loss(Elbo(beta=4)) == pytest.approx(d + 4 * r)
    assert loss(Elbo(beta=0)) == pytest.approx(d)
    for fraction, weight in ((0.0, 0), (0.05, 0.25), (0.2, 1), (0.7, 1)):
        at = step_of(star(2), fraction)
        assert loss(Elbo(warmup=0.2), at) == pytest.approx(d + weight * r)
        assert loss(Elbo(beta=3, warmup=0.2), at) == pytest.approx(d + 3 * weight * r)
        capacity = Elbo(capacity=5.0, gamma=10.0)
        assert loss(capacity, at) == pytest.approx(d + 10 * abs(r - 5 * fraction), rel=1e-6)


def test_free_bits_by_hand():
    """Two rows, two dimensions: the mean over the batch is clipped, each dimension by itself.

    Means +-1 and .1, variances 1: rates (.5, .005) of both rows; with .2 nats free .5 + .2.
    """
    torch.manual_seed(0)
    options = {"latent": 2, "hidden": (), "warmup": 0.0, "free_bits": 0.2}
    model = build("vae", Spec((3,)), **options).double()
    with torch.no_grad():
        model.encoder.last.weight.zero_()
        model.encoder.last.weight[0, 0] = 1.0
        raw = unclip(ZERO, *LOG_SCALE)  # log-scale exactly 0
        model.encoder.last.bias.copy_(torch.cat([torch.tensor([0, 0.1]).double(), raw]))
    batch = Batch(torch.tensor([[1, 0, 0], [-1, 0, 0]]).double())
    found = terms(model, batch, star(2))
    assert found.rates.flatten().tolist() == pytest.approx([0.5, 0.005, 0.5, 0.005], abs=1e-9)
    d, step = found.distortion.mean().item(), step_of(star(2))
    assert model.losses(batch, step)["model"].item() == pytest.approx(d + 0.7)
    assert Elbo(free_bits=0.6)(model, batch, step).item() == pytest.approx(d + 1.2)
    # the mean over the batch, not each row: rates .5 and 0 of the first dimension average to .25
    uneven = Batch(torch.tensor([[1, 0, 0], [0, 0, 0]]).double())
    d = terms(model, uneven, star(2)).distortion.mean().item()
    assert Elbo(free_bits=0.2)(model, uneven, step).item() == pytest.approx(d + 0.25 + 0.2)
    # a family that does not split is one group of 2 x .2 nats
    whole = terms(EXACT, X, star(2))
    assert Elbo(free_bits=2.0)(EXACT, X, step).item() == pytest.approx(
        whole.distortion.item() + 4.0
    )


@pytest.mark.parametrize("wrong", [{"beta": -1}, {"warmup": 1.5}, {"free_bits": -1},
                                   {"capacity": -1}, {"samples": 0}])  # fmt: skip
def test_impossible_weights(wrong):
    with pytest.raises(UsageError):
        Elbo(**wrong)


# --- units ------------------------------------------------------------------------------------


def test_other_units_shift_the_density_by_the_jacobian():
    """x in metres or in millimetres: log p changes by -sum log scale over what was observed."""
    scale = (1.0, 10.0, 0.5, 3.0, 7.0)
    logs = torch.tensor(scale, dtype=torch.float64).log()
    other = lg(LG_MEAN, LG_TRIL, spec=Spec((5,), shift=(1.0,) * 5, scale=scale))
    noise = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    shift = log_weight(other, X, noise=noise) - log_weight(EXACT, X, noise=noise)
    assert (shift + logs.sum()).abs().max() < 1e-12
    mask = torch.tensor([[True, False, True, True, False], [False, True, False, False, False]])
    rows = Batch(LG_X.expand(2, -1) * mask, mask=mask)
    shift = log_weight(other, rows, noise=noise) - log_weight(EXACT, rows, noise=noise)
    assert (shift + mask.double() @ logs).abs().max() < 1e-12
    # the density of the user's own numbers: N(shift + scale m, scale^2 C)
    affine = torch.diag(logs.exp())
    theirs = torch.distributions.MultivariateNormal(
        1 + affine @ LG_MU, affine @ (LG_W @ LG_W.T + LG_VAR * torch.eye(5)) @ affine
    )
    found = log_weight(other, X, noise=noise)
    assert (found - theirs.log_prob(1 + LG_X @ affine)).abs().max() < 1e-10


def test_discrete_entries_have_no_jacobian():
    spec = Spec((3,), ("real", "pixel", "binary"), (0, 5, 2), scale=(2.0, 3.0, 4.0))
    model = build("vae", spec, latent=2, hidden=())
    found = log_jacobian(model, Batch(torch.zeros(1, 3).double()))
    assert found.item() == pytest.approx(-math.log(2))


def test_noise_of_a_step_is_a_function_of_seed_and_step():
    model = build("iwae", Spec((3,)), samples=5, latent=2)
    like = torch.zeros(1)
    first = model.noise(4000, seed=1, step=7, like=like)
    assert torch.equal(first, model.noise(4000, seed=1, step=7, like=like))
    for seed, step in ((1, 8), (2, 7), (7, 1)):
        other = model.noise(4000, seed=seed, step=step, like=like)
        assert (first * other).mean().abs() < 4 / math.sqrt(first.numel())
    assert first.mean().abs() < 4 / math.sqrt(first.numel())
    assert (first.square().mean() - 1).abs() < 4 * math.sqrt(2 / first.numel())
