"""Concrete and straight-through on F-DISC, by grids over the noise and by enumeration."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.distributions import kl_divergence

from tests.fixtures import grad_model, step_of
from tests.objective.disc import LOGITS, Disc, estimates, exact, rows, tuples
from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.objective.relaxed import Concrete, StraightThrough


def grid(n: int) -> torch.Tensor:
    """n^3 points that are evenly spread over the cube of uniform noise, as normal noise."""
    points = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    return torch.cartesian_prod(points, points, points).unsqueeze(0)


def at(temperature: float, kind: Any = Concrete, **options):
    return kind(temperature=temperature, floor=temperature, **options)


def error_and_variance(objective) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the encoder's gradient, per logit: |mean - gradient of the ELBO|, and its variance."""
    g = estimates(objective, grid(48))["logits"]
    return (g.mean(0) - exact(1)["logits"]).abs(), g.var(0)


def test_concrete_is_biased_and_the_less_the_colder_at_the_price_of_variance():
    warm, cold = error_and_variance(at(1.0)), error_and_variance(at(0.1))
    assert warm[0].max() > 0.05
    assert cold[0].max() < 0.3 * warm[0].max()
    assert (cold[1] > 2 * warm[1]).all()


def test_straight_through_is_biased_for_the_encoder_alone():
    """Decoder and prior: the mean over all draws is the gradient of the ELBO, to 1e-10."""
    bias, _ = error_and_variance(at(1.0, StraightThrough))
    assert bias.max() > 0.05
    noise, weight = tuples(1)
    found, truth = estimates(at(1.0, StraightThrough), noise / 4), exact(1)
    for name in ("weight", "prior_logits"):
        mean = (weight.unsqueeze(-1) * found[name]).sum(0)
        assert (mean - truth[name]).abs().max() < 1e-10


def test_straight_through_says_the_elbo():
    """Its value, averaged over all draws, is -L_1 = 1.9822880453."""
    noise, weight = tuples(1)
    noise = noise / 4  # the same draws, their relaxation far from 0 and 1
    losses = [
        Disc(1, objective := StraightThrough()).losses(rows(1), step_of(noise[:, i : i + 1]))
        for i in range(8)
    ]
    mean = sum(w * loss["model"].item() for w, loss in zip(weight, losses, strict=True))
    assert float(mean) == pytest.approx(1.9822880453, abs=1e-9)
    assert not objective.path


@pytest.mark.parametrize("kind", [Concrete, StraightThrough])
def test_weights_are_kept_by_true_draws(kind):
    """What judges held-out rows, averaged over all draws, is -L_1 at any temperature."""
    noise, weight = tuples(1)
    objective, total = at(3.0, kind), 0.0
    for i in range(8):
        model = Disc(1, objective)
        judged = objective.judged(model, rows(1), step_of(noise[:, i : i + 1]))
        total += weight[i].item() * judged.item()
    assert total == pytest.approx(1.9822880453, abs=1e-9)


def relaxed_evidence(temperature: float, noise: torch.Tensor) -> torch.Tensor:
    """log of the mean p(x|y) over y of the relaxed prior."""
    model = Disc(1, Concrete())
    p = model.prior(rows(1))
    y = p.opened(p.relaxed(noise.transpose(0, 1), temperature))
    log_p = model.likelihood(y, rows(1)).log_prob(rows(1).x)
    return log_p.logsumexp(0) - math.log(len(log_p))


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_the_relaxed_bound_is_one_of_the_relaxed_model(temperature):
    """E_q[w] is the relaxed evidence (both by grids), and the mean of log w lies below it."""
    noise = grid(60)
    model = Disc(1, Concrete())
    q, p = model.posterior(rows(1)), model.prior(rows(1))
    u = q.relaxed(noise.transpose(0, 1), temperature)
    log_w = model.likelihood(q.opened(u), rows(1)).log_prob(rows(1).x)
    log_w = log_w + p.relaxed_log_prob(u, temperature) - q.relaxed_log_prob(u, temperature)
    evidence = relaxed_evidence(temperature, noise)
    assert (log_w.logsumexp(0) - math.log(len(log_w))).item() == pytest.approx(
        evidence.item(), abs=2e-3
    )
    objective = at(temperature, bound="relaxed")
    n = noise.shape[1]
    loss = Disc(n, objective).losses(rows(n), step_of(noise))["model"]
    assert loss.item() == pytest.approx(-log_w.mean().item(), abs=1e-9)
    assert -loss < evidence


def test_the_surrogate_charges_the_discrete_kl():
    noise = grid(4)
    n = noise.shape[1]
    model = Disc(n, at(0.8))
    q, p = model.posterior(rows(n)), model.prior(rows(n))
    y = torch.sigmoid(q.relaxed(noise, 0.8))
    distortion = -model.likelihood(y, rows(n)).log_prob(rows(n).x).mean()
    rate = (LOGITS.sigmoid() * (2 * LOGITS.sigmoid()).log()).sum()
    rate = rate + ((-LOGITS).sigmoid() * (2 * (-LOGITS).sigmoid()).log()).sum()
    loss = model.losses(rows(n), step_of(noise))["model"]
    assert kl_divergence(q, p)[0].item() == pytest.approx(rate.item(), abs=1e-12)
    assert loss.item() == pytest.approx((distortion + rate).item(), abs=1e-12)


@pytest.mark.parametrize("kind", [Concrete, StraightThrough])
def test_the_temperature_falls_by_the_step_to_its_floor(kind):
    """max(.5, exp(-3e-5 t)): 1, .740818 after 10,000 steps, .5 from 23,105 on."""
    step = step_of(torch.zeros(1, 1, 3, dtype=torch.float64))
    for index, t in ((0, 1.0), (10_000, 0.7408182), (23_000, 0.5015761), (10**6, 0.5)):
        found = kind().at(replace(step, index=torch.tensor(index)))
        assert found.item() == pytest.approx(t, rel=1e-6)


def test_the_relaxed_draw_of_a_step_has_its_temperature():
    """The same noise, later: another loss, that of the colder relaxation."""
    noise = grid(2)
    model, step = Disc(8, Concrete(rate=0.1)), step_of(noise)
    later = model.losses(rows(8), replace(step, index=torch.tensor(3)))["model"]
    cold = Disc(8, at(math.exp(-0.3))).losses(rows(8), step)["model"]
    assert later.item() == pytest.approx(cold.item(), abs=1e-7)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Concrete(temperature=0.0), "0 < floor <= temperature"),
        (lambda: Concrete(floor=0.0), "floor=0.0"),
        (lambda: StraightThrough(floor=1.5), "floor=1.5"),
        (lambda: Concrete(temperature=math.nan), "temperature=nan"),
        (lambda: Concrete(rate=-1.0), "rate=-1.0"),
        (
            lambda: Concrete(bound="elbo"),
            "bound 'elbo' is not known; it takes surrogate or relaxed",
        ),
        (lambda: Concrete(samples=0), "samples=0"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_a_gaussian_posterior_has_no_relaxation():
    model = grad_model(Concrete())
    with pytest.raises(UsageError, match="DiagonalNormal posterior has no relaxation"):
        model.losses(Batch(torch.zeros(1, 1).double()), step_of(torch.zeros(1, 1, 1).double()))
