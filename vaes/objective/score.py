"""Objectives by the score function, for any posterior whose draws have a density, discrete or not.

Both are unbiased. The value is minus the bound; decoder and prior descend it directly, the encoder
by signal * grad log q(z|x). Sources: Williams 1992; Mnih & Gregor 2014 (arXiv:1402.0030,
baselines); Mnih & Rezende 2016 (arXiv:1602.06725, VIMCO).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Spec
from vaes.errors import UsageError, did_you_mean
from vaes.model import Model, Step
from vaes.nets.mlp import mlp
from vaes.objective.base import Objective
from vaes.objective.weights import log_likelihood

BASELINES = ("none", "mean", "others", "net")
KEEP = 0.99  # of a running mean per step
WIDTH = 100  # of the baseline's network (Mnih & Gregor 2014, sec. 4)


def scored(model: Model, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log q(z|x) of draws through which no gradient flows, (k, n) each."""
    q = model.posterior(batch)
    z = q.draw(noise).detach()
    joint = log_likelihood(model, z, batch) + model.prior(batch).log_prob(z)
    return joint, q.log_prob(z)


def pulled(value: Tensor, slope: Tensor) -> Tensor:
    """`value` with the gradient of `slope`."""
    return value.detach() + (slope - slope.detach())


class Reinforce(nn.Module, Objective):
    """The ELBO by REINFORCE: gradient of log p(x, z) + (log w - b) * grad log q(z|x).

    samples: draws per row · baseline: what b is.
    none: 0 · mean: a running mean of log w, and the signal divided by its running standard
    deviation where that is above 1 (Mnih & Gregor 2014, sec. 2.3) · others: the mean log w of the
    row's other draws, samples >= 2 (Kool et al. 2019) · net: a network of the row, fitted to what
    the running mean leaves by squares; it needs the rows' `spec`.
    """

    path: ClassVar[bool] = False
    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self, samples: int = 1, baseline: str = "mean", spec: Spec | None = None) -> None:
        super().__init__()
        if baseline not in BASELINES:
            raise UsageError(
                f"baseline '{baseline}' is not known; {did_you_mean(baseline, BASELINES)}"
            )
        if samples < 1 + (baseline == "others"):
            raise UsageError(
                f"samples={samples}: at least one draw per row is needed, and two with "
                "baseline=others"
            )
        self.samples, self.baseline = samples, baseline
        if baseline == "net":
            if spec is None:
                raise UsageError("baseline=net needs the spec of the rows: Reinforce(spec=...)")
            self.net = nn.Sequential(mlp(spec.size, (WIDTH,), "tanh"), nn.Linear(WIDTH, 1))
        if baseline in ("mean", "net"):
            for name in ("mean", "square", "seen"):
                self.register_buffer(name, torch.zeros(()))

    def forward(self, model: Model, batch: Batch, step: Step) -> Tensor:
        joint, log_q = scored(model, batch, step.noise)
        log_w = (joint - log_q).detach()
        signal, misfit = self._signal(log_w, batch)
        slope = joint + signal.detach() * log_q
        return -pulled(log_w.mean(), slope.mean() - misfit)

    def _signal(self, log_w: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What weighs grad log q, (k, n), and what the baseline itself descends."""
        none = log_w.new_zeros(())
        if self.baseline == "none":
            return log_w, none
        if self.baseline == "others":
            return log_w - (log_w.sum(0) - log_w) / (len(log_w) - 1), none
        share = self.seen.clamp(min=1e-6)
        mean, square = self.mean / share, self.square / share  # of steps before this one
        scale = (square - mean.square()).clamp(min=1.0).sqrt()
        centred = log_w - mean
        if self.baseline == "net":
            guess = self.net(batch.x).squeeze(-1) * scale
            misfit = ((centred - guess) / scale).square().mean()
            centred = centred - guess
        else:
            misfit = none
        if self.training:
            self._follow(log_w)
        return centred / scale, misfit

    def _follow(self, log_w: Tensor) -> None:
        with torch.no_grad():
            self.mean.lerp_(log_w.mean(), 1 - KEEP)
            self.square.lerp_(log_w.square().mean(), 1 - KEEP)
            self.seen.lerp_(torch.ones_like(self.seen), 1 - KEEP)


@dataclass(frozen=True)
class Vimco(Objective):
    """The importance-weighted bound of `samples` draws, signal L - L_k for draw k: L_k is the bound
    with log w_k replaced by the mean of the others (Mnih & Rezende 2016, eq. 10)."""

    samples: int = 5
    path: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(
                f"samples={self.samples}: each draw is compared with the row's others, so VIMCO "
                "needs two or more"
            )

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        joint, log_q = scored(model, batch, step.noise)
        log_w = joint - log_q
        fixed, k = log_w.detach(), len(log_w)
        bound = fixed.logsumexp(0) - math.log(k)
        others = (fixed.sum(0) - fixed) / (k - 1)
        swapped = torch.where(
            torch.eye(k, dtype=torch.bool, device=fixed.device).unsqueeze(-1), others, fixed
        )
        signal = bound - (swapped.logsumexp(1) - math.log(k))
        slope = (signal * log_q + fixed.softmax(0) * log_w).sum(0)
        return -pulled(bound.mean(), slope.mean())
