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


def test_an_entry_that_does_not_fit_its_row_is_blamed(fitted):
    rows = ROWS[15:115].copy()
    columns = np.arange(100) % 5
    rows[np.arange(100), columns] += 6 * ROWS.std(0)[columns]
    nats = fitted.blame(rows)
    assert nats.shape == rows.shape
    assert (nats.argmax(1) == columns).mean() >= 0.95
    assert abs(np.median(fitted.blame(ROWS))) < 0.5  # of rows as they are there is none


def test_what_no_training_row_could_have_held_is_odd_in_itself():
    draw = np.random.default_rng(0)
    rows = np.column_stack([draw.normal(size=(300, 2)), draw.integers(0, 2, 300)])
    detector = VAEDetector(steps=60, random_state=0).fit(rows)
    assert detector.spec_.kinds[2] == "binary"
    strange = rows[:50].copy()
    strange[:, 2] = 35
    # the rest of the row is scored as before, the entry costs log(n + 1)
    trained = detector.spec_.rows
    assert detector.blame(strange)[:, 2] == pytest.approx(np.log(trained + 1), abs=1.5)
    assert (detector.blame(strange).argmax(1) == 2).mean() > 0.9
    assert (detector.score_samples(rows[:50]) - detector.score_samples(strange)).min() > 2


def test_a_word_that_was_never_seen_is_odd_in_itself():
    pandas = pytest.importorskip("pandas")
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": draw.normal(size=300), "b": draw.choice(["x", "y"], 300)})
    detector = VAEDetector(steps=60, random_state=0).fit(frame)
    strange = frame[:20].copy()
    strange["b"] = "never"
    assert (detector.score_samples(frame[:20]) - detector.score_samples(strange)).min() > 2
    assert (detector.blame(strange).argmax(1) == 1).all()
