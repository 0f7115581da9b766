"""Priors over z: a module called with the model and n rows that returns p(z) of each, batch (n,),
event (d,). `PRIORS` is what `--set prior=` accepts.

A prior that is fitted to codes names the phases it needs and does its work in `begin`; that is all
a sampler over codes has to be.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.base import Latent
from vaes.dist.flows import Couplings, Flow
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal

if TYPE_CHECKING:
    from vaes.model import Model, Phase

CODES = "codes"  # the phase after training in which priors are fitted
DRAWS = 4  # codes of each row
LOG_SCALE = (-6.0, 4.0)  # of a learnt normal


class Prior(nn.Module, ABC):
    """Base of the priors: `forward` and, for fitted ones, `phases` and `begin`.

    `space` says where its z live (`vaes.parts`). A prior of several layers may put `extra`
    dimensions of its own before those of the encoder, show the decoder only the last `shown` of all
    (None: those of the encoder), and say in `joined` what the posterior over them all is. One that
    is learnt after the rest, in its `phases`, is the `player` of that name.
    """

    space: ClassVar[str] = "real"
    phases: tuple[Phase, ...] = ()
    extra: int = 0
    shown: int | None = None
    player: ClassVar[str] = ""

    @abstractmethod
    def forward(self, model: Model, batch: Batch) -> Latent:
        """p(z) of every row: batch (n,), event (d,); never reads batch.x. A prior that is made of
        the encoder, as a mixture of its posteriors is, takes it from the model."""

    def joined(self, q: Latent) -> Latent:
        """The posterior over all of z, from the encoder's q over its dimensions of it."""
        return q

    def begin(self, model: Model, phase: str, data: Data) -> None:
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


