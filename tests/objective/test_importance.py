"""Gradients of importance-weighted bounds on F-GRAD: exact means and variances by quadrature."""

import math

import pytest
import torch

from tests.fixtures import LG_MEAN, LG_TRIL, LG_X, lg, step_of
from tests.objective.grad import M, S, X, by_hand, gradients
from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.objective import OBJECTIVES, Iwae, draw
from vaes.objective.importance import Ciwae, Dreg, Miwae, Piwae, Stl, mean_weight

ELBO, IWAE_2 = {"loc": 1.0, "scale": -0.35}, {"loc": 0.50179881, "scale": 0.07940449}


def means(found):
    return {name: found[name][0] for name in ("loc", "scale")}


@pytest.mark.parametrize(
    ("objective", "k", "expected"),
    [
        (Iwae(1), 1, ELBO),
        (Stl(1), 1, ELBO),
        (Iwae(2), 2, IWAE_2),
        (Dreg(2), 2, IWAE_2),
        (Miwae(2, 1), 2, ELBO),
        (Miwae(1, 2), 2, IWAE_2),
        (Ciwae(2, 1.0), 2, ELBO),
        (Ciwae(2, 0.0), 2, IWAE_2),
        (Ciwae(2, 0.25), 2, {"loc": 0.62634911, "scale": -0.02794663}),  # a quarter of the way
        (Piwae(2, 1), 2, ELBO),
        (Piwae(1, 2), 2, IWAE_2),
    ],
)
def test_mean_gradients_in_q(objective, k, expected):
    assert means(gradients(objective, k)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("objective", "k", "loc", "scale"),
    [
        (Iwae(1), 1, 2.56, 6.12),
        (Stl(1), 1, 0.1225, None),
        (Iwae(2), 2, 1.44850, None),
        (Dreg(2), 2, 0.0293575, None),
        (Miwae(2, 1), 2, 1.28, 3.06),  # two draws: half of one draw's
    ],
)
def test_variances_of_gradients(objective, k, loc, scale):
    found = gradients(objective, k)
    assert found["loc"][1] == pytest.approx(loc, rel=1e-4)
    if scale is not None:
        assert found["scale"][1] == pytest.approx(scale, rel=1e-4)


@pytest.mark.parametrize(("objective", "k"), [(Stl(1), 1), (Stl(2), 2), (Dreg(2), 2)])
def test_no_noise_where_q_is_the_posterior(objective, k):
    """q = N(1, 1/2): every draw's gradient is 0; the plain one's is not."""
    found = gradients(objective, k, 1.0, math.sqrt(0.5))
    for name in ("loc", "scale"):
        assert found[name] == pytest.approx((0.0, 0.0), abs=1e-12)
    assert gradients(Iwae(k), k, 1.0, math.sqrt(0.5))["loc"][1] > 0.5


def test_sticking_the_landing_is_biased_beyond_one_draw():
    """Its mean is E sum v_k g_k, not the bound's gradient, as Tucker et al. 2018 say."""
    noise, z, log_w, weight = by_hand(2)
    slope = (X - 2 * z) + (z - M) / S**2  # d log w / dz
    v = log_w.softmax(0)
    expected = {"loc": weight @ (v * slope).sum(0), "scale": weight @ (v * slope * noise).sum(0)}
    found = means(gradients(Stl(2), 2))
    assert found == pytest.approx({k: e.item() for k, e in expected.items()}, abs=1e-9)
    assert abs(found["loc"] - IWAE_2["loc"]) > 0.1


@pytest.mark.parametrize("objective", [Iwae(2), Dreg(2), Stl(2), Miwae(1, 2), Piwae(2, 1)])
def test_the_decoder_descends_the_bound_of_all_draws(objective):
    """d L_2 / d shift = E sum v_k (x - z_k), to every draw the same: the encoder's form of the
    gradient is none of the decoder's business."""
    _, z, log_w, weight = by_hand(2)
    slope = (log_w.softmax(0) * (X - z)).sum(0)
    mean = weight @ slope
    expected = mean.item(), (weight @ (slope - mean).square()).item()
    assert gradients(objective, 2)["shift"] == pytest.approx(expected, abs=1e-9)


def test_the_decoder_of_miwae_descends_the_mean_of_bounds():
    _, z, _, weight = by_hand(2)
    assert gradients(Miwae(2, 1), 2)["shift"][0] == pytest.approx(
        (weight @ (X - z).mean(0)).item(), abs=1e-9
    )


def test_values_are_minus_the_bounds():
    """Also where q is the posterior, of which every draw gives log p(x)."""
    model = lg(LG_MEAN + 0.3, LG_TRIL)
    noise = torch.randn(6, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    step, x = step_of(noise), Batch(LG_X)
    w = draw(model, x, noise).log_weight.squeeze(-1).exp()
    all_six, twos = (
        w.mean().log(),
        (w[:2].mean().log() + w[2:4].mean().log() + w[4:].mean().log()) / 3,
    )
    for objective, bound in (
        (Stl(6), all_six),
        (Dreg(6), all_six),
        (Miwae(3, 2), twos),
        (Piwae(3, 2), all_six),
        (Ciwae(6, 0.25), 0.25 * w.log().mean() + 0.75 * all_six),
    ):
        assert objective(model, x, step).item() == pytest.approx(-bound.item(), abs=1e-10)
        assert objective.judged(model, x, step).item() == pytest.approx(-bound.item(), abs=1e-10)
    players = Piwae(3, 2).losses(model, x, step)
    assert players["recogniser"].item() == pytest.approx(-twos.item(), abs=1e-10)


def test_draws_are_the_same_with_a_pull():
    model, noise = lg(LG_MEAN, LG_TRIL), torch.randn(4, 1, 2).double()
    plain = draw(model, Batch(LG_X), noise)
    pulled = draw(model, Batch(LG_X), noise, pull=torch.rand(4, 1))
    assert torch.equal(plain.z, pulled.z)
    assert torch.allclose(plain.log_weight, pulled.log_weight, atol=1e-12)


def test_mean_weight_of_hand_made_weights():
    log_w = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).double().log()
    assert mean_weight(log_w).tolist() == pytest.approx([math.log(2), math.log(4)])
    assert mean_weight(log_w, 2.0).tolist() == pytest.approx(
        [0.5 * math.log(5), 0.5 * math.log(20)]
    )
    assert mean_weight(log_w, 0.0).tolist() == pytest.approx(
        [0.5 * math.log(3), 0.5 * math.log(12)]
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ciwae(5, 1.5), "beta=1.5.*0 ... 1"),
        (lambda: Miwae(0, 3), "outer=0, inner=3"),
        (lambda: Piwae(2, 0), "outer=2, inner=0"),
        (lambda: Dreg(0), "samples=0"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_every_objective_here_has_a_name():
    for name in ("iwae", "stl", "dreg", "miwae", "piwae", "ciwae", "renyi", "chi", "lagging"):
        assert OBJECTIVES[name]().samples >= 1
