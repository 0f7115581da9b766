"""VAE with a learned noise level of its Gaussian (Rybkin et al. 2021, arXiv:2006.13202)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Elbo

FIXED = ("objective", "likelihood")  # parts that are no option here
KINDS = ("real", "pixel")


def build(
    spec: Spec,
    *,
    scale: str | float = "shared",
    samples: int = 1,
    warmup: float = 0.1,
    **parts: Any,
) -> Model:
    """N(mean(z), sigma^2) with sigma in the model: the weight of the rate is sigma^2, and found.

    Reals take the Gaussian itself, pixels the mass that it has in each level's cell, in units of
    the whole range of levels.

    scale: what sigma is: shared, one learned number; optimal, the root of the mean squared residual
    (reals alone; of each batch in training, of an average over batches elsewhere); entry, one for
    each entry; network, one for each entry and row; or a fixed number, a beta-VAE in other units ·
    samples: draws of z per row and step · warmup: share of the budget over which the weight of the
    rate rises to 1 · parts: see `compose`.
    """
    if not spec.uniform or spec.kinds[0] not in KINDS:
        kind = next((kind for kind in spec.kinds if kind not in KINDS), "mixed")
        raise UsageError(
            f"sigma_vae is for rows of reals or of pixels, but the data hold {kind} entries; "
            "overrule with --kind real, or take recipe vae"
        )
    objective = Elbo(samples, warmup=warmup)
    return compose(spec, objective, likelihood="normal", scale=scale, **parts)
