"""Gaps that depend on the missing value (not-MIWAE; Ipsen et al. 2021, arXiv:2006.12871)."""

from __future__ import annotations

from typing import Any, cast

from vaes.batch import Spec
from vaes.composed import Readout, compose
from vaes.dist.gaussian import Normal
from vaes.dist.selected import SelfMasking
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Iwae

READS = {"missing": "nan"}
SETTINGS = {"lr": 3e-3, "batch": 256, "schedule": "cosine", "presented": 600_000}

FIXED = ("objective",)  # parts that are no option here


def build(
    spec: Spec, *, samples: int = 20, scale: str | float | None = "shared", **parts: Any
) -> Model:
    """Reals with gaps, where each column's values go missing by a logistic of the value itself.

    The evidence is that of the values that are there and of where the gaps are. What tells that
    large values are missing is the shape of those that are left, as far as the other columns
    predict them: a decoder that is too free (or columns that have nothing in common) can fit the
    cut values as they are; hidden=[] keeps it linear.

    samples: draws of z per row and step, the K of the bound · scale, parts: see `compose`; a column
    with noise of its own can explain its cut values by it, so there is one for all.
    """
    kinds = set(spec.kinds)
    if kinds != {"real"} or len(spec.shape) != 1:
        kind = "images" if len(spec.shape) != 1 else f"'{min(kinds - {'real'})}' entries"
        raise UsageError(
            f"not_miwae is for rows of reals, but the data hold {kind}; overrule with --kind real, "
            "or take another recipe"
        )
    if not spec.missing:
        raise UsageError(
            "not_miwae learns where gaps are, but the rows were read as complete; --missing nan "
            "takes NaN for a gap"
        )
    model = compose(spec, Iwae(samples), scale=scale, **parts)
    decoder = cast(Readout, model.decoder)
    decoder.head = SelfMasking(cast(Normal, decoder.head))
    model.evidence = "x,s"
    return model
