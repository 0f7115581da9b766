"""The claim of recipe beta_tcvae."""

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures import (
    PPCA_EVIDENCE,
    PPCA_VARIANCE,
    linear_vae,
    ppca_rows,
    ppca_solution,
    ppca_spectrum,
    star,
    step_of,
)
from tests.papers.helpers import ALL, DATA
from vaes.objective import terms
from vaes.recipes import build

SPEC = replace(DATA.spec, rows=500)


def rate_and_bound(name: str) -> tuple[float, float]:
    """Of a linear model with beta = 6 that descends from probabilistic PCA, its variance fixed."""
    weight, bias, variance = ppca_solution(3)
    scale = math.sqrt(variance)
    model = build(name, SPEC, beta=6.0, warmup=0.0, latent=3, hidden=(), scale=scale).double()
    model.load_state_dict(linear_vae(weight, bias, variance, "diagonal").state_dict())
    adam = torch.optim.Adam(model.parameters(), 0.05, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 300)
    for i in range(300):
        draw = torch.Generator().manual_seed(i)
        rows = torch.randperm(500, generator=draw)[:125]
        noise = torch.randn(1, 125, 3, generator=draw, dtype=torch.float64)
        adam.zero_grad()
        model.losses(ALL[rows], step_of(noise))["model"].backward()
        adam.step()
        decay.step()
    with torch.no_grad():
        found = terms(model, ALL, star(3))
    return found.rate.mean().item(), -(found.distortion + found.rate).mean().item()


def test_beta_tcvae_charges_dependence_not_information():
    """Chen et al. 2018, sec. 3: the codes of probabilistic PCA are independent, so that they stay
    where they are, at a rate of 1/2 sum log lambda / s2 = 3.509 and a bound of -11.976; beta-VAE
    takes log beta / 2 from every dimension, all of it where lambda < beta s2, and leaves 1.454."""
    values = ppca_spectrum(ppca_rows())[0][:3] / PPCA_VARIANCE[3]
    whole = 0.5 * sum(math.log(v) for v in values)
    left = 0.5 * sum(max(0.0, math.log(v / 6)) for v in values)
    assert (whole, left) == pytest.approx((3.5087, 1.4540), abs=1e-3)
    rate, bound = rate_and_bound("beta_vae")
    assert rate == pytest.approx(left, abs=0.06)
    assert bound < PPCA_EVIDENCE[3] - 3
    rate, bound = rate_and_bound("beta_tcvae")
    assert rate == pytest.approx(whole, abs=0.3)  # q(z) of 125 rows is not quite that of 500
    assert bound == pytest.approx(PPCA_EVIDENCE[3], abs=0.06)
