"""Counts from end to end: a factor model whose evidence is known, gaps, totals, the command."""

import json
import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
import torch
from numpy.polynomial.hermite_e import hermegauss

from tests.commands import vaes_
from vaes import VAE, uses
from vaes.batch import Data, Spec
from vaes.dist.counts import NegativeBinomialLikelihood
from vaes.errors import UsageError
from vaes.evaluate.baselines import independent
from vaes.evaluate.likelihood import evidence
from vaes.fit import Loop
from vaes.model import Model
from vaes.options import split_options
from vaes.plan import plan
from vaes.training import seeded_build

COLUMNS, DISPERSION = 30, 4.0
DRAW = np.random.default_rng(0)
WEIGHT, BIAS = 0.8 * DRAW.standard_normal((2, COLUMNS)), DRAW.standard_normal(COLUMNS)
SPEC = Spec((COLUMNS,), ("count",), (0,), totals=True)


def drawn(n: int, seed: int) -> np.ndarray:
    """z ~ N(0, I_2), shares softmax(b + W z), totals log-normal, x negative binomial."""
    draw = np.random.default_rng(seed)
    share = np.exp(draw.standard_normal((n, 2)) @ WEIGHT + BIAS)
    share /= share.sum(1, keepdims=True)
    mean = share * np.exp(6.5 + 0.5 * draw.standard_normal((n, 1)))
    return draw.poisson(mean * draw.gamma(DISPERSION, 1 / DISPERSION, mean.shape))


def truth(x: np.ndarray, seen: np.ndarray) -> float:
    """Mean log p(observed x | their total) under the factor model, 50 x 50 Gauss-Hermite points."""
    nodes, weights = hermegauss(50)
    z = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    log_w = np.log(np.outer(weights, weights).ravel() / (2 * math.pi))
    share = np.exp(z @ WEIGHT + BIAS)
    found = []
    for row, here in zip(x, seen, strict=True):
        part = share[:, here]
        mean = part / part.sum(1, keepdims=True) * row[here].sum()
        p = DISPERSION / (DISPERSION + mean)
        log_p = scipy.stats.nbinom.logpmf(row[here], DISPERSION, p).sum(1)
        found.append(scipy.special.logsumexp(log_p + log_w))
    return float(np.mean(found))


def data(n: int, seed: int, gaps: float) -> tuple[Data, np.ndarray, np.ndarray]:
    x = drawn(n, seed)
    seen = np.random.default_rng(seed + 99).random(x.shape) >= gaps
    mask = torch.from_numpy(seen) if gaps else None
    spec = Spec((COLUMNS,), ("count",), (0,), missing=gaps > 0, totals=True, rows=n)
    return Data(spec, torch.from_numpy(x * seen).float(), mask=mask), x, seen


@cache
def fitted(gaps: float = 0.0) -> Model:
    train, valid = data(3000, 1, gaps)[0], data(300, 2, gaps)[0]
    options, settings = split_options("counts", {"latent": 2, "steps": 1500, "threads": 1})
    model = seeded_build("counts", train.spec, 0, options)
    Loop(model, train, valid, plan(settings, model, len(train))).run()
    return model


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_evidence_comes_close_to_that_of_the_model_the_rows_are_from(gaps):
    rows, x, seen = data(200, 3, gaps)
    found, best = evidence(fitted(gaps), rows, k=300), truth(x, seen)
    alone = independent(data(3000, 1, gaps)[0], rows).mean
    assert best > alone + 6  # there is something to learn
    assert best - 1.0 < found.mean < best + 0.5


def test_the_dispersion_is_found():
    model = fitted()
    with torch.no_grad():
        p = model.likelihood(torch.zeros(1, 2), data(1, 3, 0.0)[0].rows(slice(None)))
    assert isinstance(p, NegativeBinomialLikelihood)
    assert float(p.log_r.exp().median()) == pytest.approx(DISPERSION, rel=0.25)


def test_missing_counts_are_covered_by_their_intervals():
    rows, x, seen = data(200, 4, 0.3)
    found = uses.impute(fitted(0.3), rows, k=64, level=0.9)
    assert torch.equal(found.mean[rows.mask], rows.x[rows.mask])
    low, high, gaps = found.low.numpy(), found.high.numpy(), ~seen
    inside = ((x >= low) & (x <= high))[gaps].mean()
    assert 0.87 < inside < 0.97
    assert np.array_equal(found.mean, found.mean.round())


def test_new_rows_have_totals_as_the_training_rows_have_them():
    x, _ = uses.sample(fitted(), 3000, seed=1)
    assert torch.equal(x, x.round())
    assert x.min() >= 0
    ours, theirs = x.sum(1).double().log(), torch.from_numpy(drawn(3000, 1)).sum(1).log()
    # beside the spread of the totals, the noise of the row adds 1 % or so of variance
    assert abs(float(ours.mean() - theirs.mean())) < 4 * math.sqrt(2 * 0.3 / 3000)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.1)
    again, _ = uses.sample(fitted(), 3000, seed=1)
    assert torch.equal(x, again)
    z = torch.zeros(4, 2)
    median = np.median(drawn(3000, 1).sum(1))
    assert uses.decode(fitted(), z).sum(1).numpy() == pytest.approx(median, rel=1e-4)


