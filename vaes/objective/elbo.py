"""The evidence lower bound, with the weights of its rate that papers give."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import terms


@dataclass(frozen=True)
class Elbo(Objective):
    """distortion + beta * rate, with a linear warm-up of the rate's weight and free bits.

    beta: weight of the rate (Higgins et al. 2017) · warmup: share of the budget over which the
    weight rises from 0 (Bowman et al. 2016) · cycles: equal parts of the budget at whose start the
    weight falls back to 0; warmup is then a share of each (Fu et al. 2019) · free_bits: nats per
    dimension, averaged over the batch, below which the rate costs nothing (Kingma et al. 2016; a
    family that does not split over dimensions has d times as many in one group) · capacity: gamma
    |rate - C(t)| takes the place of the rate, C rising linearly from 0 to `capacity` nats (Burgess
    et al. 2018). What is reported is always the unweighted bound.
    """

    samples: int = 1
    beta: float = 1.0
    warmup: float = 0.0
    free_bits: float = 0.0
    capacity: float | None = None
    gamma: float = 100.0
    cycles: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0 or self.free_bits < 0 or not 0 <= self.warmup <= 1:
            raise UsageError(
                f"beta={self.beta}, free_bits={self.free_bits}, warmup={self.warmup}: "
                "beta and free_bits are not negative, warmup lies in 0 ... 1"
            )
        if self.cycles < 1 or (self.cycles > 1 and not self.warmup):
            raise UsageError(
                f"cycles={self.cycles}, warmup={self.warmup}: each of one or more cycles rises "
                "over the share warmup of it, which is not 0 where there are several"
            )
        if self.capacity is not None and self.capacity < 0:
            raise UsageError(f"capacity={self.capacity}: nats are not negative here")

    @property
    def settling(self) -> float:
        last = (self.cycles - 1 + self.warmup) / self.cycles
        return last if self.capacity is None else 1.0

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        found = terms(model, batch, step.noise)
        distortion, rate = found.distortion.mean(), found.rate.mean()
        if self.capacity is not None:
            return distortion + self.gamma * (rate - self.capacity * step.fraction).abs()
        if self.free_bits:
            free = self.free_bits * model.latent / found.rates.shape[-1]
            rate = found.rates.mean(0).clamp(min=free).sum()
        if self.warmup:
            rate = rate * (self.into(step) / self.warmup).clamp(max=1.0)
        return distortion + self.beta * rate

    def into(self, step: Step) -> Tensor:
        """How much of the present cycle is done, 0 to 1."""
        done = self.cycles * step.fraction
        return done - done.floor().clamp(max=self.cycles - 1)
