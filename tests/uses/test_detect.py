"""Anomaly scores against closed forms, p-values and discoveries against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import false_discovery_control, kstest, multivariate_normal

from tests.fixtures import LG_DIAGONAL, LG_EVIDENCE, LG_MEAN, LG_MU, LG_W, LG_X, lg
from tests.uses.models import covariance, drawn, gapped, lg_ppca, loaded, seeded
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.recipes import build


def log_p(model, x):
    return torch.from_numpy(multivariate_normal(model.bias, covariance(model)).logpdf(x))


# --- scores -----------------------------------------------------------------------------------
def test_evidence_is_the_negative_log_density():
    model = loaded(8, 3, seed=0)
    x = drawn(model, 300, 0)
    found = uses.anomaly_scores(model, Data(model.spec, x))
    torch.testing.assert_close(found, -log_p(model, x), rtol=0, atol=1e-9)
    assert found.dtype == torch.float64
    # rows in a batch, whatever q: the fixture's -log p(x)
    wrong = lg(LG_MEAN, LG_DIAGONAL)
    score = uses.anomaly_scores(wrong, Batch(x=LG_X), k=4000)
    assert float(score[0]) == pytest.approx(-LG_EVIDENCE, abs=0.02)


def test_evidence_ranks_as_the_mahalanobis_distance():
    model = loaded(8, 3, seed=0)
    x = 3 * torch.randn(200, 8, generator=seeded(1), dtype=torch.float64)
    distance = (x @ torch.linalg.inv(covariance(model)) * x).sum(1)
    found = uses.anomaly_scores(model, Data(model.spec, x))
    assert torch.equal(found.argsort(), distance.argsort())


def test_units_are_the_users():
    spec = Spec((5,), scale=(2.0, 1.0, 1.0, 10.0, 1.0))
    model = lg(LG_MEAN, LG_DIAGONAL, spec=spec)
    for score in ("evidence", "reconstruction"):
        plain = uses.anomaly_scores(lg(LG_MEAN, LG_DIAGONAL), Batch(x=LG_X), score=score)
        scaled = uses.anomaly_scores(model, Batch(x=LG_X), score=score)
        assert float(scaled - plain) == pytest.approx(math.log(20), abs=1e-9)


def test_reconstruction_is_the_distortion_at_the_posterior_mean():
    found = uses.anomaly_scores(lg_ppca(), Batch(x=LG_X), score="reconstruction")
    residual = LG_X[0] - LG_W @ LG_MEAN - LG_MU
    expected = residual.square().sum() / (2 * 0.5) + 2.5 * math.log(2 * math.pi * 0.5)
    assert float(found[0]) == pytest.approx(float(expected), abs=1e-9)
    plain = build("autoencoder", Spec((5,)), latent=2, hidden=(4,))
    rows = Batch(x=LG_X.float())
    assert torch.isfinite(uses.anomaly_scores(plain, rows, score="reconstruction")).all()


@pytest.mark.parametrize("score", ["evidence", "reconstruction"])
def test_what_no_training_row_could_have_held_costs_as_much_as_something_new(score):
    """log(99 + 1) nats for each such entry, which is a gap to the model; and blame for it alone."""
    model = lg_ppca(rows=99)
    mask = torch.tensor([[True, True, True, False, False]])
    odd = torch.tensor([[False, False, False, True, True]])
    gaps, new = Batch(x=LG_X, mask=mask), Batch(x=LG_X, mask=mask, unseen=odd)
    plain = uses.anomaly_scores(model, gaps, score=score)
    found = uses.anomaly_scores(model, new, score=score)
    assert float(found - plain) == pytest.approx(2 * math.log(100), abs=1e-9)
    more = uses.blame(model, new) - uses.blame(model, gaps)
    torch.testing.assert_close(more, odd * math.log(100), rtol=0, atol=1e-9, check_dtype=False)


def test_typicality_finds_rows_that_are_too_probable():
    model = loaded(20, 2, seed=0)
    held = Data(model.spec, drawn(model, 400, 0))
    rows = torch.cat(
        [model.bias.expand(1, -1), drawn(model, 5, 1), model.bias + torch.full((1, 20), 9)]
    )
    found = uses.anomaly_scores(model, Data(model.spec, rows), score="typicality", reference=held)
    usual = -log_p(model, held.x).median()
    torch.testing.assert_close(found, (-log_p(model, rows) - usual).abs(), rtol=0, atol=0.05)
    # the most probable row of all has the lowest evidence score, and is not typical
    assert int(uses.anomaly_scores(model, Data(model.spec, rows)).argmin()) == 0
    inner = uses.anomaly_scores(model, held, score="typicality", reference=held)
    assert float((inner < found[0]).double().mean()) > 0.99


def test_gaps_leave_the_evidence_of_what_is_seen():
    model = lg_ppca()
    mask = torch.tensor([[True, True, True, False, False]])
    row = Batch(x=torch.where(mask, LG_X, 0.0), mask=mask)
    assert float(uses.anomaly_scores(model, row)) == pytest.approx(4.862598629, abs=1e-8)
    data = gapped(model, drawn(model, 30, 0), 0.3, 0)
    whole = uses.anomaly_scores(model, data)
    part = uses.anomaly_scores(model, data.rows(slice(3, 9)))
    torch.testing.assert_close(whole[3:9], part, rtol=1e-9, atol=1e-9)


# --- calibration ------------------------------------------------------------------------------
def test_p_values_count_held_out_scores():
    conformal = uses.Conformal(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    scores = torch.tensor([0.0, 1.0, 2.0, 2.5, 3.0, 4.0, math.nan])
    expected = torch.tensor([5, 5, 4, 2, 2, 1, 1]).double() / 5
    assert torch.equal(conformal.p_values(scores), expected)


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("rate", [0.01, 0.07, 0.29, 0.5])
def test_thresholds_agree_with_p_values(rate, decimals):
    held = torch.randn(99, generator=seeded(0)).double().round(decimals=decimals)
    conformal = uses.Conformal(held)
    scores = torch.cat([held, held + 1e-9, held - 1e-9, torch.tensor([-9.0, 9.0]).double()])
    flagged = conformal.p_values(scores) <= rate + 1e-12
    assert torch.equal(scores > conformal.threshold(rate), flagged)
    assert flagged.any()


def test_p_values_of_rows_like_the_held_out_ones_are_uniform():
    model = loaded(6, 2, seed=2)
    held, fresh = (
        uses.anomaly_scores(model, Data(model.spec, drawn(model, n, seed)))
        for n, seed in ((20_000, 0), (50_000, 1))
    )
    conformal = uses.Conformal(held)
    # the held-out rows are a sample too: the test is that of two samples, at 1 %
    distance = kstest(conformal.p_values(fresh).numpy(), "uniform").statistic
    assert distance * math.sqrt(20_000 * 50_000 / 70_000) < 1.63
    alarms = (fresh > conformal.threshold(0.01)).double().mean()
    assert 0.008 < float(alarms) < 0.012


def test_false_alarms_with_few_held_out_rows_are_as_many_as_said():
    # over calibrations the share is exactly floor(.1 * 20) / 20, any tie being counted as odder
    draws = torch.randn(4000, 20, generator=seeded(3)).double()
    alarms = [
        float(uses.Conformal(row[:19]).p_values(row[19:])[0] <= 0.1) for row in draws.unbind(0)
    ]
    assert sum(alarms) / 4000 == pytest.approx(0.1, abs=0.015)


def test_discoveries_of_the_paper():
    # Benjamini & Hochberg 1995, sec. 3.2: four at .05
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p = torch.tensor([*p, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]).double()
    order = torch.randperm(15, generator=seeded(0))
    assert uses.discoveries(p, 0.05).tolist() == [True] * 4 + [False] * 11
    assert torch.equal(uses.discoveries(p[order], 0.05), uses.discoveries(p, 0.05)[order])
    assert not uses.discoveries(p[4:], 0.01).any()


@pytest.mark.parametrize("fdr", [0.05, 0.2])
def test_discoveries_are_scipys(fdr):
    p = torch.rand(300, generator=seeded(1)).double() ** 2
    assert torch.equal(
        uses.discoveries(p, fdr), torch.from_numpy(false_discovery_control(p) <= fdr)
    )


def test_few_discoveries_are_false():
    model = loaded(6, 2, seed=2)
    shares, power = [], []
    for trial in range(30):
        held, usual = (drawn(model, n, 10 * trial + i) for i, n in enumerate((1000, 450)))
        odd = drawn(model, 50, 10 * trial + 2) * 3
        scores = uses.anomaly_scores(model, Data(model.spec, torch.cat([usual, odd])))
        conformal = uses.Conformal(uses.anomaly_scores(model, Data(model.spec, held)))
        found = uses.discoveries(conformal.p_values(scores), 0.1)
        shares.append(float(found[:450].sum() / found.sum().clamp(min=1)))
        power.append(float(found[450:].double().mean()))
    assert sum(shares) / 30 < 0.12
    assert sum(power) / 30 > 0.3


def test_mistakes():
    rows = Batch(x=LG_X)
    model = lg_ppca()
    with pytest.raises(UsageError, match="did you mean 'evidence'"):
        uses.anomaly_scores(model, rows, score="evidense")
    with pytest.raises(UsageError, match="needs reference"):
        uses.anomaly_scores(model, rows, score="typicality")
    with pytest.raises(UsageError, match="takes no reference"):
        uses.anomaly_scores(model, rows, reference=rows)
    with pytest.raises(UsageError, match="no density"):
        uses.anomaly_scores(build("autoencoder", Spec((5,)), latent=2), rows)
    for scores in (torch.empty(0), torch.tensor([1.0, math.nan])):
        with pytest.raises(UsageError, match="a calibration takes"):
            uses.Conformal(scores)
    for rate in (0.04, 0.0, 1.0):
        with pytest.raises(UsageError, match="with 19 held-out rows"):
            uses.Conformal(torch.arange(19.0)).threshold(rate)
    with pytest.raises(UsageError, match="fdr=1"):
        uses.discoveries(torch.rand(3), 1)
