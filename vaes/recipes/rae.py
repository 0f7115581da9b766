"""Regularised autoencoder: a smooth decoder instead of noise (Ghosh et al. 2020)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.point import PointHead
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective.reconstruction import Reconstruction, bounded_slopes
from vaes.parts import Part

FIXED = ("objective", "posterior")  # parts that are no option here
FORMS = {"l2": "decay", "gp": "slope", "sn": ""}  # what `weight` is the weight of
MIXTURE: Part = {"name": "fitted_mixture", "components": 10}


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    form: str = "l2",
    beta: float = 0.1,
    weight: float | None = None,
    probes: int | None = None,
    prior: Part = MIXTURE,
    **parts: Any,
) -> Model:
    """-log p(x|e(x)) + beta |z|^2 / 2 + weight R(decoder); then a density fitted to the codes.

    latent: dimensions of z (None: by the size of a row) · form: of R, l2 (squared weights / 2), gp
    (squared Jacobian of the decoder, by `probes` random directions, 0 = exactly) or sn (no R:
    every map of the decoder has spectral norm 1) · beta: weight of the codes' size ·
    weight: of R (None: 0.001) · prior: what is
    fitted to the codes, a mixture of ten full Gaussians as in the paper · parts: see `compose`.
    """
    if form not in FORMS:
        raise UsageError(f"form '{form}' is not known; use {', '.join(FORMS)}")
    if (form == "sn" and weight is not None) or (form != "gp" and probes is not None):
        raise UsageError(f"form={form} has no use for weight (l2, gp) or probes (gp); leave them")
    d = latent if latent is not None else default_latent(spec)
    asked: dict[str, Any] = {FORMS[form]: 1e-3 if weight is None else weight} if FORMS[form] else {}
    model = compose(
        spec,
        Reconstruction(l2=beta, probes=1 if probes is None else probes, **asked),
        latent=d,
        posterior=PointHead(d),
        prior=prior,
        bound="none",
        **parts,
    )
    if form == "sn":
        bounded_slopes(model.decoder)
    return model
