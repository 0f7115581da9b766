"""Maddison et al. 2017, Jang et al. 2017: trained on relaxed draws, judged on discrete ones."""

import itertools
import math

import pytest
import torch
from torch.distributions import kl_divergence

from tests.fixtures import train
from vaes.batch import Batch, Data, Spec
from vaes.model import Step
from vaes.objective import log_likelihood
from vaes.recipes import build


@pytest.mark.parametrize("options", [{"latent": 2}, {"latent": 4, "classes": 4}])
def test_concrete_vae_carries_all_that_two_bits_can(options):
    """Four rows, equally frequent: log p(x) = -2 log 2 at best, by two bits or one of four classes.
    The evidence is the sum over all discrete states, however the model was trained."""
    torch.manual_seed(0)
    rows = torch.tensor(
        [[0, 0, 1, 0, 1, 1], [0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]]
    )
    data = Data(Spec((6,), ("binary",), (2,)), rows.double().repeat(32, 1))
    model = build("concrete_vae", data.spec, hidden=(32,), temperature=0.5, **options)
    train(model.double(), data, steps=300)
    few = data.rows(slice(0, 4))
    with torch.no_grad():
        bits = [*itertools.product((0.0, 1.0), repeat=options["latent"])]
        states = torch.eye(4) if "classes" in options else torch.tensor(bits)
        z = states.double().unsqueeze(1)
        log_p = (log_likelihood(model, z, few) + model.prior(few).log_prob(z)).logsumexp(0)
        codes = model.eval().posterior(few).mean
    assert len(codes.unique(dim=0)) == 4
    assert log_p.mean().item() == pytest.approx(-2 * math.log(2), abs=0.1)
    assert log_p.mean() < -2 * math.log(2)


def test_concrete_vae_has_both_bounds():
    """At the same draws they differ by what the rate is of: the densities of the relaxed draw
    (Maddison et al. 2017, eq. 20), or the discrete distributions (Jang et al. 2017)."""
    spec, losses, model = Spec((6,), ("binary",), (2,)), [], None
    few = Batch(torch.ones(3, 6, dtype=torch.float64))
    for bound in ("relaxed", "surrogate"):
        torch.manual_seed(0)
        model = build("concrete_vae", spec, latent=3, bound=bound, temperature=0.8).double()
        step = Step.at(model, few, 0)
        losses.append(model.losses(few, step)["model"].item())
    q, p = model.posterior(few), model.prior(few)
    u = q.relaxed(step.noise, 0.8)
    rate = (q.relaxed_log_prob(u, 0.8) - p.relaxed_log_prob(u, 0.8)).mean()
    apart = (rate - kl_divergence(q, p).mean()).item()
    assert losses[0] - losses[1] == pytest.approx(apart, abs=1e-9)
    assert abs(apart) > 0.01


def test_concrete_vae_can_be_hard():
    """Straight through: the loss is -log p(x|z) at the true draw, + KL (Jang et al. 2017, 2.2)."""
    torch.manual_seed(0)
    model = build("concrete_vae", Spec((6,), ("binary",), (2,)), latent=3, hard=True).double()
    few = Batch(torch.ones(3, 6, dtype=torch.float64))
    step = Step.at(model, few, 0)
    q = model.posterior(few)
    distortion = -log_likelihood(model, q.draw(step.noise), few).mean()
    rate = kl_divergence(q, model.prior(few)).mean()
    loss = model.losses(few, step)["model"]
    assert loss.item() == pytest.approx((distortion + rate).item(), abs=1e-12)
