"""VQ-VAE: codes from a codebook, and a prior fitted to them (van den Oord et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.code_prior import CodePrior
from vaes.dist.quantised import Codebook, QuantisedHead, Quantiser
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.choose import CONV_FROM
from vaes.nets.grid import grid_of, grid_widths
from vaes.objective import Quantising

FIXED = ("objective", "posterior", "prior")  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    codes: int | None = None,
    width: int | None = None,
    commitment: float = 0.25,
    keep: float = 0.99,
    restart: float = 0.01,
    net: str = "auto",
    hidden: Sequence[int] | None = None,
    context: int | None = None,
    layers: int = 2,
    share: float = 0.5,
    **parts: Any,
) -> Model:
    """log p(x|z) + log p(z) at the one z that the encoder says: a bound of log p(x).

    latent: codes of a row (None: 2 to 8, by size; of a grid its places) · codes: of the codebook
    (None: 512 on a grid, else 64, fewer for few rows) · width: numbers of a code (None: 64 on a
    grid, else 8) · commitment: weight of the squared distance between what the encoder says and its
    code · keep: of the codebook's moving averages · restart: share of even use below which a code
    starts afresh · net: grid for images from 16 pixels a side, or as in `compose` · hidden: see
    `compose` · context, layers: width and depth of the transformer over the codes (None: as wide
    as the last of `hidden`, up to 128) · share: of the budget for it, beside 1 for the rest ·
    parts: see `compose`.
    """
    net, places, grid = placed(spec, net, hidden, latent)
    most = spec.rows * places
    if codes is None:
        codes = max(2, min(512 if grid else 64, most // 8 or 512))
    if most and codes > most:
        raise UsageError(
            f"codes={codes}: {spec.rows} rows of {places} codes each use {most} at most; take fewer"
        )
    book = Codebook(codes, width if width is not None else 64 if grid else 8, keep, restart)
    context = context if context is not None else min([128, *(hidden or ())[-1:]])
    prior = partial(CodePrior, places=places, count=codes, width=context, layers=layers)
    prior = partial(prior, share=share)
    return quantised(spec, book, commitment, prior, places, net=net, hidden=hidden, **parts)


def placed(
    spec: Spec, net: str, hidden: Sequence[int] | None, latent: int | None
) -> tuple[str, int, bool]:
    """The network, how many codes a row has, and whether they lie on a grid."""
    large = spec.image and min(spec.shape[1:]) >= CONV_FROM
    net = "grid" if net == "auto" and large else net
    if net != "grid" or not spec.image:
        if latent is not None and latent < 1:
            raise UsageError(f"latent={latent}: at least one code per row is needed")
        return net, latent or min(8, max(2, spec.size // 16)), False
    height, width = grid_of(spec.shape, hidden or grid_widths(spec.shape))
    if latent not in (None, height * width):
        raise UsageError(
            f"latent={latent}: a grid has {height} x {width} codes by its layers; set hidden"
        )
    return net, height * width, True


def quantised(
    spec: Spec, quantiser: Quantiser, commitment: float, prior: Any, places: int, **parts: Any
) -> Model:
    """The model of codes of `quantiser` at `places` places, first trained, then given a prior."""
    latent = places * quantiser.width
    head = QuantisedHead(latent, quantiser)
    return compose(
        spec, Quantising(commitment=commitment), latent=latent, posterior=head, prior=prior, **parts
    )
