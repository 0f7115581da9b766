"""Bounds by importance weighting of several draws, and the gradients that they are descended by.

With w_k = p(x, z_k) / q(z_k|x) of K draws and a power s, L = 1/s log 1/K sum_k w_k^s, whose weights
are v_k = w_k^s / sum w^s: s = 1 is the importance-weighted bound, s -> 0 the ELBO. Its gradient in
the numbers of q is sum_k v_k (g_k - grad log q(z_k|x)), where g_k follows z_k alone; integrating
the second part by parts gives (1 - s (1 - v_k)) v_k g_k, of the same mean and less variance (Tucker
et al. 2018, arXiv:1810.04152, for s = 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import Model, Player, Step
from vaes.objective.base import Objective
from vaes.objective.weights import Draw, draw

GENERATOR = Player(owns=("decoder", "latent_prior"))
RECOGNISER = Player(owns=("inputs", "encoder"))


def mean_weight(log_w: Tensor, power: float = 1.0) -> Tensor:
    """1/power log of the mean over draws of w^power, (n,), of log-weights (k, n); power 0: the mean
    of log w."""
    if power == 0:
        return log_w.mean(0)
    return ((power * log_w).logsumexp(0) - math.log(log_w.shape[0])) / power


def doubly(model: Model, batch: Batch, noise: Tensor, power: float = 1.0) -> Draw:
    """Draws by whose log w `mean_weight` has the doubly reparameterised gradient in the numbers of
    q, in all else the plain one. Costs one more forward pass, without gradients."""
    q = model.posterior(batch)
    with torch.no_grad():
        share = (power * draw(model, batch, noise, q).log_weight).softmax(0)
    return draw(model, batch, noise, q, pull=1 - power * (1 - share))


@dataclass(frozen=True)
class Iwae(Objective):
    """Minus the importance-weighted bound of `samples` draws (Burda et al. 2016, eq. 8)."""

    samples: int = 5

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        log_w = draw(model, batch, step.noise).log_weight
        return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()


@dataclass(frozen=True)
class Stl(Objective):
    """Sticking the landing (Roeder et al. 2017, arXiv:1703.09194): the bound of `samples` draws,
    with log q(z|x) held fixed but for z, so that the gradient in q is 0 where q is the posterior.

    Unbiased of one draw. Of more, the mean is not the gradient of the K-sample bound (Tucker et al.
    2018, sec. 3); `Dreg` is.
    """

    samples: int = 1

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return -mean_weight(draw(model, batch, step.noise, pull=1.0).log_weight).mean()


@dataclass(frozen=True)
class Dreg(Objective):
    """The bound of `Iwae` by doubly reparameterised gradients: the encoder's is sum v_k^2 g_k,
    whose signal grows with `samples` where the plain one drowns (Tucker et al. 2018, eq. 8)."""

    samples: int = 5

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return -mean_weight(doubly(model, batch, step.noise).log_weight).mean()


@dataclass(frozen=True)
class _Nested(Objective):
    """outer: groups of draws · inner: draws of a group; outer x inner draws per row and step."""

    outer: int = 4
    inner: int = 8

    def __post_init__(self) -> None:
        if self.outer < 1 or self.inner < 1:
            raise UsageError(
                f"outer={self.outer}, inner={self.inner}: at least one group of at least one draw"
            )

    @property
    def samples(self) -> int:  # type: ignore[override]
        return self.outer * self.inner

    def groups(self, log_w: Tensor) -> Tensor:
        """The mean over groups of the importance-weighted bound of each, (n,)."""
        return mean_weight(log_w.unflatten(0, (-1, self.inner)).transpose(0, 1)).mean(0)


@dataclass(frozen=True)
class Miwae(_Nested):
    """Minus the mean of `outer` importance-weighted bounds of `inner` draws each (Rainforth et al.
    2018, arXiv:1802.04537, MIWAE): outer averages the encoder's gradient, inner tightens."""

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return -self.groups(draw(model, batch, step.noise).log_weight).mean()


@dataclass(frozen=True)
class Piwae(_Nested):
    """Two players: decoder and prior descend the bound of all outer x inner draws, the encoder that
    of `Miwae` (Rainforth et al. 2018, PIWAE)."""

    players: ClassVar[Mapping[str, Player]] = {"generator": GENERATOR, "recogniser": RECOGNISER}

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self.losses(model, batch, step)["generator"]

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        log_w = draw(model, batch, step.noise).log_weight
        return {
            "generator": -mean_weight(log_w).mean(),
            "recogniser": -self.groups(log_w).mean(),
        }

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self(model, batch, step)


@dataclass(frozen=True)
class Ciwae(Objective):
    """beta * ELBO + (1 - beta) * the importance-weighted bound, by the same `samples` draws
    (Rainforth et al. 2018, CIWAE)."""

    samples: int = 5
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta <= 1:
            raise UsageError(f"beta={self.beta}: the share of the ELBO lies in 0 ... 1")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        log_w = draw(model, batch, step.noise).log_weight
        return -(self.beta * log_w.mean(0) + (1 - self.beta) * mean_weight(log_w)).mean()
