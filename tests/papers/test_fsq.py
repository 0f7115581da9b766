"""Mentzer et al. 2023: codes by rounding alone carry a row, and a prior of them its frequency."""

import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec
from vaes.model import Step
from vaes.objective import log_likelihood, terms
from vaes.recipes import build

ENTROPY = 1.75 * math.log(2)  # of (1/2, 1/4, 1/8, 1/8)


def test_fsq_pays_the_entropy_of_its_codes():
    """Four rows of bits in the proportions 4 : 2 : 1 : 1, and 4 x 4 codes: the rate falls from
    log 16 to 1.75 log 2, and the bound comes to the best that there is, minus that."""
    torch.manual_seed(0)
    value = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3]).repeat(8)
    x = torch.nn.functional.one_hot(value, 4).double().repeat(1, 4)
    data = Data(Spec((16,), ("binary",), (2,)), x)
    model = build("fsq", data.spec, levels=(4, 4), latent=1, hidden=(32,)).double()
    few = data.rows(slice(None))
    noise = torch.zeros(1, len(few), 0)
    assert (terms(model, few, noise).rate - math.log(16)).abs().max() < 1e-12
    train(model, data, steps=150)
    found = terms(model.eval(), few, noise)
    assert len(model.posterior(few).codes.unique()) == 4
    assert found.rate.mean().item() == pytest.approx(ENTROPY, abs=0.01)
    assert found.distortion.mean() < 0.1


def test_fsq_has_no_loss_but_the_reconstruction():
    torch.manual_seed(0)
    model = build("fsq", Spec((6,))).double()
    few = Data(Spec((6,)), torch.randn(5, 6).double()).rows(slice(None))
    distortion = -log_likelihood(model, model.posterior(few).mean, few).mean()
    loss = model.losses(few, Step.at(model, few, 0))["model"]
    assert loss.item() == pytest.approx(distortion.item(), abs=1e-12)
