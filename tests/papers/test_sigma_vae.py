"""The claims of recipe sigma_vae."""

import math

import pytest
import torch

from tests.fixtures import (
    PPCA_EVIDENCE,
    PPCA_VARIANCE,
    ppca_data,
    ppca_rows,
    ppca_solution,
    ppca_spectrum,
    star,
    step_of,
    unclip,
)
from vaes.batch import Batch, Data, Spec
from vaes.dist.base import soft_clip
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, LOG_SCALE
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import log_weight
from vaes.recipes import build

DATA = ppca_data()
ALL = DATA.rows(slice(None))


def ppca(scale: str) -> Model:
    """The linear model at the maximum of F-PPCA but for its sigma, which is 1."""
    weight, bias, variance = ppca_solution(3)
    torch.manual_seed(0)
    options = {"latent": 3, "hidden": (), "warmup": 0.0, "scale": scale}
    model = build("sigma_vae", DATA.spec, **options).double()
    precision = torch.eye(3).double() + weight.T @ weight / variance
    gain = torch.linalg.solve(precision, weight.T / variance)
    with torch.no_grad():
        model.decoder.last.weight.copy_(weight)
        model.decoder.last.bias.copy_(bias)
        model.encoder.last.weight.zero_()
        model.encoder.last.weight[:3] = gain
        model.encoder.last.bias[:3] = -gain @ bias
        model.encoder.last.bias[3:] = unclip(-0.5 * precision.diagonal().log(), *LOG_SCALE)
    return model


def test_the_analytic_sigma_is_that_of_the_maximum_of_the_likelihood():
    """With the other numbers at the maximum of F-PPCA, E_q |r|^2 / 8 is sigma^2 = .486241, the ELBO
    -11.976043. The residual of the posterior mean alone has 5 sigma^2 of the directions that are
    left out and sigma^4 / lambda of the others: it would start on the way to .323902."""
    model, step = ppca("optimal"), step_of(star(3))
    model.train()
    loss = model.losses(ALL, step)["model"]
    assert loss.item() == pytest.approx(-PPCA_EVIDENCE[3], abs=1e-6)
    model.closed_form(ALL, step)
    model.eval()
    p = model.likelihood(model.posterior(ALL).mean, ALL)
    assert p.variance[0, 0].item() == pytest.approx(PPCA_VARIANCE[3], abs=1e-6)
    elbo = log_weight(model, ALL, noise=star(3)).mean().item()
    assert elbo == pytest.approx(PPCA_EVIDENCE[3], abs=1e-6)
    lambdas, variance = ppca_spectrum(ppca_rows())[0][:3], PPCA_VARIANCE[3]
    wrong = (5 * variance + (variance**2 / lambdas).sum()) / 8
    assert (ALL.x - p.mean).square().mean().item() == pytest.approx(wrong, abs=1e-5)
    assert wrong == pytest.approx(0.348976, abs=1e-6)


def test_one_learned_sigma_is_best_where_the_analytic_one_is():
    """d NLL / d log sigma = D - E|r|^2 / sigma^2 is 0 at .486241, and D (1 - 1 / 1.44) = 22/9 at
    1.44 times that."""
    model, step, slopes = ppca("shared"), step_of(star(3)), []
    for factor in (1.0, 1.44):
        at = torch.tensor(0.5 * math.log(factor * ppca_solution(3)[2]), dtype=torch.float64)
        raw = unclip(at, *LIKELIHOOD_LOG_SCALE)
        model.decoder.head.log_scale.data.copy_(raw)
        found = torch.autograd.grad(model.losses(ALL, step)["model"], model.decoder.head.log_scale)
        inner = raw.clone().requires_grad_()
        clip = torch.autograd.grad(soft_clip(inner, *LIKELIHOOD_LOG_SCALE), inner)
        slopes.append((found[0] / clip[0]).item())
    assert slopes == pytest.approx([0.0, 22 / 9], abs=1e-9)


def test_a_fixed_sigma_is_a_beta():
    """sigma^2 = .25 with beta = 1, and half the squared error with beta = .25: the losses differ by
    a factor of .25 and a constant, so plain descent at rates in that ratio walks the same way."""
    walks = []
    for scale, beta, rate in ((0.5, 1.0, 0.25e-3), (1.0, 0.25, 1e-3)):
        torch.manual_seed(0)
        build_from = "beta_vae" if beta != 1 else "sigma_vae"
        own = {"beta": beta} if beta != 1 else {"warmup": 0.0}
        model = build(build_from, DATA.spec, latent=2, hidden=(8,), scale=scale, **own).double()
        sigma = model.likelihood(torch.zeros(1, 2).double(), ALL).variance.sqrt()[0, 0].item()
        assert sigma == pytest.approx(scale, abs=1e-6)  # held in float32 until here
        model.decoder.head.log_scale.fill_(math.log(scale))
        for _ in range(30):
            loss = model.losses(ALL, step_of(star(2)))["model"]
            found = torch.autograd.grad(loss, [*model.parameters()])
            with torch.no_grad():
                for p, g in zip(model.parameters(), found, strict=True):
                    p -= rate * g
        walks.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*walks, rtol=0, atol=1e-10)


def test_an_entry_that_never_changes_ends_at_the_floor():
    """Its sigma falls to e^-6 and the loss stays finite; the other entry keeps its spread of 1."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=draw, dtype=torch.float64)
    x[:, 1] = 0.0
    data = Data(Spec((2,)), x)
    torch.manual_seed(0)
    model = build("sigma_vae", data.spec, latent=1, hidden=(), scale="entry").double()
    adam, rows = torch.optim.Adam(model.parameters(), 0.1), data.rows(slice(None))
    for _ in range(400):
        adam.zero_grad()
        loss = model.losses(rows, step_of(star(1)))["model"]
        loss.backward()
        adam.step()
    assert loss.isfinite()
    scale = model.likelihood(torch.zeros(1, 1).double(), rows).variance.sqrt()[0]
    assert math.exp(-6) <= scale[1].item() < 0.02
    assert 0.3 < scale[0].item() < 1.1


def test_it_refuses_what_has_no_gaussian():
    with pytest.raises(UsageError, match="rows of reals or of pixels"):
        build("sigma_vae", Spec((3,), ("binary",), (2,)))
    with pytest.raises(UsageError, match="analytic for reals alone"):
        build("sigma_vae", Spec((1, 4, 4), ("pixel",), (5,)), scale="optimal")
    x = Batch(torch.zeros(2, 3))
    assert build("sigma_vae", Spec((3,)), scale="network").posterior(x).mean.shape[0] == 2
