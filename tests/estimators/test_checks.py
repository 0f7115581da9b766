"""scikit-learn's own checks of what an estimator is, all of them, over every estimator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import vaes
from vaes import VAE, VAEClusterer, VAEDetector, VAEImputer, VAESampler

SHORT = {"steps": 5, "threads": 1}
EVERY = [
    VAE(**SHORT),
    VAEDetector(**SHORT),
    VAEClusterer(n_clusters=3, **SHORT),
    VAEImputer(**SHORT),
    VAESampler(**SHORT),
]
LEAST = {"VAE": 46, "VAEDetector": 52, "VAEClusterer": 46, "VAEImputer": 44, "VAESampler": 40}
ON_ROWS = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_n_features_in_after_fitting",
]
ON_OUTPUT = [
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]  # scikit-learn runs both lists over its own estimators, beside those that it yields


def name(estimator) -> str:
    return type(estimator).__name__


def test_every_estimator_is_checked():
    public = {n for n in vaes.__all__ if n.startswith("VAE")}
    assert {name(e) for e in EVERY} == public


@parametrize_with_checks(EVERY)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", EVERY, ids=name)
def test_nothing_is_left_out(estimator):
    """A tag or a base class too few, and checks would be fewer."""
    assert sum(1 for _ in estimator_checks_generator(estimator)) >= LEAST[name(estimator)]


@pytest.mark.parametrize("check", ON_ROWS)
@pytest.mark.parametrize("estimator", EVERY, ids=name)
def test_names_and_numbers_of_columns(estimator, check):
    getattr(estimator_checks, check)(name(estimator), estimator)


@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")  # looked for
@pytest.mark.parametrize("check", ON_OUTPUT)
@pytest.mark.parametrize("estimator", EVERY[:-1], ids=name)
def test_what_comes_out_and_its_names(estimator, check):
    getattr(estimator_checks, check)(name(estimator), estimator)


def test_array_api_dispatch_changes_nothing():
    """scikit-learn skips this check unless scipy was imported under a variable of its own."""
    script = (
        "from sklearn.utils.estimator_checks import check_array_api_input as check\n"
        "from tests.estimators.test_checks import EVERY, name\n"
        "for e in EVERY:\n"
        "    check(name(e), e, array_namespace='numpy', expect_only_array_outputs=False)\n"
    )
    given = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
