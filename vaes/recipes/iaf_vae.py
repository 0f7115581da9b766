"""VAE whose posterior is an inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part

FIXED = ("posterior",)  # parts that are no option here
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.1}


def build(
    spec: Spec,
    *,
    layers: int = 2,
    width: int = 128,
    context: int = 32,
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """q(z|x): a diagonal normal through steps z <- s(z, h) z + m(z, h), h from the encoder.

    layers: steps, turned round after each · width: hidden units of a step (0: linear, which holds
    every full covariance) · context: numbers of h · objective: the ELBO with a warm-up over the
    first tenth, unless named · parts: see `compose`.
    """
    flow: Part = {"name": "iaf", "layers": layers, "width": width, "context": context}
    return compose(spec, objective, posterior=flow, **parts)
