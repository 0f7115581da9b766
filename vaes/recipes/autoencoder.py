"""Autoencoder: the baseline without a density (Baldi & Hornik 1989), and its penalised forms."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.point import PointHead
from vaes.dist.points import TopHead, UnitHead
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective.reconstruction import Reconstruction, refuse_corruption
from vaes.parts import Part

FIXED = ("objective", "posterior")  # parts that are no option here


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    noise: float = 0.0,
    hide: float = 0.0,
    contract: float = 0.0,
    probes: int | None = None,
    l1: float = 0.0,
    share: float = 0.0,
    rho: float | None = None,
    keep: int | None = None,
    prior: Part = "fitted",
    **parts: Any,
) -> Model:
    """z = e(x) trained by its reconstruction; sampling draws from N(mean, cov) of the codes.

    latent: dimensions of z (None: by the size of a row) · denoising: noise, standard deviation of
    what the encoder's x is corrupted by; hide, share of its entries that it does not see ·
    contractive: contract, weight of |de/dx|_F^2, by probes random directions (None: 1;
    0: exactly) ·
    sparse: l1, weight of |z|_1; share, weight of KL(rho || mean activation) of codes in (0, 1),
    whose mean rho is wanted (None: .05); keep, how many units of a code are not 0 · prior: what is
    fitted to the codes, fitted, fitted_mixture or fitted_flow · parts: see `compose`.
    """
    refuse_corruption(spec, noise, hide)
    if keep is not None and share:
        raise UsageError("keep and share both make codes sparse; give one")
    if (rho is not None and not share) or (probes is not None and not contract):
        raise UsageError("rho belongs to share and probes to contract; give the weight with it")
    d = latent if latent is not None else default_latent(spec)
    head = UnitHead(d) if share else PointHead(d) if keep is None else TopHead(d, keep)
    objective = Reconstruction(
        noise=noise,
        hide=hide,
        contract=contract,
        probes=1 if probes is None else probes,
        l1=l1,
        share=share,
        rho=0.05 if rho is None else rho,
    )
    return compose(spec, objective, latent=d, posterior=head, prior=prior, bound="none", **parts)
