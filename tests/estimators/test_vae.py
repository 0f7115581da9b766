"""The estimator: three lines, scikit-learn's habits, the user's units."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.data.helpers import refused
from vaes import VAE
from vaes.errors import UsageError

QUICK = {"hidden": [16], "steps": 300, "lr": 5e-3, "compile": "no", "threads": 1}
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(300, 2)) @ DRAW.normal(size=(2, 5)) + 0.3 * DRAW.normal(size=(300, 5)) + 7


def quick(**given) -> VAE:
    return VAE(latent=2, options=QUICK, **given)


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return quick().fit(ROWS)


def test_three_lines():
    model = VAE(options=QUICK).fit(ROWS)
    assert model.sample(10).shape == (10, 5)
    assert 0 < model.history_[-1]["step"] <= 300
    assert model.n_features_in_ == 5


def test_codes_are_deterministic_and_row_by_row(fitted):
    codes = fitted.transform(ROWS)
    assert codes.shape == (300, 2)
    torch.manual_seed(1)
    assert (fitted.transform(ROWS) == codes).all()
    assert np.allclose(fitted.transform(ROWS[7:9]), codes[7:9], rtol=1e-5, atol=1e-6)
    assert list(fitted.get_feature_names_out()) == ["vae0", "vae1"]


def test_rows_come_back_in_the_users_units(fitted):
    """Two numbers explain most of these rows: what is left is nearer to .3 than to their spread."""
    back = fitted.inverse_transform(fitted.transform(ROWS))
    assert back.shape == ROWS.shape
    assert np.allclose(back, fitted.reconstruct(ROWS), atol=1e-5)
    left = np.sqrt(np.square(back - ROWS).mean(0))
    assert (left < 0.5 * (0.3 + ROWS.std(0))).all()
    drawn = fitted.sample(4000)
    assert (abs(drawn.mean(0) - ROWS.mean(0)) < 0.5 * ROWS.std(0)).all()


def test_samples_are_a_function_of_their_seed(fitted):
    assert (fitted.sample(5, seed=1) == fitted.sample(5, seed=1)).all()
    assert (fitted.sample(5, seed=1) != fitted.sample(5, seed=2)).any()
    assert (fitted.sample(5, seed=1, mean=True) != fitted.sample(5, seed=1)).any()


def test_the_score_is_the_mean_of_the_scores(fitted):
    scores = fitted.score_samples(ROWS)
    assert scores.shape == (300,)
    assert fitted.score(ROWS) == pytest.approx(scores.mean(), rel=1e-12)
    assert np.allclose(fitted.score_samples(ROWS[::-1])[::-1], scores, rtol=1e-5)
    assert (fitted.score_samples(ROWS + 100) < scores.min()).all()


def test_other_units_shift_the_score_by_their_logarithms(fitted):
    """Standardised rows are the same, so training is: log p falls by the sum of log scales."""
    scale = np.array([1e-3, 1.0, 2.0, 50.0, 1e4])
    other = quick().fit(ROWS * scale + 5)
    shift = other.score_samples(ROWS * scale + 5) - fitted.score_samples(ROWS)
    assert np.allclose(shift, -np.log(scale).sum(), atol=1e-2)
    assert np.allclose(other.transform(ROWS * scale + 5), fitted.transform(ROWS), atol=1e-2)


def test_fitting_again_is_fitting_anew(fitted):
    again = clone(fitted).fit(ROWS)
    assert (again.transform(ROWS) == fitted.transform(ROWS)).all()
    other = quick(random_state=1).fit(ROWS)
    assert (other.transform(ROWS) != fitted.transform(ROWS)).any()


def test_parameters_and_clones():
    model = VAE("beta_vae", latent=3, kind="real", missing="nan", random_state=5)
    given = model.get_params()
    assert (given["recipe"], given["latent"], given["random_state"]) == ("beta_vae", 3, 5)
    copied = clone(model)
    assert copied is not model
    assert copied.get_params() == given
    assert model.set_params(latent=4).latent == 4
    for use in (model.transform, model.score_samples, model.score, model.reconstruct):
        with pytest.raises(NotFittedError):
            use(ROWS)


def test_in_a_pipeline():
    line = make_pipeline(StandardScaler(), quick()).fit(ROWS)
    assert line.transform(ROWS).shape == (300, 2)
    assert line.inverse_transform(line.transform(ROWS)).shape == ROWS.shape
    assert np.isfinite(line.score(ROWS))


def test_pickled_and_back(fitted):
    other = pickle.loads(pickle.dumps(fitted))
    assert (other.transform(ROWS) == fitted.transform(ROWS)).all()
    assert (other.score_samples(ROWS) == fitted.score_samples(ROWS)).all()


def test_rows_with_gaps():
    """A row with a gap scores as its marginal: above the same row with an absurd entry there."""
    gaps = ROWS.copy()
    gaps[::3, 1] = np.nan
    with refused("--missing nan"):
        quick().fit(gaps)
    model = quick(missing="nan").fit(gaps)
    assert np.isfinite(model.score_samples(gaps)).all()
    assert np.isfinite(model.transform(gaps)).all()
    assert np.isfinite(model.reconstruct(gaps)).all()
    absurd = np.where(np.isnan(gaps), 100.0, gaps)
    assert (model.score_samples(absurd)[::3] < model.score_samples(gaps)[::3]).all()


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_come_in(fitted, make):
    """Columns are found by name, and numbers are those of the array."""
    names = [f"c{i}" for i in range(5)]
    frame = make({name: ROWS[:, i] for i, name in enumerate(names)})
    model = quick().fit(frame)
    assert np.allclose(model.transform(frame), fitted.transform(ROWS), atol=1e-4)
    mixed = make({name: ROWS[:, names.index(name)] for name in names[::-1]})
    assert (model.transform(mixed) == model.transform(frame)).all()


def test_a_target_is_ignored():
    """So that the model can stand before a regression in a pipeline."""
    with_y = quick().fit(ROWS, np.linspace(0, 1, 300))
    assert np.array_equal(with_y.transform(ROWS), quick().fit(ROWS).transform(ROWS))


def test_fitting_leaves_a_network_of_the_users_own_as_it_was():
    body = torch.nn.Linear(5, 3)
    before = body.weight.clone()
    model = VAE(latent=2, encoder=body, options={"steps": 20})
    first = model.fit(ROWS).transform(ROWS)
    assert torch.equal(body.weight, before)
    assert np.array_equal(model.fit(ROWS).transform(ROWS), first)


def test_a_frozen_network_does_not_move():
    body = torch.nn.Linear(5, 3).requires_grad_(False)
    model = VAE(latent=2, encoder=body, options={"steps": 20}).fit(ROWS)
    assert torch.equal(model.model_.encoder.body.weight, body.weight)


def test_float64_in_float64_out(fitted):
    assert fitted.transform(ROWS.astype(np.float64)).dtype == np.float64
    assert fitted.transform(ROWS.astype(np.float32)).dtype == np.float32


def test_mistakes_are_one_line(fitted):
    with refused("no option 'latnet'", "did you mean 'latent'", error=UsageError):
        VAE(options={"latnet": 2}).fit(ROWS)
    with refused("did you mean 'vae'", error=UsageError):
        VAE("vea").fit(ROWS)
    with refused("(4,)", "(5,)"):
        fitted.transform(ROWS[:, :4])
    with refused("codes of shape", "(n, 2)", error=UsageError):
        fitted.inverse_transform(np.zeros((3, 4)))


def test_global_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    quick().fit(ROWS).sample(3)
    assert torch.equal(torch.rand(2), expected)
