"""The claim of recipe latent_class."""

import math

import pytest

from tests.fixtures import (
    train,
)
from tests.papers.helpers import parity
from vaes.evaluate.likelihood import evidence
from vaes.recipes import build


def test_latent_class_columns_are_independent_within_a_class():
    """Lazarsfeld & Henry 1968: the classes explain all dependence; a few of them hold parity, and
    one holds nothing of it."""
    for classes, expected in ((8, -2 * math.log(2)), (1, -3 * math.log(2))):
        data = parity(512, 0)
        model = build("latent_class", data.spec, latent=classes, smoothing=0.1)
        train(model, data, steps=60)
        assert evidence(model, parity(256, 1)).mean == pytest.approx(expected, abs=0.03)
