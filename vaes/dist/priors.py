"""Priors over z: a module called with n that returns a distribution with batch (n,), event (d,).

A prior that is fitted to codes names the phases it needs and does its work in `begin`; that is all
a sampler over codes has to be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vaes.batch import Data
from vaes.dist.base import Latent
from vaes.dist.flows import Couplings, Flow
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal

if TYPE_CHECKING:
    from vaes.model import Model, Phase


class Prior(nn.Module, ABC):
    """Base of the priors: `forward(n)` and, for fitted ones, `phases` and `begin`."""

    phases: tuple[Phase, ...] = ()

    @abstractmethod
    def forward(self, n: int) -> Latent:
        """p(z) n times: batch (n,), event (d,)."""

    def begin(self, model: Model, phase: str, data: Data) -> None:  # noqa: B027 - optional
        """Called without gradients before each phase with all training rows."""


class StandardNormal(Prior):
    """N(0, I) over d latent dimensions."""

    zeros: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(size), persistent=False)

    def forward(self, n: int) -> DiagonalNormal:
        zeros = self.zeros.expand(n, -1)
        return DiagonalNormal(zeros, zeros)


class LearntFlow(Prior):
    """A flow over the codes, learnt with the model: it comes to match the mean of q(z|x) over the
    training rows, which is the prior that costs the least rate.

    layers, width: of `vaes.dist.flows.Couplings`.
    """

    def __init__(self, size: int, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        self.couplings = Couplings(size, layers, width)

    def forward(self, n: int) -> Flow:
        return Flow(self.couplings, n)


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

    def forward(self, n: int) -> CholeskyNormal:
        return CholeskyNormal(self.loc.expand(n, -1), self.tril)

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
