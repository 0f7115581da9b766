"""What a model of quantised codes descends: first the codes, then their prior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vaes.batch import Batch
from vaes.dist.quantised import Quantised
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import log_likelihood


@dataclass(frozen=True)
class Quantising(Objective):
    """-log p(x|z) + commitment * |said - z|^2; after that phase -log p(z), for a prior to learn.

    While the codes are made the rate, the logarithm of their number at every place, is a constant
    and left out (van den Oord et al. 2017, eq. 3; the codebook follows by moving averages).
    """

    commitment: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.commitment >= 0:
            raise UsageError(f"commitment={self.commitment}: a weight is not negative")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q = model.posterior(batch)
        if not isinstance(q, Quantised):
            raise UsageError(
                f"objective=quantising is for codes of a quantiser, not {type(q).__name__}; take "
                "the recipe vq_vae or fsq, or posterior=vq or fsq"
            )
        if step.phase != "train":
            return -model.prior(batch).log_prob(q.loc).mean()
        distortion = -log_likelihood(model, q.loc, batch)
        return (distortion + self.commitment * q.missed).mean()
