"""Gaps filled, by the conditional expectation where it has a closed form; nothing else touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.pipeline import make_pipeline

from tests.estimators.helpers import NAMES, QUICK, ROWS
from tests.estimators.test_rows import FRAMES, MIXED
from vaes import VAE, VAEImputer

HOLES = np.random.default_rng(4).random(ROWS.shape) < 0.2
HOLES[HOLES.all(1)] = False
GAPS = np.where(HOLES, np.nan, ROWS)


@pytest.fixture(scope="module")
def linear() -> VAEImputer:
    return VAEImputer("ppca", latent=2, k=4000).fit(GAPS)


def conditional(model: VAEImputer) -> tuple[np.ndarray, np.ndarray]:
    """E[x_m | x_o] and its standard deviation under the Gaussian that probabilistic PCA is."""
    w, bias, noise = (
        getattr(model.model_, k).double().numpy() for k in ("weight", "bias", "variance")
    )
    shift, scale = np.array(model.spec_.shift), np.array(model.spec_.scale)
    cov = scale[:, None] * (w @ w.T + noise * np.eye(5)) * scale
    mu, best, spread = shift + scale * bias, GAPS.copy(), np.zeros_like(GAPS)
    for row, hole, sd in zip(best, HOLES, spread, strict=True):
        gain = cov[np.ix_(hole, ~hole)] @ np.linalg.inv(cov[np.ix_(~hole, ~hole)])
        row[hole] = mu[hole] + gain @ (row[~hole] - mu[~hole])
        left = cov[np.ix_(hole, hole)] - gain @ cov[np.ix_(~hole, hole)]
        sd[hole] = np.sqrt(np.diag(left))
    return best, spread


def test_linear_gaussians_give_the_conditional_expectation(linear):
    best, spread = conditional(linear)
    found = linear.transform(GAPS)
    assert np.array_equal(found[~HOLES], GAPS[~HOLES])
    error = (found - best)[HOLES] / spread[HOLES]
    assert abs(error).max() < 5 / np.sqrt(4000)


def test_intervals_are_those_of_the_conditional(linear):
    """Equal tails at level .9 are 1.645 standard deviations to either side."""
    best, spread = conditional(linear)
    low, high = linear.intervals(GAPS, level=0.9)
    assert np.array_equal(low[~HOLES], GAPS[~HOLES])
    for end, side in ((low, -1.645), (high, 1.645)):
        error = ((end - best)[HOLES] / spread[HOLES]) - side
        assert abs(error.mean()) < 0.02
        assert abs(error).max() < 0.25
    inside = (low <= ROWS) & (high >= ROWS)
    assert 0.8 < inside[HOLES].mean() < 0.97


def test_multiple_imputations_vary_as_much_as_is_unknown(linear):
    best, spread = conditional(linear)
    drawn = np.stack(linear.multiple(GAPS, 100, random_state=1))
    assert (drawn[:, ~HOLES] == GAPS[~HOLES]).all()
    error = (drawn - best)[:, HOLES] / spread[HOLES]
    assert abs(error.mean()) < 0.05
    assert error.std() == pytest.approx(1, abs=0.05)


def test_better_than_means():
    model = VAEImputer(latent=2, **QUICK).fit(GAPS)
    assert model.recipe_ == "iwae"
    error = np.square(model.transform(GAPS) - ROWS)[HOLES].mean()
    assert error < 0.5 * np.square(ROWS.mean(0) - ROWS)[HOLES].mean()


def test_a_row_alone_is_what_it_is_among_others():
    """The draws behind a filled gap belong to the row and to nothing else."""
    model = VAEImputer(latent=2, steps=30).fit(GAPS)
    whole = model.transform(GAPS)
    order = np.random.default_rng(0).permutation(300)
    assert np.array_equal(model.transform(GAPS[order]), whole[order])
    parts = [model.transform(part) for part in np.split(GAPS, [1, 2, 9, 150])]
    assert np.array_equal(np.concatenate(parts), whole)
    twice = model.transform(np.repeat(GAPS[:3], 2, axis=0))
    assert np.array_equal(twice[::2], twice[1::2])


def test_what_has_no_gap_is_left_alone():
    model = VAEImputer(latent=2, steps=5).fit(ROWS)  # trained on whole rows, it fills gaps
    for dtype in (np.float32, np.float64):
        rows = ROWS.astype(dtype)
        assert np.array_equal(model.transform(rows), rows)
        assert model.transform(rows).dtype == dtype
        assert model.transform(GAPS.astype(dtype)).dtype == dtype
    assert np.isfinite(model.transform(GAPS)).all()
    assert np.isfinite(model.transform(np.full((1, 5), np.nan))).all()
    assert "missing" not in model.get_params()
    with pytest.raises(ValueError, match="infinite"):
        model.transform(np.where(HOLES, np.inf, ROWS))


def test_whole_numbers_stay_whole():
    rows = np.where(HOLES, np.nan, np.rint(3 * ROWS))
    found = VAEImputer(steps=50).fit(rows).transform(rows)
    assert (found == np.rint(found)).all()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames(kind):
    given = FRAMES[kind]({n: GAPS[:, i] for i, n in enumerate(NAMES)})
    model = VAEImputer(steps=30).set_output(transform=kind)
    found = model.fit_transform(given)
    assert isinstance(found, FRAMES[kind])
    assert list(found.columns) == NAMES == list(model.get_feature_names_out())
    assert np.array_equal(found.to_numpy(), VAEImputer(steps=30).fit(GAPS).transform(GAPS))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_with_words(make):
    holes = np.random.default_rng(5).random((200, 3)) < 0.2
    columns = {
        "wage": [
            None if h else v for v, h in zip(MIXED["wage"].tolist(), holes[:, 0], strict=True)
        ],
        "town": [None if h else v for v, h in zip(MIXED["town"], holes[:, 1], strict=True)],
        "member": MIXED["member"],
    }
    model = VAEImputer(steps=50).fit(make(columns))
    found = model.transform(make(columns))
    assert found.shape == (200, 3)
    assert set(found[:, 1]) == set(MIXED["town"])
    assert all(a == b for a, b in zip(found[:, 1], columns["town"], strict=True) if b is not None)
    assert (found[:, 0].astype(float) > 0).all()
    assert (found[~holes[:, 0], 0] == MIXED["wage"][~holes[:, 0]]).all()


def test_before_another_model():
    line = make_pipeline(VAEImputer(steps=30), VAE(latent=2, steps=30)).fit(GAPS)
    assert np.isfinite(line.score(GAPS))


def test_a_column_without_any_value():
    with pytest.raises(ValueError, match="has no value"):
        VAEImputer(steps=5).fit(np.column_stack([ROWS, np.full(300, np.nan)]))


def test_gaps_that_depend_on_the_value():
    """`not_miwae` by name; the error of what is filled in falls below that of `iwae`."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(300, 1))
    x = z @ np.ones((1, 3)) + 0.3 * draw.normal(size=(300, 3))
    holed = np.where((draw.random(x.shape) < 0.9) & (x > 0.3) & ([True, False, False]), np.nan, x)
    gaps, errors = np.isnan(holed), {}
    for recipe in ("iwae", "not_miwae"):
        how = {"samples": 5, "schedule": "constant"}
        imputer = VAEImputer(recipe, latent=1, hidden=(), steps=800, lr=1e-2, options=how)
        filled = imputer.fit(holed).transform(holed)
        assert np.array_equal(filled[~gaps], x[~gaps])
        errors[recipe] = np.sqrt(((filled - x)[gaps] ** 2).mean())
    assert errors["not_miwae"] < 0.85 * errors["iwae"]
