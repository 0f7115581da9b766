"""Agreement of clusters with classes, against numbers worked out by hand and scikit-learn's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from vaes.errors import UsageError
from vaes.evaluate.cluster import agreement

TRUTH, FOUND = list(map(int, "0001112222")), list(map(int, "1100000222"))


def test_a_partition_with_known_values():
    found = agreement(TRUTH, FOUND)
    assert found.accuracy == pytest.approx(0.8, abs=1e-12)
    assert found.purity == pytest.approx(0.8, abs=1e-12)
    assert found.nmi == pytest.approx(0.5794187908, abs=1e-10)
    assert found.ari == pytest.approx(0.3525179856, abs=1e-10)
    assert found.ami == pytest.approx(adjusted_mutual_info_score(TRUTH, FOUND), abs=1e-12)


def test_more_clusters_raise_purity_and_not_accuracy():
    found = agreement(TRUTH, list(map(int, "0012223444")))
    assert found.accuracy == pytest.approx(0.8, abs=1e-12)
    assert found.purity == 1.0


def test_the_same_partition_under_other_names_is_perfect():
    words = np.array(["red", "green", "blue"])[np.array(TRUTH)]
    found = agreement(TRUTH, words)
    values = (found.accuracy, found.purity, found.nmi, found.ari, found.ami)
    assert values == pytest.approx((1,) * 5)


def test_one_cluster_knows_nothing():
    found = agreement(TRUTH, np.zeros(10))
    assert found.accuracy == pytest.approx(0.4)
    assert (found.nmi, found.ari) == pytest.approx((0, 0))


def test_chance_is_zero_where_adjusted():
    draw = np.random.default_rng(0)
    found = [agreement(draw.integers(0, 5, 100), draw.integers(0, 5, 100)) for _ in range(200)]
    for name in ("ari", "ami"):
        values = np.array([getattr(one, name) for one in found])
        assert abs(values.mean()) < 4 * values.std() / 200**0.5
    assert np.mean([one.nmi for one in found]) > 0.03


@pytest.mark.parametrize(("k", "m"), [(3, 4), (4, 3), (4, 4)])
def test_accuracy_is_the_best_of_all_one_to_one_maps(k, m):
    draw = np.random.default_rng(k + 10 * m)
    truth, found = draw.integers(0, k, 60), draw.integers(0, m, 60)
    most = max(k, m)  # clusters beyond the classes stand for none
    best = max(
        (np.array(names)[found] == truth).mean() for names in itertools.permutations(range(most))
    )
    assert agreement(truth, found).accuracy == pytest.approx(best, abs=1e-12)


def test_rows_without_a_class_are_named():
    with pytest.raises(UsageError, match=r"classes of 2 rows are missing .* first is row 1"):
        agreement([0.0, np.nan, 1, np.nan], [0, 1, 1, 0])


def test_rows_must_correspond():
    with pytest.raises(UsageError, match=r"shape \(10,\) and clusters of shape \(9,\)"):
        agreement(TRUTH, FOUND[:9])
    with pytest.raises(UsageError, match="at least one row"):
        agreement([], [])
