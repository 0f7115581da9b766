"""A model and what was measured of it, and a finding about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vaes.composed import Composed
from vaes.dist.counts import Counts
from vaes.dist.gaussian import Normal
from vaes.dist.priors import FittedNormal, StandardNormal
from vaes.model import Model
from vaes.plan import Settings
from vaes.recipes import options

SETTINGS = set(Settings.names())


@dataclass(frozen=True)
class Finding:
    """name: a slug · sentence: number and cause · remedy: one, in options of `vaes train` ·
    severity: "warning", or "note" where nothing needs to be done."""

    name: str
    sentence: str
    remedy: str
    severity: Literal["note", "warning"] = "warning"


class Patient:
    """A model and what was measured of it: `of["rate"]`, or None. recipe: of the model, so that a
    remedy names only options that it has; None where it has been lost: then any of them."""

    def __init__(self, model: Model, numbers: dict[str, Any], recipe: str | None = None) -> None:
        self.model, self.of = model, numbers
        self.options = None if recipe is None else set(options(recipe))
        self.objective = getattr(model, "objective", None)
        self.beta = float(getattr(self.objective, "beta", 1.0))
        self.capacity = getattr(self.objective, "capacity", None)

    def part(self, kind: type[nn.Module]) -> Any:
        """The first module of that kind in the model, or None."""
        return next((m for m in self.model.modules() if isinstance(m, kind)), None)

    def remedy(self, *offers: str) -> str:
        """The first of the remedies whose options the recipe has; one that names a recipe itself,
        or no option of one, is always possible."""
        for offer in offers:
            named = [part.partition("=")[0] for part in offer.split("--set ")[1:]]
            asked = {name.partition(".")[0] for name in named}  # of a part's option the part
            if "--recipe" in offer or self.options is None or asked <= self.options | SETTINGS:
                return offer
        return "another recipe, see `vaes recipes`"

    @property
    def simple_prior(self) -> bool:
        """Whether the prior is one normal that another could take the place of: `vaes.after`."""
        plain = isinstance(
            getattr(self.model, "latent_prior", None), (StandardNormal, FittedNormal)
        )
        return plain and type(self.model).prior is Composed.prior

    @property
    def scale_of_network(self) -> bool:
        """Whether the decoder says the scale of every entry and row already."""
        head = self.part(Normal)
        return bool(getattr(head, "network", False))

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
