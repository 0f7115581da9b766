"""Reals whose gaps depend on the missing value: normalised, drawn rightly, and the evidence of a
whole model against integrals over every unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import kstest, norm
from torch import Tensor

from vaes import uses
from vaes.batch import Data, Spec
from vaes.dist.gaussian import Normal, NormalLikelihood
from vaes.dist.selected import QUICK, SelectedLikelihood, SelfMasking
from vaes.evaluate.likelihood import evidence
from vaes.model import Model
from vaes.recipes import build

CASES = [(0.0, 0.0, 0.7), (0.5, -2.0, 1.0), (-1.0, 6.0, 0.6), (2.0, -15.0, 0.4), (3.0, 4.0, 0.2)]


def entry(shift: float, slope: float, scale: float, mean: float = 0.3) -> SelectedLikelihood:
    """One entry x ~ N(mean, scale^2)."""
    x = NormalLikelihood(torch.tensor([[mean]]).double(), torch.tensor(scale).double().log(), 1)
    nodes = SelfMasking(Normal((1,))).nodes.double()
    return SelectedLikelihood(x, torch.tensor([shift]).double(), torch.tensor([slope]).double(), nodes)


@pytest.mark.parametrize(("shift", "slope", "scale"), CASES)
def test_there_or_not_is_certain(shift, slope, scale):
    """The integral of p(x, s = 1) and p(s = 0) sum to 1; both are those of scipy."""
    p, there = entry(shift, slope, scale), torch.tensor([[True]])
    gap = float(p.terms(torch.zeros(1, 1).double(), ~there).exp())
    known = quad(
        lambda x: norm.pdf(x, 0.3, scale) * expit(-shift - slope * x),
        0.3 - 9 * scale,
        0.3 + 9 * scale,
        epsabs=1e-13,
        limit=400,
    )[0]
    assert gap == pytest.approx(known, rel=5e-4 if abs(slope * scale) > 4 else 5e-6)
    x = torch.linspace(0.3 - 9 * scale, 0.3 + 9 * scale, 4001).double().unsqueeze(1)
    seen = torch.trapezoid(p.terms(x, torch.ones_like(x) > 0).exp()[:, 0], x[:, 0])
    assert float(seen) + gap == pytest.approx(1, abs=1e-4 if abs(slope * scale) > 4 else 1e-6)
    assert torch.equal(p.terms(x), p.terms(x, torch.ones_like(x) > 0))


@pytest.mark.parametrize(("shift", "slope", "scale"), CASES)
def test_gaps_are_drawn_given_that_they_are_gaps(shift, slope, scale):
    p, hidden = entry(shift, slope, scale), torch.zeros(1, 1).bool()
    grid = np.linspace(0.3 - 9 * scale, 0.3 + 9 * scale, 20_001)
    density = norm.pdf(grid, 0.3, scale) * expit(-shift - slope * grid)
    mass = density.cumsum() / density.sum()
    draw = torch.Generator().manual_seed(0)
    wide = entry(shift, slope, scale)
    wide = SelectedLikelihood(
        NormalLikelihood(wide.mean.expand(20_000, 1), wide.x.log_scale, 1),
        wide.shift, wide.slope, wide.nodes,
    )  # fmt: skip
    drawn = wide.complete(torch.zeros(20_000, 1).double(), hidden, draw).flatten().numpy()
    assert kstest(drawn, lambda x: np.interp(x, grid, mass)).pvalue > 1e-3
    mean = float((grid * density).sum() / density.sum())
    found = p.expected(torch.zeros(1, 1).double(), hidden)
    assert found is not None
    assert float(found) == pytest.approx(mean, abs=1e-5 * scale + 2e-6)
    x = torch.tensor([[7.0]]).double()  # what is observed stays
    assert torch.equal(p.complete(x, ~hidden, draw), x)
    assert torch.equal(p.expected(x, ~hidden), x)


# --- a whole model ----------------------------------------------------------------------------
WEIGHT, BIAS, SCALE = (0.9, -1.2), (0.2, -0.1), 0.6
SHIFT, SLOPE = (0.5, 1.0), (-2.0, 1.5)


def pair() -> Model:
    """z ~ N(0, 1), x = w z + m + .6 e, both columns masked by themselves; float64."""
    torch.manual_seed(0)
    spec = Spec((2,), shift=(1.0, 0.0), scale=(2.0, 3.0), missing=True)
    model = build("not_miwae", spec, latent=1, hidden=(), scale=SCALE).double().eval()
    decoder: Any = model.decoder
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()  # q is the prior
        decoder.last.weight.copy_(torch.tensor(WEIGHT).double().unsqueeze(1))
        decoder.last.bias.copy_(torch.tensor(BIAS).double())
        decoder.head.shift.copy_(torch.tensor(SHIFT) / QUICK)
        decoder.head.slope.copy_(torch.tensor(SLOPE) / QUICK)
    return model


ROWS = torch.tensor([[0.4, -1.0], [1.5, 0.0], [0.0, 0.8], [0.0, 0.0], [-2.0, 0.0]]).double()
THERE = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0], [1, 0]]) > 0


def by_grid(x: Tensor, there: Tensor) -> tuple[float, list[float]]:
    """log p(x_obs, s) in the user's units, and E[x_j | x_obs, s] in model space, by sums over a
    grid of z and of every missing entry."""
    axis = np.linspace(-7, 7, 281)
    z, *values = np.meshgrid(
        axis, *(axis if not there[j] else [float(x[j])] for j in (0, 1)), indexing="ij"
    )
    joint = norm.pdf(z)
    for j, value in enumerate(values):
        odds = SHIFT[j] + SLOPE[j] * value
        joint = joint * norm.pdf(value, WEIGHT[j] * z + BIAS[j], SCALE)
        joint = joint * expit(odds if there[j] else -odds)
    step = (axis[1] - axis[0]) ** (1 + int((~there).sum()))
    log_p = np.log(joint.sum() * step) - sum(np.log((2.0, 3.0)[j]) for j in (0, 1) if there[j])
    return log_p, [float((joint * value).sum() / joint.sum()) for value in values]


def test_evidence_is_the_integral_over_all_that_is_unknown():
    model, data = pair(), Data(pair().spec, ROWS, mask=THERE)
    found = evidence(model, data, k=20_000)
    known = [by_grid(x, there)[0] for x, there in zip(ROWS, THERE, strict=True)]
    each = torch.stack([evidence(model, data, k=2000, seed=s).per_row for s in range(1, 11)])
    error = each.std(0) / 20_000**0.5 * 2000**0.5
    assert ((found.per_row - torch.tensor(known)).abs() < 4 * error + 1e-6).all()
    assert error.max() < 0.02
    assert model.evidence == "x,s"


def test_gaps_are_filled_given_that_they_are_gaps():
    """E[x_mis | x_obs, s] of the grid; without the mechanism the values lie elsewhere."""
    model = pair()
    data = Data(model.spec, ROWS, mask=THERE)
    found = uses.impute(model, data, k=4000, draws=1000)
    known = torch.tensor([by_grid(x, m)[1] for x, m in zip(ROWS, THERE, strict=True)]).double()
    torch.testing.assert_close(found.mean, known, rtol=0, atol=0.03)
    assert found.draws is not None
    torch.testing.assert_close(found.draws.mean(0), known, rtol=0, atol=0.12)
    with torch.no_grad():
        decoder: Any = model.decoder
        decoder.head.slope.zero_()
    at_random = uses.impute(model, data, k=4000).mean
    assert (at_random - known).abs()[~THERE].max() > 0.3
