"""Two-stage VAE: a second VAE over the codes of the first (Dai & Wipf 2019, arXiv:1903.05789)."""

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
    second: int | None = None,
    width: int = 256,
    share: float = 0.5,
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """p(u) p(z|u) p(x|z) with q(z|x) q(u|z): first p(x|z) beside N(0, I), then p(z|u) alone.

    Reals get one learnt noise level by default in images, the gamma of the paper.

    second: dimensions of u (None: as many as z) · width: of the second stage's two hidden layers ·
    share: its budget, in budgets of the first · objective: of both stages; the ELBO with a warm-up
    over the first tenth, unless named · parts: see `compose`.
    """
    prior: Part = {"name": "second_stage", "latent": second, "width": width, "share": share}
    return compose(spec, objective, prior=prior, **parts)
