"""VAE with a flow as posterior (Rezende & Mohamed 2015; Tomczak & Welling 2016)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError, did_you_mean
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part

FIXED = ("posterior",)  # parts that are no option here
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.1}
FLOWS = ("planar", "householder", "sylvester", "coupling", "spline")


def build(
    spec: Spec,
    *,
    flow: str = "sylvester",
    layers: int = 4,
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """q(z|x): a diagonal normal through `layers` invertible steps whose numbers depend on x.

    flow: planar (Rezende & Mohamed 2015), householder (Tomczak & Welling 2016: full covariance),
    sylvester (van den Berg et al. 2018), coupling (Dinh et al. 2017) or spline (Durkan et al. 2019)
    · layers: steps · objective: the ELBO with a warm-up over the first tenth, unless named · parts:
    see `compose`.
    """
    if flow not in FLOWS:
        raise UsageError(f"flow '{flow}' is not known; {did_you_mean(flow, FLOWS)}")
    return compose(spec, objective, posterior={"name": flow, "layers": layers}, **parts)
