"""Distances between real and drawn rows: closed forms, brute force, reference implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import kstest

from vaes.errors import UsageError
from vaes.evaluate import samples
from vaes.evaluate.samples import (
    equal_coverage,
    frechet,
    frechet_of_moments,
    frechet_unbiased,
    kid,
    kid_of_blocks,
    mmd,
    mmd_test,
    neighbours,
)


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


# --- Frechet distance -----------------------------------------------------------------------------
def test_frechet_of_two_known_gaussians():
    """8 (.25) + 8 (1 + 4 - 4) = 10."""
    eye = torch.eye(8)
    found = frechet_of_moments(torch.zeros(8), eye, torch.full((8,), 0.5), 4 * eye)
    assert found == pytest.approx(10, abs=1e-12)


def test_frechet_of_covariances_that_do_not_commute():
    a, b = normal(200, 5, 0), normal(300, 5, 1) @ normal(5, 5, 2) + 1
    c, other = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = sqrtm(c @ other).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + other - 2 * root)
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-9)
    assert frechet(b, a) == pytest.approx(float(expected), rel=1e-9)
    assert frechet(a, a.flip(0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "d", "expected"),
    [(1000, 64, 2.21), (5000, 64, 0.446), (1000, 256, 33.4), (5000, 256, 6.70)],
)
def test_frechet_is_biased_and_its_limit_is_not(n, d, expected):
    a, b = normal(n, d, 3), normal(n, d, 4)
    assert frechet(a, b) == pytest.approx(expected, rel=0.05)
    if n // 5 > d:
        assert abs(frechet_unbiased(a, b)) < 0.06 * expected


def test_the_limit_is_the_distance_of_the_sources():
    """N(0, I) and N(.5, 4 I) in 8 dimensions: 10."""
    assert frechet_unbiased(normal(4000, 8, 5), 0.5 + 2 * normal(4000, 8, 6)) == pytest.approx(
        10, abs=0.4
    )


def test_few_rows_are_said():
    with pytest.warns(UserWarning, match="20 rows of 30 features"):
        frechet(normal(20, 30, 0), normal(50, 30, 1))
    with pytest.raises(UsageError, match="needs more than 50 rows"):
        frechet_unbiased(normal(50, 10, 0), normal(500, 10, 1))


# --- neighbours -----------------------------------------------------------------------------------
def brute(real: np.ndarray, drawn: np.ndarray, k: int) -> tuple[float, ...]:
    """By their definitions, one distance at a time."""

    def radius(x, i):
        return sorted(float(np.linalg.norm(x[i] - x[j])) for j in range(len(x)) if j != i)[k - 1]

    around, other = ([radius(x, i) for i in range(len(x))] for x in (real, drawn))
    apart = np.array([[np.linalg.norm(a - b) for b in drawn] for a in real])
    inside = apart < np.array(around)[:, None]
    recall = (apart < np.array(other)[None, :]).any(1).mean()
    return inside.any(0).mean(), recall, inside.sum() / (k * len(drawn)), inside.any(1).mean()


@pytest.mark.parametrize("block", [2**24, 100])
def test_neighbours_by_definition(monkeypatch, block):
    monkeypatch.setattr(samples, "BLOCK", block)
    a, b = normal(60, 3, 0), 0.7 * normal(45, 3, 1) + 0.4
    found = neighbours(a, b, k=3)
    expected = brute(a.numpy(), b.numpy(), 3)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_neighbours_equal_the_reference_implementation():
    """prdc 0.2 on the same rows."""
    draw = np.random.default_rng(0)
    a = torch.from_numpy(draw.normal(size=(300, 4)))
    b = torch.from_numpy(draw.normal(size=(250, 4)) * 0.8 + 0.3)
    found = neighbours(a, b, k=5)
    expected = (0.996, 0.9033333333, 1.088, 0.9166666667)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_coverage_of_equal_sources():
    assert equal_coverage(800, 800, 5) == pytest.approx(0.9690, abs=5e-5)
    found = [neighbours(normal(800, 3, i), normal(800, 3, 100 + i)).coverage for i in range(5)]
    assert np.mean(found) == pytest.approx(0.9690, abs=0.006)


def test_what_is_apart_shares_nothing():
    found = neighbours(normal(50, 2, 0), normal(50, 2, 1) + 100)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_half_of_the_modes_halve_recall_and_coverage():
    """Four far modes, of which two are drawn."""
    modes = torch.tensor([[0.0, 0], [50, 0], [0, 50], [50, 50]]).double()
    real = modes.repeat(200, 1) + normal(800, 2, 0)
    found = neighbours(real, modes[:2].repeat(400, 1) + normal(800, 2, 1))
    assert found.precision > 0.95
    assert found.recall == pytest.approx(0.5, abs=0.02)
    assert found.coverage == pytest.approx(0.5, abs=0.02)


def test_half_of_the_modes_in_ten_dimensions():
    """P .92, R .46, D .99, C .50: recall and coverage halve, the others do not notice."""
    modes, found = torch.zeros(2, 10, dtype=torch.float64), []
    modes[1] = 50
    for i in range(5):
        real = modes.repeat(500, 1) + normal(1000, 10, 2 * i)
        found.append(neighbours(real, normal(1000, 10, 2 * i + 1)))
    assert np.mean([f.precision for f in found]) == pytest.approx(0.92, abs=0.015)
    assert np.mean([f.recall for f in found]) == pytest.approx(0.46, abs=0.015)
    assert np.mean([f.density for f in found]) == pytest.approx(0.99, abs=0.03)
    assert np.mean([f.coverage for f in found]) == pytest.approx(0.50, abs=0.01)


def test_more_neighbours_than_rows():
    with pytest.raises(UsageError, match="k=5: of 5 real and 9 drawn rows"):
        neighbours(normal(5, 2, 0), normal(9, 2, 1))


# --- discrepancies --------------------------------------------------------------------------------
KERNELS = {
    "imq": lambda x, y: 6 / (6 + ((x - y) ** 2).sum()),
    "cubic": lambda x, y: (x @ y / 3 + 1) ** 3,
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_discrepancy_by_definition(kernel):
    a, b, k = normal(7, 3, 0).numpy(), normal(5, 3, 1).numpy() + 0.5, KERNELS[kernel]
    expected = (
        sum(k(a[i], a[j]) for i in range(7) for j in range(7) if i != j) / 42
        + sum(k(b[i], b[j]) for i in range(5) for j in range(5) if i != j) / 20
        - 2 * np.mean([k(x, y) for x in a for y in b])
    )
    assert mmd(torch.from_numpy(a), torch.from_numpy(b), kernel) == pytest.approx(expected)
    if kernel == "cubic":
        value, _ = kid(torch.from_numpy(a), torch.from_numpy(b), size=7)
        assert math.isfinite(value)


def test_kid_of_all_rows_is_the_cubic_discrepancy():
    a, b = normal(40, 3, 0), normal(40, 3, 1) + 0.3
    value, se = kid(a, b, draws=3)
    assert value == pytest.approx(mmd(a, b, "cubic"), rel=1e-9)
    assert se < 1e-12
    value, se = kid(a, b, size=20, draws=400)
    assert abs(value - mmd(a, b, "cubic")) < 5 * se


def test_the_error_of_blocks_is_that_of_fresh_rows():
    """The spread over 200 repeats is what each of them says; overlapping subsets say far less."""
    said, found, overlapping = [], [], []
    for i in range(200):
        a, b = normal(100, 3, 2 * i), normal(100, 3, 2 * i + 1) + 0.5
        value, se = kid_of_blocks(a, b, size=20)
        found.append(value)
        said.append(se**2)
        overlapping.append(kid(a, b, size=80, draws=20)[1])
    assert np.mean(said) ** 0.5 == pytest.approx(np.std(found), rel=0.2)
    assert np.mean(overlapping) < 0.5 * np.std(found)
    every = [mmd(normal(2000, 3, i), normal(2000, 3, 99 + i) + 0.5, "cubic") for i in range(3)]
    assert np.mean(found) == pytest.approx(np.mean(every), abs=4 * np.std(found) / 200**0.5 + 0.1)


def test_blocks_share_no_row_and_are_five_at_least():
    a, b = normal(50, 2, 0), normal(50, 2, 1)
    value, _ = kid_of_blocks(a, b, size=1000)  # five blocks of ten
    g = torch.Generator().manual_seed(0)
    a, b = (x[torch.randperm(50, generator=g)] for x in (a, b))
    expected = [mmd(a[i : i + 10], b[i : i + 10], "cubic") for i in range(0, 50, 10)]
    assert value == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("kernel", ["imq", "rbf", "cubic"])
def test_p_values_of_one_source_are_uniform_and_of_two_small(kernel):
    found = [
        mmd_test(normal(30, 2, i), normal(20, 2, 1000 + i), kernel, permutations=99, seed=i)
        for i in range(200)
    ]
    assert kstest(found, "uniform").pvalue > 0.01
    assert mmd_test(normal(60, 2, 0), normal(60, 2, 1) + 1, kernel, permutations=199) == 1 / 200


def test_the_unbiased_discrepancy_of_one_source_is_zero_on_average():
    found = np.array([mmd(normal(30, 4, i), normal(50, 4, 500 + i)) for i in range(300)])
    assert abs(found.mean()) < 4 * found.std() / 300**0.5


# --- mistakes -------------------------------------------------------------------------------------
def test_features_that_cannot_be():
    a, b = normal(9, 2, 0), normal(9, 2, 1)
    b[4, 1] = torch.nan
    with pytest.raises(UsageError, match=r"1 of 9 drawn rows .* first is row 4"):
        frechet(a, b)
    with pytest.raises(UsageError, match=r"\(9, 2\) and \(9, 3\)"):
        mmd(a, normal(9, 3, 0))
    with pytest.raises(UsageError, match="at least 2 drawn rows"):
        neighbours(a, b[:1])
    with pytest.raises(UsageError, match="'linear' is not known"):
        mmd(a, a, "linear")
