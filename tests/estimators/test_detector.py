"""Odd rows: as many as were asked for, and those that are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.data.helpers import refused
from tests.estimators.helpers import QUICK, ROWS
from vaes import VAE, VAEDetector
from vaes.errors import UsageError

ODD = np.random.default_rng(3).permutation(300)[:15]
MIXED = ROWS.copy()
# the columns of these rows are those of other rows each: no margin is odd, only the joint is
MIXED[ODD] = np.stack([np.roll(ROWS[ODD, j], 3 * j) for j in range(5)], 1)


@pytest.fixture(scope="module")
def fitted() -> VAEDetector:
    return VAEDetector(latent=2, contamination=0.05, **QUICK).fit(MIXED)


def test_rows_whose_columns_do_not_fit_together_are_odd(fitted):
    odd = np.isin(np.arange(300), ODD)
    assert roc_auc_score(odd, -fitted.decision_function(MIXED)) > 0.95
    assert (fitted.predict(MIXED)[~odd] == 1).mean() > 0.97
    assert (fitted.predict(ROWS + 50) == -1).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 1 / 3, 0.5])
def test_the_share_is_the_share(share):
    found = VAEDetector(latent=2, steps=20, contamination=share).fit_predict(ROWS)
    assert set(np.unique(found)) == {-1, 1}
    assert abs((found == -1).sum() - 300 * share) <= 1


def test_the_score_is_the_log_evidence_of_the_same_model(fitted):
    same = VAE(latent=2, **QUICK).fit(MIXED)
    assert np.array_equal(fitted.score_samples(ROWS), same.score_samples(ROWS))
    assert fitted.offset_ == pytest.approx(np.quantile(same.score_samples(MIXED), 0.05))
    expected = same.score_samples(ROWS) - fitted.offset_
    assert np.allclose(fitted.decision_function(ROWS), expected, rtol=1e-12)


def test_shares_that_are_none():
    for wrong in (0, 0.6, -1, "auto"):
        with refused(f"contamination={wrong}", "at most 0.5", error=UsageError):
            VAEDetector(contamination=wrong).fit(ROWS)
