"""Objectives of discrete codes by relaxed draws: Concrete (Gumbel-softmax) and straight-through.

They take the logits of the true posterior, whose relaxation serves the loss alone: what is reported
is the bound of true discrete draws (`log_weight`). Sources: Maddison et al. 2017
(arXiv:1611.00712), Jang et al. 2017 (arXiv:1611.01144), Bengio et al. 2013 (arXiv:1308.3432).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import kl_divergence

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.latent_codes import DiscreteLatent
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import closed_kl, log_likelihood, terms

BOUNDS = ("surrogate", "relaxed")


@dataclass(frozen=True)
class _Tempered(Objective):
    """temperature: t at the first step · floor: what it falls to · rate: per step; at step i it is
    max(floor, temperature * exp(-rate * i))."""

    samples: int = 1
    temperature: float = 1.0
    floor: float = 0.5
    rate: float = 3e-5
    path: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        finite = math.isfinite(self.temperature) and math.isfinite(self.rate)
        if not (finite and 0 < self.floor <= self.temperature and self.rate >= 0):
            raise UsageError(
                f"temperature={self.temperature}, floor={self.floor}, rate={self.rate}: the "
                "temperature falls to floor, 0 < floor <= temperature, by a rate of 0 or more"
            )

    def at(self, step: Step) -> Tensor:
        """The temperature of this step, a 0-dim tensor."""
        fallen = self.temperature * (-self.rate * step.index.to(step.noise)).exp()
        return fallen.clamp(min=self.floor)

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        """Minus the bound of true draws: which weights are kept is no relaxation's say."""
        found = terms(model, batch, step.noise)
        return (found.distortion + found.rate).mean()


@dataclass(frozen=True)
class Concrete(_Tempered):
    """Draws of the Concrete relaxation in place of discrete ones.

    bound: "surrogate": -log p(x|y) of relaxed y + KL(q || p) of the true discrete q and p (Jang et
    al. 2017), a bound of nothing · "relaxed": minus the bound of the relaxed model, both q and p
    Concrete at the temperature of the step (Maddison et al. 2017, eq. 20).
    """

    bound: str = "surrogate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in BOUNDS:
            raise UsageError(f"bound '{self.bound}' is not known; it takes {' or '.join(BOUNDS)}")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q, p, t = discrete(model.posterior(batch)), model.prior(batch), self.at(step)
        u = q.relaxed(step.noise, t)
        distortion = -log_likelihood(model, q.opened(u), batch)
        if self.bound == "surrogate":
            return distortion.mean() + rate(q, p, "concrete").mean()
        if type(p) is not type(q):
            raise UsageError(
                f"bound=relaxed relaxes the prior too, which a {type(p).__name__} prior cannot be "
                "here; take bound=surrogate or a prior of the posterior's family"
            )
        return (distortion + q.relaxed_log_prob(u, t) - p.relaxed_log_prob(u, t)).mean()


@dataclass(frozen=True)
class StraightThrough(_Tempered):
    """True draws forward, the gradient of their relaxation backward: z + (y - y stopped).

    The value is minus the ELBO and the gradient of decoder and prior is unbiased; that of the
    encoder is not.
    """

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q, p = discrete(model.posterior(batch)), model.prior(batch)
        y = q.opened(q.relaxed(step.noise, self.at(step)))
        z = q.draw(step.noise) + (y - y.detach())
        distortion = -log_likelihood(model, z, batch)
        if closed_kl(q, p):
            return distortion.mean() + kl_divergence(q, p).mean()
        return (distortion + q.log_prob(z) - p.log_prob(z)).mean()


def discrete(q: Latent) -> DiscreteLatent:
    """`q` where it has relaxed draws; one line where it has not."""
    if not isinstance(q, DiscreteLatent):
        raise UsageError(
            f"a {type(q).__name__} posterior has no relaxation; take posterior=bernoulli or "
            "posterior=categorical"
        )
    return q


def rate(q: Latent, p: Latent, name: str) -> Tensor:
    """KL(q || p) (n,) in closed form; one line where there is none."""
    if not closed_kl(q, p):
        raise UsageError(
            f"objective={name} needs KL(q || p) in closed form, which {type(q).__name__} and "
            f"{type(p).__name__} have not; take objective=vimco or reinforce"
        )
    return kl_divergence(q, p)
