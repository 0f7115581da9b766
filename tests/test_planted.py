"""What `benchmarks/planted_errors.py` found that no other test would notice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.toys import TRAIN, Toy, looped, steps_of
from vaes.batch import Batch, Data
from vaes.model import Phase, Player, Step, owned
from vaes.optim import Average, Optimizer
from vaes.recipes import build


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
    optimizer.moments["model"].kin[0].first[1].fill_(
        1e-25
    )  # of b, whose gradient is 0: halves for ever
    for batch, step in steps_of(model, 250):
        optimizer.step(batch, step, 1e-2, ("model",))
        theirs.zero_grad()
        other.a.square().sum().backward()
        theirs.step()
    assert model.a.item() == pytest.approx(other.a.item(), abs=1e-6)
    assert optimizer.moments["model"].kin[0].first[1].item() == 0


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
