"""The claim of recipe beta_vae."""

import pytest
import torch

from tests.fixtures import (
    descend,
    star,
)
from tests.papers.helpers import ALL, DATA
from vaes.objective import terms
from vaes.recipes import build


def test_beta_vae_capacity_sets_the_rate():
    """Burgess et al. 2018: gamma |rate - C| holds the rate at C nats, spent on the first axes."""
    torch.manual_seed(0)
    model = build(
        "beta_vae", DATA.spec, capacity=2.0, latent=3, hidden=(), likelihood="normal", scale=1.0
    ).double()
    descend(model, ALL, star(3), steps=1500, rate=0.02)
    with torch.no_grad():
        found = terms(model, ALL, star(3))
    assert found.rate.mean().item() == pytest.approx(2.0, abs=0.02)
    rates = found.rates.mean(0).sort(descending=True).values
    assert rates[0] > 1.5
    assert rates[2] < 0.1
