"""Parameters: by name, cloned, nested, searched over, in pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.data.helpers import refused
from tests.estimators.helpers import ROWS, blobs, quick
from vaes import VAE
from vaes.errors import UsageError


def test_parameters_and_clones():
    model = VAE("beta_vae", latent=3, kind="real", missing="nan", random_state=5)
    given = model.get_params()
    assert (given["recipe"], given["latent"], given["random_state"]) == ("beta_vae", 3, 5)
    copied = clone(model)
    assert copied is not model
    assert copied.get_params() == given
    assert model.set_params(latent=4).latent == 4


def test_options_are_parameters_of_their_own():
    given = {"beta": 4.0}
    model = VAE("beta_vae", options=given)
    assert model.get_params()["options__beta"] == 4.0
    assert "options__beta" not in model.get_params(deep=False)
    model.set_params(options__beta=2.0, options__schedule="cosine", latent=3)
    assert model.options == {"beta": 2.0, "schedule": "cosine"}
    assert given == {"beta": 4.0}  # the user's own mapping is left alone
    assert model.latent == 3
    assert clone(model).options == model.options
    assert VAE().set_params(options__hidden=[8]).options == {"hidden": [8]}
    line = Pipeline([("vae", VAE("beta_vae"))]).set_params(vae__options__beta=3.0)
    assert line.named_steps["vae"].options == {"beta": 3.0}


def test_either_way_of_giving_an_option_is_the_same():
    named = VAE(latent=2, hidden=[8], steps=30, lr=1e-2, batch=32, patience=0.0)
    inner = {"latent": 2, "hidden": [8], "steps": 30, "lr": 1e-2, "batch": 32, "patience": 0.0}
    codes = named.fit(ROWS).transform(ROWS)
    assert np.array_equal(VAE(options=inner).fit(ROWS).transform(ROWS), codes)
    assert named.n_iter_ == 30
    # what is named wins
    assert VAE(latent=3, steps=5, options={"latent": 2}).fit(ROWS).model_.latent == 3
    with refused("give one length", error=UsageError):
        VAE(steps=3, epochs=2).fit(ROWS)


def test_a_grid_over_recipes_widths_and_options():
    """The search ranks by held-out log evidence: rows of two dimensions, a linear model of two."""
    grid = [
        {"recipe": ["vae", "ppca"], "latent": [1, 2], "hidden": [None]},
        {"recipe": ["beta_vae"], "options__beta": [1.0, 50.0], "options__warmup": [0.0]},
    ]
    search = GridSearchCV(quick(steps=100, hidden=None), grid, cv=2, error_score="raise").fit(ROWS)
    assert search.best_params_["latent"] == 2
    scores = dict(
        zip(
            map(str, search.cv_results_["params"]),
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    found = {k: v for k, v in scores.items() if "ppca" in k}
    assert max(found.values()) > max(v for k, v in scores.items() if "50.0" in k) + 1
    assert search.score(ROWS) == search.best_estimator_.score(ROWS)


def test_the_grid_of_the_first_page():
    search = GridSearchCV(
        VAE(steps=20), {"latent": [2, 3], "recipe": ["vae", "iwae"]}, cv=2, error_score="raise"
    )
    assert VAE(steps=5).fit(ROWS).recipe_ == "vae"
    assert set(search.fit(ROWS).best_params_) == {"latent", "recipe"}
    assert search.transform(ROWS).shape[1] in (2, 3)


def test_folds_of_whole_numbers():
    """A fold may hold a whole number that the others lack: a density of a closed alphabet fails."""
    scores = cross_val_score(VAE(steps=50), load_wine().data, cv=5, error_score="raise")
    assert np.isfinite(scores).all()


def test_in_a_pipeline():
    line = make_pipeline(StandardScaler(), quick(steps=100)).fit(ROWS)
    assert line.transform(ROWS).shape == (300, 2)
    assert line.inverse_transform(line.transform(ROWS)).shape == ROWS.shape
    assert np.isfinite(line.score(ROWS))
    assert list(line.get_feature_names_out()) == ["vae0", "vae1"]


def test_codes_before_a_classifier():
    X, y = blobs((60, 60, 60))
    line = make_pipeline(quick(latent=3, steps=200), LogisticRegression())
    assert cross_val_score(line, X, y, cv=3).mean() > 0.95


def test_random_states():
    fit = {seed: quick(steps=20, random_state=seed).fit(ROWS).transform(ROWS) for seed in (0, 1)}
    assert (fit[0] != fit[1]).any()
    same = [quick(steps=20, random_state=np.random.RandomState(7)).fit(ROWS) for _ in range(2)]
    assert np.array_equal(same[0].transform(ROWS), same[1].transform(ROWS))
    free = [quick(steps=20, random_state=None).fit(ROWS).transform(ROWS) for _ in range(2)]
    assert (free[0] != free[1]).any()
    with pytest.raises(ValueError, match="cannot be used to seed"):
        quick(random_state="seven").fit(ROWS)


def test_fitting_again_is_fitting_anew():
    model = quick(steps=50).fit(ROWS)
    codes = model.transform(ROWS)
    assert np.array_equal(clone(model).fit(ROWS).transform(ROWS), codes)
    assert model.fit(ROWS[:, :3]).n_features_in_ == 3
    assert np.array_equal(model.fit(ROWS).transform(ROWS), codes)


def test_what_it_prints_is_what_was_given():
    assert repr(VAE("iwae", latent=2)) == "VAE(latent=2, recipe='iwae')"
    assert "latent" in VAE(latent=2, options={"beta": 4})._repr_html_()
