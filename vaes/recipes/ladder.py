"""Ladder VAE: layers of codes, each merged with what those above say (Sonderby et al. 2016)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.ladder import WIDTH, BottomUp, Ladder, layer_sizes
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.objective import Objective
from vaes.parts import Part

FIXED = ("prior",)  # parts that are no option here
# without free bits the layers above the first fall idle on small data
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.2, "free_bits": 0.1}


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    layers: int | None = None,
    merge: str = "precision",
    width: int = WIDTH,
    posterior: Any = None,
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """p(z_L) ... p(z_1|z_2 ...) p(x|z_1), and q from the top down, or from the bottom up.

    latent: dimensions of z_1, of which the next layer has half, and so on (None: by the size of a
    row) · layers: how many (None: three, or as many as `latent` can be halved to) · merge:
    precision (what the encoder and the layers above say, by their precisions), residual (the
    encoder says how far to move from the layers above) or bottom_up (q(z_1|x) q(z_2|z_1) ...) ·
    width: of the networks between layers · posterior: None for a network that climbs from layer to
    layer; diagonal reads all layers off the same features; with bottom_up that of z_1 ·
    objective: the ELBO whose rate is warmed up over the first fifth and with a tenth of a nat per
    dimension of every layer free, unless named · parts: see `compose`.
    """
    sizes = layer_sizes(latent if latent is not None else default_latent(spec), layers)
    over = Ladder(sizes, merge, width)
    upward = merge == "bottom_up"
    if posterior is None:
        posterior = "diagonal" if upward else BottomUp(sizes, width)
    said = sizes[0] if upward else sum(sizes)
    return compose(spec, objective, latent=said, posterior=posterior, prior=lambda d: over, **parts)
