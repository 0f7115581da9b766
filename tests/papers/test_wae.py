"""The claim of recipe wae."""

import pytest
import torch

from tests.fixtures import descend, star
from tests.papers.helpers import ALL, DATA
from vaes.recipes import build

FEW = ALL[torch.arange(0, 500, 4)]


def test_wae_reconstructs_as_an_autoencoder_and_fills_the_prior():
    """Tolstikhin et al. 2018, theorem 1: the best linear codes leave the eigenvalues that PCA
    leaves, since a code costs nothing while their distribution is the prior; an autoencoder of
    probabilistic PCA would leave more (the mean code's residual)."""
    torch.manual_seed(0)
    model = build("wae", DATA.spec, latent=3, hidden=(), scale="shared", scaling=30.0).double()
    assert model.bound == "none"
    descend(model, FEW, star(3)[:1], steps=500, rate=0.05)
    with torch.no_grad():
        codes = model.posterior(FEW).mean
        variance = model.likelihood(codes, FEW).variance.mean().item()
    left = torch.linalg.eigvalsh(torch.cov(FEW.x.T, correction=0))[:5].sum().item() / 8
    assert variance == pytest.approx(left, rel=0.03)
    assert codes.mean(0).abs().max() < 0.15
    assert (torch.cov(codes.T) - torch.eye(3)).abs().max() < 0.3


def test_wae_with_a_gaussian_encoder_has_a_bound():
    assert build("wae", DATA.spec, latent=3, posterior="diagonal").bound == "lower"
