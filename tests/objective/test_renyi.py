"""Renyi and chi bounds on F-GRAD, against formulas and quadrature."""

import math

import pytest
import torch

from tests.fixtures import step_of
from tests.objective.grad import EVIDENCE, GENERATOR, RECOGNISER, Grid, M, S, X, by_hand, gradients
from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.objective import Iwae
from vaes.objective.importance import Dreg
from vaes.objective.renyi import Chi, Renyi


def log_moment(power, m=M, s=S):
    """1/s log E_q w^s of F-GRAD, q = N(m, s^2): a Gaussian integral, since p(z, x) is
    c exp(-(z-1)^2) with c = exp(log p(x)) / sqrt(pi)."""
    log_c = EVIDENCE - 0.5 * math.log(math.pi)
    log_q = -0.5 * math.log(2 * math.pi) - math.log(s)
    a = 2 * power + (1 - power) / s**2  # precision
    b = 2 * power + (1 - power) * m / s**2
    c = 2 * power + (1 - power) * m**2 / s**2
    integral = 0.5 * math.log(2 * math.pi / a) + 0.5 * (b * b / a - c)
    return (power * log_c + (1 - power) * log_q + integral) / power


def value(objective, k, n):
    noise = torch.randn(k, n, 1, generator=torch.Generator().manual_seed(1)).double()
    model = Grid(n, objective)
    return {p: v.item() for p, v in losses(model, n, noise).items()}


def losses(model, n, noise):
    with torch.no_grad():
        return model.losses(Batch(torch.full((n, 1), X).double()), step_of(noise))


def test_the_closed_form_is_the_evidence_at_one():
    assert log_moment(1.0) == pytest.approx(EVIDENCE, abs=1e-9)
    assert log_moment(1e-6) == pytest.approx(-2.5320820845, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 0.2, -0.5])
def test_many_draws_give_the_integral(alpha):
    """A lower bound for alpha > 0, an upper one below 0."""
    found = -value(Renyi(20_000, alpha), 20_000, 10)["model"]
    exact = log_moment(1 - alpha)
    assert found == pytest.approx(exact, abs=0.01)
    assert (exact < EVIDENCE) == (alpha > 0)


@pytest.mark.parametrize("doubly", [False, True])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_values_of_two_draws(alpha, doubly):
    noise, _, log_w, _ = by_hand(2)
    w = log_w.exp()
    by_mean = w.log().mean(0) if alpha == 1 else (w ** (1 - alpha)).mean(0).log() / (1 - alpha)
    for i in (3, 800, 1500):
        model = Grid(1, Renyi(2, alpha, doubly))
        found = losses(model, 1, noise[:, i].view(2, 1, 1))["model"].item()
        assert found == pytest.approx(-by_mean[i].item(), abs=1e-9)


def test_limits_and_order():
    """alpha = 1 is the ELBO, 0 the importance-weighted bound; the bound falls as alpha rises."""
    for limit, other in (
        (Renyi(2, 1.0), Iwae(1)),
        (Renyi(2, 0.0), Iwae(2)),
        (Renyi(2, 0.0, True), Dreg(2)),
    ):
        mine, theirs = gradients(limit, 2), gradients(other, other.samples)
        for name in (*RECOGNISER, *GENERATOR):
            assert mine[name][0] == pytest.approx(theirs[name][0], abs=1e-8)
    values = [
        -value(Renyi(5, a), 5, 50)["model"] for a in (-2.0, -0.5, 0.0, 0.5, 1.0 - 1e-9, 1.0, 3.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[4] == pytest.approx(values[5], abs=1e-6)
    assert gradients(Renyi(1, 1.0), 1)["loc"] == pytest.approx((1.0, 2.56), abs=1e-6)


@pytest.mark.parametrize("alpha", [-1.0, 0.5, 2.0])
def test_the_doubly_reparameterised_gradient_has_the_same_mean(alpha):
    plain, doubly = gradients(Renyi(2, alpha), 2), gradients(Renyi(2, alpha, True), 2)
    for name in RECOGNISER:
        assert doubly[name][0] == pytest.approx(plain[name][0], abs=1e-6)
        assert doubly[name][1] < 0.3 * plain[name][1]
    assert doubly["shift"] == pytest.approx(plain["shift"], abs=1e-9)
    exact = gradients(Renyi(2, alpha, True), 2, 1.0, math.sqrt(0.5))
    for name in RECOGNISER:
        assert exact[name] == pytest.approx((0.0, 0.0), abs=1e-12)


def test_chi_bounds_the_evidence_from_above():
    """CUBO_2 of q = N(.5, .8^2) by the integral, of the posterior log p(x)."""
    found = value(Chi(20_000), 20_000, 10)
    assert found["recogniser"] == pytest.approx(log_moment(2.0), abs=0.01)
    assert log_moment(2.0) > EVIDENCE
    assert log_moment(3.0) > log_moment(2.0)
    assert -found["generator"] == pytest.approx(EVIDENCE, abs=0.01)
    exact = Grid(4, Chi(8), 1.0, math.sqrt(0.5))
    noise = torch.randn(8, 4, 1, generator=torch.Generator().manual_seed(0)).double()
    assert losses(exact, 4, noise)["recogniser"].item() == pytest.approx(EVIDENCE, abs=1e-9)


@pytest.mark.parametrize("order", [1.5, 2.0])
def test_chi_moves_the_encoder_down_the_upper_bound(order):
    """Many draws give the derivative of the integral in q's mean; the decoder's gradient is that of
    the importance-weighted bound."""
    n, k = 20, 20_000
    noise = torch.randn(k, n, 1, generator=torch.Generator().manual_seed(2)).double()
    model = Grid(n, Chi(k, order))
    loss = model.losses(Batch(torch.full((n, 1), X).double()), step_of(noise))["recogniser"]
    slopes = [g.sum().item() for g in torch.autograd.grad(loss, [model.loc, model.scale])]
    h = 1e-5
    for slope, m, s in ((slopes[0], h, 0.0), (slopes[1], 0.0, h)):
        up, down = log_moment(order, M + m, S + s), log_moment(order, M - m, S - s)
        assert slope == pytest.approx((up - down) / (2 * h), abs=0.02)
    assert gradients(Chi(2, order), 2)["shift"] == pytest.approx(
        gradients(Iwae(2), 2)["shift"], abs=1e-9
    )
    for name in RECOGNISER:
        exact = gradients(Chi(2, order), 2, 1.0, math.sqrt(0.5))
        assert exact[name] == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_wider_q_where_the_posterior_is_wider():
    """From a q that is too narrow chi widens with more force than the ELBO, and stops at the
    posterior, N(1, 1/2)."""
    model = Grid(1, Chi(200), 0.0, 0.3)
    adam = torch.optim.Adam([model.loc, model.scale], 0.02)
    x, draw = Batch(torch.full((1, 1), X).double()), torch.Generator().manual_seed(0)
    for _ in range(600):
        noise = torch.randn(200, 1, 1, generator=draw).double()
        adam.zero_grad()
        model.losses(x, step_of(noise))["recogniser"].backward()
        adam.step()
    assert model.loc.item() == pytest.approx(1.0, abs=0.01)
    assert model.scale.item() == pytest.approx(math.sqrt(0.5), abs=0.01)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Renyi(5, math.inf), "alpha=inf"),
        (lambda: Renyi(1, 0.5), "samples=1: of one draw every alpha is the ELBO"),
        (lambda: Chi(1), "samples=1"),
        (lambda: Chi(5, 1.0), "order=1.0: an upper bound"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()
