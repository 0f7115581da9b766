"""InfoVAE: part of the rate gives way to a discrepancy of q(z) and p(z) (Zhao et al. 2019)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Info

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    alpha: float = 0.0,
    scaling: float = 100.0,
    kernel: str = "imq",
    samples: int = 1,
    **parts: Any,
) -> Model:
    """distortion + (1 - alpha) rate + (alpha + scaling - 1) MMD(q(z), p(z)).

    alpha: share of the rate that is let go, 1 = MMD-VAE · scaling: the paper's lambda · kernel: imq
    or rbf, each a mixture over widths · samples: draws of z per row and step ·
    parts: see `compose`.
    """
    return compose(spec, Info(samples, alpha, scaling, kernel), **parts)
