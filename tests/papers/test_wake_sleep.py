"""The claims of recipe wake_sleep."""

import math

import pytest
import torch

from tests.fixtures import (
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_VAR,
    LG_W,
    LG_X,
    star,
    step_of,
)
from tests.objective.disc import Disc, rows
from vaes.batch import Batch, Spec
from vaes.objective import log_weight
from vaes.objective.wake import Reweighted
from vaes.recipes import build


def test_sleep_ends_at_the_exact_posterior():
    """Hinton et al. 1995: under a decoder that stays, sleep minimises KL(p(z|x) || q) over the
    model's own rows, whatever the data are; a linear q with a full covariance holds the posterior
    of a linear model, so the ELBO of LG's x becomes log p(x) = -7.696352522."""
    torch.manual_seed(0)
    model = build(
        "wake_sleep", Spec((5,)), samples=1, phi="sleep", latent=2, hidden=(), scale=1.0,
        posterior="cholesky",
    ).double()  # fmt: skip
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    data, steps = Batch(torch.full((300, 5), 9.0).double()), 800
    adam = torch.optim.Adam(model.encoder.parameters(), 0.03, betas=(0.9, 0.99))
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for i in range(steps):
        noise = model.noise(300, seed=0, step=i, like=data.x)
        adam.zero_grad()
        model.losses(data, step_of(noise))["recogniser"].backward()
        adam.step()
        slower.step()
    with torch.no_grad():
        q, log_w = model.posterior(Batch(LG_X)), log_weight(model, Batch(LG_X), noise=star(2))
    assert q.mean[0].tolist() == pytest.approx(LG_MEAN.tolist(), abs=0.02)
    assert q.tril[0].flatten().tolist() == pytest.approx(LG_TRIL.flatten().tolist(), abs=0.02)
    assert log_w.mean().item() == pytest.approx(LG_EVIDENCE, abs=0.01)
    assert log_w.std() < 0.05


def test_the_wake_phase_finds_the_marginals_of_bits():
    """Bornschein & Bengio 2015: with many draws q descends KL(p(z|x) || q), which independent bits
    minimise at the marginals of the posterior, (.569014, .136030, .536464) for F-DISC."""
    model = Disc(1, Reweighted(500, "wake"))
    adam, draw = torch.optim.Adam([model.logits], 0.05), torch.Generator().manual_seed(0)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 600)
    for _ in range(600):
        noise = torch.randn(500, 1, 3, generator=draw).double()
        adam.zero_grad()
        model.objective.losses(model, rows(1), step_of(noise))["recogniser"].backward()
        adam.step()
        slower.step()
    found = model.logits.detach().sigmoid().flatten().tolist()
    assert found == pytest.approx([0.569014, 0.136030, 0.536464], abs=0.01)


def test_codes_may_be_bits():
    """No path through z is followed: a posterior of bits is taken as it is."""
    torch.manual_seed(0)
    model = build("wake_sleep", Spec((6,), ("binary",), (2,)), latent=3, posterior="bernoulli")
    x = Batch((torch.rand(8, 6) < 0.5).float())
    losses = model.losses(x, step_of(model.noise(8, seed=0, step=0, like=x.x)))
    for loss, part in ((losses["generator"], model.decoder), (losses["recogniser"], model.encoder)):
        found = torch.autograd.grad(loss, [*part.parameters()], retain_graph=True)
        assert all(g.isfinite().all() and g.any() for g in found)
