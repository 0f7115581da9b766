"""Denoising against the linear-Gaussian model's closed form."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import (
    LG_DIAGONAL,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_W,
    LG_X,
    LinearGaussian,
    lg,
    linear_vae,
)
from tests.uses.models import conditional, covariance, drawn, gapped, lg_ppca, loaded
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import NormalLikelihood
from vaes.errors import UsageError
from vaes.recipes import build


def test_without_known_noise_rows_are_decoded():
    found = uses.denoise(lg_ppca(), Batch(x=LG_X))
    torch.testing.assert_close(found[0], LG_W @ LG_MEAN + LG_MU)


def test_refinement_mends_a_bad_encoder():
    model = lg(0 * LG_MEAN, LG_DIAGONAL)
    found = uses.denoise(model, Batch(x=LG_X), steps=500)
    torch.testing.assert_close(found[0], LG_W @ LG_MEAN + LG_MU, rtol=0, atol=0.05)


@pytest.mark.parametrize("noise", [0.4, 1.5, "per entry"])
def test_known_noise_against_the_closed_form(noise):
    # E[x | x + e] = mu + C (C + S)^-1 (y - mu)
    given = torch.tensor([0.2, 2, 1, 0.5, 1]).double() if noise == "per entry" else noise
    power = torch.as_tensor(given).double().square().expand(5).diag()
    sigma = covariance(lg_ppca())
    expected = LG_MU + sigma @ torch.linalg.solve(sigma + power, LG_X[0] - LG_MU)
    for model in (lg_ppca(), lg(LG_MEAN, LG_TRIL)):
        found = uses.denoise(model, Batch(x=LG_X), noise=given, k=4000)
        torch.testing.assert_close(found[0], expected, rtol=0, atol=0.04)


class Bent(LinearGaussian):
    """z ~ N(0, 1), x | z ~ N((z^2, z), .01 I); q = N(0, 1.2^2)."""

    def __init__(self) -> None:
        one = torch.ones(2, 1, dtype=torch.float64)
        super().__init__(one, one[:, 0], 0.01, 0 * one[0], 1.2 * one[0])

    def likelihood(self, z, batch):
        mean = torch.cat([z.square(), z], -1)
        return NormalLikelihood(mean, 0.5 * self.variance.log(), 1)


@pytest.mark.parametrize("steps", [0, 50])
def test_known_noise_where_the_model_is_bent(steps):
    y, power = torch.tensor([1.5, 0.2]).double(), torch.tensor([0.04, 1.0]).double()
    found = uses.denoise(Bent(), Batch(x=y.unsqueeze(0)), noise=power.sqrt(), steps=steps, k=20_000)
    # on a grid of z: two ways to explain y, near -1.2 and near 1.2
    z = torch.linspace(-6, 6, 20_001).double().unsqueeze(1)
    mean = torch.cat([z.square(), z], 1)
    log_p = -0.5 * ((y - mean).square() / (0.01 + power)).sum(1) - 0.5 * z.squeeze(1).square()
    clean = mean + 0.01 / (0.01 + power) * (y - mean)
    expected = log_p.softmax(0) @ clean
    near = 0.02 if steps == 0 else 0.3  # one Gaussian covers the other way only in its tail
    torch.testing.assert_close(found[0], expected, rtol=0, atol=near)


def test_noise_is_in_the_users_units():
    scale = (2.0, 1.0, 1.0, 10.0, 1.0)
    in_units = 0.5 * torch.tensor(scale).double()
    plain = uses.denoise(lg_ppca(), Batch(x=LG_X), noise=0.5)
    scaled = uses.denoise(lg_ppca(scale=scale), Batch(x=LG_X), noise=in_units)
    torch.testing.assert_close(scaled, plain)


def test_clean_rows_are_nearer():
    clean_model = loaded(8, 2, seed=0, variance=0.05)
    model = linear_vae(clean_model.weight, clean_model.bias, 0.05, "diagonal")
    clean = drawn(clean_model, 200, 0)
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)).double()
    found = uses.denoise(model, Data(model.spec, noisy), noise=1.0, k=512)
    sigma = covariance(clean_model)
    best = torch.linalg.solve(sigma + torch.eye(8).double(), noisy.T).T @ sigma
    least = (best - clean).square().mean()
    assert (found - clean).square().mean() < 1.02 * least
    # with the noise unknown it is taken for the model's own, which is smaller
    plain = uses.denoise(model, Data(model.spec, noisy))
    assert (plain - clean).square().mean() > 1.04 * least


def test_gaps_are_filled_and_rows_stand_alone():
    model = lg_ppca()
    data = gapped(model, drawn(model, 12, 0), 0.3, 0)
    assert data.mask is not None
    found = uses.denoise(model, data, noise=1e-3, k=500)
    best, _ = conditional(model, data)
    torch.testing.assert_close(found[data.mask], data.x[data.mask], rtol=0, atol=0.01)
    torch.testing.assert_close(found, best, rtol=0, atol=0.15)
    alone = uses.denoise(model, data.rows(slice(4, 5)), noise=1e-3, k=500)
    torch.testing.assert_close(alone[0], found[4], rtol=1e-4, atol=1e-4)


def test_mistakes():
    bits = Spec((5,), kinds=("binary",), levels=(2,))
    row = Batch(x=torch.ones(1, 5))
    with pytest.raises(UsageError, match="on reals only"):
        uses.denoise(build("vae", bits, latent=2, hidden=(4,)), row, noise=1.0)
    with pytest.raises(UsageError, match="positive"):
        uses.denoise(lg_ppca(), Batch(x=LG_X), noise=0.0)
    with pytest.raises(UsageError, match="no density"):
        uses.denoise(build("autoencoder", Spec((5,)), latent=2), row, noise=1.0)
