"""Priors over z: a module called with the model and n rows that returns p(z) of each, batch (n,),
event (d,). `PRIORS` is what `--set prior=` accepts.

A prior that is fitted to codes names the phases it needs and does its work in `begin`; that is all
a sampler over codes has to be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec
from vaes.dist.base import Latent
from vaes.dist.flows import Couplings, Flow
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal

if TYPE_CHECKING:
    from vaes.model import Model, Phase


class Prior(nn.Module, ABC):
    """Base of the priors: `forward` and, for fitted ones, `phases` and `begin`.

    `space` says where its z live (`vaes.parts`).
    """

    space: ClassVar[str] = "real"
    phases: tuple[Phase, ...] = ()

    @abstractmethod
    def forward(self, model: Model, batch: Batch) -> Latent:
        """p(z) of every row: batch (n,), event (d,); never reads batch.x. A prior that is made of
        the encoder, as a mixture of its posteriors is, takes it from the model."""

    def begin(self, model: Model, phase: str, data: Data) -> None:  # noqa: B027 - optional
        """Called without gradients before each phase with all training rows."""


class StandardNormal(Prior):
    """N(0, I) over d latent dimensions."""

    zeros: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(size), persistent=False)

    def forward(self, model: Model, batch: Batch) -> DiagonalNormal:
        zeros = self.zeros.expand(len(batch), -1)
        return DiagonalNormal(zeros, zeros)


class LearntFlow(Prior):
    """A flow over the codes, learnt with the model: it comes to match the mean of q(z|x) over the
    training rows, which is the prior that costs the least rate.

    layers, width: of `vaes.dist.flows.Couplings`.
    """

    def __init__(self, size: int, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.couplings = Couplings(size, layers, width)

    def forward(self, model: Model, batch: Batch) -> Flow:
        return Flow(self.couplings, len(batch))


class FittedNormal(Prior):
    """N(mean, covariance) of the training codes, fitted after training; N(0, I) until then."""

    loc: Tensor
    tril: Tensor

    def __init__(self, size: int) -> None:
        from vaes.model import Phase

        super().__init__()
        self.phases = (Phase("codes", share=0.0),)
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("tril", torch.eye(size))

    def forward(self, model: Model, batch: Batch) -> CholeskyNormal:
        return CholeskyNormal(self.loc.expand(len(batch), -1), self.tril)

    def begin(self, model: Any, phase: str, data: Data) -> None:
        if phase != "codes":
            return
        codes = torch.cat([model.posterior(b).mean for b in data.batches(1000)]).double()
        covariance = torch.cov(codes.T, correction=0).view(self.tril.shape)
        # a dead dimension keeps a thousandth of the largest spread, so that the factor exists
        ridge = 1e-6 * covariance.diagonal().max().clamp(min=1e-12)
        covariance += ridge * torch.eye(len(covariance), dtype=torch.float64, device=codes.device)
        self.loc.copy_(codes.mean(0))
        self.tril.copy_(torch.linalg.cholesky(covariance))


def _standard(spec: Spec, size: int) -> Prior:
    return StandardNormal(size)


def _flow(spec: Spec, size: int, *, layers: int = 6, width: int = 64) -> Prior:
    return LearntFlow(size, layers, width)


def _fitted(spec: Spec, size: int) -> Prior:
    return FittedNormal(size)


PRIORS: dict[str, Callable[..., Prior]] = {
    "standard": _standard,
    "flow": _flow,
    "fitted": _fitted,
}
PRIOR_OF = {"real": "standard"}  # of each space, the prior where none is named
