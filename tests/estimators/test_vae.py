"""The estimator: three lines, scikit-learn's habits, the user's units."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from tests.data.helpers import refused
from tests.estimators.helpers import ROWS, quick
from vaes import VAE, VAEClusterer, VAEDetector
from vaes.errors import UsageError


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return quick().fit(ROWS)


def test_three_lines():
    model = VAE(steps=300, hidden=[16]).fit(ROWS)
    assert model.sample(10).shape == (10, 5)
    assert 0 < model.history_[-1]["step"] <= 300
    assert model.n_iter_ == model.history_[-1]["step"]
    assert model.n_features_in_ == 5


def test_the_score_of_linear_gaussians_is_that_of_a_gaussian():
    """x = S (W z + m + noise) + mean: N(S m + mean, S (W W^T + s2 I) S), here by scipy."""
    model = VAE("ppca", latent=2).fit(ROWS)
    w, bias, noise = (getattr(model.model_, k).double() for k in ("weight", "bias", "variance"))
    shift, scale = np.array(model.spec_.shift), np.array(model.spec_.scale)
    covariance = (w @ w.T + noise * torch.eye(5, dtype=torch.float64)).numpy()
    covariance = scale[:, None] * covariance * scale
    known = multivariate_normal(shift + scale * bias.numpy(), covariance)
    expected = known.logpdf(ROWS)
    assert np.allclose(model.score_samples(ROWS), expected, rtol=0, atol=1e-4)
    assert model.score(ROWS) == pytest.approx(expected.mean(), abs=1e-4)


def test_codes_are_deterministic(fitted):
    codes = fitted.transform(ROWS)
    assert codes.shape == (300, 2)
    torch.manual_seed(1)
    assert (fitted.transform(ROWS) == codes).all()
    assert list(fitted.get_feature_names_out()) == ["vae0", "vae1"]


@pytest.mark.parametrize("rows", [ROWS, ROWS.astype(np.float32), np.rint(4 * ROWS)])
def test_a_row_alone_is_what_it_is_among_others(rows):
    """To the bit: neither order nor batch reaches a number about a row."""
    model = VAEDetector(latent=2, steps=50).fit(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    for use in ("transform", "reconstruct", "score_samples", "decision_function", "predict"):
        whole, method = getattr(model, use)(rows), getattr(model, use)
        assert np.array_equal(method(rows[order]), whole[order]), use
        parts = [method(part) for part in np.split(rows, [1, 2, 9, 150])]
        assert np.array_equal(np.concatenate(parts), whole), use


def test_a_network_that_insists_on_single_precision_gets_it():
    class Single(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.linear(x.float())

    model = VAE(latent=2, encoder=Single(), steps=20).fit(ROWS)
    assert np.allclose(model.transform(ROWS[:9]), model.transform(ROWS)[:9], atol=1e-5)
    assert np.isfinite(model.score(ROWS))


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
    def drawn(seed, **how):
        return fitted.sample(5, random_state=seed, **how)

    assert (drawn(1) == drawn(1)).all()
    assert (drawn(1) != drawn(2)).any()
    assert (drawn(1, mean=True) != drawn(1)).any()
    state = np.random.RandomState(3)
    assert (drawn(state) != drawn(state)).any()  # a state moves on


def test_the_score_is_the_mean_of_the_scores(fitted):
    scores = fitted.score_samples(ROWS)
    assert scores.shape == (300,)
    assert fitted.score(ROWS) == pytest.approx(scores.mean(), rel=1e-12)
    assert (fitted.score_samples(ROWS + 100) < scores.min()).all()
    far = fitted.score_samples(ROWS + 1e25)
    assert np.isfinite(far).all()
    assert (far < -1e40).all()


def test_other_units_shift_the_score_by_their_logarithms(fitted):
    """Standardised rows are the same, so training is: log p falls by the sum of log scales."""
    scale = np.array([1e-3, 1.0, 2.0, 50.0, 1e4])
    other = quick().fit(ROWS * scale + 5)
    shift = other.score_samples(ROWS * scale + 5) - fitted.score_samples(ROWS)
    assert np.allclose(shift, -np.log(scale).sum(), atol=1e-2)
    assert np.allclose(other.transform(ROWS * scale + 5), fitted.transform(ROWS), atol=1e-2)


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
    masked = np.ma.masked_invalid(gaps)
    assert np.array_equal(model.transform(masked), model.transform(gaps))


def test_a_target_is_ignored():
    """So that the model can stand before a regression in a pipeline."""
    with_y = quick(steps=50).fit(ROWS, np.linspace(0, 1, 300))
    assert np.array_equal(with_y.transform(ROWS), quick(steps=50).fit(ROWS).transform(ROWS))


def test_fitting_leaves_a_network_of_the_users_own_as_it_was():
    body = torch.nn.Linear(5, 3)
    before = body.weight.clone()
    model = VAE(latent=2, encoder=body, steps=20)
    first = model.fit(ROWS).transform(ROWS)
    assert torch.equal(body.weight, before)
    assert np.array_equal(model.fit(ROWS).transform(ROWS), first)


def test_a_frozen_network_does_not_move():
    body = torch.nn.Linear(5, 3).requires_grad_(False)
    model = VAE(latent=2, encoder=body, steps=20).fit(ROWS)
    assert torch.equal(model.model_.encoder.body.weight, body.weight)


def test_before_it_is_fitted():
    for model in (VAE(), VAEDetector(), VAEClusterer()):
        for use in ("transform", "inverse_transform", "score_samples", "score", "reconstruct"):
            with pytest.raises(NotFittedError):
                getattr(model, use)(ROWS)
        with pytest.raises(NotFittedError):
            model.sample()


def test_mistakes_are_one_line(fitted):
    with refused("no option 'latnet'", "did you mean 'latent'", error=UsageError):
        VAE(options={"latnet": 2}).fit(ROWS)
    with refused("did you mean 'vae'", error=UsageError):
        VAE("vea").fit(ROWS)
    with refused("validation=1.0", error=UsageError):
        VAE(validation=1.0).fit(ROWS)
    with refused("codes of shape", "(n, 2)", error=UsageError):
        fitted.inverse_transform(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="X has 4 features, but VAE is expecting 5 features"):
        fitted.transform(ROWS[:, :4])


def test_a_model_without_density_says_so_where_it_is_asked_for_one():
    model = VAE("autoencoder", latent=2, steps=20).fit(ROWS)
    assert model.transform(ROWS).shape == (300, 2)
    with refused("no density", error=UsageError):
        model.score(ROWS)


def test_global_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    quick(steps=20).fit(ROWS).sample(3)
    assert torch.equal(torch.rand(2), expected)


def test_the_same_rows_in_other_units_are_the_same_rows():
    """What a scaler does before the model, the model does by itself."""
    scaled = StandardScaler().fit_transform(ROWS)
    a, b = quick(steps=50).fit(scaled), quick(steps=50).fit(ROWS)
    assert np.allclose(a.transform(scaled), b.transform(ROWS), atol=1e-4)
