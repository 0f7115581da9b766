"""Numbers held for each row."""

import pytest
import torch

from vaes.errors import UsageError
from vaes.nets.codes import BETAS, MOST, Table


def test_rows_move_as_adam_moves_each_alone_and_the_others_stay():
    """Row i is in a batch where `seen` says so; torch's Adam takes the same gradients in turn."""
    draw = torch.Generator().manual_seed(0)
    table, rate = Table(5, 3).double(), 0.1
    target = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    alone = [torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(5)]
    adams = [torch.optim.Adam([row], rate, BETAS) for row in alone]
    for _ in range(40):
        rows = torch.randperm(4, generator=draw)[:2]  # the fifth row is never met
        before = table.numbers.clone()
        table.move(rows, table(rows) - target[rows], rate)
        for i in rows.tolist():
            alone[i].grad = alone[i].detach() - target[i]
            adams[i].step()
        absent = [i for i in range(5) if i not in rows]
        assert torch.equal(table.numbers[absent], before[absent])
    assert torch.allclose(table.numbers, torch.stack(alone).detach(), atol=1e-12)
    assert not table.numbers[4].any()
    assert table.taken.tolist()[4] == 0
    assert table.taken.sum() == 80


def test_which_rows_have_a_place():
    assert Table(3, 2).knows(torch.tensor([-1, 0, 2, 3])).tolist() == [False, True, True, False]


def test_a_table_is_no_parameter_and_its_moments_are_no_part_of_a_model():
    table = Table(3, 2)
    assert not list(table.parameters())
    assert list(table.state_dict()) == ["numbers"]


def test_too_many_rows_are_one_line():
    with pytest.raises(UsageError, match="a table of codes holds 1,000,000; take a recipe with"):
        Table(MOST + 1, 1)
