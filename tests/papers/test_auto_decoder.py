"""The claim of recipe auto_decoder."""

import math

import pytest
import torch

from tests.fixtures import LG_MEAN, LG_MU, LG_VAR, LG_W, LG_X, ppca_rows, ppca_solution, step_of
from vaes.batch import Batch, Spec
from vaes.recipes import build

STEP = step_of(torch.zeros(1, 1, 2).double())


def linear(loadings, bias, variance, rows, **options):
    torch.manual_seed(0)
    spec = Spec((loadings.shape[0],), rows=rows)
    options = {"latent": loadings.shape[1], "hidden": (), "scale": 1.0, **options}
    model = build("auto_decoder", spec, **options).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(variance))
        model.decoder.last.weight.copy_(loadings)
        model.decoder.last.bias.copy_(bias)
    return model.eval()


def joint(model, batch):
    """log p(x, z) at the codes, mean over rows."""
    return -model.losses(batch, STEP)["model"].item() - model.latent / 2 * math.log(2 * math.pi)


def test_auto_decoder_finds_the_mode():
    """Card 4a (2): LG's code is the posterior's mean, log p(x, z) = -7.471671478 there."""
    model = linear(LG_W, LG_MU, LG_VAR, 1, refine=300)
    for index in (0, -1):
        batch = Batch(LG_X, index=torch.tensor([index]))
        for i in range(200 if index == 0 else 0):
            model.closed_form(batch, step_of(STEP.noise, fraction=i / 200))
        code = model.posterior(batch).mean[0]
        assert code.tolist() == pytest.approx(LG_MEAN.tolist(), abs=2e-3)
        assert joint(model, batch) == pytest.approx(-7.471671478, abs=1e-4)
    # without a prior of the codes: least squares
    free = linear(LG_W, LG_MU, LG_VAR, 1, weight=0.0, refine=300)
    expected = torch.linalg.lstsq(LG_W, (LG_X[0] - LG_MU)[:, None]).solution[:, 0]
    code = free.posterior(Batch(LG_X)).mean[0]
    assert code.tolist() == pytest.approx(expected.tolist(), abs=2e-3)
    # in the unit ball the code ends on its surface, on the side of the mode
    ball = linear(LG_W, LG_MU, LG_VAR, 1, ball=True, refine=300).posterior(Batch(LG_X)).mean[0]
    assert ball.norm().item() == pytest.approx(1, abs=1e-6)
    assert (ball @ LG_MEAN / LG_MEAN.norm()).item() > 0.95


@pytest.mark.parametrize(
    ("c", "objective", "evidence"),
    [(1.0, -11.224, -11.976), (10.0, -10.106, -16.887), (100.0, -10.095, -23.764)],
)
def test_auto_decoder_objective_rises_as_the_model_gets_worse(c, objective, evidence):
    """Card 4a: with c W and z / c what is maximised rises with c, while log p(x) falls."""
    weight, bias, variance = ppca_solution(3)
    x = torch.from_numpy(ppca_rows().copy())
    model = linear(c * weight, bias, variance, 500)
    w = model.decoder.last.weight.detach()
    # the codes at the maximum of the plain model, shrunk by c
    precision = torch.eye(3).double() + weight.T @ weight / variance
    codes = torch.linalg.solve(precision, weight.T @ (x - bias).T / variance).T / c
    model.table.numbers.copy_(codes)
    batch = Batch(x, index=torch.arange(500))
    assert joint(model, batch) == pytest.approx(objective, abs=1e-3)
    covariance = w @ w.T + variance * torch.eye(8).double()
    normal = torch.distributions.MultivariateNormal(bias, covariance)
    assert normal.log_prob(x).mean().item() == pytest.approx(evidence, abs=1e-3)
