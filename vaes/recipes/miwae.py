"""Autoencoder by several importance-weighted bounds (Rainforth et al. 2018, arXiv:1802.04537).

MIWAE there, as PIWAE and CIWAE. Mattei & Frellsen 2019 gave the same name to the model of rows with
missing values that descends one such bound: that is recipe `iwae` on rows with gaps.
"""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError, did_you_mean
from vaes.model import Model
from vaes.objective import Ciwae, Miwae, Piwae

FIXED = ("objective",)  # parts that are no option here
KINDS = ("miwae", "piwae", "ciwae")


def build(
    spec: Spec,
    *,
    kind: str = "miwae",
    outer: int = 4,
    inner: int = 8,
    beta: float = 0.5,
    **parts: Any,
) -> Model:
    """Descends minus a mean of importance-weighted bounds.

    outer, inner: bounds, and draws of z in each, per row and step · kind: miwae, both networks
    by the mean of `outer` bounds of `inner` draws; piwae, the decoder by the bound of all outer x
    inner; ciwae, both by beta * ELBO + (1 - beta) * the bound of all · parts: see `compose`.
    """
    if kind not in KINDS:
        raise UsageError(f"kind '{kind}' is not known; {did_you_mean(kind, KINDS)}")
    if kind == "ciwae":
        return compose(spec, Ciwae(outer * inner, beta), **parts)
    return compose(spec, (Miwae if kind == "miwae" else Piwae)(outer, inner), **parts)
