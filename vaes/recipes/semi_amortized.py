"""Semi-amortised VAE: an encoder's posterior, refined for each row (Kim et al. 2018)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part
from vaes.per_row import SemiAmortised

ELBO: Part = {"name": "elbo", "warmup": 0.1}


def build(
    spec: Spec,
    *,
    inner: int = 4,
    inner_rate: float = 0.1,
    momentum: float = 0.5,
    inner_clip: float = 5.0,
    through: bool = True,
    objective: Part | Objective = ELBO,
    **parts: Any,
) -> Model:
    """The encoder says where q starts; steps up the row's own ELBO say where it is.

    inner, inner_rate, momentum: of these steps (the paper: 20, 1, .5) · inner_clip: norm that a
    row's gradient is shortened to · through: train through the steps (double backward), or take
    what they add for a constant (first order, a third of the time) · objective: what is descended
    with the refined q · parts: see `compose`; posterior is any family whose z has a gradient.
    """
    like = compose(spec, objective, **parts)
    return SemiAmortised(like, inner, inner_rate, momentum, inner_clip, through)
