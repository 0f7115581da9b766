"""The claim of recipe autoencoder."""

import numpy as np
import pytest
import torch

from tests.fixtures import (
    descend,
    ppca_rows,
    ppca_spectrum,
    step_of,
)
from tests.papers.helpers import ALL, DATA
from vaes.recipes import build


def test_autoencoder_is_pca_without_a_scale():
    """Baldi & Hornik 1989: linear, it leaves .303901 per dimension and spans the first axes.

    Its codes carry no scale: encoder times c and decoder over c are the same model.
    """
    torch.manual_seed(0)
    model = build(
        "autoencoder", DATA.spec, latent=3, hidden=(), likelihood="normal", scale=1.0
    ).double()
    noise = torch.zeros(1, 1, 3).double()
    descend(model, ALL, noise, steps=3000, rate=0.02)
    z = model.posterior(ALL).mean
    residual = (model.likelihood(z, ALL).mean - ALL.x).square().mean().item()
    assert residual == pytest.approx(0.303901, abs=0.0005)
    values, vectors = ppca_spectrum(ppca_rows())
    weight = model.decoder.last.weight.detach().numpy()
    cosines = np.linalg.svd(vectors[:, :3].T @ np.linalg.qr(weight)[0], compute_uv=False)
    assert np.arccos(cosines.clip(max=1)).max() < 1e-2
    # the Gaussian of the codes, decoded, has the mean of x and the covariance that PCA keeps
    with torch.no_grad():
        model.begin("codes", DATA)
        middle = model.likelihood(model.prior(ALL[:1]).mean, ALL[:1]).mean[0].numpy()
        covariance = weight @ model.prior(ALL[:1]).covariance_matrix[0].numpy() @ weight.T
    kept = (vectors[:, :3] * values[:3]) @ vectors[:, :3].T
    assert np.abs(covariance - kept).max() < 0.02
    assert np.abs(middle - ppca_rows().mean(0)).max() < 0.02
    before = model.losses(ALL, step_of(noise))["model"].item()
    with torch.no_grad():
        model.encoder.last.weight.mul_(8)
        model.encoder.last.bias.mul_(8)
        model.decoder.last.weight.div_(8)  # a power of two: to the bit
    assert model.losses(ALL, step_of(noise))["model"].item() == before
