"""FSQ: codes by rounding few bounded numbers, and a prior fitted to them (Mentzer et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from vaes.batch import Spec
from vaes.dist.code_prior import CodePrior
from vaes.dist.quantised import Lattice
from vaes.model import Model
from vaes.recipes.vq_vae import FIXED, placed, quantised

__all__ = ["FIXED", "build"]


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    levels: Sequence[int] | None = None,
    net: str = "auto",
    hidden: Sequence[int] | None = None,
    context: int | None = None,
    layers: int = 2,
    share: float = 0.5,
    **parts: Any,
) -> Model:
    """log p(x|z) + log p(z) at the one z that is rounded to: no codebook, no loss beside it.

    latent: codes of a row (None: 2 to 8, by its size; of a grid its places) · levels: of every
    number of a code, their product the number of codes (None: 8, 6, 5 on a grid, else 4, 4, 4) ·
    net: grid for images from 16 pixels a side, or as in `compose` · hidden: see `compose` ·
    context, layers: width and depth of the transformer over the codes (None: as wide as the last of
    `hidden`, up to 128) · share: of the budget for it, beside 1 for the rest · parts: see
    `compose`.
    """
    net, places, grid = placed(spec, net, hidden, latent)
    lattice = Lattice(levels if levels is not None else (8, 6, 5) if grid else (4, 4, 4))
    context = context if context is not None else min([128, *(hidden or ())[-1:]])
    prior = partial(CodePrior, places=places, count=lattice.count, width=context, layers=layers)
    prior = partial(prior, share=share)
    return quantised(spec, lattice, 0.0, prior, places, net=net, hidden=hidden, **parts)
