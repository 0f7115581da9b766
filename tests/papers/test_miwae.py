"""The claim of recipe miwae."""

import math

import pytest
import torch

from tests.fixtures import LG_DIAGONAL, LG_MEAN, LG_MU, LG_VAR, LG_W, LG_X, step_of, unclip
from vaes.batch import Batch, Spec
from vaes.dist.gaussian import LOG_SCALE
from vaes.errors import UsageError
from vaes.recipes import build


@torch.no_grad()
def missed(**extra):
    """LG, and a q of mean + .3 and 1.5 times the best diagonal variances for every row."""
    model = build("miwae", Spec((5,)), latent=2, hidden=(), scale=1.0, **extra).double()
    model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
    model.decoder.last.weight.copy_(LG_W)
    model.decoder.last.bias.copy_(LG_MU)
    model.encoder.last.weight.zero_()
    scale = (LG_DIAGONAL * math.sqrt(1.5)).log()
    model.encoder.last.bias.copy_(torch.cat([LG_MEAN + 0.3, unclip(scale, *LOG_SCALE)]))
    return model


@pytest.mark.parametrize(
    ("extra", "bounds"),
    [
        ({"kind": "miwae", "outer": 4, "inner": 5}, {"model": -7.8633}),
        ({"kind": "piwae", "outer": 5, "inner": 2}, {"generator": -7.7814, "recogniser": -8.0851}),
        ({"kind": "ciwae", "outer": 5, "inner": 2, "beta": 0.5}, {"model": -8.1040}),
    ],
)
def test_the_bounds_of_known_numbers_of_draws(extra, bounds):
    """E L_K of this q is -8.4266, -8.0851, -7.8633, -7.7814 for K = 1, 2, 5, 10 (s.e. .0015):
    M bounds of K draws have the mean of one; PIWAE's decoder has all M K draws."""
    model, parts = missed(**extra), []
    for seed in range(40):
        noise = model.noise(200, seed=seed, step=0, like=LG_X)
        with torch.no_grad():
            parts.append(model.losses(Batch(LG_X.expand(200, -1)), step_of(noise)))
    for player, bound in bounds.items():
        found = -torch.stack([p[player] for p in parts])
        error = math.hypot(found.std().item() / math.sqrt(len(found)), 0.002)
        assert abs(found.mean().item() - bound) < 4 * error
    assert set(parts[0]) == set(bounds)


def signal_to_noise(outer, inner):
    model = missed(outer=outer, inner=inner)
    found = []
    for step in range(400):
        noise = model.noise(1, seed=0, step=step, like=LG_X)
        loss = model.losses(Batch(LG_X), step_of(noise))["model"]
        found.append(torch.autograd.grad(loss, model.encoder.last.bias)[0][:2])
    g = torch.stack(found)
    return (g.mean(0).norm() / g.std(0).norm()).item(), g.mean(0), g.std(0) / math.sqrt(400)


def test_groups_save_the_encoders_signal():
    """Rainforth et al. 2018, theorem 1: the encoder's signal to noise goes as sqrt(M / K). Of 64
    draws 8 x 8 has 8 times that of 1 x 64, to within the error of both; and M times the draws leave
    the mean of the gradient as it is."""
    one, _, _ = signal_to_noise(1, 64)
    eight, mean, error = signal_to_noise(8, 8)
    assert eight > 4 * one
    single, other, apart = signal_to_noise(1, 8)
    assert ((mean - other).abs() < 4 * torch.hypot(error, apart)).all()
    assert eight / single == pytest.approx(math.sqrt(8), rel=0.35)


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UsageError, match="did you mean 'piwae'"):
        build("miwae", Spec((5,)), kind="piwea")
