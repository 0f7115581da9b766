"""SAP and DCI: of the factors themselves, of noise, of codes whose scores follow by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.svm import LinearSVC

from vaes.errors import UsageError
from vaes.evaluate.dci import _pure, dci, sap
from vaes.evaluate.levels import binned, checked, parts

SIZES = (3, 5, 4)


def factors(n: int = 3000, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.stack([draw.integers(0, size, n) for size in SIZES], 1)


def turned(v: np.ndarray, seed: int = 1) -> np.ndarray:
    plain = (v - v.mean(0)) / v.std(0)
    d = v.shape[1]
    return plain @ np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


# --- DCI ------------------------------------------------------------------------------------------
def test_dci_of_the_factors_themselves_is_one():
    v = factors()
    found = dci(v, v)
    assert found.informativeness == 1
    assert found.disentanglement == pytest.approx(1, abs=1e-3)
    assert found.completeness == pytest.approx(1, abs=1e-3)
    assert found.importance == pytest.approx(np.eye(3), abs=1e-3)


def test_dci_of_noise_is_chance():
    """Importance spreads evenly; accuracy is 1/3, 1/5 and 1/4."""
    found = dci(np.random.default_rng(0).normal(size=(3000, 4)), factors(), trees=5)
    assert found.disentanglement < 0.1
    assert found.completeness < 0.1
    assert found.informativeness == pytest.approx((1 / 3 + 1 / 5 + 1 / 4) / 3, abs=0.03)


def test_a_rotation_keeps_what_is_known_and_spreads_it():
    v = factors()
    found = dci(turned(v), v)
    assert found.informativeness > 0.75
    assert found.disentanglement < 0.6
    assert found.completeness < 0.6


def test_order_and_sign_of_dimensions_do_not_count():
    v = factors()
    z = v + np.random.default_rng(0).normal(size=v.shape)
    before, after = dci(z, v, trees=5), dci(-z[:, [2, 0, 1]], v, trees=5)
    assert after.disentanglement == pytest.approx(before.disentanglement, abs=0.02)
    assert after.completeness == pytest.approx(before.completeness, abs=0.02)
    assert after.importance == pytest.approx(before.importance[[2, 0, 1]], abs=0.02)
    assert sap(-z[:, [2, 0, 1]], v) == pytest.approx(sap(z, v), abs=2e-3)


def test_entropies_have_the_number_of_factors_and_of_codes_as_base():
    """Rows (codes) over columns (factors), against scipy's entropy of a given base."""
    r = np.random.default_rng(0).random((4, 3))
    r /= r.sum(0)
    purity = 1 - scipy.stats.entropy(r.T, base=3)
    assert _pure(r) == pytest.approx(np.average(purity, weights=r.sum(1)), abs=1e-12)
    alone = 1 - scipy.stats.entropy(r, base=4)
    assert _pure(r.T) == pytest.approx(np.average(alone, weights=r.sum(0)), abs=1e-12)


def test_purity_by_hand():
    """One code of three quarters for one factor and a quarter for another of two: 1 - H(3/4) bits;
    a code that matters for nothing weighs nothing."""
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert _pure(np.array([[0.75, 0.25], [0, 0]])) == pytest.approx(1 - entropy, abs=1e-12)
    assert _pure(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.5, abs=1e-12)
    assert _pure(np.zeros((2, 3))) == 0
    assert _pure(np.ones((3, 1))) == 1


# --- SAP ------------------------------------------------------------------------------------------
def test_a_line_tells_two_values_and_a_dimension_told_twice_has_no_gap():
    draw = np.random.default_rng(0)
    v = draw.integers(0, 2, (2000, 2))
    assert sap(v, v) == pytest.approx(0.5, abs=0.04)  # the other dimension is right by chance
    assert sap(v[:, [0, 0, 1]], v) == pytest.approx(0.25, abs=0.03)
    assert sap(v[:, [0, 0, 1, 1]], v) == 0


