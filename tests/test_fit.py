"""The loop: when it moves what, when it ends, what it keeps and what it leaves behind."""

from __future__ import annotations

import copy
import math
import os
import random
import shutil
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.toys import TRAIN, VALID, Toy, looped, seen_by, small
from vaes import data as sources
from vaes.batch import Batch, Data, Spec
from vaes.errors import DivergedError
from vaes.evaluate.likelihood import bound
from vaes.fit import STREAK, Loop
from vaes.model import Phase, Step
from vaes.optim import Average, Optimizer
from vaes.plan import Settings, plan

compiler = pytest.mark.skipif(
    not (os.environ.get("CXX") or shutil.which("g++")), reason="no C++ compiler"
)


@cache
def trained(**settings: Any) -> tuple[Loop, dict[int, list[Tensor]], list[dict[str, Any]]]:
    """A small loop that has run; the weights after each step; the lines of its log."""
    weights, records, note = seen_by()
    loop = looped(small(), [note], **settings)
    weights[0] = [p.detach().clone() for p in loop.model.parameters()]
    loop.run()
    return loop, weights, records


# --- steps ----------------------------------------------------------------------------------------
def test_many_bad_steps_in_a_row_end_the_run_with_a_cause():
    """Step 7 on is not finite: the run ends after 20 of them."""

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"model": m.a.sum() * (math.nan if int(step.index) >= 7 else 1.0)}

    loop = looped(Toy(losses), steps=60, lr=0.5, precision="bf16")
    with pytest.raises(DivergedError) as caught:
        loop.run()
    assert loop.optimizer is not None
    assert loop.progress.step == 27
    assert int(loop.optimizer.streak) == 20
    line = str(caught.value)
    assert "\n" not in line
    for part in (f"{STREAK} steps in a row", "learning rate, 0.5", "try a tenth", "precision=fp32"):
        assert part in line


def test_fewer_bad_steps_are_counted_and_told():
    """Steps 10 to 28 are bad, 19 in a row: the run goes on to its end."""

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"model": m.a.square().sum() * (math.nan if 10 <= int(step.index) < 29 else 1.0)}

    _, records, note = seen_by()
    loop = looped(Toy(losses), [note], steps=40)
    assert loop.run().finished
    skipped = {r["step"]: r["skipped"] for r in records}
    assert (skipped[10], skipped[20], skipped[40]) == (0, 10, 19)


def test_the_average_is_its_formula():
    """Every tenth step w' += (1 - d^10)(w - w'), d = min(decay, (1 + t) / (10 + t))."""
    loop, weights, records = trained(ema=0.95)
    expected = weights[0]
    for t in (10, 20, 30, 40):
        keep = min(0.95, (1 + t) / (10 + t)) ** Average.EVERY
        expected = [keep * e + (1 - keep) * w for e, w in zip(expected, weights[t], strict=True)]
    assert loop.average is not None
    for e, ours in zip(expected, loop.average.model.parameters(), strict=True):
        assert torch.allclose(e, ours, rtol=1e-5, atol=1e-7)
    # and it is the average that is validated and kept
    valid = [r["valid_elbo"] for r in records if "valid_elbo" in r]
    assert valid[-1] == pytest.approx(bound(loop.averaged, VALID).elbo, abs=1e-6)
    assert max(valid) == pytest.approx(bound(loop.model, VALID).elbo, abs=1e-6)


def test_training_is_a_function_of_the_seed():
    _, first, _ = trained()
    weights, _, note = seen_by()
    looped(small(), [note]).run()
    assert all(
        torch.equal(a, b) for t in weights for a, b in zip(weights[t], first[t], strict=True)
    )
    other, _, note = seen_by()
    looped(small(), [note], seed=1).run()
    assert not torch.equal(other[40][0], first[40][0])


# --- length ---------------------------------------------------------------------------------------
class Shift(Toy):
    """x ~ N(a, I): the bound is known, and training only ever carries a away from its best."""

    def likelihood(self, z: Tensor, batch: Batch):
        p = super().likelihood(z, batch)
        p._mean = p._mean + self.a
        return p


