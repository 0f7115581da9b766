"""Bounds of other divergences than KL(q || p), after `vaes.objective.importance`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import Model, Player, Step
from vaes.objective.base import Objective
from vaes.objective.importance import GENERATOR, RECOGNISER, doubly, mean_weight
from vaes.objective.weights import draw


@dataclass(frozen=True)
class Renyi(Objective):
    """Minus 1/(1-alpha) log 1/K sum_k w_k^(1-alpha) (Li & Turner 2016, arXiv:1602.02311, eq. 15).

    alpha 1 is the ELBO, 0 the importance-weighted bound; q seeks one mode from 1 on and covers all
    below 0. Of infinitely many draws a lower bound of log p(x) for alpha > 0 and an upper one for
    alpha < 0; of K draws, which the logarithm pulls down, alpha < 0 bounds nothing. doubly: the
    doubly reparameterised gradient, of the same mean and less variance, for a forward pass more.
    """

    samples: int = 5
    alpha: float = 0.5
    doubly: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.alpha):
            raise UsageError(f"alpha={self.alpha}: a finite number is needed")
        if self.samples == 1 and self.alpha != 1:
            raise UsageError(
                f"samples=1: of one draw every alpha is the ELBO; alpha={self.alpha} needs two or "
                "more"
            )

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        if self.doubly:
            log_w = doubly(model, batch, step.noise, 1 - self.alpha).log_weight
        else:
            log_w = draw(model, batch, step.noise).log_weight
        return -mean_weight(log_w, 1 - self.alpha).mean()


@dataclass(frozen=True)
class Chi(Objective):
    """Two players: the encoder descends CUBO_n = 1/n log E_q w^n, an upper bound of log p(x) that
    is least where the chi^n divergence of the posterior from q is (Dieng et al. 2017,
    arXiv:1611.00328, eq. 4), so that q covers all of the posterior; decoder and prior descend minus
    the importance-weighted bound of the same draws, for which such a q is a safe proposal.

    samples: draws per row and step; of few, the estimate of CUBO lies below it · order: n, above 1.
    The encoder follows the gradient of CUBO, (1-n) sum v_k g_k with v_k = w_k^n / sum w^n, which is
    0 where q is the posterior: not that of its estimate, which falls where q draws in its tails so
    that no draw shows what q has missed.
    """

    samples: int = 10
    order: float = 2.0
    players: ClassVar[Mapping[str, Player]] = {"generator": GENERATOR, "recogniser": RECOGNISER}

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"samples={self.samples}: the mean of w^n needs two draws or more")
        if not 1 < self.order < math.inf:
            raise UsageError(f"order={self.order}: an upper bound needs a finite order above 1")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return -mean_weight(draw(model, batch, step.noise).log_weight).mean()

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        found = draw(model, batch, step.noise, pull=1 - self.order)
        # a prior that is made of the encoder must not learn to give x less
        fixed = found._replace(log_prior=model.prior(batch).stopped().log_prob(found.z))
        return {
            "generator": -mean_weight(found.log_weight).mean(),
            "recogniser": mean_weight(fixed.log_weight, self.order).mean(),
        }

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self(model, batch, step)
