"""The claim of recipe vamp_prior."""

import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec
from vaes.evaluate.likelihood import bound
from vaes.recipes import build


def test_vamp_prior_costs_no_more_than_the_information_about_the_row():
    """Tomczak & Welling 2018, sec. 2: the best prior is the mean of the posteriors, under which the
    rate is the information that z has of the row. Four patterns of equal shares have log 4 nats of
    it, and -log 4 is their evidence: with four pseudo-inputs the ELBO reaches it. Under N(0, I) it
    does not, since no Gaussian fills a quarter of one."""
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randint(2, (4, 12), generator=draw).float()
    data = Data(Spec((12,), ("binary",), (2,), rows=64), patterns.repeat(16, 1))
    found = {}
    for recipe, own in (("vae", {"warmup": 0.0}), ("vamp_prior", {"components": 4})):
        torch.manual_seed(0)
        model = build(recipe, data.spec, latent=2, hidden=(32,), **own)
        train(model, data, steps=700)
        found[recipe] = bound(model, data, k=200)
    vamp, vae = found["vamp_prior"], found["vae"]
    assert vamp.elbo == pytest.approx(-math.log(4), abs=0.05)
    assert vamp.rate == pytest.approx(math.log(4), abs=0.05)
    assert vae.elbo < vamp.elbo - 0.2
    assert vae.rate > math.log(4) + 0.1
