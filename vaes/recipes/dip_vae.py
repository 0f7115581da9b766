"""DIP-VAE: the covariance of the codes is drawn towards I (Kumar et al. 2018, arXiv:1711.00848)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Dip

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec,
    *,
    variant: int = 2,
    off: float = 5.0,
    diagonal: float | None = None,
    samples: int = 1,
    **parts: Any,
) -> Model:
    """distortion + rate + off sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2.

    variant: C is the covariance of the codes' means (1) or of the codes (2) over the batch · off,
    diagonal: weights of C's entries (diagonal None: ten times off in variant 1, off in variant 2) ·
    samples: draws of z per row and step · parts: see `compose`.
    """
    if diagonal is None:
        diagonal = 10 * off if variant == 1 else off
    return compose(spec, Dip(samples, variant, off, diagonal), **parts)
