"""Gaps: closed forms of the linear-Gaussian model, enumeration, coverage, independence of rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures import (
    LG_MEAN,
    LG_MU,
    LG_VAR,
    LG_W,
    LG_X,
    LinearGaussian,
    lg,
    linear_vae,
    ppca_data,
    ppca_solution,
    step_of,
)
from tests.uses.models import (
    CLASSES,
    ThreeClasses,
    class_rows,
    conditional,
    covariance,
    drawn,
    gapped,
    given,
    lg_ppca,
    loaded,
    ppca,
)
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.recipes import build
from vaes.recipes.latent_class import LatentClass
from vaes.recipes.ppca import PPCA

SEEN = torch.tensor([[True, True, True, False, False]])
ROW = Batch(x=torch.where(SEEN, LG_X, 0.0), mask=SEEN)
# x4, x5 given x1..3: mean (.5, .5), covariance [[.79, -.065], [-.065, .5275]]
MEAN = torch.tensor([0.5, 0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.79, -0.065], [-0.065, 0.5275]], dtype=torch.float64)


def lg_models():
    """An exact posterior; a wrong one of a model trained with gaps; and of one trained without."""
    wide = 1.5 * torch.ones(2, dtype=torch.float64)
    return {
        "exact": lg_ppca(),
        "weights": lg(0.7 * LG_MEAN, wide, spec=Spec((5,), missing=True)),
        "rounds": lg(0.7 * LG_MEAN, wide),
    }


@pytest.mark.parametrize("which", ["exact", "weights", "rounds"])
def test_gaps_of_the_linear_model(which):
    model = lg_models()[which]
    many = Batch(x=ROW.x.expand(64, -1), mask=SEEN.expand(64, -1))
    found = uses.impute(model, many, k=1000, draws=100, level=0.8, seed=1)
    # pairs of codes leave no error in the mean where the posterior is exact
    near = 1e-9 if which == "exact" else 0.15
    torch.testing.assert_close(found.mean[:, 3:], MEAN.expand(64, -1), rtol=0, atol=near)
    # 64 times the same row, with draws of its own each time: the mean of the results
    mean, low, high = (x[:, 3:].mean(0) for x in (found.mean, found.low, found.high))
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.02)
    half = 1.2815515655 * COVARIANCE.diagonal().sqrt()  # the normal's quantile at 90 %
    torch.testing.assert_close(low, MEAN - half, rtol=0, atol=0.06)
    torch.testing.assert_close(high, MEAN + half, rtol=0, atol=0.06)
    assert found.draws is not None
    rows = found.draws[..., 3:].flatten(0, 1)
    torch.testing.assert_close(rows.mean(0), MEAN, rtol=0, atol=0.04)
    torch.testing.assert_close(torch.cov(rows.T), COVARIANCE, rtol=0, atol=0.06)


def test_weights_of_an_exact_posterior_are_equal():
    model, k = loaded(8, 3, seed=0), 50
    data = gapped(model, drawn(model, 20, 0), 0.4, 0)
    ess = uses.impute(model, data, k=k).ess
    torch.testing.assert_close(ess, torch.full_like(ess, k), rtol=1e-6, atol=0)


def test_effective_sample_size_is_that_of_the_weights():
    # E w^2 / (E w)^2 of a narrow proposal is far from 1, of a row without gaps nothing is asked
    model = lg_models()["weights"]
    found = uses.impute(model, ROW, k=20_000, seed=3).ess
    q_mean, q_var = 0.7 * LG_MEAN, 2.25 * torch.eye(2, dtype=torch.float64)
    exact = lg_ppca().posterior(ROW)
    p_mean, p_var = exact.mean[0], exact.covariance_matrix[0]
    # 1 / E_p[p / q] in closed form: Gaussians multiply
    precision = 2 * torch.linalg.inv(p_var) - torch.linalg.inv(q_var)
    linear = 2 * torch.linalg.solve(p_var, p_mean) - torch.linalg.solve(q_var, q_mean)
    power = (
        2 * (p_mean @ torch.linalg.solve(p_var, p_mean))
        - q_mean @ torch.linalg.solve(q_var, q_mean)
        - linear @ torch.linalg.solve(precision, linear)
    )
    log_ratio = -0.5 * power - torch.logdet(p_var) + 0.5 * torch.logdet(q_var)
    log_ratio = log_ratio - 0.5 * torch.logdet(precision)
    assert float(found[0]) / 20_000 == pytest.approx(math.exp(-float(log_ratio)), rel=0.05)
    both = Batch(x=LG_X.expand(2, -1), mask=torch.cat([torch.ones_like(SEEN), SEEN]))
    ess = uses.impute(model, both, k=30).ess
    assert float(ess[0]) == 30
    assert float(ess[1]) < 25


def test_rounds_keep_the_weights_of_an_exact_posterior_equal():
    # the columns in the gaps say nothing of z, so a fixed q is the posterior of this row; the 96
    # draws of a round come from mixtures of 64 and of 32
    weight = LG_W * torch.tensor([[1.0], [1], [1], [0], [0]])
    exact = ppca(weight, LG_MU, LG_VAR).posterior(ROW)
    model = LinearGaussian(weight, LG_MU, LG_VAR, exact.mean[0], exact.tril[0])
    found = uses.impute(model, ROW, k=96)
    assert float(found.ess[0]) == pytest.approx(96, abs=1e-6)
    torch.testing.assert_close(found.mean[0, 3:], LG_MU[3:])


@pytest.mark.parametrize("spec", [CLASSES, replace(CLASSES, missing=False)])
def test_mixed_columns_against_enumeration(spec):
    rows = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0.25], [0, 0, 0, 0], [0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0]])
    rows, mask = rows.double(), mask.bool()
    model = ThreeClasses(spec=spec)
    data = Data(spec, torch.where(mask, rows, 0.0), mask=mask)
    k = 3000 if spec.missing else 1000
    found = uses.impute(model, data, k=k, draws=6000, seed=2, level=0.8)
    assert found.draws is not None
    clear = 0
    for i, (row, seen) in enumerate(zip(rows, mask, strict=True)):
        known = {j: round(float(row[j]) * (4 if j == 3 else 1)) for j in range(4) if seen[j]}
        for j in range(4):
            if seen[j]:
                continue
            p, unit = given(known, j), 4 if j == 3 else 1
            codes = (found.draws[:, i, j] * unit).long()
            shares = codes.bincount(minlength=len(p)) / len(codes)
            torch.testing.assert_close(shares.double(), p, rtol=0, atol=0.035)
            mass = p.cumsum(0)
            best = int(p.argmax()) if j < 3 else int((mass < 0.5).sum())
            margin = p.topk(2).values.diff().abs().item() if j < 3 else (mass - 0.5).abs().min()
            if margin > 0.05:
                clear += 1
                assert round(float(found.mean[i, j]) * unit) == best
            if j == 3 and min((mass - 0.1).abs().min(), (mass - 0.9).abs().min()) > 0.03:
                assert round(float(found.low[i, j]) * 4) == int((mass < 0.1).sum())
                assert round(float(found.high[i, j]) * 4) == int((mass < 0.9).sum())
            if j in (1, 2):
                assert found.low[i, j] == found.mean[i, j] == found.high[i, j]
    assert clear >= 9


def test_pairs_of_missing_entries_are_drawn_together():
    # given x_0 = 0 and x_3 = 4 / 4 alone, x_1 and x_2 depend on each other through the class
    mask = torch.tensor([[False, False, False, False]])
    data = Data(CLASSES, torch.zeros(1, 4).double(), mask=mask)
    found = uses.impute(ThreeClasses(), data, k=4000, draws=8000, seed=5).draws
    assert found is not None
    both = ((found[:, 0, 1] == 0) & (found[:, 0, 0] == 1)).double().mean()
    joint = given({1: 0}, 0)[1] * given({}, 1)[0]
    apart = given({}, 0)[1] * given({}, 1)[0]
    assert abs(float(both - joint)) < 0.02 < abs(float(joint - apart)) - 0.02


def classes_of_cells(pieces: int) -> tuple[LatentClass, torch.Tensor, torch.Tensor]:
    """Two classes over a category and a numeric column of single values 0, 1, 4, 9 ...; p(class),
    and p(cell | class) of both columns."""
    ends = [v for k in range(pieces) for v in (float(k * k),) * 2]
    ends = (-1.0, 0.0, *ends, ends[-1], ends[-1] + 1)
    spec = Spec((2,), ("category", "numeric"), (3, pieces + 2), pieces=((), ends), missing=True)
    model = build("latent_class", spec, latent=2).double()
    assert isinstance(model, LatentClass)
    cells = torch.rand(2, pieces + 2, generator=torch.Generator().manual_seed(0)).double()
    cells[:, [0, -1]] = 0
    cells[0] *= torch.linspace(2, 0, pieces + 2) ** 2
    table = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]).double()
    table = torch.cat([table, cells / cells.sum(1, keepdim=True)], 1)
    model.table.copy_(table.clamp(min=1e-30).log())
    share = torch.tensor([0.6, 0.4]).double()
    model.weights.copy_(share.log())
    return model, share, table


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("pieces", [15, 30])
def test_columns_in_cells_against_enumeration(pieces, exact):
    """Few values have their median, many their mean, categories their mode; ends are quantiles.

    Classes drawn from the prior have to be weighted by what is observed.
    """
    model, share, table = classes_of_cells(pieces)
    if not exact:
        model.posterior = model.prior  # type: ignore[method-assign]
    x = torch.tensor([[c, 0.0] for c in range(3)] + [[0.0, 1.5], [0.0, pieces + 0.5]]).double()
    mask = torch.tensor([[True, False]] * 3 + [[False, True]] * 2)
    found = uses.impute(model, Data(model.spec, x, mask=mask), k=4000, level=0.8)
    values = torch.arange(pieces).double().square()
    for i in range(3):
        after = share * table[:, i]
        p = (after / after.sum()) @ table[:, 4:-1]
        mass, mean = p.cumsum(0), float(p @ values)
        middle = int((mass < 0.5).sum()) if pieces <= 20 else int((values - mean).abs().argmin())
        told = [int(x[i, 1]) - 1 for x in (found.mean, found.low, found.high)]
        assert told == [middle, int((mass < 0.1).sum()), int((mass < 0.9).sum())]
    for i in (3, 4):
        after = share * table[:, 3 + int(x[i, 1])]
        best = int(((after / after.sum()) @ table[:, :3]).argmax())
        assert [int(y[i, 0]) for y in (found.mean, found.low, found.high)] == [best] * 3


def test_what_is_observed_comes_back_to_the_bit():
    model = build("vae", Spec((6,), missing=True), latent=2, hidden=(8,))
    x = torch.randn(70, 6) * 1e3 / 3
    data = gapped(model, x, 0.3, 1)
    assert data.mask is not None
    found = uses.impute(model, data, k=8, draws=3)
    assert found.draws is not None
    for rows in (found.mean, found.low, found.high, *found.draws):
        assert torch.equal(rows[data.mask], x[data.mask])
        assert not (rows[~data.mask] == 0).any()
        assert rows.dtype == x.dtype
    assert (found.low <= found.high).all()


def test_rows_without_gaps_come_back():
    x = torch.randn(5, 6)
    model = build("vae", Spec((6,)), latent=2, hidden=(8,))
    found = uses.impute(model, Data(model.spec, x), draws=2)
    assert found.draws is not None
    assert all(torch.equal(rows, x) for rows in (found.mean, found.low, *found.draws))
    assert found.draws.shape == (2, 5, 6)


@pytest.mark.parametrize("missing", [True, False])
def test_a_row_does_not_know_its_neighbours(missing):
    torch.manual_seed(0)
    spec = Spec((6,), missing=missing)
    model = build("vae", spec, latent=2, hidden=(8,))
    data = gapped(model, torch.randn(150, 6), 0.3, 2)
    whole = uses.impute(model, data, k=16, draws=2, seed=4)
    few = uses.impute(model, data.part(torch.arange(70)), k=16, draws=2, seed=4)
    assert whole.draws is not None
    assert few.draws is not None
    assert data.mask is not None
    for a, b in ((whole.mean, few.mean), (whole.low, few.low), (whole.draws[1], few.draws[1])):
        torch.testing.assert_close(a[:70], b, rtol=1e-5, atol=1e-6)
    mask, x = data.mask.clone(), data.x.clone()
    mask[5], x[5] = True, 9.0
    other = uses.impute(model, replace(data, x=x, mask=mask), k=16, draws=2, seed=4)
    keep = torch.arange(150) != 5
    torch.testing.assert_close(other.mean[keep], whole.mean[keep], rtol=1e-5, atol=1e-6)
    assert other.draws is not None
    torch.testing.assert_close(other.draws[:, keep], whole.draws[:, keep], rtol=1e-5, atol=1e-5)


def test_draws_are_independent_over_rows_and_seeds():
    model = lg_ppca()
    same = Batch(x=ROW.x.expand(1000, -1), mask=SEEN.expand(1000, -1))
    found = uses.impute(model, same, draws=2, seed=0)
    assert found.draws is not None
    one, two = found.draws[:, :, 3]
    # 1000 rows with the same conditional: their draws are a sample of it
    assert float(one.var()) == pytest.approx(0.79, rel=0.2)
    assert abs(float(torch.corrcoef(torch.stack([one[:-1], one[1:]]))[0, 1])) < 0.12
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 0.12
    again, other = (uses.impute(model, same, draws=2, seed=s).draws for s in (0, 1))
    assert again is not None
    assert other is not None
    assert torch.equal(found.draws, again)
    assert not torch.isclose(found.draws[:, :, 3], other[:, :, 3]).any()


def em(spec: Spec, data: Data, latent: int, passes: int) -> PPCA:
    model = build("ppca", spec, latent=latent).double()
    batches = [*data.batches(500)]
    with torch.no_grad():
        model.begin("train", data)
        for i in range(passes * len(batches)):
            batch = batches[i % len(batches)]
            last = i % len(batches) == len(batches) - 1
            model.closed_form(batch, step_of(torch.zeros(1, 1, latent), last_of_epoch=last))
    assert isinstance(model, PPCA)
    return model


def test_intervals_of_a_model_trained_with_gaps_cover_what_is_missing():
    source = loaded(8, 3, seed=1)
    train = gapped(source, drawn(source, 3000, 1), 0.3, 1)
    model = em(source.spec, train, 3, 40)
    x = drawn(source, 2500, 2)
    data = gapped(source, x, 0.3, 2)
    found = uses.impute(model, data)
    assert data.mask is not None
    gaps, (best, _) = ~data.mask, conditional(source, data)
    inside = ((found.low <= x) & (x <= found.high))[gaps].double().mean()
    assert 0.88 < float(inside) < 0.92  # of 6000 entries
    error, least = ((y - x)[gaps].square().mean().sqrt() for y in (found.mean, best))
    assert error < 1.03 * least


def test_intervals_of_drawn_values_cover_what_they_should():
    # x is z, drawn as 200 pairs of mirror images: the 20th largest of 200 sizes is the end, so
    # that 181 / 201 of all values lie within
    one = torch.ones(1, 1, dtype=torch.float64)
    model = ppca(one, 0 * one[0], 1e-8)
    data = Data(model.spec, torch.zeros(2000, 1).double(), mask=torch.zeros(2000, 1).bool())
    found = uses.impute(model, data, k=400)
    inside = torch.special.ndtr(found.high) - torch.special.ndtr(found.low)
    assert float(inside.mean()) == pytest.approx(181 / 201, abs=0.002)


def test_a_model_trained_on_complete_rows_fills_gaps_as_well():
    # its encoder, exact for complete rows, takes a gap for a zero
    weight, bias, variance = ppca_solution(3)
    model = linear_vae(weight, bias, variance, "cholesky")
    known = ppca(weight, bias, variance)
    data = gapped(model, ppca_data().x, 0.3, 3)
    assert data.mask is not None
    gaps, (best, std) = ~data.mask, conditional(known, data)
    found = uses.impute(model, data)
    error = ((found.mean - best) / std.clamp(min=1e-9))[gaps]
    assert error.square().mean().sqrt() < 0.25
    assert found.ess.median() > 0.5 * 64
    width = ((found.high - found.low) / (2 * 1.6448536 * std))[gaps]
    assert float(width.median()) == pytest.approx(1, abs=0.08)
    x = ppca_data().x
    inside = ((found.low <= x) & (x <= found.high))[gaps].double().mean()
    assert 0.87 < float(inside) < 0.93


def test_means_of_dependent_entries_are_those_of_completed_rows():
    # a likelihood that completes on its own account is asked to, not for the mean of p(x|z)
    model = lg_ppca()
    of = model.likelihood

    class Shifted(type(of(torch.zeros(1, 2).double(), ROW))):
        def complete(self, x, mask, generator=None):
            return torch.where(mask, x, self.draw(generator) + 10)

    def likelihood(z, batch):
        p = of(z, batch)
        return Shifted(p.mean, p.log_scale, 1)

    model.likelihood = likelihood  # type: ignore[method-assign]
    found = uses.impute(model, ROW, k=2000)
    torch.testing.assert_close(found.mean[0, 3:], MEAN + 10, rtol=0, atol=0.1)


def test_images_are_filled_on_their_grid():
    spec = Spec((1, 4, 4), kinds=("pixel",), levels=(5,), scale=(4.0,), missing=True)
    model = build("vae", spec, latent=2, hidden=(8,))
    x = torch.randint(0, 5, (9, 1, 4, 4), generator=torch.Generator().manual_seed(0)) / 4
    data = gapped(model, x, 0.5, 0)
    found = uses.impute(model, data, k=8, draws=1)
    assert found.draws is not None
    for rows in (found.mean, found.low, found.high, found.draws[0]):
        torch.testing.assert_close(rows * 4, (rows * 4).round())


def test_mistakes():
    with pytest.raises(UsageError, match="no density"):
        uses.impute(build("autoencoder", Spec((5,)), latent=2), ROW)
    for options in ({"k": 0}, {"draws": -1}, {"level": 1.0}):
        with pytest.raises(UsageError, match="0 < level < 1"):
            uses.impute(lg_ppca(), ROW, **options)
    model = lg_ppca()
    p = model.likelihood(torch.zeros(1, 2).double(), ROW)
    whole = type("Whole", (type(p),), {"masks": False})
    model.likelihood = lambda z, batch: whole(z @ model.weight.T, p.log_scale, 1)  # type: ignore
    with pytest.raises(UsageError, match="cannot leave entries out"):
        uses.impute(model, ROW)


def test_rows_drawn_have_the_covariance_that_they_should():
    model = loaded(6, 2, seed=3)
    x = class_rows(20_000, 0)
    assert abs(float((x[:, 0] == 1).double().mean()) - float(given({}, 0)[1])) < 0.015
    sample = torch.cov(drawn(model, 20_000, 0).T)
    torch.testing.assert_close(sample, covariance(model), rtol=0, atol=0.15)
