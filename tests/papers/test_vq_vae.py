"""van den Oord et al. 2017: an even prior's rate is places * log codes, a fitted one's entropy."""

import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec
from vaes.evaluate.likelihood import evidence
from vaes.objective import terms
from vaes.recipes import build

ENTROPY = 1.75 * math.log(2)  # of (1/2, 1/4, 1/8, 1/8)


def test_vq_vae_pays_the_entropy_of_its_codes():
    """Four rows of bits in the proportions 4 : 2 : 1 : 1. With 16 codes of one place the rate falls
    from log 16 to 1.75 log 2, and the bound comes to the best that
    there is, minus that."""
    torch.manual_seed(0)
    value = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3]).repeat(16)
    x = torch.nn.functional.one_hot(value, 4).double().repeat(1, 4)
    data = Data(Spec((16,), ("binary",), (2,)), x)
    model = build("vq_vae", data.spec, codes=16, latent=1, width=2, hidden=(32,), keep=0.9).double()
    few = data.rows(slice(None))
    rate = terms(model, few, torch.zeros(1, len(few), 0)).rate
    assert (rate - math.log(16)).abs().max() < 1e-12
    train(model, data, steps=150)
    model.eval()
    rate = terms(model, few, torch.zeros(1, len(few), 0)).rate.mean().item()
    assert rate == pytest.approx(ENTROPY, abs=0.01)
    found = evidence(model, data, k=100)
    assert found.k == 1  # a point posterior has no second draw
    assert -ENTROPY - 0.1 < found.mean < -ENTROPY
    assert found.mean == pytest.approx(found.elbo, abs=1e-12)
