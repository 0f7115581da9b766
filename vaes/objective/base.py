"""What a composed model descends, and who descends it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from vaes.batch import Batch, Data
from vaes.errors import UsageError
from vaes.model import Model, Player, Step


class Objective(ABC):
    """What a `Composed` model descends: (model, batch, step) -> scalar, nats per row.

    samples: draws of z per row and step · path: whether z must be a differentiable function of the
    numbers of q, which no discrete family gives · players: who owns what of the model, by the names
    of its parts (inputs, encoder, decoder, latent_prior, objective); None: one player, all of it.

    Most are frozen dataclasses, whose fields are options. One with numbers of its own, as a critic
    has, is an `nn.Module` too, and the model holds them as `model.objective`.
    """

    samples: int = 1
    path: ClassVar[bool] = True
    players: ClassVar[Mapping[str, Player] | None] = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"samples={self.samples}: at least one draw per row is needed")

    @property
    def settling(self) -> float:
        """Share of the budget in which the loss is not yet what it will be."""
        return 0.0

    @abstractmethod
    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor: ...

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        """A scalar per player."""
        return {"model": self(model, batch, step)}

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        """What tells which weights are kept, on held-out rows: less is better."""
        return sum(self.losses(model, batch, step).values(), batch.x.new_zeros(()))

    def begin(self, model: Model, phase: str, data: Data) -> None:  # noqa: B027 - optional
        """Called without gradients before each phase, with all training rows."""