def test_lines_are_tried_on_rows_that_they_have_not_seen():
    """Of few rows, by scikit-learn on the same split; on the rows that it knows it is better."""
    draw = np.random.default_rng(0)
    v = draw.integers(0, 5, (90, 2))
    z = v + 2 * draw.normal(size=(90, 2))
    known, new = parts(90, (10_000, 5_000), np.random.default_rng(0))

    def gap(rows: np.ndarray) -> float:
        found = []
        for factor in v.T:
            lines = [
                LinearSVC(C=0.01, class_weight="balanced").fit(z[known, j : j + 1], factor[known])
                for j in (0, 1)
            ]
            right = [line.score(z[rows, j : j + 1], factor[rows]) for j, line in enumerate(lines)]
            found.append(abs(right[0] - right[1]))
        return float(np.mean(found))

    assert sap(z, v) == pytest.approx(gap(new), abs=1e-12)
    assert abs(gap(new) - gap(known)) > 0.01


def test_sap_of_noise_is_near_nothing():
    assert 0 <= sap(np.random.default_rng(0).normal(size=(6000, 4)), factors(6000)) < 0.02


def test_sap_of_continuous_factors_is_r_squared():
    draw = np.random.default_rng(0)
    v = draw.normal(size=(3000, 2))
    z = np.stack([v[:, 0] + draw.normal(size=3000), v[:, 1], np.ones(3000)], 1)
    found = sap(z, v, continuous=(0, 1))
    rows, _ = parts(3000, (10_000, 5_000), np.random.default_rng(0))
    square = [[np.corrcoef(z[rows, j], v[rows, k])[0, 1] ** 2 for j in (0, 1)] for k in (0, 1)]
    expected = ((square[0][0] - square[0][1]) + (square[1][1] - square[1][0])) / 2
    assert found == pytest.approx(expected, abs=1e-9)
    assert found == pytest.approx(0.75, abs=0.03)  # (1/2 + 1) / 2


def test_one_dimension_has_no_second():
    v = np.random.default_rng(0).integers(0, 2, (1000, 2))
    assert sap(v[:, :1], v) == pytest.approx((1 + 0.5) / 2, abs=0.05)
    assert dci(v[:, :1], v).completeness == 1


# --- what they share ------------------------------------------------------------------------------
def test_predictors_are_tried_on_other_rows():
    train, test = parts(900, (10_000, 5_000), np.random.default_rng(0))
    assert (len(train), len(test)) == (600, 300)
    assert sorted([*train, *test]) == list(range(900))
    train, test = parts(90_000, (2_000, 5_000), np.random.default_rng(0))
    assert (len(train), len(test)) == (2_000, 5_000)


def test_continuous_factors_are_cut_into_equal_shares():
    v = np.random.default_rng(0).normal(size=(2000, 2))
    levels = checked(v, v, continuous=(0, 1))[1]
    assert (np.bincount(levels[:, 0]) == 100).all()
    order = np.argsort(v[:, 1])
    assert (np.diff(levels[order, 1]) >= 0).all()


def test_bins_are_even():
    z = np.array([[0.0], [0.049], [0.051], [0.999], [1.0]])
    assert binned(z)[:, 0].tolist() == [0, 0, 1, 19, 19]


def test_mistakes():
    v = factors(60)
    with pytest.raises(UsageError, match=r"factor 0 has a value in one row only.*continuous"):
        sap(v, np.random.default_rng(0).normal(size=(60, 2)))
    with pytest.raises(UsageError, match="continuous factor 3: factors are numbered 0 to 2"):
        sap(v, v, continuous=(3,))
    with pytest.raises(UsageError, match="factor 1 has the same value"):
        dci(v, np.stack([v[:, 0], np.ones(60), v[:, 1]], 1))
    with pytest.raises(UsageError, match="factor 0 holds entries that are no finite"):
        sap(v, np.where(v > 1, np.nan, v), continuous=(0, 1, 2))
    few = np.array([[0, 0], [0, 1], [0, 0], [0, 1], [1, 0], [1, 1]])
    for seed in range(100):  # of a part of the splits both rows of the value 1 are tested
        if {4, 5} == set(parts(6, (10, 10), np.random.default_rng(seed))[1].tolist()):
            break
    with pytest.raises(UsageError, match=r"6 rows are too few to learn factor 0.*: 20 rows"):
        dci(few, few, seed=seed)
    with pytest.raises(UsageError, match="trees=0"):
        dci(v, v, trees=0)