def test_totals_go_along_a_path():
    a, b = data(6, 5, 0.0)[0], data(6, 6, 0.0)[0]
    totals = uses.interpolate(fitted(), a, b, steps=5).sum(-1)
    way = torch.linspace(0, 1, 5)
    ends = [rows.x.sum(1, keepdim=True) for rows in (a, b)]
    assert torch.allclose(totals, ends[0] + way * (ends[1] - ends[0]), rtol=1e-4)


def test_how_much_was_counted_is_no_difference():
    """Five times the counts are the same shares, and only shares are compared."""
    rows = data(200, 12, 0.0)[0]
    deep = Data(SPEC, 5 * rows.x)
    model = fitted()
    codes = {"latent": 2}
    blind = seeded_build("counts", SPEC, 0, codes)
    blind.load_state_dict(model.state_dict())
    with torch.no_grad():
        blind.encoder.last.weight.zero_()  # the same code for all rows
    found = uses.differ(blind, deep, rows, permutations=10, pairs=10)
    assert found.effect.abs().max() < 1e-6
    means = [uses.reconstruct(blind, part).mean.sum() for part in (deep, rows)]
    assert float(means[0] / means[1]) == pytest.approx(5, rel=1e-4)


def test_an_entry_is_blamed_given_the_total_of_the_whole_row():
    """Of z that says nothing, -log p(x_j | others) is minus the entry's own term."""
    model = fitted()
    silent = seeded_build("counts", SPEC, 0, {"latent": 2})
    silent.load_state_dict(model.state_dict())
    with torch.no_grad():
        silent.decoder.body[1].weight.zero_()
        silent.encoder.last.weight.zero_()
        silent.encoder.last.bias.zero_()
    rows = data(4, 7, 0.0)[0]
    batch = rows.rows(slice(None))
    with torch.no_grad():
        terms = silent.likelihood(torch.zeros(4, 2), batch).terms(batch.x).double()
    for method in ("leave-out", "weights"):
        found = uses.blame(silent, rows, k=50, method=method)
        assert torch.allclose(found, -terms, atol=1e-3), method


def test_independent_counts_by_scipy():
    """Shares of the total with half a count more each, and the likeliest of 41 dispersions."""
    train, x, _ = data(400, 8, 0.0)
    test, held, _ = data(50, 9, 0.0)
    share = x.sum(0) + 0.5
    share = share / share.sum()
    grid = np.exp(np.linspace(math.log(1e-4), math.log(1e6), 41))

    def log_p(rows):
        mean = share * rows.sum(1, keepdims=True)
        return np.stack([scipy.stats.nbinom.logpmf(rows, r, r / (r + mean)) for r in grid])

    best = log_p(x).sum(1).argmax(0)
    expected = log_p(held)[best, :, np.arange(COLUMNS)].sum(0)
    found = independent(train, test)
    assert found.mean == pytest.approx(expected.mean(), rel=1e-9)
    assert found.se == pytest.approx(expected.std(ddof=1) / math.sqrt(50), rel=1e-9)


def test_the_recipe_refuses_what_is_not_counted():
    with pytest.raises(UsageError, match="for rows of counts, but the data hold 'real'"):
        seeded_build("counts", Spec((3,)), 0, {})


def test_the_command_from_counts_to_counts(tmp_path):
    frame = pd.DataFrame(drawn(300, 10)).rename(columns="g{}".format)
    frame.to_csv(tmp_path / "cells.csv", index=False)
    told = vaes_("train", tmp_path / "cells.csv", "--steps", "400", "--out", tmp_path / "run")
    assert told.code == 0, told.err
    assert "every entry is count" in told.err
    assert "counts: " in told.err  # the recipe
    assert "in the units of the data, given each row's total:" in told.out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["evidence_of"] == "x|total"
    assert found["log_evidence"] > found["baselines"]["independent"]["log_evidence"] + 3
    assert vaes_("sample", tmp_path / "run", "-n", 50, "--out", tmp_path / "new").code == 0
    new = pd.read_csv(tmp_path / "new" / "rows.csv")
    assert list(new) == list(frame)
    assert set(new.dtypes.astype(str)) == {"int64"}
    told = vaes_("score", tmp_path / "run", "--k", 8)
    assert told.code == 0
    assert "nats per row, in the units of the data, given each row's total (30 rows" in told.err
    assert vaes_("score", tmp_path / "run", "--json").code == 0


def test_estimators_take_annotated_rows():
    x = drawn(300, 11)
    names = pd.Index([f"g{j}" for j in range(COLUMNS)])
    obs = pd.DataFrame(index=range(300))
    given = SimpleNamespace(X=scipy.sparse.csr_matrix(x), obs=obs, var_names=names)
    model = VAE(steps=50, latent=3).fit(given)
    assert model.recipe_ == "counts"
    assert list(model.feature_names_in_) == list(names)
    assert model.transform(given).shape == (300, 3)
    new = model.sample(20)
    assert new.dtype == np.int64
    assert new.shape == (20, COLUMNS)
    # the same rows as a frame: the same numbers
    frame = pd.DataFrame(x, columns=names)
    assert np.array_equal(
        VAE(steps=50, latent=3).fit(frame).transform(frame), model.transform(given)
    )
