"""VAE whose residuals depend on their neighbours (Dorta et al. 2018, arXiv:1802.07079)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec
from vaes.composed import Readout, compose
from vaes.dist.structured import Structured, StructuredNormal
from vaes.errors import UsageError
from vaes.model import Model, Phase, Player, Step
from vaes.objective import Elbo

READS = {"kind": "real"}
FIXED = ("objective", "likelihood", "scale", "encoder", "decoder")  # parts that are no option here


class MeanFirst(nn.Module):
    """Two networks over z: the mean, beside one learned scale, and what its residuals are like.

    As long as `opened` is 0 the residuals are independent, with the one scale.
    """

    opened: Tensor

    def __init__(self, mean: Readout, residuals: Readout) -> None:
        super().__init__()
        self.mean, self.residuals = mean, residuals
        self.register_buffer("opened", torch.zeros(()))

    def forward(self, z: Tensor) -> StructuredNormal:
        p, head = self.mean(z), cast(Structured, self.residuals.head)
        mean = p.mean.flatten(-len(p.event_shape))
        return head.around(mean, self.opened * self.residuals.numbers(z), p.log_scale)


@dataclass(frozen=True)
class InTurn(Elbo):
    """The ELBO: of the mean, then of the residuals alone, while all else stands still."""

    players: ClassVar = {
        "model": Player(("inputs", "encoder", "decoder.mean", "latent_prior")),
        "residuals": Player(("decoder.residuals",)),
    }

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"residuals" if step.phase == "residuals" else "model": self(model, batch, step)}

    def begin(self, model: Model, phase: str, data: Data) -> None:
        cast(MeanFirst, model.decoder).opened.fill_(float(phase == "residuals"))


def build(
    spec: Spec,
    *,
    neighbourhood: int = 3,
    share: float = 0.4,
    samples: int = 1,
    warmup: float = 0.1,
    **parts: Any,
) -> Model:
    """N(mean(z), (L L^T)^-1): L(z) is sparse, the pixels of a neighbourhood below its diagonal.

    The mean is trained first, beside one learned scale, so that correlations do not stand in for
    it; then the covariance, by a network of its own. Images of reals (pixels are read as reals: the
    evidence is a density, to be held against models of --kind real alone); flat rows of reals are
    one line of entries in their order, a series.

    neighbourhood: width in pixels, odd; 1 is a scale for each pixel and row · share: of the budget
    that is the covariance's · samples: draws of z per row and step · warmup: share of the mean's
    part over which the weight of the rate rises to 1 · parts: see `compose`.
    """
    if set(spec.kinds) != {"real"}:
        kind = min(set(spec.kinds) - {"real"})
        raise UsageError(
            f"structured_residuals is for reals, but the data hold '{kind}' entries; overrule with "
            "--kind real, or take recipe sigma_vae"
        )
    if not 0 < share < 1:
        raise UsageError(f"share={share}: a share of the budget between 0 and 1")
    objective = InTurn(samples, warmup=warmup)
    residuals = Structured(spec.shape, neighbourhood, mean=False)
    model = compose(spec, objective, likelihood="normal", scale="shared", **parts)
    other = compose(spec, likelihood=residuals, **parts)
    model.decoder = MeanFirst(cast(Readout, model.decoder), cast(Readout, other.decoder))
    model.phases = (
        Phase("train", 1 - share, ("model",)),
        Phase("residuals", share, ("residuals",)),
    )
    return model
