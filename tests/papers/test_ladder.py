"""The claim of recipe ladder: what is merged is a product of normals, and one layer is the VAE."""

import math

import pytest
import torch

from tests.fixtures import train
from tests.papers.helpers import DATA
from vaes.batch import Spec
from vaes.dist.gaussian import DiagonalNormal, diagonal_kl_terms
from vaes.dist.ladder import Ladder, layer_sizes, merged, moved
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import Elbo, draw, log_weight, terms
from vaes.recipes import build


def normal(mean: float, scale: float) -> DiagonalNormal:
    loc = torch.tensor([[mean]], dtype=torch.float64)
    return DiagonalNormal(loc, torch.tensor([[math.log(scale)]], dtype=torch.float64))


def test_what_the_encoder_and_the_layers_above_say_is_weighed_by_precision():
    """Sonderby et al. 2016, eq. 10-12, at N(.4, .5^2) and N(-1, 1.2^2)."""
    q = merged(normal(0.4, 0.5), normal(-1.0, 1.2))
    assert q.mean.item() == pytest.approx(0.1928994, abs=1e-7)
    assert q.variance.item() == pytest.approx(0.2130178, abs=1e-7)


def test_a_step_away_from_the_prior_has_the_rate_of_its_paper():
    """Vahdat & Kautz 2020, eq. 4: 1/2 (dm^2 / s^2 + ds^2 - log ds^2 - 1), which does not depend on
    where the prior is; the same normal written absolutely has the same."""
    above = normal(-1.0, 1.2)
    above.loc.requires_grad_(True)
    q = moved(normal(0.4, 0.5), above)
    rate = diagonal_kl_terms(q, above).sum()
    expected = 0.5 * (0.4**2 + 0.5**2 - math.log(0.5**2) - 1)
    assert rate.item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.grad(rate, above.loc)[0].abs().item() < 1e-12
    absolute = normal(-1.0 + 1.2 * 0.4, 1.2 * 0.5)
    assert diagonal_kl_terms(absolute, above).item() == pytest.approx(expected, abs=1e-12)


def test_one_layer_is_the_vae():
    """With the weights of a VAE: the same loss at the same noise, and the same log-weights."""
    plain = build("vae", Spec((8,)), latent=3, hidden=(16,), warmup=0.0).double()
    one = build(
        "ladder", Spec((8,)), latent=3, layers=1, merge="residual", posterior="diagonal",
        hidden=(16,), objective="elbo",
    ).double()  # fmt: skip
    one.load_state_dict(plain.state_dict())
    few = DATA.rows(slice(0, 30))
    step = Step.at(plain, few, 1)
    torch.testing.assert_close(one.losses(few, step)["model"], plain.losses(few, step)["model"])
    noise = torch.randn(4, 30, 3).double()
    torch.testing.assert_close(
        log_weight(one, few, noise=noise), log_weight(plain, few, noise=noise)
    )


@pytest.mark.parametrize("merge", ["precision", "residual", "bottom_up"])
def test_the_rates_of_all_layers_are_the_mean_of_log_q_minus_log_p(merge):
    """4 standard errors; and x is told of z_1 alone."""
    torch.manual_seed(0)
    model = build("ladder", Spec((8,)), latent=4, layers=3, merge=merge, hidden=(16,)).double()
    train(model, DATA.part(torch.arange(64)), steps=30)
    model.eval()
    few = DATA.rows(slice(0, 4))
    noise = torch.randn(20_000, 4, 7, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        found, d = terms(model, few, noise), draw(model, few, noise)
        rate = d.log_posterior - d.log_prior
        error = rate.std(0) / len(noise) ** 0.5
        # another mean over the same draws, closed in each layer
        assert ((found.rate - rate.mean(0)).abs() < 4 * error + 1e-9).all()
        assert found.rates.shape == (4, 3 if merge == "bottom_up" else 7)
        z = d.z[:1].clone()
        p = model.likelihood(z, few).mean
        z[..., :3] += 1.0
        assert torch.equal(model.likelihood(z, few).mean, p)
        z[..., 3:] += 1.0
        assert not torch.equal(model.likelihood(z, few).mean, p)


def test_every_layer_of_the_posterior_hears_of_the_row_and_of_the_layer_above():
    model = build("ladder", Spec((8,)), latent=4, layers=2, hidden=(16,)).double()
    few = DATA.rows(slice(0, 2))
    q = model.posterior(few)
    top, bottom = q.conditionals(torch.zeros(2, 6).double())
    shifted = q.conditionals(torch.ones(2, 6).double())[1]
    assert not torch.allclose(top.mean[0], top.mean[1])
    assert not torch.allclose(bottom.mean[0], bottom.mean[1])
    assert not torch.allclose(bottom.mean, shifted.mean)
    # where it says nothing, a layer is what the prior says of it
    silent = DiagonalNormal(torch.zeros(2, 6).double(), torch.full((2, 6), 20.0).double())
    joined = model.latent_prior.joined(silent).conditionals(torch.ones(2, 6).double())[1]
    above = model.prior(few).conditionals(torch.ones(2, 6).double())[1]
    torch.testing.assert_close(joined.mean, above.mean)
    torch.testing.assert_close(joined.variance, above.variance)


def test_free_bits_are_of_every_dimension_of_every_layer():
    torch.manual_seed(0)
    model = build("ladder", Spec((8,)), latent=2, layers=2, hidden=(16,)).double()
    few = DATA.rows(slice(0, 30))
    step, bits = Step.at(model, few, 1), 0.7
    found = terms(model, few, step.noise)
    expected = found.distortion.mean() + found.rates.mean(0).clamp(min=bits).sum()
    assert found.rates.shape == (30, 3)
    torch.testing.assert_close(Elbo(free_bits=bits)(model, few, step), expected)


def test_layers_that_the_latent_dimensions_do_not_carry():
    assert layer_sizes(16, None) == (16, 8, 4)
    assert layer_sizes(2, None) == (2, 1)
    with pytest.raises(UsageError, match="latent=4 carries 1 to 3 layers"):
        build("ladder", Spec((8,)), latent=4, layers=4)
    with pytest.raises(UsageError, match="merge 'sideways' is not known"):
        Ladder((2, 1), "sideways")
