"""Codes of bits or categories by the Concrete relaxation (Maddison et al. and Jang et al. 2017)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.latent_codes import discrete_parts
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Concrete, StraightThrough

FIXED = ("objective", "posterior", "prior")  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    classes: int = 2,
    bound: str = "surrogate",
    hard: bool = False,
    temperature: float = 0.67,
    floor: float = 0.5,
    rate: float = 3e-5,
    samples: int = 1,
    learnt: bool = False,
    **parts: Any,
) -> Model:
    """Bits (classes=2) or one-hot codes; what is reported is the bound of true discrete draws.

    latent: number of bits, or of variables times `classes` (None: by the size of a row) · classes:
    states of a variable · bound: surrogate (relaxed draws, KL of the discrete distributions) or
    relaxed (the bound of the relaxed model) · hard: true draws forward, the relaxation's gradient
    backward (straight through) · temperature, floor, rate: at step t the relaxation has temperature
    max(floor, temperature * exp(-rate * t)) · samples: draws of z per row and step · learnt:
    whether the prior's probabilities are learnt · parts: see `compose`.
    """
    if hard and bound != "surrogate":
        raise UsageError("hard=true has the bound of true draws; leave bound=surrogate")
    cooling = (samples, temperature, floor, rate)
    objective = StraightThrough(*cooling) if hard else Concrete(*cooling, bound)
    return compose(spec, objective, **discrete_parts(spec, latent, classes, learnt), **parts)
