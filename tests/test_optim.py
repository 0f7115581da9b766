"""One step of the optimiser, the schedule, and what decides the order of rows."""

from __future__ import annotations

import copy
import inspect
import math
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from tests.toys import TRAIN, Toy, looped, small, steps_of
from vaes import recipes, training
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.model import Player, Step
from vaes.optim import Optimizer
from vaes.options import split_options
from vaes.plan import Settings


def moments(optimizer: Optimizer, kind: str) -> list[Tensor]:
    """Of kind first or second, in the order of the model's parameters."""
    state = optimizer.state()
    return [state[f"{kind}/{name}"] for name, _ in optimizer.model.named_parameters()]


def test_adam_is_torchs_adam():
    """25 steps in float64 at changing rates, torch's plain Adam beside it; no clipping."""
    ours = small().double()
    theirs = copy.deepcopy(ours)
    optimizer, adam = Optimizer(ours, None, "fp32"), torch.optim.Adam(theirs.parameters())
    for i, (batch, step) in enumerate(steps_of(ours, 25)):
        lr = 1e-2 / (1 + i)
        numbers = optimizer.step(batch, step, lr, ("model",))
        adam.param_groups[0]["lr"] = lr
        adam.zero_grad()
        loss = theirs.losses(batch, step)["model"]
        loss.backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in theirs.parameters()))
        adam.step()
        assert numbers[0].item() == pytest.approx(loss.item(), rel=1e-12)
        assert numbers[1].item() == pytest.approx(norm, rel=1e-12)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().max() <= 1e-12
    for kind, torchs in (("first", "exp_avg"), ("second", "exp_avg_sq")):
        for found, p in zip(moments(optimizer, kind), theirs.parameters(), strict=True):
            assert (found - adam.state[p][torchs]).abs().max() <= 1e-12


@pytest.mark.parametrize("clip", [0.5, 3.0])
def test_clipped_steps_are_torchs_clipped_steps(clip):
    """25 steps in float32, of which some are clipped at the larger bound and all at the smaller."""
    ours = small()
    theirs = copy.deepcopy(ours)
    optimizer, adam = Optimizer(ours, clip, "fp32"), torch.optim.Adam(theirs.parameters(), 1e-3)
    clipped = 0
    for batch, step in steps_of(ours, 25):
        numbers = optimizer.step(batch, step, 1e-3, ("model",))
        adam.zero_grad()
        theirs.losses(batch, step)["model"].backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        clipped += int(norm > clip)
        adam.step()
        assert numbers[1].item() == pytest.approx(norm.item(), rel=1e-4)
    assert clipped == 25 if clip == 0.5 else 0 < clipped < 25
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


def test_clipping_is_torchs_clipping():
    """The first moment after one step is a tenth of the gradient that torch clips.

    torch divides by norm + 1e-6, we by the norm.
    """
    model = small().double()
    ((batch, step),), clip = steps_of(model, 1), 0.5
    optimizer = Optimizer(model, clip, "fp32")
    model.losses(batch, step)["model"].backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    assert norm > clip
    expected = [p.grad.clone() for p in model.parameters()]
    optimizer.step(batch, step, 1e-3, ("model",))
    for m, p in zip(moments(optimizer, "first"), expected, strict=True):
        assert torch.allclose(m, 0.1 * p, rtol=3e-6, atol=0)


def test_each_loss_moves_its_own_player_alone():
    """Of a - 10 ab to a: 1 - 10 b = -29; of ab - 20 b + 50 a to b: a - 20 = -18.

    Two backward() calls would add up to 1 - 10 b + b + 50 = 24 for a: up in place of down. Adam's
    first step is rate * sign(gradient).
    """

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"a": (m.a - 10 * m.a * m.b).sum(), "b": (m.a * m.b - 20 * m.b + 50 * m.a).sum()}

    model = Toy(losses, a=Player(("a",)), b=Player(("b",), rate=2.0, betas=(0.5, 0.9)))
    optimizer = Optimizer(model, None, "fp32")
    ((batch, step),) = steps_of(model, 1)
    optimizer.step(batch, step, 0.1, ("a", "b"))
    of_a, of_b = (m.item() for m in moments(optimizer, "first"))
    assert of_a == pytest.approx(0.1 * -29)
    assert of_b == pytest.approx(0.5 * -18)  # at the a before its step
    assert model.a.item() == pytest.approx(2 + 0.1)
    assert model.b.item() == pytest.approx(3 + 2 * 0.1)


