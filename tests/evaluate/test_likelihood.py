"""Bounds and evidence: by their definitions, in chunks, compiled or not."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.fixtures import (
    LG_DIAGONAL,
    LG_EVIDENCE,
    LG_MEAN,
    LG_TRIL,
    LG_X,
    lg,
    unclip,
)
from tests.toys import TRAIN, small
from vaes.batch import Batch, Data, Spec
from vaes.dist.discrete import sum_log1p
from vaes.dist.gaussian import LOG_SCALE
from vaes.evaluate import likelihood
from vaes.evaluate.likelihood import BLOCKS, bound, evidence, shared_noise
from vaes.evaluate.summary import summary
from vaes.machine import compiler
from vaes.model import Model
from vaes.objective import log_likelihood, log_weight
from vaes.recipes import build

TWICE = Data(Spec((5,)), LG_X.expand(2, -1))  # two equal rows: no spread over rows
EXACT = lg(LG_MEAN, LG_TRIL)
SHIFTED = lg(LG_MEAN + 0.3, LG_DIAGONAL * math.sqrt(1.5))


# --- the evidence ---------------------------------------------------------------------------------
def test_constant_weights_are_the_evidence():
    """q is the posterior: log w = log p(x), all draws count, nothing is left to chance."""
    found = evidence(EXACT, TWICE, k=137)
    assert found.per_row.tolist() == pytest.approx([LG_EVIDENCE] * 2, abs=1e-9)
    assert found.ess == pytest.approx(137, rel=1e-9)
    assert found.se_draws < 1e-9


@pytest.mark.parametrize("k", [1, 7, 25, 40])
def test_evidence_by_its_definition(k, monkeypatch):
    """All k draws at once, in blocks of unequal size too, and however rows and draws are cut."""
    edges = [round(i * k / min(BLOCKS, k)) for i in range(min(BLOCKS, k) + 1)]
    sizes = [b - a for a, b in pairwise(edges)]
    noise = torch.cat([shared_noise(SHIFTED, n, 3, LG_X, i) for i, n in enumerate(sizes)])
    assert len(noise.unique()) == noise.numel()  # no block repeats another
    batch = Batch(LG_X)
    log_w = log_weight(SHIFTED, batch, noise=noise)
    w = log_w.exp()
    q = SHIFTED.posterior(batch)
    rate = 0.5 * (q.variance + q.mean.square() - 1 - q.variance.log()).sum()
    elbo = log_likelihood(SHIFTED, q.draw(noise), batch).mean() - rate
    for entries in (likelihood.CACHED, 30, 1):
        monkeypatch.setattr(likelihood, "CACHED", entries)
        found = evidence(SHIFTED, TWICE, k=k, seed=3)
        assert found.per_row.tolist() == pytest.approx([w.mean().log().item()] * 2, abs=1e-12)
        assert found.ess == pytest.approx((w.sum().square() / w.square().sum()).item(), rel=1e-12)
        assert found.elbo == pytest.approx(elbo.item(), abs=1e-12)


def test_errors_are_the_spread_over_seeds():
    """Of 100 evidences from 100 draws each; the quoted errors are right to a fifth."""
    found = [evidence(SHIFTED, TWICE, k=100, seed=seed) for seed in range(100)]
    for value, error in (("mean", "se_draws"), ("mean", "se"), ("elbo", "elbo_se")):
        spread = torch.tensor([getattr(f, value) for f in found]).std().item()
        quoted = torch.tensor([getattr(f, error) for f in found]).square().mean().sqrt().item()
        assert spread == pytest.approx(quoted, rel=0.2), error


def test_scores_do_not_depend_on_the_neighbours(monkeypatch):
    model, some = small(), TRAIN.part(torch.arange(23))
    whole = evidence(model, some, k=20).per_row
    monkeypatch.setattr(likelihood, "CACHED", 500)  # a few rows at once
    torch.testing.assert_close(evidence(model, some, k=20).per_row, whole, rtol=0, atol=1e-5)
    alone = evidence(model, some.part(torch.tensor([11])), k=20).per_row
    assert alone.item() == pytest.approx(whole[11].item(), abs=1e-5)


# --- the bound ------------------------------------------------------------------------------------
def test_the_bound_does_not_depend_on_the_batches():
    found = [bound(small(), TRAIN, k=3, rows=rows) for rows in (1000, 7, 1)]
    for other in found[1:]:
        assert other.elbo == pytest.approx(found[0].elbo, abs=1e-5)
        assert other.distortion == pytest.approx(found[0].distortion, abs=1e-5)


def test_the_bound_is_unweighted():
    """beta, warm-up and free bits act in the loss alone."""
    plain = bound(small(), TRAIN)
    assert plain.elbo == pytest.approx(-plain.distortion - plain.rate, abs=1e-9)
    assert plain.rate == pytest.approx(plain.rates.sum().item(), abs=1e-9)
    for recipe, options in (
        ("beta_vae", {"beta": 7.0}),
        ("beta_vae", {"capacity": 3.0}),
        ("vae", {"free_bits": 2.0, "warmup": 1.0}),
    ):
        model = small(recipe, **options)
        model.load_state_dict(small().state_dict())
        assert bound(model, TRAIN).elbo == plain.elbo
        assert evidence(model, TRAIN, k=5).elbo == evidence(small(), TRAIN, k=5).elbo


def blind(spec: Spec, spread: tuple[float, ...]) -> Model:
    """Codes spread_j x_j with variances 1, and a decoder that does not look at them."""
    d = len(spread)
    model = build("vae", spec, latent=d, hidden=()).double()
    with torch.no_grad():
        for part in (model.encoder.last, model.decoder.last):
            part.weight.zero_()
            part.bias.zero_()
        for j, value in enumerate(spread):
            model.encoder.last.weight[j, j] = value
        model.encoder.last.bias[d:] = unclip(torch.zeros(d).double(), *LOG_SCALE)
    return model


def test_active_units_by_the_variance():
    """Codes of variance .0025, .0081, .0121 and .04; .01 is the border."""
    x = torch.tensor([[1.0], [-1.0]]).double().expand(2, 4)
    found = bound(blind(Spec((4,)), (0.05, 0.09, 0.11, 0.2)), Data(Spec((4,)), x))
    assert found.active_units == 2


def test_bits_of_a_fair_coin():
    """Bits that the model holds for fair cost 1 bit each: 16 ln 2 nats a row."""
    spec = Spec((16,), ("binary",), (2,))
    x = torch.randint(2, (20, 16), generator=torch.Generator().manual_seed(0)).double()
    told = summary(blind(spec, (0.0, 0.0)), Data(spec, x), Data(spec, x), k=10)
    assert told["bits_per_dim"] == pytest.approx(1, abs=1e-12)
    assert told["log_evidence"] == pytest.approx(-16 * math.log(2), abs=1e-12)
    assert told["elbo"] == pytest.approx(-16 * math.log(2), abs=1e-12)
    real = Data(Spec((4,)), x[:, :4])
    assert summary(blind(real.spec, (0.0,)), real, real, k=10)["bits_per_dim"] is None


# --- compiled -------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 15, 16, 17, 784])
def test_sum_of_logarithms_is_that_of_products(n):
    x = torch.rand(3, n, generator=torch.Generator().manual_seed(n))
    x[0, 0], x[1, -1] = 0.0, 1.0
    torch.testing.assert_close(sum_log1p(x), x.double().log1p().sum(-1).float(), rtol=1e-5, atol=0)
    assert sum_log1p(torch.ones(1, n)).item() == pytest.approx(n * 0.6931471805599453, rel=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, as it compiles
@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("kind", ["binary", "real"])
def test_compiled_evidence_is_the_eager_one(kind, monkeypatch):
    """A last chunk of another shape included; entries of extreme logits too."""
    levels = {"levels": (2,)} if kind == "binary" else {}
    spec = Spec((37,), (kind,), **levels)
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(23, 37, generator=draw) < 0.3).float()
    model = build("vae", spec, latent=3, hidden=(16,)).eval()
    with torch.no_grad():
        model.decoder.last.bias[:2] = torch.tensor([60.0, -60.0])
    eager = evidence(model, Data(spec, x), k=60)
    calls = []
    score = likelihood._compiled_score()
    monkeypatch.setattr(
        likelihood, "_compiled_score", lambda: lambda *a: (calls.append(1), score(*a))[1]
    )
    monkeypatch.setattr(likelihood, "COMPILE_FROM", 0)
    monkeypatch.setattr(likelihood, "ENTRIES", 37 * 6 * 10)
    compiled = evidence(model, Data(spec, x), k=60)
    assert len(calls) >= 20
    torch.testing.assert_close(compiled.per_row, eager.per_row, rtol=1e-5, atol=1e-5)
    assert compiled.elbo == pytest.approx(eager.elbo, rel=1e-5)
    assert compiled.ess == pytest.approx(eager.ess, rel=1e-3)


def test_a_model_that_does_not_compile_is_scored_eagerly(monkeypatch):
    spec = Spec((5,))
    model, data = build("vae", spec, latent=2, hidden=(8,)).eval(), Data(spec, torch.zeros(4, 5))
    eager = evidence(model, data, k=20)

    def broken(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(likelihood, "_compiled_score", lambda: broken)
    monkeypatch.setattr(likelihood, "COMPILE_FROM", 0)
    assert evidence(model, data, k=20).mean == pytest.approx(eager.mean, rel=1e-6)


# --- the curve of the bound over K ----------------------------------------------------------------
def test_the_curve_rises_from_the_elbo_to_the_evidence():
    """E[L_K] of (mean + .3, 1.5 x the best diagonal variance) on the linear-Gaussian fixture."""
    found = evidence(SHIFTED, TWICE, k=1000, seed=1)
    known = {1: -8.4266, 10: -7.7814}
    assert list(found.curve) == [1, 10, 100, 1000]
    for k, value in known.items():
        mean, se = found.curve[k]
        assert mean == pytest.approx(value, abs=4 * se + 0.002)
        assert 0 < se < 0.05
    assert found.curve[1000][0] == pytest.approx(found.mean, abs=1e-12)
    assert [m for m, _ in found.curve.values()] == sorted(m for m, _ in found.curve.values())


@pytest.mark.parametrize("k", [1, 7, 40, 2000])
def test_the_curve_by_its_definition(k):
    """Groups of consecutive draws of a block; of whole blocks; of all draws."""
    edges = [round(i * k / min(BLOCKS, k)) for i in range(min(BLOCKS, k) + 1)]
    sizes = [b - a for a, b in pairwise(edges)]
    blocks = [
        log_weight(SHIFTED, Batch(LG_X), noise=shared_noise(SHIFTED, n, 3, LG_X, i))[:, 0]
        for i, n in enumerate(sizes)
    ]
    found = evidence(SHIFTED, TWICE, k=k, seed=3).curve
    for n, (mean, _) in found.items():
        if n <= min(sizes):
            cut = [b[: len(b) // n * n].view(-1, n) for b in blocks]
        else:
            cut = [torch.cat(blocks).view(-1, n)]
        means = [(c.logsumexp(1) - math.log(n)).mean() for c in cut]
        assert mean == pytest.approx(torch.stack(means).mean().item(), abs=1e-12), n
    assert set(found) == {1: {1}, 7: {1, 7}, 40: {1, 40}, 2000: {1, 10, 100, 1000, 2000}}[k]


def test_effective_draws_of_each_row():
    found = evidence(SHIFTED, TWICE, k=25, seed=3)
    assert found.ess_per_row.tolist() == pytest.approx([found.ess] * 2, rel=1e-12)


def test_rows_whose_draws_hardly_count_are_told():
    """A far and narrow q: few of 100 draws carry all the weight, for one of two kinds of rows."""
    far = lg(LG_MEAN + 1.5, 0.3 * LG_DIAGONAL)
    data = Data(Spec((5,)), LG_X.expand(12, -1))
    found = summary(far, data, data, k=100)
    ess = evidence(far, data, k=100).ess_per_row
    assert float(ess.max()) < 10
    assert found["ess_few"] == 1.0
    assert any("fewer than 10 of 100 draws count" in note for note in found["notes"])
    fine = summary(SHIFTED, data, data, k=100)
    assert fine["ess_few"] == 0.0
    assert not fine["notes"]
    assert fine["curve"]["100"]["mean"] == fine["log_evidence"]
