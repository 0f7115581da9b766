"""The claim of recipe dip_vae."""

import math

import pytest
import torch

from tests.fixtures import descend, linear_vae, ppca_solution, star
from tests.papers.helpers import ALL, DATA
from vaes.recipes import build


def spread(steps: int, **options) -> torch.Tensor:
    """Covariance of the means of q(z|x) of a linear model that descends from PPCA, (3, 3)."""
    weight, bias, variance = ppca_solution(3)
    scale = math.sqrt(variance)
    model = build("dip_vae", DATA.spec, latent=3, hidden=(), scale=scale, **options).double()
    model.load_state_dict(linear_vae(weight, bias, variance, "diagonal").state_dict())
    descend(model, ALL, star(3), steps=steps, rate=0.02)
    with torch.no_grad():
        return torch.cov(model.posterior(ALL).mean.T)


def test_dip_vae_turns_the_covariance_of_codes_into_the_identity():
    """Kumar et al. 2018: means of a linear VAE spread by 1 - s2 / lambda = .409 along the least
    axis; variant 1 with a large weight spreads them by 1 along all, uncorrelated."""
    plain = torch.linalg.eigvalsh(spread(0))
    assert plain.tolist() == pytest.approx([0.409, 0.862, 0.991], abs=0.01)
    asked = spread(300, variant=1, off=100.0)
    assert (asked - torch.eye(3)).abs().max() < 0.02