def test_a_player_that_may_not_move_stands_still():
    """Nor does one whose loss is absent; a step without any loss is none."""
    players = {"a": Player(("a",)), "b": Player(("b",))}
    model = Toy(lambda m, *_: {"a": m.a.sum(), "b": (m.a * m.b).sum()}, **players)
    optimizer = Optimizer(model, None, "fp32")
    ((batch, step),) = steps_of(model, 1)
    numbers = optimizer.step(batch, step, 0.1, ("b",))
    assert model.a.item() == 2
    assert model.b.item() == pytest.approx(3 - 0.1)
    assert numbers.tolist() == [6, 2]
    state = optimizer.state()
    assert (state["steps/a"], state["steps/b"]) == (0, 1)
    assert optimizer.step(batch, step, 0.1, ()).tolist() == [0, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_that_is_not_finite_moves_nothing(bad):
    """To the bit: no weight, no moment, no count of steps; good steps are as if it had not been."""
    broken = {1, 2, 4}

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        factor = bad if int(step.index) in broken else 1.0
        return {"model": (m.a.square() * factor + m.b.square()).sum()}

    model, other = Toy(losses), Toy(losses)
    ours, theirs = Optimizer(model, 5.0, "fp32"), Optimizer(other, 5.0, "fp32")
    streaks = []
    for batch, step in steps_of(model, 6):
        before = {k: v.clone() for k, v in ours.state().items()}
        weights = [p.detach().clone() for p in model.parameters()]
        ours.step(batch, step, 0.1, ("model",))
        streaks.append(int(ours.streak))
        if int(step.index) in broken:
            after = ours.state()
            assert all(torch.equal(after[k], before[k]) for k in after if "/" in k)
            assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
        else:
            theirs.step(batch, step, 0.1, ("model",))
    assert streaks == [0, 1, 2, 0, 1, 0]
    assert int(ours.skipped) == 3
    assert torch.equal(model.a, other.a)
    assert torch.equal(model.b, other.b)


# --- schedule -------------------------------------------------------------------------------------
def test_the_schedule():
    """100 steps, 10 of them warm-up, then half a cosine: 50 % of it after 45 of 90 steps."""
    done = looped(small(), steps=100, lr=0.2, lr_warmup=0.1, schedule="cosine").plan
    assert [done.rate(i) for i in (0, 4, 9)] == pytest.approx([0.02, 0.1, 0.2])
    assert done.rate(10) == pytest.approx(0.2)
    assert done.rate(55) == pytest.approx(0.1)
    assert done.rate(10 + 30) == pytest.approx(0.2 * 0.75)  # cos(60 degrees) = 1 / 2
    assert done.rate(100) == pytest.approx(0, abs=1e-15)
    flat = looped(small(), steps=100, lr=0.2, lr_warmup=0.1).plan
    assert [flat.rate(i) for i in (0, 9, 10, 99)] == pytest.approx([0.02, 0.2, 0.2, 0.2])
    plain = looped(small(), steps=100, lr=0.2).plan
    assert {plain.rate(i) for i in range(100)} == {0.2}


@pytest.mark.parametrize(
    "given",
    [
        *({"lr": value} for value in (0, -1, math.nan, math.inf)),
        *({name: 0} for name in ("batch", "steps", "epochs", "time", "log", "checkpoint")),
        *({"patience": 2}, {"ema": 1.0}, {"clip": -1}, {"lr_warmup": 1.5}, {"threads": -1}),
        *({"schedule": "linear"}, {"precision": "fp16"}, {"compile": "maybe"}),
        {"steps": 5, "epochs": 5},
    ],
)
def test_settings_out_of_range_are_one_line(given):
    with pytest.raises(UsageError) as caught:
        Settings(**given)
    assert "\n" not in str(caught.value)
    assert next(iter(given)) in str(caught.value)


@pytest.mark.parametrize("name", recipes.names())
def test_no_recipe_option_has_the_name_of_a_setting(name):
    """`--set` reaches both, and `train` has arguments of its own."""
    own = set(inspect.signature(training.train).parameters) - {"options", *recipes.MODULES}
    assert not set(recipes.options(name)) & (set(Settings.names()) | own)
    assert not set(Settings.names()) & own


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"hidden": 16}, "hidden=16 is not possible; hidden takes a list of whole numbers"),
        ({"hidden": [16, "x"]}, "list of whole numbers"),
        ({"hidden": "wide"}, "list of whole numbers"),
        ({"latent": 2.5}, "latent takes a whole number or none"),
        ({"latent": True}, "latent takes a whole number or none"),
        ({"lr": "fast"}, "lr takes a number"),
        ({"batch": "all"}, "batch takes a whole number"),
        ({"warmup": "half"}, "warmup takes a number"),
        ({"norm": 1}, "norm takes true or false"),
        ({"latnet": 2}, "did you mean 'latent'"),
    ],
)
def test_options_of_the_wrong_kind_are_one_line(option, told):
    with pytest.raises(UsageError, match=told):
        split_options("vae", option)


# --- order of rows --------------------------------------------------------------------------------
def indices(data: Data, n: int, **how) -> list[list[int]]:
    return [b.x[:, 0].tolist() for b in islice(data.stream(16, **how), n)]


ROWS = Data(Spec((1,)), torch.arange(100.0).view(-1, 1))


@pytest.mark.parametrize("partial", [False, True])
def test_the_order_is_a_function_of_seed_and_epoch(partial):
    whole = indices(ROWS, 40, seed=3, partial=partial)
    assert indices(ROWS, 40, seed=3, partial=partial) == whole
    for start in (1, 6, 7, 20):
        assert indices(ROWS, 40 - start, seed=3, start=start, partial=partial) == whole[start:]
    assert indices(ROWS, 40, seed=4, partial=partial) != whole
    length = ROWS.steps_per_epoch(16, partial)
    assert length == (7 if partial else 6)
    for epoch in range(5):
        rows = [i for b in whole[epoch * length : (epoch + 1) * length] for i in b]
        assert len(set(rows)) == len(rows) == (100 if partial else 96)
    assert whole[:length] != whole[length : 2 * length]


def test_dynamic_bits_are_a_function_of_seed_and_step():
    """Grey 51 of 255 is 1 in a fifth of all draws; a resumed stream sees the same bits."""
    data = Data(TRAIN.spec, torch.full((160, 6), 51, dtype=torch.uint8), binarize="dynamic")
    whole = torch.stack([b.x for b in islice(data.stream(16, seed=3), 50)])
    resumed = torch.stack([b.x for b in islice(data.stream(16, seed=3, start=17), 33)])
    assert torch.equal(resumed, whole[17:])
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert abs(whole.mean() - 0.2) < 4 * math.sqrt(0.2 * 0.8 / whole.numel())
    assert not torch.equal(whole[:10], whole[10:20])  # drawn afresh at each pass
