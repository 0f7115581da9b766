"""Ranking: by differences row by row, and only of numbers that are of the same thing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures import LG_DIAGONAL, LG_MEAN, LG_X, lg
from vaes.batch import Data, Spec
from vaes.errors import UsageError
from vaes.evaluate.compare import Contender, ranked
from vaes.evaluate.likelihood import evidence

SPEC = Spec((2,), ("pixel",), (3,), scale=(2.0,))
ROWS = torch.tensor([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
HARD = torch.tensor([-1.0, -9.0, -4.0, -2.0])  # the same rows are hard for everyone


def contender(name: str, per_row: torch.Tensor | None, **fields) -> Contender:
    given = {"bound": "lower", "evidence_of": "x", "rows": ROWS, "spec": SPEC} | fields
    return Contender(name, per_row, **given)


def test_differences_are_taken_row_by_row():
    """-4 ± 1.78 beside -4.5 ± 1.78, yet .5 ± .041 apart."""
    apart = torch.tensor([0.4, 0.6, 0.5, 0.5])
    best, worse, none = ranked(
        [contender("none", None), contender("worse", HARD - apart), contender("best", HARD)]
    )
    assert (best.name, worse.name) == ("best", "worse")
    assert best.mean == pytest.approx(-4.0)
    assert worse.behind == pytest.approx(0.5)
    assert worse.behind_se == pytest.approx(apart.std().item() / 2, rel=1e-5)
    assert worse.se > 1.7
    assert not worse.tied
    assert (none.mean, none.behind) == (None, None)


def test_who_is_not_told_apart():
    noisy = torch.tensor([3.0, -2.5, 1.0, -0.9])
    places = ranked([contender("a", HARD), contender("b", HARD - noisy)])
    assert [p.tied for p in places] == [True, True]
    assert places[1].behind == pytest.approx(0.15)


def test_models_without_evidence_come_last():
    places = ranked([contender("none", None, bound="none"), contender("a", HARD)])
    assert [p.name for p in places] == ["a", "none"]
    assert places[1].mean is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"evidence_of": "x|total"}, "evidence is of"),
        ({"rows": ROWS.flip(0)}, "other rows"),
        ({"rows": ROWS[:3]}, "other rows"),
        ({"spec": Spec((2,), ("binary",), (2,))}, "of kind pixel .* of kind binary"),
        ({"spec": Spec((2,), ("pixel",), (4,), scale=(2.0,))}, "other numbers of levels"),
        ({"spec": Spec((2,), ("real",), (0,))}, "nats are not of the same thing"),
    ],
)
def test_what_does_not_compare_is_refused(fields, told):
    with pytest.raises(UsageError, match=told) as error:
        ranked([contender("a", HARD), contender("b", HARD, **fields)])
    assert "'a' and 'b' do not compare" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_rows_through_two_scalings_compare():
    moved = replace(SPEC, shift=(0.0,))
    rows = (ROWS.double() * (1 + 1e-7)).float()
    assert len(ranked([contender("a", HARD), contender("b", HARD, rows=rows, spec=moved)])) == 2


def test_gaps_are_alike_where_they_are_in_the_same_places():
    rows = ROWS.clone()
    rows[1, 1] = math.nan
    both = [contender("a", HARD, rows=rows), contender("b", HARD, rows=rows.clone())]
    assert len(ranked(both)) == 2
    with pytest.raises(UsageError, match="other rows"):
        ranked([both[0], contender("c", HARD)])


def test_differences_carry_the_error_of_the_draws_that_both_share():
    """Two models on 400 equal rows: all that differs over seeds is the draws, and is quoted."""
    # alike, so that most of either's error is the other's too
    close, far = (lg(LG_MEAN + 0.3, LG_DIAGONAL * width) for width in (1.2, 1.3))
    data = Data(Spec((5,)), LG_X.expand(400, -1))
    quoted, apart, alone = [], [], []
    for seed in range(60):
        both = [evidence(model, data, k=50, seed=seed) for model in (close, far)]
        entries = [
            contender(name, f.per_row, left_out=f.left_out)
            for name, f in zip("ab", both, strict=True)
        ]
        places = {p.name: p for p in ranked(entries)}
        last = ranked(entries)[1]
        quoted.append(last.behind_se)
        apart.append(both[0].mean - both[1].mean)
        alone.append(places["b"].se)
        assert places["b"].se == pytest.approx(both[1].se, rel=1e-6)
    spread = torch.tensor(apart).std().item()
    assert torch.tensor(quoted).square().mean().sqrt().item() == pytest.approx(spread, rel=0.25)
