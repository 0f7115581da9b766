"""Stochastic variational inference: a posterior held for each row, no encoder (Hoffman 2013)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part
from vaes.per_row import Inner, PerRow, minus_elbo

FIXED = ("encoder",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    inner: int = 5,
    inner_rate: float = 0.05,
    refine: int = 50,
    refine_rate: float = 0.2,
    objective: Part | Objective = "elbo",
    **parts: Any,
) -> Model:
    """E-step: the numbers of each row's q ascend its ELBO; M-step: the decoder takes a step.

    inner, inner_rate: Adam steps of a training row's numbers at each visit · refine, refine_rate:
    those of a row that is new · objective: what the decoder descends with that q · parts:
    see `compose`; posterior is any family whose z has a gradient.
    """
    like = compose(spec, objective, **parts)
    return PerRow(like, minus_elbo, Inner(inner, inner_rate, refine, refine_rate))
