"""An encoder that keeps up with its decoder (He et al. 2019, arXiv:1901.05534)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import Model, Player, Step
from vaes.objective.elbo import Elbo
from vaes.objective.importance import GENERATOR, RECOGNISER


@dataclass(frozen=True)
class Lagging(Elbo):
    """`Elbo` by two players: for the first `share` of the budget decoder and prior move in one step
    of `every` only, so that the encoder is near its best before they do; then all move in each.

    He et al. end this stretch when the mutual information of x and z falls; here it is a share. The
    other options are those of `Elbo`.
    """

    every: int = 10
    share: float = 0.25
    players: ClassVar[Mapping[str, Player]] = {"generator": GENERATOR, "recogniser": RECOGNISER}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1 or not 0 <= self.share <= 1:
            raise UsageError(
                f"every={self.every}, share={self.share}: decoder and prior move in one step of 1 "
                "or more, over a share of the budget in 0 ... 1"
            )

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        loss = self(model, batch, step)
        waits = (step.fraction < self.share) & (step.index % self.every != self.every - 1)
        if waits:
            return {"recogniser": loss}
        return {"generator": loss, "recogniser": loss}

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self(model, batch, step)
