"""Classes evened out: as many rows as were asked for, and rows of the class they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from tests.data.helpers import refused
from tests.estimators.helpers import NAMES, blobs
from tests.estimators.test_rows import FRAMES, MIXED
from vaes import VAESampler
from vaes.errors import UsageError

X, Y = blobs((120, 60, 20))
WORDS = np.array(["many", "some", "few"])[Y]
TRAINING = {"latent": 3, "hidden": [32], "steps": 600, "lr": 5e-3, "patience": 0.0, "threads": 1}


def added(y, strategy) -> dict[str, int]:
    return VAESampler(steps=3, sampling_strategy=strategy).fit(X[: len(y)], y).sampling_strategy_


@pytest.mark.parametrize("per_class", [False, True], ids=["one model", "one per class"])
def test_new_rows_are_of_their_class(per_class):
    """Classes lie 8 standard deviations apart: a linear model that knows them is never wrong."""
    sampler = VAESampler(per_class=per_class, **TRAINING)
    rows, labels = sampler.fit_resample(X, WORDS)
    assert np.array_equal(rows[:200], X)
    assert np.array_equal(labels[:200], WORDS)
    assert {w: (labels == w).sum() for w in ("many", "some", "few")} == dict.fromkeys(WORDS, 120)
    assert sampler.sampling_strategy_ == {"few": 100, "many": 0, "some": 60}
    known = LogisticRegression().fit(X, WORDS)
    assert known.score(rows[200:], labels[200:]) > 0.97
    assert len(np.unique(rows[200:], axis=0)) == 160  # no row is a copy of another
    drawn, of = sampler.sample(90, y="some", random_state=1)
    assert drawn.shape == (90, 4)
    assert (of == "some").all()
    assert known.score(drawn, of) > 0.97
    assert abs(drawn.mean(0) - X[WORDS == "some"].mean(0)).max() < 1


def test_what_is_drawn_without_a_class_has_all_of_them():
    sampler = VAESampler(steps=20).fit(X, Y)
    rows, labels = sampler.sample(4000)
    assert np.bincount(labels) / 4000 == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    assert np.array_equal(sampler.sample(4000)[0], rows)
    assert (sampler.sample(3, [0, 2, 1])[1] == [0, 2, 1]).all()
    with refused("no row of class '7'", error=UsageError):
        sampler.sample(2, y=7)
    with refused("n_samples=0", error=UsageError):
        sampler.sample(0)


def test_strategies():
    assert added(Y, "auto") == added(Y, "not majority") == added(Y, "all") == {0: 0, 1: 60, 2: 100}
    assert added(Y, "minority") == {0: 0, 1: 0, 2: 100}
    assert added(Y, "not minority") == {0: 0, 1: 60, 2: 0}
    assert added(Y, {2: 25}) == {0: 0, 1: 0, 2: 5}
    assert added(Y, lambda y: {1: 2 * (y == 1).sum()}) == {0: 0, 1: 60, 2: 0}
    assert added(Y[:180], 0.75) == {0: 0, 1: 30}
    for wrong, said in (
        (0.5, "ratio of the smaller of two"),
        ({2: 5}, "rows are added, never taken away"),
        ({9: 5}, "of which 0 were given"),
        ("auro", "did you mean 'auto'"),
    ):
        with refused(said, error=UsageError):
            added(Y, wrong)
    with refused("ratio", error=UsageError):
        added(Y[:180], 0.2)


def test_classes_that_are_even_get_nothing():
    rows, labels = VAESampler(steps=3).fit_resample(X[:180:2], Y[:180:2] > 5)
    assert len(rows) == len(labels) == 90


def test_classes_of_one_row():
    y = np.array([0] * 199 + [1])
    rows, labels = VAESampler(steps=20).fit_resample(X, y)
    assert (labels == 1).sum() == 199
    assert len(rows) == 398
    with refused("no row to train a model of its own", error=UsageError):
        for seed in range(99):  # until the row is the validation's
            VAESampler(steps=1, per_class=True, random_state=seed).fit(X[-12:], y[-12:])


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_come_back_as_frames(kind):
    rows = FRAMES[kind]({n: X[:, i] for i, n in enumerate(NAMES[:4])})
    found, labels = VAESampler(steps=20).fit_resample(rows, WORDS)
    assert isinstance(found, type(rows))
    assert found.shape == (360, 4)
    assert labels.shape == (360,)
    plain, _ = VAESampler(steps=20).fit_resample(X, WORDS)
    assert np.array_equal(np.asarray(found), plain)


@pytest.mark.parametrize("make", [pd, pl], ids=["pandas", "polars"])
def test_words_and_whole_numbers_come_back_as_they_were(make):
    rows = make.DataFrame({k: list(v) for k, v in MIXED.items()})
    y = (
        make.Series(name="who", values=["a"] * 150 + ["b"] * 50)
        if make is pl
        else pd.Series(["a"] * 150 + ["b"] * 50, name="who")
    )
    found, labels = VAESampler(steps=50).fit_resample(rows, y)
    assert dict(found.dtypes) == dict(rows.dtypes) if make is pd else found.schema == rows.schema
    assert set(found["town"]) == set(MIXED["town"])
    assert type(labels) is type(y)
    assert labels.name == "who"
    assert (np.asarray(labels) == "b").sum() == 150


def test_dtypes():
    for dtype in (np.float32, np.float64, np.int64):
        rows, _ = VAESampler(steps=5).fit_resample((10 * X).astype(dtype), Y)
        assert rows.dtype == dtype


def test_labels_that_are_none():
    for wrong, said in (
        (None, "requires y to be passed"),
        (X[:, 0], "Unknown label type: continuous"),
        (Y[:50], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=said):
            VAESampler(steps=3).fit(X, wrong)


def test_the_same_twice():
    sampler = VAESampler(steps=20)
    first = sampler.fit_resample(X, Y)[0]
    assert np.array_equal(clone(sampler).fit_resample(X, Y)[0], first)
    other = sampler.set_params(random_state=1).fit_resample(X, Y)[0]
    assert not np.array_equal(other, first)