class LearntNormal(Prior):
    """N(mean, diag scale^2), both learnt with the model; N(0, I) at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(size))
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward(self, model: Model, batch: Batch) -> DiagonalNormal:
        log_scale = self.log_scale.clamp(*LOG_SCALE).expand(len(batch), -1)
        return DiagonalNormal(self.loc.expand(len(batch), -1), log_scale)


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


@torch.no_grad()
def codes(model: Model, data: Data, draws: int = DRAWS, rows: int = 1000) -> Tensor:
    """`draws` draws of q(z|x) for every row, (draws, n, d); a pure function of model and rows."""
    draw, found = generator("codes", device=data.x.device), []
    was = {module: module.training for module in model.modules()}
    model.eval()  # nothing is hidden or dropped
    for batch in data.batches(rows):
        q = model.posterior(batch)
        shape = (draws, len(batch), q.noise_size)
        noise = torch.randn(shape, generator=draw, dtype=q.mean.dtype, device=q.mean.device)
        found.append(q.draw(noise))
    for module, mode in was.items():
        module.training = mode
    return torch.cat(found, 1)


class FittedNormal(Prior):
    """N(mean, covariance) of the training codes, which are draws of q(z|x): the normal that costs
    the least rate. Fitted after training; N(0, I) until then."""

    loc: Tensor
    tril: Tensor

    def __init__(self, size: int) -> None:
        from vaes.model import Phase

        super().__init__()
        self.phases = (Phase(CODES, share=0.0),)
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("tril", torch.eye(size))

    def forward(self, model: Model, batch: Batch) -> CholeskyNormal:
        return CholeskyNormal(self.loc.expand(len(batch), -1), self.tril)

    def begin(self, model: Any, phase: str, data: Data) -> None:
        if phase != CODES:
            return
        z = codes(model, data).flatten(0, 1).double()
        covariance = torch.cov(z.T, correction=0).view(self.tril.shape)
        # a dead dimension keeps a thousandth of the largest spread, so that the factor exists
        ridge = 1e-6 * covariance.diagonal().max().clamp(min=1e-12)
        covariance += ridge * torch.eye(len(covariance), dtype=torch.float64, device=z.device)
        self.loc.copy_(z.mean(0))
        self.tril.copy_(torch.linalg.cholesky(covariance))


def _standard(spec: Spec, size: int) -> Prior:
    return StandardNormal(size)


def _normal(spec: Spec, size: int) -> Prior:
    return LearntNormal(size)


def _laplace(spec: Spec, size: int, *, scale: float = math.sqrt(0.5)) -> Prior:
    from vaes.dist.laplace_prior import LaplacePrior

    return LaplacePrior(size, scale)


def _mixture(spec: Spec, size: int, *, components: int = 50) -> Prior:
    from vaes.dist.mixture import LearntMixture

    return LearntMixture(size, components)


def _vamp(spec: Spec, size: int, *, components: int | None = None) -> Prior:
    from vaes.dist.vamp import vamp

    return vamp(spec, components)


def _flow(spec: Spec, size: int, *, layers: int = 6, width: int = 64) -> Prior:
    return LearntFlow(size, layers, width)


def _fitted(spec: Spec, size: int) -> Prior:
    return FittedNormal(size)


def _bernoulli(spec: Spec, size: int, *, learnt: bool = False) -> Prior:
    from vaes.dist.latent_codes import BitsPrior

    return BitsPrior(size, learnt)


def _codes(
    spec: Spec,
    size: int,
    *,
    places: int,
    count: int,
    width: int = 128,
    layers: int = 2,
    share: float = 0.5,
) -> Prior:
    from vaes.dist.code_prior import CodePrior

    return CodePrior(size, places, count, width, layers, share)


def _categorical(spec: Spec, size: int, *, learnt: bool = False) -> Prior:
    from vaes.dist.latent_codes import OneHotsPrior

    return OneHotsPrior(size, learnt)


def _fitted_mixture(spec: Spec, size: int, *, components: int = 10) -> Prior:
    from vaes.dist.fitted import FittedMixture

    return FittedMixture(size, components)


def _fitted_flow(
    spec: Spec, size: int, *, layers: int = 6, width: int = 64, steps: int = 2000
) -> Prior:
    from vaes.dist.fitted import FittedFlow

    return FittedFlow(size, layers, width, steps)


def _dirichlet(spec: Spec, size: int, *, alpha: float = 1.0) -> Prior:
    from vaes.dist.simplex import DirichletPrior

    return DirichletPrior(size, alpha)


def _beta(spec: Spec, size: int, *, alpha: float = 1.0, beta: float = 1.0) -> Prior:
    from vaes.dist.simplex import BetaPrior

    return BetaPrior(size, alpha, beta)


def _ladder(spec: Spec, size: int, *, layers: int | None = None, width: int = 128) -> Prior:
    from vaes.dist.ladder import Ladder, layer_sizes

    return Ladder(layer_sizes(size, layers), "bottom_up", width)


def _second_stage(
    spec: Spec, size: int, *, latent: int | None = None, width: int = 256, share: float = 0.5
) -> Prior:
    from vaes.dist.second_stage import SecondStage

    return SecondStage(size, latent, width, share)


PRIORS: dict[str, Callable[..., Prior]] = {
    "standard": _standard,
    "normal": _normal,
    "laplace": _laplace,
    "mixture": _mixture,
    "vamp": _vamp,
    "flow": _flow,
    "fitted": _fitted,
    "fitted_mixture": _fitted_mixture,
    "fitted_flow": _fitted_flow,
    "dirichlet": _dirichlet,
    "beta": _beta,
    "ladder": _ladder,
    "second_stage": _second_stage,
    "bernoulli": _bernoulli,
    "categorical": _categorical,
    "codes": _codes,
}
PRIOR_OF = {
    "real": "standard",
    "simplex": "dirichlet",
    "unit": "beta",
    "binary": "bernoulli",
    "onehot": "categorical",
    "codes": "codes",
}  # of each space, the prior where none is named
