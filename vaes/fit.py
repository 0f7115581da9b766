"""The one training loop.

For every training style: EM runs in `closed_form`, alternation is a player left out of the dict,
semi-supervision is y = -1, stages are phases. Callbacks are callables that see the loop; `stop`
asks it to end after the current step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data
from vaes.errors import DivergedError
from vaes.evaluate.likelihood import Bound, bound, with_noise
from vaes.machine import freed_memory_kept, gradients_in_graphs, matmul, threads
from vaes.model import Model, Phase, Step
from vaes.objective import log_weight
from vaes.optim import Average, Optimizer
from vaes.plan import Plan

STREAK = 20  # skipped steps in a row that end a run
VALIDATION_ROWS = 10_000
CHUNK = 1_000  # rows at a time in validation

Record = dict[str, Any]
Callback = Callable[["Loop", Record], None]


@dataclass
class Progress:
    """Where the loop stands: everything beside tensors that an exact resume needs.

    step: on the plan's count, where a phase that stopped early has taken its whole share · taken:
    steps that were in fact taken.
    """

    step: int = 0
    taken: int = 0
    phase: int = 0
    begun: bool = False
    best: float = -math.inf
    best_step: int = -1
    seconds: float = 0.0
    finished: bool = False
    stopped: str = ""


class Loop:
    """Trains `model` on `train` by `plan`; keeps the weights that descend best on held-out rows.

    `run` ends with those weights in `model`. `state` and `restore` carry everything that an exact
    resume needs. A model that the compiler cannot take runs eagerly, and `notes` says so.
    """

    def __init__(
        self, model: Model, train: Data, valid: Data, plan: Plan, callbacks: Sequence[Callback] = ()
    ) -> None:
        self.plan, self.callbacks, self.notes = plan, list(callbacks), []
        self.model = model.to(plan.device)
        if any(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules()):
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train, self.valid = train.to(plan.device), _some(valid).to(plan.device)
        self.progress, self.stop = Progress(), ""
        self.optimizer = (
            Optimizer(model, plan.clip or None, plan.precision) if _owns(model) else None
        )
        self.average = Average(model, plan.ema) if plan.ema and self.optimizer else None
        self.best = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self._compiled = plan.compile
        self._lengths = _lengths(model.phases, plan.steps)
        self._began = 0.0

    @property
    def averaged(self) -> Model:
        """The weights that are validated and kept: the moving average where there is one."""
        return self.average.current() if self.average else self.model  # type: ignore[return-value]

    @freed_memory_kept()
    def run(self) -> Progress:
        """All phases, or as far as `stop` and the time allow."""
        self._began = time.perf_counter() - self.progress.seconds
        graphs = gradients_in_graphs() if self._compiled else nullcontext()
        with threads(self.plan.threads), matmul(self.plan.matmul), graphs:
            while self.progress.phase < len(self.model.phases) and not self.stop:
                self._run_phase(self.model.phases[self.progress.phase])
            if not self.stop:
                self.progress.finished = True
                self.model.load_state_dict(self.best)
                self.model.eval()
        self.progress.stopped = self.stop
        return self.progress

    def state(self) -> tuple[dict[str, Tensor], Record]:
        """Every tensor, and every plain value, that an exact resume needs."""
        # all buffers: running sums that are no part of a saved model are part of the state
        tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in self.model.named_parameters()}
        tensors |= {f"buffer/{k}": v for k, v in self.model.named_buffers()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        if self.optimizer:
            tensors |= {f"optimizer/{k}": v for k, v in self.optimizer.state().items()}
        if self.average:
            tensors |= {f"average/{k}": v for k, v in self.average.model.named_parameters()}
        return {k: v.detach() for k, v in tensors.items()}, dict(vars(self.progress))

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], progress: Record) -> None:
        """Inverse of `state`."""
        current, _ = self.state()
        for name, tensor in current.items():
            tensor.copy_(tensors[name])
        self.progress = Progress(**progress)

    def _run_phase(self, phase: Phase) -> None:
        p, start = self.progress, sum(self._lengths[: self.progress.phase])
        length = self._lengths[p.phase]
        if not p.begun:
            with torch.no_grad():
                self.model.begin(phase.name, self.train)
                if self.average:
                    self.average = Average(self.model, self.plan.ema)
            p.begun, p.best, p.best_step = True, -math.inf, -1
        if length:
            self._steps(phase, start, start + length)
        if not self.stop:
            if p.best_step < 0:  # nothing was judged yet: no steps, or the time ended first
                score = self._held_out(self.averaged, phase) if length else -math.inf
                self._keep(self.averaged, score)
            self.model.load_state_dict(self.best)
            p.phase, p.begun, p.step = p.phase + 1, False, start + length

    def _steps(self, phase: Phase, start: int, end: int) -> None:
        p, plan, model = self.progress, self.plan, self.model
        movers = phase.players if phase.players is not None else tuple(model.players)
        stream = self.train.stream(plan.batch, plan.seed, p.step, model.whole_epochs)
        model.train()
        clock, rows = time.perf_counter(), 0
        # asked before the step, so that a run resumed from its very last state takes no further one
        while p.step < end and not self.stop and not self._over(start):
            batch = next(stream)
            step = self._step(phase, batch, start, end)
            with torch.no_grad():
                model.closed_form(batch, step)
            numbers = self._advance(batch, step, movers)
            p.step, p.taken, rows = p.step + 1, p.taken + 1, rows + len(batch)
            if self.average and p.step % Average.EVERY == 0:
                self.average.update(p.step)
            if p.step % plan.log == 0 or p.step == end or p.step % plan.validate == 0:
                speed = rows / max(time.perf_counter() - clock, 1e-9)
                self._log(phase, batch, step, numbers, speed, start, end)
                clock, rows = time.perf_counter(), 0
            p.seconds = time.perf_counter() - self._began
            self._check_streak()
            self._call({})

    def _step(self, phase: Phase, batch: Batch, start: int, end: int) -> Step:
        p, plan = self.progress, self.plan
        epoch, place = divmod(p.step, plan.per_epoch)
        return Step.at(
            self.model,
            batch,
            p.step,
            seed=plan.seed,
            epoch=epoch,
            fraction=(p.step - start) / max(1, end - start),
            phase=phase.name,
            last_of_epoch=place == plan.per_epoch - 1,
        )

    def _advance(self, batch: Batch, step: Step, movers: tuple[str, ...]) -> Tensor | None:
        if self.optimizer is None:
            return None
        rate = self.plan.rate(self.progress.step)
        # a user's dropout draws from the global generator: seeded per step, put back after the run;
        # `torch.manual_seed` would seek out every device there is, a tenth of a millisecond a step
        seed = self.plan.seed * 1_000_003 + self.progress.step
        torch.default_generator.manual_seed(seed)
        if batch.x.is_cuda:
            torch.cuda.manual_seed(seed)
        return self._update(batch, replace(step, last_of_epoch=False), rate, movers)

    def _update(self, *args: Any) -> Tensor:
        """One step, compiled where the plan says so; on the first failure eagerly, said once."""
        optimizer = self.optimizer
        assert optimizer is not None
        if not self._compiled:
            return optimizer.step(*args)
        try:
            optimizer.compile()
            return optimizer.step(*args)
        except Exception as error:  # whatever the compiler could not take
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            self.notes.append(f"this model does not compile, so it runs eagerly ({reason})")
            self._compiled = False
            optimizer.eager()
            return optimizer.step(*args)

    def _log(
        self,
        phase: Phase,
        batch: Batch,
        step: Step,
        numbers: Tensor | None,
        speed: float,
        start: int,
        end: int,
    ) -> None:
        p, plan = self.progress, self.plan
        record: Record = {"step": p.step, "epoch": p.step / plan.per_epoch, "phase": phase.name}
        part = self._measure(self.model, batch)
        record |= {"elbo": part.elbo, "distortion": part.distortion, "rate": part.rate}
        record |= {"active_units": part.active_units, "lr": plan.rate(p.step - 1)}
        record |= {"rows_per_s": round(speed, 1)}
        if numbers is not None:
            record |= {"loss": numbers[0].item(), "grad_norm": numbers[1].item()}
        if self.optimizer:
            record["skipped"] = int(self.optimizer.skipped)
        if p.step % plan.validate == 0 or p.step == end:
            valid = self._validate(phase, start, end)
            record["valid_elbo"], record["valid_distortion"] = valid.elbo, valid.distortion
            record["valid_rate"], record["valid_active_units"] = valid.rate, valid.active_units
        self._call(record)

    def _measure(self, model: Model, batch: Batch) -> Bound:
        one = replace(
            self.train,
            x=batch.x,
            y=batch.y,
            c=batch.c,
            group=batch.group,
            mask=batch.mask,
            index=batch.index,
            binarize=None,
        )
        return bound(model, one, seed=self.plan.seed)

    def _validate(self, phase: Phase, start: int, end: int) -> Bound:
        """The bound on held-out rows; keeps the weights where they descend best there.

        None are kept from the warm-up, whose loss is another one.
        """
        p, model = self.progress, self.averaged
        if p.step >= min(start + self.plan.warmup, end):
            score = self._held_out(model, phase)
            if score > p.best:
                self._keep(model, score)
        return bound(model, self.valid, seed=self.plan.seed)

    @torch.no_grad()
    def _held_out(self, model: Model, phase: Phase) -> float:
        """Minus what the model descends at the end of its schedule, on held-out rows; a model that
        descends nothing is judged by its bound."""
        was, total = model.training, 0.0
        model.eval()
        one = torch.ones(())
        for batch, noise in with_noise(model, self.valid, model.samples, self.plan.seed, CHUNK):
            step = Step(self.plan.steps * one.long(), one.long(), one, noise, phase.name)
            found = model.judged(batch, step)
            score = log_weight(model, batch, noise=noise) if found is None else -found
            total += float(score.mean()) * len(batch)
        model.train(was)
        return total / len(self.valid)

    @torch.no_grad()
    def _keep(self, model: Model, score: float) -> None:
        for name, tensor in model.state_dict().items():
            self.best[name].copy_(tensor)
        self.progress.best, self.progress.best_step = score, self.progress.step

    def _over(self, start: int) -> bool:
        """Whether the time is spent, or the bound has not improved for the plan's patience."""
        p, plan = self.progress, self.plan
        if plan.time is not None and p.seconds > plan.time:
            return True
        waited = p.step - max(p.best_step, start + plan.warmup)
        return bool(plan.patience) and waited > plan.patience and p.best_step >= 0

    def _check_streak(self) -> None:
        if self.optimizer and int(self.optimizer.streak) >= STREAK:
            rate = self.plan.rate(self.progress.step)
            half = " or precision=fp32" if self.plan.precision == "bf16" else ""
            raise DivergedError(
                f"{STREAK} steps in a row up to step {self.progress.step} had gradients that are "
                f"not finite; the likeliest cause is the learning rate, {rate:g}: try a tenth of "
                f"it{half}"
            )

    def _call(self, record: Record) -> None:
        for callback in self.callbacks:
            callback(self, record)


def _owns(model: Model) -> bool:
    return any(weight.requires_grad for weight in model.parameters())


def _some(valid: Data) -> Data:
    return valid.part(torch.arange(VALIDATION_ROWS)) if len(valid) > VALIDATION_ROWS else valid


def _lengths(phases: Sequence[Phase], steps: int) -> list[int]:
    """Steps of each phase by its share of the budget."""
    total = sum(phase.share for phase in phases) or 1.0
    return [round(steps * phase.share / total) for phase in phases]
