"""Views of one row with shared and private codes (Wu & Goodman 2018; Lee & Pavlovic 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from vaes.batch import Batch, Spec
from vaes.composed import Composed
from vaes.dist.priors import StandardNormal
from vaes.dist.views import Experts, ViewDecoder, ViewInputs, Views, view_entries
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.nets.choose import default_latent
from vaes.objective import Elbo
from vaes.objective.weights import terms
from vaes.parts import Part


@dataclass(frozen=True)
class EveryView(Elbo):
    """The ELBO, and `alone` times that with the shared codes as each view by itself says them, the
    views' own codes as they are (Lee & Pavlovic 2021): all are bounds on log p(x), and a view comes
    to say what the others need to know."""

    alone: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alone < 0:
            raise UsageError(f"alone={self.alone}: a weight is not negative")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        loss = super().__call__(model, batch, step)
        if not self.alone:
            return loss
        views = cast(Any, model)
        h = views.inputs(batch)
        warm = (step.fraction / self.warmup).clamp(max=1.0) if self.warmup else 1.0
        for v in range(len(views.inputs.views)):
            found = terms(model, batch, step.noise, views.encoder(h, only=v))
            loss = loss + self.alone * (found.distortion + self.beta * warm * found.rate).mean()
        return loss


def build(
    spec: Spec,
    *,
    views: Any = 2,
    latent: int | None = None,
    private: int | None = None,
    alone: float = 1.0,
    beta: float = 1.0,
    warmup: float = 0.1,
    hidden: Sequence[int] = (256, 256),
    act: str = "silu",
    likelihood: Part = "auto",
    scale: str | float | None = None,
) -> Model:
    """x_v ~ p(x_v | shared, own_v) for every view v; one that is missing is drawn from the others.

    views: how many blocks of columns, or their columns by name or number, as [["a"], ["b", "c"]];
    of images left_right (the default) or top_bottom · latent: shared dimensions (None: half of
    what a row takes by its size) · private: dimensions of each view's own (None: half as many) ·
    alone: weight of the ELBO with the shared codes of each view by itself, 0 for none · beta:
    weight of the rate · warmup: share of the budget over which it rises to that · hidden, act,
    likelihood, scale: see `compose`, of the networks of each view.
    """
    if spec.totals:
        raise UsageError("private_shared splits rows, but a total is of the whole row")
    entries = view_entries(spec, cast(Views, views))
    shared = latent if latent is not None else max(1, default_latent(spec) // 2)
    own = private if private is not None else max(1, shared // 2)
    if shared < 1 or own < 1:
        raise UsageError(f"latent={shared}, private={own}: at least one dimension of each")
    inputs = ViewInputs(spec, entries)
    d = shared + own * len(entries)
    return Composed(
        spec,
        d,
        inputs,  # type: ignore[arg-type]
        Experts(inputs.sizes, shared, own, hidden, act),
        ViewDecoder(spec, entries, (shared, own), hidden, act, likelihood, scale),
        StandardNormal(d),
        EveryView(beta=beta, warmup=warmup, alone=alone),
    )
