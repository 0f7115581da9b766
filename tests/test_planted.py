"""What `benchmarks/planted_errors.py` found that no other test would notice."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures import (
    LG_DIAGONAL,
    LG_EVIDENCE,
    LG_MEAN,
    LG_TRIL,
    LG_X,
    lg,
    unclip,
)
from tests.toys import TRAIN, Toy, looped, small, steps_of
from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import LOG_SCALE
from vaes.evaluate import likelihood
from vaes.evaluate.likelihood import BLOCKS, bound, evidence, shared_noise
from vaes.evaluate.summary import summary
from vaes.model import Model, Phase, Player, Step, owned
from vaes.objective import log_likelihood, log_weight
from vaes.optim import Average, Optimizer
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
    for entries in (likelihood.ENTRIES, 30, 1):
        monkeypatch.setattr(likelihood, "ENTRIES", entries)
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
    monkeypatch.setattr(likelihood, "ENTRIES", 500)  # a few rows at once
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


# --- training -------------------------------------------------------------------------------------
def test_owners_are_whole_names():
    """`a` owns a and what is below a, not b and not ab."""
    model = Toy(lambda m, *_: {}, one=Player(("a",)), rest=Player(("b", "ab")))
    model.ab = nn.Linear(1, 1)
    found = {player: set(names) for player, names in owned(model).items()}
    assert found == {"one": {"a"}, "rest": {"b", "ab.weight", "ab.bias"}}
    for players in ({"one": Player(("a",))}, {"one": Player(), "other": Player(("a",))}):
        model.players = players
        with pytest.raises(ValueError, match="must have one owner"):
            owned(model)


def test_the_average_has_the_buffers_of_the_moment():
    """Running statistics are no weights: taken as they are, neither averaged nor forgotten."""
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU())
    model = build("vae", TRAIN.spec, latent=2, hidden=[8], encoder=body)
    average = Average(model, 0.9)
    body[1].running_mean.fill_(3.0)
    current: Any = average.current()
    assert (current.encoder.body[1].running_mean == 3).all()
    loop = looped(model, ema=0.9)
    loop.run()
    best = loop.progress.best_step
    assert best > 0
    assert model.encoder.body[1].num_batches_tracked == best


def test_sweeping_dust_leaves_what_lives():
    """Past step 100 Adam is still torch's; a moment below 1e-30 has become 0."""
    model, other = (Toy(lambda m, *_: {"model": (m.a.square() + 0 * m.b).sum()}) for _ in range(2))
    optimizer, theirs = Optimizer(model, None, "fp32"), torch.optim.Adam([other.a], 1e-2)
    optimizer.moments["model"]["first"][1].fill_(
        1e-25
    )  # of b, whose gradient is 0: halves for ever
    for batch, step in steps_of(model, 250):
        optimizer.step(batch, step, 1e-2, ("model",))
        theirs.zero_grad()
        other.a.square().sum().backward()
        theirs.step()
    assert model.a.item() == pytest.approx(other.a.item(), abs=1e-6)
    assert optimizer.moments["model"]["first"][1].item() == 0


def test_a_step_knows_its_share_of_the_budget():
    """0, 1/40, ... 39/40: a warm-up begins at 0 and reaches its end."""
    found: list[float] = []

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        if m.training:
            found.append(float(step.fraction))
        return {"model": m.a.square().sum()}

    looped(Toy(losses), patience=0.0).run()
    assert found == pytest.approx([i / 40 for i in range(40)])


def test_weights_of_the_warm_up_are_not_kept():
    """The rate costs nothing yet: what looks best there is best for another loss.

    a falls by .01 a step from its best, 0; of 200 steps 20 are warm-up, so step 20 is kept.
    """
    model = Toy(lambda m, *_: {"model": (m.a if m.training else m.a.square()).sum()})
    model.a.data.zero_()
    loop = looped(model, steps=200, lr=0.01, patience=0.0)
    loop.run()
    assert loop.plan.warmup == 20
    assert model.a.item() == pytest.approx(-0.2, abs=1e-6)


class Falls(Toy):
    """x ~ N(a, I) with a falling from 0 past -.1, where it is best; notes a as a phase begins."""

    phases = (Phase("train"), Phase("look", share=0.0))

    def __init__(self) -> None:
        super().__init__(
            lambda m, *_: {"model": (m.a if m.training else (m.a + 0.1).square()).sum()}
        )
        self.a.data.zero_()
        self.noted: dict[str, float] = {}

    def likelihood(self, z: Tensor, batch: Batch) -> Any:
        p = super().likelihood(z, batch)
        p._mean = p._mean + self.a
        return p

    def begin(self, phase: str, data: Data) -> None:
        self.noted[phase] = self.a.item()


def test_a_phase_begins_from_the_best_weights():
    """a falls by .01 a step, validated every 10 of 40 steps: the best a is that of step 10."""
    model = Falls()
    rows = replace(TRAIN, x=TRAIN.x - TRAIN.x.mean(0) - 0.1)
    looped(model, data=rows, valid=rows, lr=0.01, patience=0.0).run()
    assert model.noted == pytest.approx({"train": 0.0, "look": -0.1}, abs=1e-6)
    assert model.a.item() == pytest.approx(-0.1, abs=1e-6)
