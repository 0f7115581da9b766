"""The claims of recipe iaf_vae."""

import math

import pytest
import torch

from tests.fixtures import LG_EVIDENCE, LG_MU, LG_TRIL, LG_VAR, LG_W, descend, star
from tests.papers.helpers import X
from vaes.batch import Spec
from vaes.objective import Elbo, log_weight
from vaes.recipes import build


def test_linear_steps_hold_the_posterior_of_a_linear_model():
    """Kingma et al. 2016, sec. 3, and card 22c: one linear step is a full covariance, so that the
    bound of the linear-Gaussian row comes to its evidence, -7.696352522."""
    torch.manual_seed(0)
    options = {"layers": 1, "width": 0, "context": 1, "scale": 1.0, "objective": Elbo()}
    model = build("iaf_vae", Spec((5,)), latent=2, hidden=(), **options).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    model.decoder.requires_grad_(False)
    descend(model, X, star(2), steps=800, rate=0.03)
    with torch.no_grad():
        log_w = log_weight(model, X, noise=star(2))
        q = model.posterior(X)
        axes = torch.eye(2, dtype=torch.float64).unsqueeze(1)
        root = (q.draw(axes) - q.draw(0 * axes)).squeeze(1).T
    assert log_w.mean().item() == pytest.approx(LG_EVIDENCE, abs=1e-4)
    torch.testing.assert_close(root @ root.T, LG_TRIL @ LG_TRIL.T, rtol=0, atol=2e-3)
