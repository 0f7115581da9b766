"""From a user's settings to what will be done: length, schedule, threads, precision, compilation.

Everything here is a function of the settings, the data's size, the model's size and what the
machine has (processors, their flags, a compiler, CUDA). No stopwatch decides anything that touches
numbers; the result is written to run.json and used again on resume.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from vaes.dist.selected import SelfMasking
from vaes.errors import UsageError
from vaes.machine import compiler, cores, onednn_is_exact
from vaes.model import Model
from vaes.nets.columns import ColumnNet

PRESENTED = 3_000_000  # rows that training presents in all, where no length is given,
EPOCHS, STEPS = (20, 500), (300, 50_000)  # within these bounds
LEAST = 5  # epochs where fewer rows are asked for
ONE_THREAD = 40_000  # rows of a batch times the widest layer, below which one thread is enough
COMPILE_FROM = 10_000  # steps that repay the seconds of compilation


@dataclass(frozen=True)
class Settings:
    """How to train. None leaves the choice to `plan`.

    epochs, steps: length, one of them · presented: rows that training presents in all, where
    neither is given (3,000,000, but at least 20 epochs) · time: seconds after which training stops
    where it is ·
    batch: rows a step · lr: Adam's rate · lr_warmup: share of the steps over which it rises ·
    schedule: constant, or cosine to 0 · clip: largest gradient norm of the per-row mean loss, 0 =
    none · ema: decay of the weight average that is kept, 0 = none · patience: share of the steps
    without improvement of the validation bound that ends training, 0 = never · precision: fp32, or
    bf16 products · compile: auto, yes, no · threads: of the processor, 0 = by the model's size ·
    device: auto, cpu, cuda · seed · log: steps between lines of the log · checkpoint: steps
    between saved states.
    """

    epochs: int | None = None
    steps: int | None = None
    presented: int | None = None
    time: float | None = None
    batch: int = 128
    lr: float = 1e-3
    lr_warmup: float = 0.0
    schedule: str = "constant"
    clip: float = 200.0
    ema: float | None = None
    patience: float = 0.1
    precision: str = "fp32"
    compile: str = "auto"
    threads: int = 0
    device: str = "auto"
    seed: int = 0
    log: int = 50
    checkpoint: int = 500

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs is None or self.epochs >= 1,
            "steps": self.steps is None or self.steps >= 1,
            "presented": self.presented is None or self.presented >= 1,
            "time": self.time is None or self.time > 0,
            "batch": self.batch >= 1,
            "lr": self.lr > 0 and math.isfinite(self.lr),
            "lr_warmup": 0 <= self.lr_warmup <= 1,
            "schedule": self.schedule in ("constant", "cosine"),
            "clip": self.clip >= 0,
            "ema": self.ema is None or 0 <= self.ema < 1,
            "patience": 0 <= self.patience <= 1,
            "precision": self.precision in ("fp32", "bf16"),
            "compile": self.compile in ("auto", "yes", "no"),
            "threads": self.threads >= 0,
            "log": self.log >= 1,
            "checkpoint": self.checkpoint >= 1,
        }
        for name, fine in checks.items():
            if not fine:
                raise UsageError(f"{name}={getattr(self, name)} is out of range; {_RANGES[name]}")
        if self.epochs is not None and self.steps is not None:
            raise UsageError(f"epochs={self.epochs} and steps={self.steps}: give one length")

    @classmethod
    def names(cls) -> list[str]:
        """The settings that `--set` and `fit` accept."""
        return [field.name for field in fields(cls)]


_RANGES = {
    "epochs": "a whole number from 1", "steps": "a whole number from 1",
    "presented": "a whole number from 1", "time": "seconds above 0",
    "batch": "a whole number from 1", "lr": "a number above 0", "lr_warmup": "a share, 0 to 1",
    "schedule": "constant or cosine", "clip": "0 (none) or more", "ema": "0 (none) to below 1",
    "patience": "a share, 0 to 1", "precision": "fp32 or bf16", "compile": "auto, yes or no",
    "threads": "0 (by the model's size) or more", "log": "a whole number from 1",
    "checkpoint": "a whole number from 1",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What will be done; stored in run.json."""

    steps: int
    per_epoch: int
    batch: int
    lr: float
    lr_warmup: int
    cosine: bool
    clip: float
    ema: float
    patience: int
    validate: int
    warmup: int
    precision: str
    compile: bool
    threads: int
    device: str
    matmul: str
    seed: int
    log: int
    checkpoint: int
    time: float | None

    def rate(self, step: int) -> float:
        """The learning rate of step `step` (counted from 0)."""
        rise = min(1.0, (step + 1) / self.lr_warmup) if self.lr_warmup else 1.0
        if not self.cosine:
            return self.lr * rise
        done = max(0, step - self.lr_warmup) / max(1, self.steps - self.lr_warmup)
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(settings: Settings, model: Model, rows: int) -> Plan:
    """The plan for `rows` training rows; what was left open becomes a number here."""
    batch = min(settings.batch, rows)
    partial = model.whole_epochs
    per_epoch = -(-rows // batch) if partial else max(1, rows // batch)
    if settings.steps is not None:
        steps = settings.steps
    elif settings.epochs is not None:
        steps = settings.epochs * per_epoch
    else:
        least, presented = (LEAST, settings.presented) if settings.presented else (0, PRESENTED)
        epochs = min(EPOCHS[1], max(least or EPOCHS[0], round(presented / rows)))
        steps = min(STEPS[1], max(STEPS[0], epochs * per_epoch))
    device = _device(settings.device)
    validate = max(min(per_epoch, 500), steps // 50, 1)
    return Plan(
        steps=steps,
        per_epoch=per_epoch,
        batch=batch,
        lr=settings.lr,
        lr_warmup=round(settings.lr_warmup * steps),
        cosine=settings.schedule == "cosine",
        clip=settings.clip,
        ema=settings.ema if settings.ema is not None else (0.999 if steps >= 2_000 else 0.0),
        patience=max(round(settings.patience * steps), 5 * validate) if settings.patience else 0,
        validate=validate,
        warmup=round(max(0.1, model.warmup) * steps),
        precision=settings.precision,
        compile=_compiles(settings.compile, steps, model),
        threads=settings.threads or _threads(model, batch),
        device=device,
        matmul="onednn" if device == "cpu" and onednn_is_exact() else "default",
        seed=settings.seed,
        log=settings.log,
        checkpoint=settings.checkpoint,
        time=settings.time,
    )


def widest(model: Model) -> int:
    """Numbers per row in the widest layer: a linear map's larger side, or a convolution's channels
    on an image of the full size (more than it has where it is strided: a bound is what is wanted).
    """
    area = math.prod(model.spec.shape[1:])
    found = [model.spec.size, model.latent]
    for module in model.modules():
        if isinstance(module, (ColumnNet, SelfMasking)):
            found.append(module.width)
        elif isinstance(module, nn.Linear):
            found.append(max(module.in_features, module.out_features))
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            found.append(module.out_channels * area)
    return max(found)


def _threads(model: Model, batch: int) -> int:
    # measured: batch 128 on a 256-wide net is as fast on one thread as on two, and many times
    # faster as soon as another process wants a core; 784-400 gains half again from the second
    return 1 if batch * widest(model) < ONE_THREAD else min(cores(), torch.get_num_threads())


def _compiles(choice: str, steps: int, model: Model) -> bool:
    if not model.players or choice == "no":
        return False
    if choice == "yes":
        return True
    return steps >= COMPILE_FROM and compiler() is not None and sys.platform != "win32"


def _device(choice: str) -> str:
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device '{choice}': no CUDA device is usable here; use --device cpu")
    if choice != "cpu" and not choice.startswith("cuda"):
        raise UsageError(f"device '{choice}' is not known; use auto, cpu or cuda")
    return choice
