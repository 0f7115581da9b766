"""Likelihood x posterior x prior x objective x network: every pair of representatives that makes
sense together works; what makes none is one line. `python -m benchmarks.composability` runs all."""

import pytest

from tests.combinations import FEW, Combination, built, check, cover, everything, senseless
from vaes.errors import UsageError

COVER = cover(FEW)


@pytest.mark.parametrize("combination", COVER, ids=str)
def test_parts_work_together(combination: Combination):
    check(combination)


def test_the_representatives_are_covered():
    assert 30 <= len(COVER) <= 70
    for part, names in FEW.items():
        if part != "likelihood":
            assert {getattr(c, part) for c in COVER} == set(names)
    assert {(c.rows, c.likelihood) for c in COVER} == set(FEW["likelihood"])


def test_what_makes_no_sense_is_one_line():
    found = list(senseless(everything()))
    assert found
    for combination in found:
        with pytest.raises(UsageError) as caught:
            built(combination)
        assert "\n" not in str(caught.value), combination
