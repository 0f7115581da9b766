"""The claim of recipe counts."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from tests.fixtures import (
    train,
)
from vaes.batch import Data, Spec
from vaes.evaluate.likelihood import evidence
from vaes.recipes import build
from vaes.uses import encode


def test_counts_leave_to_z_what_the_totals_do_not_say():
    """Lopez et al. 2018: rows of the same shares that were counted from 20 to 1,000 deep need no
    code; their evidence given the totals is that of Poissons with the means total * share."""
    draw, share = np.random.default_rng(0), np.array([0.05, 0.1, 0.15, 0.2, 0.5])
    spec = Spec((5,), ("count",), (0,), totals=True)
    depth = np.exp(draw.uniform(math.log(20), math.log(1000), (2, 1000, 1)))
    x = draw.poisson(depth * share)
    rows, held = (Data(spec, torch.from_numpy(part).float()) for part in x)
    torch.manual_seed(0)
    model = build("counts", spec, latent=2, hidden=(16,), samples=1)
    train(model, rows, steps=300)
    found = evidence(model, held, k=64)
    expected = poisson.logpmf(x[1], x[1].sum(1, keepdims=True) * share).sum(1).mean()
    assert found.mean == pytest.approx(expected, abs=0.1)
    assert found.mean - found.elbo < 0.05  # nothing that an encoder could have missed
    assert encode(model.eval(), held).mean.std(0).max() < 0.15
