"""Columns in cells: densities over the user's values, draws, medians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaes.batch import Spec
from vaes.data.pieces import cut, locate, value
from vaes.dist.cells import Cells, CellsLikelihood, Pieces, quantile
from vaes.errors import UsageError

# a value that recurs at 0, intervals 0-2 and 2-2.5, tails of scale 1 below 0 and .5 above 2.5
ENDS = (-1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.5, 2.5, 3.0)
SPEC = Spec(
    (4,),
    ("numeric", "binary", "category", "pixel"),
    (5, 2, 3, 4),
    pieces=(ENDS, (), (), ()),
)


def likelihood(n: int = 1, seed: int = 0) -> CellsLikelihood:
    draw = torch.Generator().manual_seed(seed)
    return CellsLikelihood(torch.randn(n, 14, generator=draw).double(), Cells(SPEC).double())


def numeric(p: CellsLikelihood, values: np.ndarray) -> torch.Tensor:
    """log p of values of the numeric column, in the user's units."""
    x = torch.zeros(len(values), 4).double()
    x[:, 0] = torch.from_numpy(locate(values, ENDS))
    return p.terms(x)[:, 0]


def test_numeric_columns_are_a_normalised_mixed_density():
    """The mass at 0, and the integral over the rest of the line, by the trapezoid rule."""
    p = likelihood()
    mass = numeric(p, np.array([0.0])).exp().item()
    assert mass == pytest.approx(p.logits[0, :5].softmax(0)[1].item(), abs=1e-12)
    total = mass
    for low, high in ((-15.0, -1e-9), (1e-9, 2 - 1e-9), (2.0, 2.5 - 1e-9), (2.5 + 1e-9, 8.0)):
        grid = np.linspace(low, high, 20_001)
        total += np.trapezoid(numeric(p, grid).exp().numpy(), grid)
    assert total == pytest.approx(1, abs=2e-3)  # places are kept within (1e-7, .999)


def test_tails_fall_off_exponentially():
    p = likelihood()
    below = numeric(p, np.array([-1.0, -3.0]))
    assert (below[0] - below[1]).item() == pytest.approx(2 / 1.0, abs=1e-6)
    above = numeric(p, np.array([3.0, 3.5]))
    assert (above[0] - above[1]).item() == pytest.approx(0.5 / 0.5, abs=1e-6)


def test_discrete_columns_sum_to_one():
    p = likelihood()
    for j, values in ((1, (0.0, 1.0)), (2, (0.0, 1.0, 2.0)), (3, (0.0, 1 / 3, 2 / 3, 1.0))):
        x = torch.zeros(len(values), 4).double()
        x[:, j] = torch.tensor(values).double()
        assert p.terms(x)[:, j].exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_draws_have_the_cells_frequencies_and_stay_within_what_was_seen():
    n = 20_000
    p = likelihood()
    many = CellsLikelihood(p.logits.expand(n, -1), p.cells)
    drawn = many.draw(torch.Generator().manual_seed(1))
    codes = p.cells.codes(drawn)
    inner = p.logits[0, 1:4].softmax(0)
    for cell in range(3):
        share = (codes[:, 0] == cell + 1).double().mean().item()
        assert share == pytest.approx(inner[cell].item(), abs=4 * 0.5 / math.sqrt(n))
    values = value(drawn[:, 0].numpy(), ENDS)
    assert values.min() >= 0
    assert values.max() <= 2.5
    inside = values[codes[:, 0] == 2]
    assert inside.mean() == pytest.approx(1.0, abs=0.05)  # uniform from 0 to 2
    for j, offset, levels in ((1, 5, 2), (2, 7, 3), (3, 10, 4)):
        expected = p.logits[0, offset : offset + levels].softmax(0)
        found = torch.bincount(codes[:, j], minlength=levels) / n
        assert (found - expected).abs().max() < 4 * 0.5 / math.sqrt(n)


def test_the_middle_of_a_column():
    """The median of pieces and levels, the mode of a category."""
    logits = torch.full((1, 14), -40.0).double()
    logits[0, [2, 3]] = torch.tensor([0.6, 0.4]).log().double()  # 0-2 with .6: median at 5/6 of it
    logits[0, [6, 9, 12]] = 0.0
    p = CellsLikelihood(logits, Cells(SPEC).double())
    found = p.mean[0]
    assert value(found[:1].numpy(), ENDS)[0] == pytest.approx(2 * 0.5 / 0.6, abs=1e-6)
    assert found[1:].tolist() == pytest.approx([1.0, 2.0, 2 / 3])


def test_quantiles_lie_in_cells():
    p = torch.tensor([[0.1, 0.2, 0.7], [0.0, 0.5, 0.5]]).double()
    for share, cells, places in ((0.25, [1, 1], [0.75, 0.5]), (0.65, [2, 2], [0.5, 0.3])):
        code, place = quantile(p, share)
        assert code.tolist() == cells
        torch.testing.assert_close(place, torch.tensor(places).double())


def test_gaps_are_left_out():
    p = likelihood(3)
    x = torch.zeros(3, 4).double()
    mask = torch.tensor([True, False, True, False]).expand(3, 4)
    terms = p.terms(x, mask)
    assert (terms[:, [1, 3]] == 0).all()
    torch.testing.assert_close(terms[:, [0, 2]], p.terms(x)[:, [0, 2]])
    odd = torch.full_like(x, math.nan)
    torch.testing.assert_close(p.terms(torch.where(mask, x, odd), mask), terms)


def test_one_hot_marks_the_cell_of_every_observed_entry():
    x = torch.tensor([[1.5, 1.0, 2.0, 1 / 3]])
    found = Cells(SPEC).one_hot(x)
    assert found.nonzero()[:, 1].tolist() == [1, 6, 9, 11]
    gaps = Cells(SPEC).one_hot(x, torch.tensor([[True, False, True, False]]))
    assert gaps.nonzero()[:, 1].tolist() == [1, 9]


def test_pieces_of_real_data_are_a_density():
    """A column of heavy tails with a spike: its own histogram beats a Gaussian by far."""
    draw = np.random.default_rng(0)
    x = np.where(draw.random(5000) < 0.4, 0.0, np.exp(3 * draw.standard_normal(5000)))
    ends = cut(x[:4000])
    spec = Spec((1,), ("numeric",), (len(ends) // 2,), pieces=(ends,))
    cells = Pieces(spec).cells
    rows = torch.from_numpy(locate(x, ends)).unsqueeze(1).float()
    counts = cells.one_hot(rows[:4000]).sum(0) + 1e-2
    p = CellsLikelihood(counts.log().expand(1000, -1), cells)
    found = p.log_prob(rows[4000:]).double().mean().item()
    # .4 log .4 + .6 (log .6 + entropy of the log-normal: log 3 + 1/2 log 2 pi e + E log x)
    best = 0.4 * math.log(0.4) + 0.6 * (
        math.log(0.6) - math.log(3) - 0.5 * math.log(2 * math.pi * math.e)
    )
    assert found == pytest.approx(best, abs=0.25)


def test_other_kinds_are_refused():
    with pytest.raises(UsageError, match="not 'real'"):
        Cells(Spec((2,)))
    with pytest.raises(UsageError, match="not 'image'"):
        Cells(Spec((1, 4, 4), ("binary",), (2,)))