def test_early_stopping_waits_for_the_warm_up_and_keeps_the_best():
    """Of 1000 steps, validated every 20: none judged before the warm-up ends at 100, the best at
    100, patience 100, so 201 steps.

    a falls by .01 a step from 0; held-out rows are judged by a^2, the loss at the schedule's end.
    """

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"model": m.a.sum() if step.fraction < 1 else m.a.square().sum()}

    model = Shift(losses)
    model.a.data.zero_()
    loop = looped(model, steps=1000, lr=0.01, log=1000)
    loop.run()
    assert (loop.plan.warmup, loop.plan.validate, loop.plan.patience) == (100, 20, 100)
    assert loop.progress.taken == 201
    assert model.a.item() == pytest.approx(-1.0, abs=1e-6)
    x = VALID.x.double()
    by_hand = -0.5 * ((x + 1.0).square() + math.log(2 * math.pi)).sum(1).mean().item()
    assert bound(model, VALID).elbo == pytest.approx(by_hand, abs=1e-5)


def test_without_patience_all_steps_are_taken():
    model = Shift(lambda m, *_: {"model": m.a.sum()})
    loop = looped(model, steps=1000, lr=0.01, log=1000, patience=0.0)
    assert loop.run().taken == 1000


def test_the_time_ends_a_run():
    loop = looped(small(), steps=1_000_000, time=0.2)
    progress = loop.run()
    assert progress.finished
    assert 0 < progress.taken < 1_000_000
    assert progress.seconds > 0.2


def test_a_callback_may_ask_for_the_end():
    def enough(loop: Loop, record: dict[str, Any]) -> None:
        if loop.progress.step == 13:
            loop.stop = "enough"

    loop = looped(small(), [enough])
    progress = loop.run()
    assert (progress.step, progress.stopped, progress.finished) == (13, "enough", False)


class Staged(Toy):
    """Three phases, one of them without steps; notes what it was told."""

    def __init__(self, losses: Any) -> None:
        super().__init__(losses)
        self.told: list[str] = []
        self.phases = (Phase("one", 0.25), Phase("none", 0.0), Phase("two", 0.75))

    def begin(self, phase: str, data: Data) -> None:
        assert not torch.is_grad_enabled()
        self.told.append(phase)
        if phase == "none":
            self.b.fill_(7.0)


def test_phases_have_their_shares_and_a_phase_may_have_none():
    fractions: dict[str, list[float]] = {"one": [], "two": []}

    def losses(m: Toy, batch: Batch, step: Step) -> dict[str, Tensor]:
        if m.training:
            fractions[step.phase].append(float(step.fraction))
        else:
            assert step.fraction == 1  # held-out rows are judged as at the end of the schedule
        return {"model": (m.a + m.b * 0).square().sum()}

    model = Staged(losses)
    assert looped(model, patience=0.0).run().finished
    assert model.told == ["one", "none", "two"]
    assert fractions["one"] == pytest.approx([i / 10 for i in range(10)])
    assert fractions["two"] == pytest.approx([i / 30 for i in range(30)])
    assert model.b.item() == 7  # what a phase without steps set is kept


def test_the_fitted_prior_of_an_autoencoder_is_kept():
    model = small("autoencoder")
    looped(model).run()
    codes = torch.cat([model.posterior(b).mean for b in TRAIN.batches(1000)])
    p = model.prior(TRAIN.rows(slice(0, 1)))
    assert torch.allclose(p.mean[0], codes.mean(0), atol=1e-5)


# --- how it is computed ---------------------------------------------------------------------------
@compiler
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, as it compiles
def test_the_compiled_step_is_the_eager_step():
    """20 steps of the same batches and noise; Adam amplifies rounding where a gradient is small."""
    eager, compiled = looped(small(), steps=20), looped(small(), steps=20, compile="yes")
    eager.run()
    compiled.run()
    assert compiled.notes == []  # no fall-back
    for a, b in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_does_not_compile_runs_eagerly_and_says_so_once(monkeypatch):
    def refuse(*args: Any, **kwargs: Any) -> Any:
        def graph(*args: Any) -> Any:
            raise RuntimeError("no such graph\nand more")

        return graph

    monkeypatch.setattr(torch, "compile", refuse)
    loop = looped(small(), compile="yes")
    loop.run()
    assert len(loop.notes) == 1
    assert "runs eagerly (RuntimeError: no such graph)" in loop.notes[0]
    assert all(
        torch.equal(a, b)
        for a, b in zip(loop.model.parameters(), trained()[0].model.parameters(), strict=True)
    )


