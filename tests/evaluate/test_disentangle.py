"""Scores of disentanglement: of the factors themselves, of noise, and by their definitions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from vaes.errors import UsageError
from vaes.evaluate import dci, disentangle
from vaes.evaluate.disentangle import dependence, disentanglement, ends
from vaes.evaluate.levels import binned

SIZES = (3, 6, 40, 32, 32)  # values of shape, scale, orientation and the two positions of dSprites


@pytest.fixture(autouse=True)
def fewer_votes(monkeypatch):
    monkeypatch.setattr(disentangle, "TRAINED", 1000)
    monkeypatch.setattr(disentangle, "TESTED", 500)
    monkeypatch.setattr(dci, "GROWN", 300)
    monkeypatch.setattr(disentangle, "dci", partial(dci.dci, trees=3))
    monkeypatch.setattr(dci, "TRAINED", 2000)


def factors(n: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.stack([draw.integers(0, size, n) for size in SIZES], 1)


def test_noise_and_the_factors_themselves():
    """40 and 32 values do not fit 20 bins: the gap of a perfect code is 1, 1, .812, .85, .85."""
    noise, perfect = ends(factors(10_000), 5)
    assert noise.beta_vae == pytest.approx(0.2, abs=0.05)
    assert noise.factor_vae == pytest.approx(0.2, abs=0.05)
    assert noise.mig == pytest.approx(0, abs=1e-3)
    assert noise.modularity == pytest.approx(0.65, abs=0.05)
    assert noise.explicitness < 0.1
    assert perfect.beta_vae == perfect.factor_vae == 1
    assert perfect.mig == pytest.approx((1 + 1 + 0.8121 + 0.85 + 0.85) / 5, abs=0.008)
    assert perfect.modularity == pytest.approx(1, abs=1e-3)
    assert perfect.irs == pytest.approx(1, abs=1e-9)
    assert perfect.explicitness > 0.95
    # chance: 1/3, 1/6, 1/40, 1/32 and 1/32
    assert noise.dci_informativeness == pytest.approx(0.1175, abs=0.02)
    assert noise.dci_disentanglement < 0.1
    assert noise.sap < 0.02
    assert perfect.dci_informativeness > 0.9
    assert perfect.dci_disentanglement > 0.97
    assert perfect.dci_completeness > 0.97
    # lines of one value against the rest tell the ends of many in order, and little between
    assert 0.1 < perfect.sap < 0.3


def test_a_rotation_hides_factors_from_single_dimensions_only():
    v = factors(5000)
    plain = (v - v.mean(0)) / v.std(0)
    turned = plain @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    before, after = disentanglement(plain, v), disentanglement(turned, v)
    assert after.mig == pytest.approx(0.13, abs=0.07)
    assert after.irs < 0.6
    assert after.modularity < 0.93
    assert after.factor_vae < 0.99
    assert after.explicitness == pytest.approx(before.explicitness, abs=0.01)


def test_order_and_sign_of_dimensions_do_not_count():
    v = factors(2000)
    z = v + np.random.default_rng(0).normal(size=v.shape)
    before, after = disentanglement(z, v), disentanglement(-z[:, ::-1], v)
    assert after.mig == pytest.approx(before.mig, abs=1e-9)
    assert after.modularity == pytest.approx(before.modularity, abs=1e-9)
    assert after.irs == pytest.approx(before.irs, abs=1e-9)


def test_a_factor_that_is_told_twice_has_no_gap():
    v = factors(5000)[:, :2]
    # chance makes the second dimension know a little, about 10 / 10,000 nats
    assert disentanglement(v, v).mig == pytest.approx(1, abs=2e-3)
    assert disentanglement(v[:, [0, 0, 1]], v).mig == pytest.approx(0.5, abs=0.01)
    assert disentanglement(v[:, [0, 0, 1, 1]], v).mig == pytest.approx(0, abs=1e-9)


def test_a_dimension_that_knows_of_two_factors_is_not_modular():
    """All of factor a or b: information log 2 each, so the rest is 1 of 1."""
    draw = np.random.default_rng(0)
    v = draw.integers(0, 2, (20_000, 2))
    both = (v[:, 0] + 2 * v[:, 1]).astype(float)
    assert disentanglement(both[:, None], v).modularity == pytest.approx(0, abs=1e-3)
    assert disentanglement(np.stack([both, v[:, 0]], 1), v).modularity == pytest.approx(
        0.5, abs=1e-3
    )


def test_information_is_that_of_counts():
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 5, 300), draw.integers(0, 7, 300)
    assert disentangle._mutual(a, b) == pytest.approx(mutual_info_score(a, b), abs=1e-12)
    assert disentangle._mutual(a, a) == pytest.approx(mutual_info_score(a, a), abs=1e-12)


def test_robustness_by_definition():
    """One dimension, z = a + b / 2 of bits a and b: fixed a, it strays by 1/4, fixed b by 1/2; at
    most it is 3/4 from its mean."""
    v = np.array([[a, b] for a in (0, 1) for b in (0, 1)] * 50)
    z = (v[:, 0] + v[:, 1] / 2)[:, None]
    assert disentanglement(z, v).irs == pytest.approx(1 - (1 / 4) / (3 / 4), abs=1e-9)


def test_robustness_of_factors_cut_into_bins():
    """disentanglement_lib cuts factors into 20 bins first: two of the 40 orientations share each,
    half a step from their mean of 19.5 to the end, and two of the 32 places 12 of them, of 15.5.
    Weighted by the farthest of the standardised codes that is the .986 of the method card."""
    v = factors(10_000)
    plain = (v - v.mean(0)) / v.std(0)
    assert disentangle._robustness(plain, v) == pytest.approx(1, abs=1e-12)
    far = [(n - 1) / 2 / math.sqrt((n * n - 1) / 12) for n in SIZES]
    lost = np.array([0, 0, 0.5 / 19.5, 0.6 * 0.5 / 15.5, 0.6 * 0.5 / 15.5])
    expected = 1 - np.average(lost, weights=far)
    assert expected == pytest.approx(0.986, abs=5e-4)
    levels = [np.unique(bins, return_inverse=True)[1] for bins in binned(v.astype(float)).T]
    found = disentangle._robustness(plain, np.stack(levels, 1))
    assert found == pytest.approx(expected, abs=1e-3)


def test_continuous_factors_are_cut_for_counts_and_whole_for_lines():
    draw = np.random.default_rng(0)
    v = draw.normal(size=(3000, 2))
    noise, perfect = ends(v, 3, continuous=(0, 1))
    assert perfect.sap == pytest.approx(1, abs=0.01)
    assert noise.sap < 0.01
    assert perfect.irs > 0.9
    assert perfect.factor_vae == 1


def test_dependence_of_a_gaussian():
    """Total correlation -log(1 - r^2) / 2; squared distance 2 - sqrt(1 + r) - sqrt(1 - r).

    The information of bins is a little less, and a little more by the bias of counts.
    """
    draw, r = np.random.default_rng(0), 0.8
    noise = draw.normal(size=(200_000, 2))
    z = np.stack([noise[:, 0], r * noise[:, 0] + math.sqrt(1 - r * r) * noise[:, 1]], 1)
    found = dependence(z)
    assert found.total_correlation == pytest.approx(-0.5 * math.log(1 - r * r), abs=0.01)
    expected = 2 - math.sqrt(1 + r) - math.sqrt(1 - r)
    assert found.wasserstein == pytest.approx(expected, abs=0.005)
    assert found.information == pytest.approx(-0.5 * math.log(1 - r * r), abs=0.08)
    apart = dependence(noise)
    assert apart.total_correlation == pytest.approx(0, abs=1e-4)
    assert apart.wasserstein == pytest.approx(0, abs=1e-4)
    assert apart.information == pytest.approx(0, abs=2e-3)


def test_mistakes():
    v, z = factors(100)[:, :2], np.random.default_rng(0).normal(size=(100, 3))
    with pytest.raises(UsageError, match="factor 1 has the same value"):
        disentanglement(z, np.stack([v[:, 0], np.zeros(100)], 1))
    with pytest.raises(UsageError, match="factor 1 has a value in one row only"):
        disentanglement(z, np.stack([v[:, 0], np.arange(100)], 1))
    with pytest.raises(UsageError, match="two are needed"):
        disentanglement(z, v[:, :1])
    with pytest.raises(UsageError, match=r"\(99, 3\)"):
        disentanglement(z[:99], v)
    with pytest.raises(UsageError, match="no finite"):
        disentanglement(np.where(z > 1, np.nan, z), v)
    with pytest.raises(UsageError, match="fewer than two dimensions"):
        dependence(np.stack([z[:, 0], np.zeros(100)], 1))
