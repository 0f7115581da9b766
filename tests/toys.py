"""Small models and loops for the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import DiagonalNormal, NormalLikelihood
from vaes.fit import Callback, Loop
from vaes.model import Model, Player, Step
from vaes.plan import Settings, plan
from vaes.training import seeded_build

ROWS = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
TRAIN, VALID = Data(Spec((6,)), ROWS[:160]), Data(Spec((6,)), ROWS[160:])


class Toy(Model):
    """Two numbers that descend whatever losses a test hands in; z says nothing of x ~ N(0, I)."""

    def __init__(self, losses: Callable[..., dict[str, Tensor]], **players: Player) -> None:
        super().__init__(Spec((6,)), 1)
        self.a, self.b = (nn.Parameter(torch.tensor([v])) for v in (2.0, 3.0))
        self.players = players or {"model": Player()}
        self.of = losses

    def prior(self, batch: Batch) -> DiagonalNormal:
        zeros = batch.x.new_zeros(len(batch), 1)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch: Batch) -> DiagonalNormal:
        return self.prior(batch)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        return NormalLikelihood(z.new_zeros(*z.shape[:-1], 6), z.new_zeros(()), 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return self.of(self, batch, step)


def small(recipe: str = "vae", seed: int = 0, spec: Spec = TRAIN.spec, **options: Any) -> Model:
    """Two latent dimensions, one hidden layer of 8."""
    return seeded_build(recipe, spec, seed, {"latent": 2, "hidden": [8]} | options)


def looped(
    model: Model,
    callbacks: Sequence[Callback] = (),
    *,
    data: Data = TRAIN,
    valid: Data = VALID,
    **settings: Any,
) -> Loop:
    """40 steps of 16 of the 160 rows; validated every 10, a line of the log every 5."""
    given = {"steps": 40, "batch": 16, "compile": "no", "log": 5, "ema": 0.0} | settings
    return Loop(model, data, valid, plan(Settings(**given), model, len(data)), callbacks)


def seen_by() -> tuple[dict[int, list[Tensor]], list[dict[str, Any]], Callback]:
    """Weights after each step and lines of the log, both to be filled by the third: a callback."""
    weights: dict[int, list[Tensor]] = {}
    records: list[dict[str, Any]] = []

    def note(loop: Loop, record: dict[str, Any]) -> None:
        weights[loop.progress.step] = [p.detach().clone() for p in loop.model.parameters()]
        if record:
            records.append(record)

    return weights, records, note


def steps_of(model: Model, n: int) -> list[tuple[Batch, Step]]:
    """The first n batches and steps in the model's dtype."""
    stream = TRAIN.stream(16, seed=0)
    batches = [next(stream).to("cpu", next(model.parameters()).dtype) for _ in range(n)]
    return [(b, Step.at(model, b, i, total=n)) for i, b in enumerate(batches)]
