"""Groups: those that there are, for rows that were seen and for new ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.estimators.helpers import blobs
from vaes import VAEClusterer

X, Y = blobs((150, 100, 50))
TRAINING = {"latent": 3, "hidden": [32], "steps": 600, "lr": 3e-3, "threads": 1}


@pytest.fixture(scope="module")
def fitted() -> VAEClusterer:
    return VAEClusterer(n_clusters=3, **TRAINING).fit(X)


def test_groups_that_lie_apart_are_found(fitted):
    assert adjusted_rand_score(fitted.labels_, Y) == 1
    # by size, the largest first
    assert np.bincount(fitted.labels_).tolist() == [150, 100, 50]
    assert (fitted.predict(X) == fitted.labels_).all()
    assert (
        adjusted_rand_score(
            fitted.predict(blobs((30, 30, 30), seed=1)[0]), np.repeat([0, 1, 2], 30)
        )
        == 1
    )
    assert (fitted.labels_[fitted.representatives_] == [0, 1, 2]).all()


def test_probabilities(fitted):
    found = fitted.predict_proba(X)
    assert found.shape == (300, 3)
    assert np.allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    assert (found.argmax(1) == fitted.labels_).all()
    between = fitted.predict_proba((X[Y == 0][:20] + X[Y == 1][:20]) / 2)
    assert between.max(1).mean() < found.max(1).mean()


def test_a_row_alone_is_what_it_is_among_others(fitted):
    parts = [fitted.predict_proba(part) for part in np.split(X[::-1], [1, 40])]
    assert np.array_equal(np.concatenate(parts)[::-1], fitted.predict_proba(X))


def test_fit_predict_and_pickles(fitted):
    again = VAEClusterer(n_clusters=3, **TRAINING)
    assert (again.fit_predict(X) == fitted.labels_).all()
    assert (pickle.loads(pickle.dumps(fitted)).predict(X) == fitted.labels_).all()
    assert again.transform(X).shape == (300, 3)


def test_how_many_there_are():
    """Left open, the number is the one with the lowest BIC, and labels have no gap."""
    free = VAEClusterer(**TRAINING).fit(X)
    assert adjusted_rand_score(free.labels_, Y) > 0.8
    many = VAEClusterer(n_clusters=12, latent=2, steps=20).fit(X[:60])
    assert (np.unique(many.labels_) == np.arange(many.labels_.max() + 1)).all()
    assert many.predict_proba(X).shape[1] == many.labels_.max() + 1 <= 12
    # of six groups asked for among three different rows, those in which no row ends are none
    few = VAEClusterer(n_clusters=6, latent=2, steps=20).fit(
        np.repeat(X[[0, 160, 290]], 20, axis=0)
    )
    assert set(few.labels_) == {0, 1, 2}
    assert few.predict_proba(X).shape == (300, 3)
    assert len(few.representatives_) == 3
    with pytest.raises(ValueError, match="at most one per row"):
        VAEClusterer(n_clusters=99, steps=5).fit(X[:20])


def test_one_group():
    assert (VAEClusterer(n_clusters=1, steps=20).fit(X).labels_ == 0).all()
