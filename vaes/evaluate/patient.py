"""A model and what was measured of it, and a finding about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vaes.dist.counts import Counts
from vaes.dist.gaussian import Normal
from vaes.model import Model


@dataclass(frozen=True)
class Finding:
    """name: a slug · sentence: number and cause · remedy: one, in options of `vaes train` ·
    severity: "warning", or "note" where nothing needs to be done."""

    name: str
    sentence: str
    remedy: str
    severity: Literal["note", "warning"] = "warning"


class Patient:
    """A model and what was measured of it: `of["rate"]`, or None."""

    def __init__(self, model: Model, numbers: dict[str, Any]) -> None:
        self.model, self.of = model, numbers
        self.objective = getattr(model, "objective", None)
        self.beta = float(getattr(self.objective, "beta", 1.0))
        self.capacity = getattr(self.objective, "capacity", None)

    def part(self, kind: type[nn.Module]) -> Any:
        """The first module of that kind in the model, or None."""
        return next((m for m in self.model.modules() if isinstance(m, kind)), None)

    @property
    def fixed_scale(self) -> bool:
        """Whether the likelihood's scale was given, not learnt."""
        head = self.part(Normal) or self.part(Counts)
        return bool(getattr(head, "fixed", False))

    @property
    def gained(self) -> float | None:
        """Nats per training row over entries that are independent; at least one."""
        if self.of["bound"] == "none":
            return None
        return max(1.0, self.of["elbo_train"] - self.of["independent"])
