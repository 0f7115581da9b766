"""A linear VAE trained by gradients ends where probabilistic PCA is (Lucas et al. 2019).

The ELBO of a linear model is a quadratic function of the noise: the points of `star` give its
exact gradient, so that what is learned is the optimum itself and not a cloud around it.
"""

import math

import numpy as np
import pytest
import torch

from tests.fixtures import (
    PPCA_EVIDENCE,
    PPCA_VARIANCE,
    descend,
    linear_vae,
    ppca_data,
    ppca_rows,
    ppca_solution,
    ppca_spectrum,
    star,
    step_of,
)
from vaes.dist.gaussian import DiagonalNormal
from vaes.objective import log_weight, terms
from vaes.recipes import build

DATA = ppca_data()
ALL = DATA.rows(slice(None))


def test_linear_vae_reaches_ppca():
    """ELBO -11.976043 and variance .486241 (.323902 would be the mean code's residual)."""
    torch.manual_seed(0)
    model = build(
        "vae", DATA.spec, latent=3, hidden=(), likelihood="normal", scale="shared", warmup=0.0
    ).double()
    descend(model, ALL, star(3), steps=1500, rate=0.05)
    noise = torch.randn(200, 500, 3, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        log_w = log_weight(model, ALL, noise=noise)
        error = log_w.mean(1).std().item() / math.sqrt(200)
        assert abs(log_w.mean().item() - PPCA_EVIDENCE[3]) < 0.001 + 4 * error
        found = terms(model, ALL, star(3))
        q, p = model.posterior(ALL), model.likelihood(torch.zeros(1, 3).double(), ALL)
    assert -(found.distortion + found.rate).mean().item() == pytest.approx(
        PPCA_EVIDENCE[3], abs=1e-5
    )
    assert p.variance.mean().item() == pytest.approx(PPCA_VARIANCE[3], abs=1e-4)
    # the rate is 1/2 sum log lambda / s2; the codes spread by 1 - s2 / lambda
    assert found.rate.mean().item() == pytest.approx(3.508739, abs=1e-3)
    spread = sorted(q.mean.var(0, correction=0).tolist(), reverse=True)
    assert spread == pytest.approx([0.9891, 0.8605, 0.4087], abs=1e-3)
    # the diagonal family turns W onto the principal axes
    weight = model.decoder.last.weight.detach().numpy()
    unit = weight / np.linalg.norm(weight, axis=0)
    assert np.abs(unit.T @ unit - np.eye(3)).max() < 0.01


def test_closed_form_has_no_slope():
    """At the principal axes every gradient of the library's loss is 0."""
    for k in (1, 3):
        model = linear_vae(*ppca_solution(k), posterior="diagonal")
        model.losses(ALL, step_of(star(k)))["model"].backward()
        for name, p in model.named_parameters():
            assert p.grad.abs().max() < 1e-8, name


@pytest.mark.parametrize(("product", "active"), [(0.3, 8), (1.0, 2), (3.0, 2), (10.0, 1)])
def test_collapse_is_counted_by_eigenvalues(product, active):
    """beta-VAE of fixed variance .25: as many active dimensions as eigenvalues > beta s2."""
    torch.manual_seed(0)
    model = build(
        "beta_vae",
        DATA.spec,
        beta=product / 0.25,
        warmup=0.0,
        latent=8,
        hidden=(),
        likelihood="normal",
        scale=0.5,
    ).double()
    steps = 1800 if active == 8 else 800  # the last axes differ by little: slow
    descend(model, ALL, star(8), steps, rate=0.05)
    q = model.posterior(ALL)
    assert isinstance(q, DiagonalNormal)
    spread = q.mean.var(0, correction=0).sort(descending=True).values
    assert (spread > 0.01).sum().item() == active
    # each active one spreads by 1 - beta s2 / lambda
    values = ppca_spectrum(ppca_rows())[0][:active]
    assert spread[:active].tolist() == pytest.approx(list(1 - product / values), abs=0.02)
