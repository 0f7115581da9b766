"""Programs of decoders: numpy makes of them what torch says; all else is refused by its name."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.report import interpreter
from tests.report.models import CASES, MIXED, made
from vaes import uses
from vaes.batch import Spec
from vaes.composed import compose
from vaes.objective import Elbo
from vaes.recipes import build
from vaes.report.decoder import OPS, Unsupported, export


@pytest.mark.parametrize("name", CASES)
def test_a_program_says_what_the_model_says(name):
    model = made(name)
    program = export(model)
    z = 1.5 * torch.randn(4, model.latent, generator=torch.Generator().manual_seed(1))
    theirs = uses.decode(model, z).flatten(1).double().numpy()
    ours = np.stack([interpreter.run(program, row) for row in z.numpy()])
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, np.abs(theirs).max())
    # not all alike: a head that ignored its numbers would pass else
    assert theirs.std(0).max() > 1e-3


@pytest.mark.parametrize("name", ["table", "table, smooth"])
def test_what_has_no_value_tells_later_columns_nothing(name):
    """Codes for which the first column says that the third has a value, and codes for which not."""
    model = made(name)
    program = export(model)
    z = 3 * torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
    theirs = uses.decode(model, z).double().numpy()
    assert 0.1 < theirs[:, 0].mean() < 0.9
    ours = np.stack([interpreter.run(program, row) for row in z.numpy()])
    assert np.abs(ours - theirs).max() <= 1e-4


def test_every_layer_that_is_known_is_run_by_a_case():
    def types(module):
        return {type(part) for part in module.modules()}

    met = set().union(*(types(made(name)) for name in CASES))
    assert set(OPS) <= met


def test_a_hand_made_decoder():
    """x_1 = sigmoid(2 z + 1), x_2 = sigmoid(-z): weights in the order of the layers."""
    model = compose(Spec((2,), ("binary",), (2,)), Elbo(), latent=1, hidden=())
    with torch.no_grad():
        model.decoder.last.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        model.decoder.last.bias.copy_(torch.tensor([1.0, 0.0]))
    program = export(model)
    assert program.weights.tolist() == [2, -1, 1, 0]
    told = json.loads(json.dumps(program.to_json()))
    linear = [op for op in told["ops"] if op["op"] == "linear"]
    assert linear == [{"op": "linear", "out": 2, "weight": [0, 2], "bias": [2, 2]}]
    assert (told["head"], told["latent"], told["size"]) == ({"head": "bernoulli"}, 1, 2)
    expected = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(0.5))]
    assert interpreter.run(program, np.array([0.5])) == pytest.approx(expected, abs=1e-12)


class Doubled(nn.Linear):
    """Looks like a linear layer and is none."""

    def forward(self, input):
        return 2 * super().forward(input)


def own(*layers: nn.Module):
    body = nn.Sequential(nn.Linear(3, 16), *layers)
    return compose(Spec((16,)), Elbo(), latent=3, decoder=body)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (lambda: own(Doubled(16, 16)), "Doubled"),
        (lambda: own(nn.Softplus()), "Softplus"),
        (lambda: own(nn.GELU(approximate="tanh")), "tanh"),
        (lambda: own(nn.Unflatten(1, (4, 2, 2)), nn.Conv2d(4, 4, 1, groups=2)), "grouped"),
        (lambda: own(nn.Unflatten(1, (4, 2, 2)), nn.Linear(2, 3)), "linear"),
        (lambda: own(nn.Unflatten(1, (4, 2, 2)), nn.Flatten(2)), "Flatten"),
        (lambda: own(nn.Unflatten(1, (4, 4))), "Unflatten"),
        (lambda: build("latent_class", Spec((3,), ("binary",), (2,))), "LatentClass"),
        (lambda: build("not_miwae", Spec((4,), missing=True)), "SelfMasking"),
    ],
)
def test_what_a_page_cannot_run_is_refused_by_its_name(model, word):
    with pytest.raises(Unsupported, match=word):
        export(model())


def test_weights_that_are_no_numbers_are_refused():
    model = compose(MIXED, Elbo(), latent=2, hidden=(4,))
    with torch.no_grad():
        model.decoder.last.bias[0] = math.nan
    with pytest.raises(Unsupported, match="finite"):
        export(model)
