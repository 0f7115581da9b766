"""Deep latent Gaussian model: noise at every layer (Rezende et al. 2014, arXiv:1401.4082)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.nets.layered import Layered
from vaes.objective import Objective
from vaes.parts import Part

FIXED = ("posterior", "decoder")  # parts that are no option here
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.1}


def build(
    spec: Spec,
    *,
    layers: int = 2,
    latent: int | None = None,
    covariance: str = "rank1",
    hidden: Sequence[int] = (200, 200),
    act: str = "silu",
    net: str = "mlp",
    objective: Part | Objective = OBJECTIVE,
    **parts: Any,
) -> Model:
    """h_L = G_L xi_L, h_l = T_l(h_l+1) + G_l xi_l, x ~ p(x|T_0(h_1)); z = (xi_1 ... xi_L) ~ N(0,
    I).

    layers: L · latent: dimensions of all xi together, a multiple of L (None: L times those of one)
    · covariance: of q(xi_l|x), rank1 (precision D + u u^T, eq. 17) or diagonal · hidden: widths of
    the encoder and of every T_l · net: of the encoder; the T_l are always mlp · objective: the ELBO
    with a warm-up over the first tenth, unless named · act, parts: see `compose`.
    """
    if layers < 1:
        raise UsageError(f"layers={layers}: at least one is needed")
    latent = layers * default_latent(spec) if latent is None else latent
    if latent < layers or latent % layers:
        raise UsageError(f"latent={latent}: {layers} layers take a multiple of {layers}")
    if covariance not in ("rank1", "diagonal"):
        raise UsageError(f"covariance '{covariance}' is not known; take rank1 or diagonal")
    return compose(
        spec,
        objective,
        latent=latent,
        net=net,
        hidden=hidden,
        act=act,
        posterior={"name": "rank1", "blocks": layers} if covariance == "rank1" else "diagonal",
        decoder=Layered(latent, layers, hidden, act),
        **parts,
    )
