"""The claim of recipe vae."""

import pytest

from tests.fixtures import (
    LG_MEAN,
    descend,
    star,
)
from tests.papers.helpers import X, on_lg, rows_of_lg
from vaes.objective import log_weight


def test_vae_learns_the_best_diagonal_posterior():
    """Kingma & Welling 2014: amortised over 200 rows, the ELBO of LG's x is -7.723983861."""
    model = on_lg("vae")
    descend(model, rows_of_lg(200), star(2), steps=1500, rate=0.03)
    q = model.posterior(X)
    assert q.mean[0].tolist() == pytest.approx(LG_MEAN.tolist(), abs=1e-3)
    assert q.variance[0].tolist() == pytest.approx([0.17777778, 0.08602151], abs=1e-4)
    elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert elbo == pytest.approx(-7.723983861, abs=1e-4)
