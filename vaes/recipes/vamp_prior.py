"""VampPrior: a mixture of the encoder's own posteriors as prior (Tomczak & Welling 2018)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part

FIXED = ("prior",)  # parts that are no option here
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.1}


def build(
    spec: Spec,
    *,
    components: int | None = None,
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """p(z) = 1/K sum_k q(z|u_k) with K learnt pseudo-inputs u_k; any objective over it.

    components: K (None: 500, at most a tenth of the training rows) · objective: the ELBO with a
    warm-up over the first tenth, unless named · parts: see `compose`.
    """
    return compose(spec, objective, prior={"name": "vamp", "components": components}, **parts)
