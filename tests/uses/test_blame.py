"""Blame: conditional densities in closed form and by enumeration, and planted entries."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.fixtures import LG_MEAN, LG_X, lg, linear_vae
from tests.uses.models import (
    CLASSES,
    ThreeClasses,
    class_rows,
    covariance,
    drawn,
    gapped,
    given,
    lg_ppca,
    loaded,
)
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.recipes import build


def exact(model, x: Tensor) -> Tensor:
    """-log p(x_j | others) of a Gaussian: x_j ~ N(x_j - (P x)_j / P_jj, 1 / P_jj)."""
    precision = torch.linalg.inv(covariance(model))
    diagonal = precision.diagonal()
    residual = (x - model.bias) @ precision / diagonal
    return 0.5 * residual.square() * diagonal - 0.5 * diagonal.log() + 0.5 * math.log(2 * math.pi)


def planted(model, n: int, shift: float, seed: int) -> tuple[Data, Tensor]:
    """Rows of which one entry is moved by so many conditional standard deviations, and which."""
    x, draw = drawn(model, n, seed), torch.Generator().manual_seed(seed)
    where = torch.randint(model.spec.size, (n,), generator=draw)
    std = torch.linalg.inv(covariance(model)).diagonal().rsqrt()
    x[torch.arange(n), where] += shift * std[where]
    return Data(model.spec, x), where


def test_an_exact_posterior_leaves_no_error():
    model = loaded(6, 2, seed=0)
    data, _ = planted(model, 100, 5.0, 0)
    found = uses.blame(model, data, k=3)
    torch.testing.assert_close(found, exact(model, data.x), rtol=0, atol=1e-8)


def test_weights_agree_where_no_entry_is_odd():
    model = loaded(20, 4, seed=0)
    x = drawn(model, 100, 0)
    found = uses.blame(model, Data(model.spec, x), k=2000, method="weights")
    assert (found - exact(model, x)).square().mean().sqrt() < 0.1


@pytest.mark.parametrize(("method", "k"), [("leave-out", 4000), ("weights", 40_000)])
def test_a_wrong_posterior_is_weighed(method, k):
    wide = torch.full((2,), 0.8, dtype=torch.float64)
    for spec in (Spec((5,)), Spec((5,), missing=True)):
        model = lg(0.8 * LG_MEAN, wide, spec=spec)
        found = uses.blame(model, Batch(x=LG_X), k=k, method=method)
        torch.testing.assert_close(found, exact(lg_ppca(), LG_X), rtol=0, atol=0.1)


@pytest.mark.parametrize("method", ["leave-out", "weights"])
def test_classes_against_enumeration(method):
    rows = class_rows(20, 0)
    model = ThreeClasses()
    found = uses.blame(model, Data(CLASSES, rows), k=20_000, method=method)
    for row, blames in zip(rows, found, strict=True):
        codes = [round(float(v) * (4 if j == 3 else 1)) for j, v in enumerate(row)]
        for j in range(4):
            others = {i: code for i, code in enumerate(codes) if i != j}
            assert float(blames[j]) == pytest.approx(
                -math.log(given(others, j)[codes[j]]), abs=0.05
            )


def test_the_moved_entry_is_found():
    model = loaded(6, 2, seed=4, variance=0.1)
    data, where = planted(model, 400, 8.0, 1)
    best = (exact(model, data.x).argmax(1) == where).double().mean()
    assert float(best) > 0.99  # no method could do better
    found = (uses.blame(model, data).argmax(1) == where).double().mean()
    assert float(found) >= 0.95
    # the encoder of complete rows, exact for them, takes what is left out for a zero
    vae = linear_vae(model.weight, model.bias, float(model.variance), "cholesky")
    found = (uses.blame(vae, Data(vae.spec, data.x)).argmax(1) == where).double().mean()
    assert float(found) >= 0.95


def test_an_encoder_that_knows_no_gaps_is_helped_by_codes_of_the_whole_row():
    model = loaded(6, 2, seed=4, variance=0.1)
    vae, x = linear_vae(model.weight, model.bias, 0.1, "cholesky"), drawn(model, 300, 3)
    error = uses.blame(vae, Data(vae.spec, x), k=256) - exact(model, x)
    assert float(error.square().mean().sqrt()) < 0.15  # 3 nats without


def test_gaps_carry_no_blame_and_units_are_the_users():
    model = loaded(6, 2, seed=0)
    data = gapped(model, drawn(model, 40, 0), 0.3, 0)
    found = uses.blame(model, data)
    assert data.mask is not None
    assert (found[~data.mask] == 0).all()
    # a row with a gap is a row of the model of the columns that it has
    row = int((~data.mask).sum(1).argmax())
    seen = data.mask[row]
    sigma = torch.linalg.inv(covariance(model)[seen][:, seen])
    residual = data.x[row, seen] @ sigma / sigma.diagonal()
    expected = 0.5 * residual.square() * sigma.diagonal()
    expected = expected - 0.5 * sigma.diagonal().log() + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found[row, seen], expected, rtol=0, atol=1e-8)
    scale = (2.0, 1.0, 1.0, 10.0, 1.0, 1.0)
    scaled = loaded(6, 2, seed=0, scale=scale)
    more = uses.blame(scaled, data) - found
    expected = torch.tensor(scale).double().log() * data.mask
    torch.testing.assert_close(more, expected, rtol=0, atol=1e-8)


def test_rows_do_not_know_their_neighbours():
    torch.manual_seed(0)
    model = build("vae", Spec((6,)), latent=2, hidden=(8,))
    x = torch.randn(30, 6)
    for method in ("leave-out", "weights"):
        whole = uses.blame(model, Data(model.spec, x), method=method)
        part = uses.blame(model, Batch(x=x[7:9]), method=method)
        torch.testing.assert_close(whole[7:9], part, rtol=1e-4, atol=1e-4)
        assert torch.equal(whole, uses.blame(model, Data(model.spec, x), method=method))


def test_images_take_the_weights():
    spec = Spec((1, 9, 9), kinds=("binary",), levels=(2,))
    model = build("vae", spec, latent=2, hidden=(8,), net="mlp")
    x = (torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = uses.blame(model, Data(spec, x))
    assert found.shape == x.shape
    assert torch.equal(found, uses.blame(model, Data(spec, x), method="weights"))
    few = uses.blame(model, Data(spec, x), method="leave-out", k=64)
    torch.testing.assert_close(few, found, rtol=0, atol=0.2)


def test_impossible_entries_are_not_nan():
    rows = class_rows(4, 0)
    model = ThreeClasses(exact=True, spec=replace(CLASSES, missing=False))
    for method in ("leave-out", "weights"):
        assert torch.isfinite(uses.blame(model, Data(model.spec, rows), k=2, method=method)).all()


def test_mistakes():
    with pytest.raises(UsageError, match="no density"):
        uses.blame(build("autoencoder", Spec((5,)), latent=2), Batch(x=LG_X))
    with pytest.raises(UsageError, match="did you mean 'weights'"):
        uses.blame(lg_ppca(), Batch(x=LG_X), method="weight")
