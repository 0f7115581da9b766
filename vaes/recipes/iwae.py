"""Importance-weighted autoencoder (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Iwae

FIXED = ("objective",)  # parts that are no option here


def build(spec: Spec, *, samples: int = 5, **parts: Any) -> Model:
    """Descends minus the importance-weighted bound.

    samples: draws of z per row and step, the K of the bound · parts: see `compose`.
    """
    return compose(spec, Iwae(samples), **parts)
