"""The claim of recipe tabular."""

import math

import pytest
import torch

from tests.fixtures import (
    train,
)
from tests.papers.helpers import parity
from vaes.evaluate.likelihood import evidence
from vaes.recipes import build


def test_tabular_columns_depend_on_one_another_given_z():
    """Larochelle & Murray 2011: the product of conditionals holds what no product of independent
    columns can. The evidence of parity is -2 log 2; independent columns have -3 log 2."""
    torch.manual_seed(0)
    model = build("tabular", parity(512, 0).spec, hidden=(32,), warmup=0.0)
    train(model, parity(512, 0), steps=500)
    found = evidence(model, parity(256, 1), k=64)
    assert found.mean == pytest.approx(-2 * math.log(2), abs=0.03)
