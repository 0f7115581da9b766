"""The claim of recipe full_vb."""

import math

import pytest
import torch
from torch import nn

from tests.fixtures import star, step_of
from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import DiagonalNormal
from vaes.dist.priors import Prior
from vaes.recipes import build

X = torch.tensor([[1, 0.5], [-1, 2], [0.3, -0.7], [2, 1]], dtype=torch.float64)
Y = Batch(torch.tensor([[1.0], [-0.5], [0.2], [2.0]], dtype=torch.float64))
PRECISION = torch.eye(2).double() + X.T @ X / 0.25
EVIDENCE, GAP = -4.525817702, 0.0011084886


class Known(Prior):
    """Codes that are known: the rows of X, as prior and as posterior."""

    size = 1

    def forward(self, *_):
        return DiagonalNormal(X, torch.full((1,), -40.0).double())


def regression():
    """Four rows, y = w x + noise of variance .25: a decoder of two weights, w ~ N(0, I)."""
    torch.manual_seed(0)
    linear = {"decoder": nn.Linear(2, 1, bias=False), "latent": 2, "scale": 0.5, "hidden": ()}
    spec = Spec((1,), rows=4)
    codes = {"prior": lambda size: Known(), "posterior": Known()}
    return build("full_vb", spec, warmup=0.0, spread=math.sqrt(2), **linear, **codes).double()


def test_full_vb_is_bayesian_linear_regression():
    """Kingma & Welling 2014, app. F: the best diagonal posterior over the weights has the mean
    (.86851, .184997) and bounds the log evidence -4.525817702 with a gap of .0011084886."""
    model = regression()
    objective, zero = model.objective, torch.zeros(1, 4, 2).double()
    weights = star(2).squeeze(1)  # the plain mean over them is exact for a linear decoder

    def bound():
        found = [objective.at(model, Y, zero, w) for w in weights]
        data = torch.stack([(t.distortion + t.rate).sum() for t in found]).mean()
        return -data - objective.weights_rate(model.decoder)

    moving = [*model.decoder.parameters(), objective.log_scale]
    lbfgs = torch.optim.LBFGS(
        moving, max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        lbfgs.zero_grad()
        loss = -bound()
        loss.backward()
        return loss

    lbfgs.step(closure)
    assert bound().item() == pytest.approx(EVIDENCE - GAP, abs=1e-8)
    assert model.decoder.body.weight[0].tolist() == pytest.approx([0.86851, 0.184997], abs=1e-5)
    precision = (-2 * objective.log_scale).exp()
    assert precision.tolist() == pytest.approx(PRECISION.diagonal().tolist(), rel=1e-4)
    # what the loop descends has this mean, over the draws of the weights, per row
    losses = []
    for seed in range(400):
        torch.manual_seed(seed)
        losses.append(model.losses(Y, step_of(zero))["model"].item())
    losses = torch.tensor(losses)
    assert abs(4 * losses.mean() + EVIDENCE - GAP) < 4 * 4 * losses.std() / 20
    # and so has what can be read after training
    total = objective.total(model, Data(model.spec, Y.x), draws=400)
    assert abs(4 * total.bound - (EVIDENCE - GAP)) < 4 * 4 * losses.std() / 20
    assert 4 * total.weights == pytest.approx(objective.weights_rate(model.decoder).item())
    assert total.bound == pytest.approx(total.elbo - total.weights)