def test_bf16_products_keep_fp32_sums():
    """784 entries: their sum over bf16 outputs is the float64 sum of the same outputs to 1e-6."""
    spec = Spec((784,))
    batch = Batch(torch.randn(16, 784, generator=torch.Generator().manual_seed(1)))
    model = small(spec=spec)
    step = Step.at(model, batch, 5, total=10)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.losses(batch, step)["model"]
        p = model.likelihood(model.posterior(batch).mean, batch)
        total = p.log_prob(batch.x)
    assert half.dtype == total.dtype == torch.float32
    assert p.mean.dtype == torch.float32 or p.mean.dtype == torch.bfloat16
    exact = torch.distributions.Normal(p.mean.double(), p.variance.double().sqrt())
    by_hand = exact.log_prob(batch.x.double()).sum(1)
    assert torch.allclose(total.double(), by_hand, rtol=1e-6)
    full = model.losses(batch, step)["model"]
    assert half.item() == pytest.approx(full.item(), rel=5e-3)
    optimizer = Optimizer(model, 200.0, "bf16")
    numbers = optimizer.step(batch, step, torch.tensor(1e-3), ("model",))
    assert numbers.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("how", ["finishes", "stops", "fails"])
def test_global_state_is_put_back(how, monkeypatch):
    """Threads, generators and the precision of products, whatever the end; onednn is the route
    that switches something."""

    def end(loop: Loop, record: dict[str, Any]) -> None:
        if how == "stops":
            loop.stop = "enough"
        if how == "fails" and loop.progress.step == 5:
            raise KeyError("mine")

    monkeypatch.setattr("vaes.plan.onednn_is_exact", lambda: True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the generator that must not be touched
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    loop = looped(small(), [end], threads=2)
    assert loop.plan.matmul == "onednn"
    try:
        loop.run()
    except KeyError:
        assert how == "fails"
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


# --- rows that are hard to learn ------------------------------------------------------------------
def hard(name: str) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(200, 4))
    if name == "constant":
        x[:, 1] = 3.0
    if name == "tiny and huge":
        x[:, 1] *= 1e-30
        x[:, 2] *= 1e30
    if name == "outlier":
        x[3, 1] = 1e6 * x[:, 1].std()
    return x


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lr", [1e-3, 1e-1])
@pytest.mark.parametrize("name", ["constant", "tiny and huge", "outlier"])
def test_no_parameter_is_ever_not_finite(name, lr, precision):
    """60 steps; a hundred times the usual rate among them. Bad steps are skipped and counted."""
    prepared = sources.prepare(sources.load(hard(name)))
    model = small(spec=prepared.spec)
    settings = Settings(steps=60, lr=lr, precision=precision, compile="no", batch=32)
    _, records, note = seen_by()
    loop = Loop(
        model,
        prepared.train,
        prepared.valid,
        plan(settings, model, len(prepared.train)),
        [note],
    )
    loop.run()
    assert all(p.isfinite().all() for p in model.parameters())
    assert all(math.isfinite(r["valid_elbo"]) for r in records if "valid_elbo" in r)
    assert math.isfinite(bound(copy.deepcopy(model), prepared.test).elbo)


def test_a_run_that_the_time_ends_keeps_what_it_learnt():
    """No validation came before the end: the last weights are kept, not those of the start."""
    loop = looped(small(), steps=5000, log=1000, time=0.2)
    loop.plan = replace(loop.plan, validate=10**6)
    before = {k: v.clone() for k, v in loop.model.state_dict().items()}
    loop.run()
    assert 0 < loop.progress.taken < 5000
    assert loop.progress.best_step == loop.progress.taken
    assert not any(
        torch.equal(before[name], weight) for name, weight in loop.model.named_parameters()
    )
