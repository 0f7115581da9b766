"""The claim of recipe ppca."""

import math

import numpy as np
import pytest
import torch

from tests.fixtures import (
    ppca_rows,
    ppca_spectrum,
    star,
)
from tests.papers.helpers import ALL, DATA
from vaes.objective import log_weight
from vaes.recipes import build


def test_ppca_likelihood_is_that_of_the_eigenvalues():
    """Tipping & Bishop 1999, eq. 12: -1/2 (D log 2 pi + sum log l + (D - k) log s2 + D)."""
    values = ppca_spectrum(ppca_rows())[0]
    for k in range(1, 8):
        model = build("ppca", DATA.spec, latent=k).double()
        with torch.no_grad():
            model.begin("train", DATA)
        rest = values[k:].mean()
        expected = -0.5 * (
            8 * math.log(2 * math.pi) + np.log(values[:k]).sum() + (8 - k) * math.log(rest) + 8
        )
        found = log_weight(model, ALL, noise=star(k)).mean().item()
        assert found == pytest.approx(expected, abs=1e-9)
