"""Rows into bits and back: to the bit for every recipe, and as long as the bound says."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.compress.test_costs import Curve, nats
from tests.fixtures import train
from tests.test_recipes import SPECS
from tests.test_recipes import data as recipe_data
from tests.uses.models import seeded
from vaes.batch import Batch, Data, Spec
from vaes.compress import decode, encode
from vaes.compress.bitsback import Coded
from vaes.dist.discrete import CategoricalLikelihood
from vaes.errors import DataError, UsageError
from vaes.model import Model
from vaes.objective import log_weight
from vaes.recipes import build, names, options

KINDS = {
    "binary": SPECS["binary"],
    "pixel": SPECS["pixel"],
    "counts": SPECS["counts"],  # with gaps, given totals
    "columns": Spec((4,), ("binary", "category", "category", "pixel"), (2, 1, 3, 5), missing=True),
    "free": Spec((3,), ("binary", "count", "pixel"), (2, 0, 4)),  # counts without totals
    "gated": Spec(  # single numbers; the first column tells whether the third has a value
        (4,),
        ("binary", "category", "numeric", "numeric"),
        (2, 3, 5, 4),
        missing=True,
        pieces=((), (), (-1, 0, 0, 0, 1, 1, 2.5, 2.5, 2.5, 4), (0, 1, 1, 1, 2, 2, 2, 3)),
        shown_by=(-1, -1, 0, -1),
    ),
}

KINDS = {kind: replace(spec, rows=64) for kind, spec in KINDS.items()}


@cache
def data(kind: str) -> Data:
    """64 rows of this kind; tails hold none."""
    if kind in SPECS:
        return recipe_data(kind)
    spec, draw = KINDS[kind], torch.Generator().manual_seed(3)
    x = torch.zeros(64, spec.size, dtype=torch.float64)
    for j, (name, levels) in enumerate(spec.column_kinds()):
        u = torch.rand(64, generator=draw, dtype=torch.float64)
        if name == "count":
            x[:, j] = (5 * u).exp().floor() - 1  # up to 147: beyond two blocks
        elif name == "numeric":
            x[:, j] = 1.5 + (u * (levels - 2)).floor()
        else:
            code = (u * levels).floor()
            x[:, j] = code if name == "category" else code / max(1, levels - 1)
    mask = torch.rand(x.shape, generator=draw) < 0.7 if spec.missing else None
    if kind == "gated":
        mask = torch.ones_like(x, dtype=torch.bool)
        mask[:, 2] = x[:, 0] == 1
    return Data(spec, x if mask is None else x * mask, mask=mask)


@cache
def trained(name: str, kind: str) -> Model:
    """A small model of recipe `name` after 30 steps; skips where the recipe refuses such rows."""
    torch.manual_seed(0)
    few = {"latent": 2, "hidden": (16,), "refine": 2}
    small = {k: v for k, v in few.items() if k in options(name)}
    try:
        model = build(name, KINDS[kind], **small).double()
    except UsageError as refusal:
        pytest.skip(str(refusal))
    if model.bound == "none":
        pytest.skip("no density")
    train(model, data(kind), steps=30)
    return model


def encoded(model: Model, given: Data) -> Coded:
    """`given` as bits; skips posteriors that are not coded, which is said in one line."""
    try:
        return encode(model, given)
    except UsageError as refusal:
        said = str(refusal)
    assert "\n" not in said
    pytest.skip(said)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in names() if n not in ("autoencoder", "not_miwae")])
def test_rows_come_back_to_the_bit_and_cost_the_bound(name, kind):
    """x and mask as they were; the bits within 5 standard errors of minus the ELBO, where z is
    drawn once per row: the error is that of log w over draws. A hundredth of a nat per row for
    what is rounded, one nat for the state at the ends."""
    model, given = trained(name, kind), data(kind)
    model.train()
    coded = encoded(model, given)
    found = decode(model, coded)
    assert model.training
    ours, theirs = given.rows(slice(None)), found.rows(slice(None))
    ours = replace(ours, index=None)  # a file does not say which rows a model was trained on
    assert torch.equal(ours.x.float(), theirs.x)
    if ours.mask is not None:
        assert torch.equal(ours.mask, theirs.mask)
        assert coded.told == (kind == "gated")
    model.eval()
    with torch.no_grad():
        shape = (400, 64, model.noise_size)
        draw = torch.randn(shape, generator=seeded(0), dtype=torch.float64)
        log_w = log_weight(model, ours, noise=draw)
    error = math.sqrt(log_w.var(0).sum().item() + log_w.var(0).sum().item() / 400)
    assert abs(nats(coded) + log_w.mean(0).sum().item()) < 5 * error + 0.01 * 64 + 1


@pytest.mark.parametrize(
    ("name", "kind"), [("vae", "binary"), ("tabular", "columns"), ("counts", "counts")]
)
def test_noise_is_refused_and_not_returned(name, kind):
    """Weights a thousandth off, as sums elsewhere are by far less; a stack that lacks its floor."""
    model, given = trained(name, kind), data(kind)
    coded = encode(model, given)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter += 1e-3
    with pytest.raises(DataError, match="not the rows that were coded"):
        decode(other, coded)
    assert torch.equal(decode(model, coded).x, given.x.float())
    with pytest.raises(DataError, match="not the rows that were coded"):
        decode(model, replace(coded, payload=coded.payload[40:]))


def test_threads_and_generators_stay_as_they_were():
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    encode(trained("vae", "binary"), data("binary"))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_what_has_no_code_length_is_refused():
    def refused(name: str, spec: Spec, why: str) -> None:
        torch.manual_seed(0)
        model = build(name, spec)
        x = torch.zeros(2, *spec.shape)
        with pytest.raises(UsageError, match=why):
            encode(model, Data(spec, x))

    reals = Spec((6,), names=tuple("abcdef"))
    refused("vae", reals, "column 'a' holds reals: a density has no code length; give it a grid")
    refused("vae", Spec((1, 4, 4)), "these rows hold reals")
    refused("tabular", SPECS["table"], "column '3' holds numbers in intervals")
    refused("autoencoder", SPECS["binary"], "no density over x, so its rows have no code length")
    model = trained("vae", "binary")
    with pytest.raises(DataError, match="no rows"):
        encode(model, Data(model.spec, torch.zeros(0, 16)))


def test_what_the_alphabet_lacks_is_refused():
    """A level between two, a code beyond the last, a value in a tail, a row that is marked."""
    model = trained("latent_class", "gated")
    given = data("gated")
    for column, value in ((1, 3.0), (2, 0.5), (2, 4.2), (0, 0.5), (1, -1.0)):
        x = given.x.clone()
        x[5] = torch.tensor([1.0, 0.0, 1.5, 1.5])
        x[5, column] = value
        mask = given.mask.clone()
        mask[5] = True
        with pytest.raises(DataError, match=f"row 5 .*entry {column} holds a value that no train"):
            encode(model, Data(given.spec, x, mask=mask))
    unseen = torch.zeros_like(given.mask)
    unseen[9, 1] = True
    with pytest.raises(DataError, match=r"row 9 .*entry 1 "):
        encode(model, Data(given.spec, given.x, mask=given.mask, unseen=unseen))


def test_a_row_without_probability_is_refused():
    """One bit that the model holds for impossible."""

    class Sure(Curve):
        def likelihood(self, z: Tensor, batch: Batch) -> CategoricalLikelihood:
            logits = z * self.a + self.b
            logits[..., 2] = -math.inf
            return CategoricalLikelihood(torch.stack([0 * self.a + 0 * z, logits], -1), 1, True)

    model, x = Sure(), torch.zeros(9, 6).double()
    assert len(decode(model, encode(model, Data(model.spec, x)))) == 9
    x[4, 2] = 1
    with pytest.raises(DataError, match=r"row 4 .* has no probability under this model"):
        encode(model, Data(model.spec, x))


def test_bytes_come_back_as_bytes():
    """Level codes in bytes, as images are held; the same rows as floats are the same file."""
    model, given = trained("vae", "pixel"), data("pixel")
    codes = (given.x * 4).round().to(torch.uint8)
    coded = encode(model, Data(given.spec, codes))
    assert torch.equal(decode(model, coded).x, codes)
    assert coded.payload == encode(model, given).payload
