"""The claim of recipe info_vae."""

import pytest
import torch

from tests.fixtures import descend, star
from tests.papers.helpers import ALL, DATA
from vaes.recipes import build

FEW = ALL[torch.arange(0, 500, 8)]


def active(alpha: float, scaling: float) -> int:
    """Dimensions of the codes of a linear model with variance 10 whose means vary, of 3."""
    torch.manual_seed(0)
    model = build(
        "info_vae", DATA.spec, alpha=alpha, scaling=scaling, latent=3, hidden=(), scale=10**0.5
    ).double()
    descend(model, FEW, star(3)[::2], steps=300, rate=0.05)
    with torch.no_grad():
        q = model.posterior(FEW)
        assert (q.mean.var(0) + q.variance.mean(0)).tolist() == pytest.approx([1] * 3, abs=0.35)
        return int((q.mean.var(0) > 0.1).sum())


def test_info_vae_keeps_information_that_the_rate_would_cost():
    """Zhao et al. 2019, sec. 3.2: of eigenvalues 44.8, 3.5 and .8 only the first is above the
    variance of 10, so that the ELBO uses one dimension; without the rate all three are used, and
    q(z) has the variance of the prior still."""
    assert active(alpha=0.0, scaling=1.0) == 1
    assert active(alpha=1.0, scaling=300.0) == 3
