"""The claim of recipe not_miwae."""

import numpy as np
import torch

from tests.fixtures import (
    train,
)
from vaes.batch import Data, Spec
from vaes.recipes import build
from vaes.uses import impute


def test_not_miwae_fills_gaps_that_large_values_leave():
    """Ipsen et al. 2021, sec. 4: where large values are missing, a model that takes gaps for
    random fills in values that are too small; with the mechanism in the model the error falls."""
    draw = np.random.default_rng(0)
    weight = np.array([[1.5, 0.3], [1.0, -1.0], [0.5, 1.2], [1.0, 0.8], [-1.2, 0.5], [0.3, -1.5]])
    x = draw.normal(size=(400, 2)) @ weight.T + 0.4 * draw.normal(size=(400, 6))
    x = torch.from_numpy(x / x.std(0))
    gone = torch.from_numpy(draw.random(x.shape)) < torch.sigmoid(5 * x)
    gone[:, 3:] = False
    mean = torch.where(gone, 0, x).sum(0) / (~gone).sum(0)
    spread = x[:, 0].std()  # one scale, of a column's size: the units of a model are near 1
    spec = Spec((6,), missing=True)
    data = Data(spec, torch.where(gone, 0, (x - mean) / spread), mask=~gone)
    short, error = {}, {}
    for name in ("iwae", "not_miwae"):
        torch.manual_seed(0)
        model = build(name, spec, latent=2, hidden=(), samples=5).double()
        train(model, data, steps=400, rate=0.01)
        off = (impute(model, data).mean * spread + mean - x)[gone]
        short[name], error[name] = -off.mean().item(), off.square().mean().sqrt().item()
    assert short["iwae"] > 0.4  # spreads of a column
    assert abs(short["not_miwae"]) < 0.2
    assert error["not_miwae"] < 0.7 * error["iwae"]
    assert error["iwae"] < (mean - x)[gone].square().mean().sqrt().item()
