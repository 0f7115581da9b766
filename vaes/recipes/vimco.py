"""Discrete codes by the importance-weighted bound, VIMCO (Mnih & Rezende 2016)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.latent_codes import discrete_parts
from vaes.model import Model
from vaes.objective import Vimco

FIXED = ("objective", "posterior", "prior")  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    classes: int = 2,
    samples: int = 5,
    learnt: bool = False,
    **parts: Any,
) -> Model:
    """The bound of several draws of bits (classes=2) or one-hot codes, each draw's signal what it
    adds to the bound of the others.

    latent: number of bits, or of variables times `classes` (None: by the size of a row) · classes:
    states of a variable · samples: draws of z per row and step, the K of the bound, two or more ·
    learnt: whether the prior's probabilities are learnt · parts: see `compose`.
    """
    parts |= discrete_parts(spec, latent, classes, learnt)
    return compose(spec, Vimco(samples), **parts)
