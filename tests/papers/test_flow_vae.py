"""The claims of recipe flow_vae."""

import math

import pytest
import torch

from tests.fixtures import (
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_VAR,
    LG_W,
    descend,
    star,
)
from tests.papers.helpers import X
from vaes.batch import Spec
from vaes.errors import UsageError
from vaes.objective import Elbo, log_weight
from vaes.recipes import build
from vaes.recipes.flow_vae import FLOWS


def test_reflections_turn_a_diagonal_into_the_posterior():
    """Tomczak & Welling 2016, sec. 3: a Householder flow is a full covariance. On the
    linear-Gaussian row it comes to the evidence, -7.696352522, where a diagonal stays .027631339
    below."""
    torch.manual_seed(0)
    options = {"flow": "householder", "layers": 2, "scale": 1.0, "objective": Elbo()}
    model = build("flow_vae", Spec((5,)), latent=2, hidden=(), **options).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    model.decoder.requires_grad_(False)
    descend(model, X, star(2), steps=800, rate=0.03)
    elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert elbo == pytest.approx(LG_EVIDENCE, abs=1e-4)


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_says_the_density_of_what_it_draws(flow):
    """The evidence of a linear-Gaussian row by importance weights from q, to 4 standard errors: a
    log-determinant that is off by anything shows."""
    torch.manual_seed(0)
    model = build("flow_vae", Spec((5,)), latent=2, hidden=(), scale=1.0, flow=flow).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    last = model.encoder.last
    with torch.no_grad():  # near the posterior, so that the weights are even
        last.weight.normal_(std=0.02)
        last.bias.normal_(std=0.1)
        last.bias[:2] = LG_MEAN
        last.bias[2:4] = torch.diagonal(LG_TRIL).log() + 0.2
        for name, p in model.encoder.head.named_parameters():
            p.normal_(std=0.02 if "last" in name else 0.3)
    with torch.no_grad():
        log_w = log_weight(model, X, k=20_000)[:, 0]
    w = (log_w - LG_EVIDENCE).exp()
    assert (w.mean() - 1).abs() < 4 * w.std() / 20_000**0.5
    assert w.std() / 20_000**0.5 < 0.02


def test_a_flow_that_is_not_known():
    with pytest.raises(UsageError, match="flow 'radial' is not known"):
        build("flow_vae", Spec((5,)), flow="radial")
