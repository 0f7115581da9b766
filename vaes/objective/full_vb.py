"""Full variational Bayes: a posterior over the decoder's weights beside that over codes (Kingma &
Welling 2014, appendix F).

q(theta) = N(m, diag s^2), where m are the weights that the decoder holds, against p(theta) =
N(0, diag t^2), t = spread / sqrt(inputs of a weight's unit), spread for all else. For N rows

    log p(X) >= E_theta [sum over rows of the ELBO given theta] - KL(q(theta) || p(theta)),

a bound of all rows together, which `Total` states per row. What every tool scores is the model at
theta = m: a bound of log p(x | theta = m), from which nothing is taken for the weights.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaes.batch import Batch, Data, generator
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import Terms, terms

FIRST = 0.05  # deviation of a weight's posterior at the start, in units of its prior's


class Total(NamedTuple):
    """Nats per row: `bound` = elbo - weights; `elbo` is the mean over draws of the weights,
    `weights` KL(q(theta) || p(theta)) / N."""

    bound: float
    elbo: float
    weights: float


class _Terms(nn.Module):
    """`terms` as a module, so that it can be called with other weights."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, noise: Tensor) -> Terms:
        return terms(self.model, batch, noise)


class FullVb(nn.Module, Objective):
    """Minus the bound of all rows over their number, by one draw of the weights per step.

    rows: N (0: as many as training begins with) · samples: draws of z per row and step · warmup:
    share of the budget over which both rates rise to their weight · spread: of p(theta). `over`
    says which weights; without it there is nothing to be uncertain of.
    """

    log_scale: nn.Parameter
    prior_scale: Tensor
    names: tuple[str, ...] = ()

    def __init__(
        self, rows: int = 0, samples: int = 1, warmup: float = 0.1, spread: float = 1.0
    ) -> None:
        super().__init__()
        if samples < 1 or not 0 <= warmup <= 1 or not spread > 0:
            raise UsageError(
                f"samples={samples}, warmup={warmup}, spread={spread}: at least one draw, a share "
                "in 0 ... 1 and a positive number are needed"
            )
        self.rows, self.samples, self.warmup, self.spread = rows, samples, warmup, spread

    def over(self, decoder: nn.Module) -> FullVb:
        """The same over the weights of `decoder` that may move."""
        moving = {k: w for k, w in decoder.named_parameters() if w.requires_grad}
        self.names, scales = tuple(moving), []
        for weight in moving.values():
            inputs = weight[0].numel() if weight.dim() > 1 else 1
            scales.append(weight.new_full((weight.numel(),), self.spread / math.sqrt(inputs)))
        if not scales:
            raise UsageError(
                "this decoder has no weights that may move, so none to be uncertain of"
            )
        self.register_buffer("prior_scale", torch.cat(scales), persistent=False)
        self.log_scale = nn.Parameter((FIRST * self.prior_scale).log())
        return self

    @property
    def settling(self) -> float:
        return self.warmup

    def begin(self, model: Model, phase: str, data: Data) -> None:
        self.rows = len(data)

    def drawn(self, decoder: nn.Module, noise: Tensor) -> dict[str, Tensor]:
        """Weights m + s * noise by name; `noise` has a standard normal number for each."""
        mine = self._mine(decoder)
        parts = (self.log_scale.exp() * noise).split([w.numel() for w in mine.values()])
        return {k: w + e.view_as(w) for (k, w), e in zip(mine.items(), parts, strict=True)}

    def weights_rate(self, decoder: nn.Module) -> Tensor:
        """KL(q(theta) || p(theta)), nats in all."""
        means = torch.cat([w.flatten() for w in self._mine(decoder).values()])
        ratio = (self.log_scale - self.prior_scale.log()).exp()
        squares = ratio.square() + (means / self.prior_scale).square()
        return (0.5 * (squares - 1) - ratio.log()).sum()

    def at(self, model: Any, batch: Batch, noise: Tensor, weights: Tensor) -> Terms:
        """Distortion and rate per row given the weights that the noise `weights` draws."""
        drawn = self.drawn(model.decoder, weights)
        named = {f"model.decoder.{name}": weight for name, weight in drawn.items()}
        return functional_call(_Terms(model), named, (batch, noise))

    def forward(self, model: Any, batch: Batch, step: Step) -> Tensor:
        found = self.at(model, batch, step.noise, torch.randn_like(self.log_scale))
        rate = found.rate.mean() + self.weights_rate(model.decoder) / self._count()
        if self.warmup:
            rate = rate * (step.fraction / self.warmup).clamp(max=1.0)
        return found.distortion.mean() + rate

    def judged(self, model: Any, batch: Batch, step: Step) -> Tensor:
        """At the weights that are scored."""
        found = terms(model, batch, step.noise)
        weights = self.weights_rate(model.decoder) / self._count()
        return (found.distortion + found.rate).mean() + weights

    @torch.no_grad()
    def total(self, model: Any, data: Data, draws: int = 10, seed: int = 0) -> Total:
        """The bound of the rows that the model was trained on, by `draws` draws of the weights."""
        draw = generator("weights", seed, device=data.x.device)
        like = {"dtype": self.log_scale.dtype, "device": self.log_scale.device}
        was, elbo = model.training, 0.0
        model.eval()
        for _ in range(draws):
            weights = torch.randn(self.log_scale.shape, generator=draw, **like)
            for batch in data.batches(1000):
                shape = (1, len(batch), model.noise_size)
                noise = torch.randn(
                    shape, generator=draw, dtype=batch.x.dtype, device=batch.x.device
                )
                found = self.at(model, batch, noise, weights)
                elbo -= (found.distortion + found.rate).double().sum().item()
        model.train(was)
        elbo = elbo / draws / len(data)
        rate = self.weights_rate(model.decoder).item() / self._count()
        return Total(elbo - rate, elbo, rate)

    def _mine(self, decoder: nn.Module) -> dict[str, nn.Parameter]:
        """By name, since a copy that averages weights holds them still."""
        weights = dict(decoder.named_parameters())
        return {name: weights[name] for name in self.names}

    def _count(self) -> int:
        if not self.rows:
            raise UsageError(
                "rows=0: the rate of the weights is shared by all training rows, so their number "
                "is needed; give Spec.rows"
            )
        return self.rows
