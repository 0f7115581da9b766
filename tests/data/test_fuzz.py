"""500 tables that nobody would make on purpose; 5,000 are in benchmarks/reliability/tables.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import endure
from tests.data.frames import case
from vaes.batch import Spec
from vaes.data import schema

TABLES, AT_ONCE = 500, 25


@pytest.mark.parametrize("start", range(0, TABLES, AT_ONCE))
def test_any_table_goes_through_or_is_refused_in_one_line(tmp_path: Path, start):
    through = 0
    for number in range(start, start + AT_ONCE):
        folder = tmp_path / str(number)
        folder.mkdir()
        given = case(number, folder)
        try:
            through += not endure.endure(given, folder)
        except Exception as error:
            raise AssertionError(f"{given.what}; {given.reading}, {given.preparing}") from error
    assert through >= 1  # a test that everything fails to enter says nothing


def test_a_case_is_a_function_of_its_number(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for number in range(20):
        one, two = case(number, tmp_path / "a"), case(number, tmp_path / "b")
        assert one[1:] == two[1:]
        if isinstance(one.data, Path):
            assert one.data.read_bytes() == two.data.read_bytes()


to_space, from_space = schema.to_space, schema.from_space


def _mask_upside_down(*given: Any) -> Any:
    x, mask = to_space(*given)
    return x, None if mask is None else ~mask


def _not_a_number(*given: Any) -> Any:
    x, mask = to_space(*given)
    return x.float() * float("nan"), mask


def _half_a_level_more(*given: Any) -> Any:
    return from_space(*given) + 0.5


def _the_other_way_round(spec: Spec, x: np.ndarray, snap: bool) -> Any:
    return from_space(spec, x[:, ::-1], snap)


PLANTED = [_mask_upside_down, _not_a_number, _half_a_level_more, _the_other_way_round]


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_noticed(tmp_path: Path, monkeypatch, error):
    of = "to_space" if error in PLANTED[:2] else "from_space"
    monkeypatch.setattr(schema, of, error)
    noticed = 0
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            endure.endure(case(number, folder), folder)
        except Exception:
            noticed += 1
    assert noticed >= 3


def test_a_line_is_one_line():
    for text in ("two\nlines", "a\x1b[31m", "x" * 500):
        with pytest.raises(AssertionError):
            endure.one_line(text)
