"""Bounds by importance weighting of several draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from vaes.batch import Batch
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import draw


@dataclass(frozen=True)
class Iwae(Objective):
    """Minus the importance-weighted bound of `samples` draws (Burda et al. 2016, eq. 8)."""

    samples: int = 5

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        log_w = draw(model, batch, step.noise).log_weight
        return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()
