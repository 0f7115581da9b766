"""The contract of a model.

A model is three conditional distributions (prior, posterior, likelihood) and one loss per player.
Everything else, from the ELBO to an anomaly score, is a function over the three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.base import Latent, Likelihood

Bound = Literal["exact", "lower", "none"]


@dataclass(frozen=True)
class Player:
    """Owner of the parameters below the submodules `owns` ("" = all), descending one loss.

    `rate` multiplies the learning rate of the run; `betas` are Adam's.
    """

    owns: tuple[str, ...] = ("",)
    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Phase:
    """A stretch of training: its name, its share of the budget and the players that may move.

    With share 0 only `Model.begin` runs. `players` None = all.
    """

    name: str
    share: float = 1.0
    players: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Step:
    """Where training stands: 0-dim tensors, so that a new value does not compile anew.

    index: steps done · epoch: passes done · fraction: share of the phase's budget done, 0 to 1 ·
    noise (k, n, model.noise_size): the step's standard normal numbers, drawn from (seed, step).
    """

    index: Tensor
    epoch: Tensor
    fraction: Tensor
    noise: Tensor
    phase: str = "train"
    last_of_epoch: bool = False

    @classmethod
    def at(
        cls,
        model: Model,
        batch: Batch,
        index: int,
        *,
        seed: int = 0,
        total: int = 1,
        epoch: int = 0,
        fraction: float | None = None,
        phase: str = "train",
        last_of_epoch: bool = False,
    ) -> Step:
        """Step `index` of `total` for `model` on `batch`: all that a loop of one's own needs."""
        fraction = min(1.0, index / max(1, total)) if fraction is None else fraction
        return cls(
            index=torch.tensor(index),
            epoch=torch.tensor(epoch),
            fraction=torch.tensor(fraction, dtype=torch.float32),
            noise=model.noise(len(batch), seed=seed, step=index, like=batch.x),
            phase=phase,
            last_of_epoch=last_of_epoch,
        )


class Model(nn.Module, ABC):
    """Three distributions and a loss per player.

    `bound` says what `log_weight` says of the evidence: "exact" (log w is log p(x)), "lower" (its
    mean is a lower bound) or "none" (no tool prints one). `evidence` says of what ("x|total": of
    rows of counts given their totals, see `Spec`); comparisons refuse to mix them. `samples` is how
    many draws of z a training step takes.
    """

    log_jacobian: Tensor
    players: Mapping[str, Player]
    phases: tuple[Phase, ...] = (Phase("train"),)
    bound: Bound = "lower"
    # what is scored: y labels, c conditions, s where gaps are
    evidence: Literal["x", "x|c", "x,y", "x,s", "x|total"] = "x"
    warmup: float = 0.0  # share of the budget in which the loss is not yet what it will be
    whole_epochs: ClassVar[bool] = False  # True: every pass of the data must be complete

    def __init__(self, spec: Spec, latent: int, samples: int = 1) -> None:
        super().__init__()
        self.spec, self.latent, self.samples = spec, latent, samples
        self.noise_size = latent  # standard normal numbers that one draw of the posterior takes
        self.players = {"model": Player()}
        # held by the model, so that every density can be given in the user's units
        self.register_buffer("log_jacobian", spec.log_jacobian, persistent=False)

    @abstractmethod
    def prior(self, batch: Batch) -> Latent:
        """p(z|y,c): batch (n,), event (d,); never reads batch.x."""

    @abstractmethod
    def posterior(self, batch: Batch) -> Latent:
        """q(z|x,y,c): batch (n,), event (d,)."""

    @abstractmethod
    def likelihood(self, z: Tensor, batch: Batch) -> Likelihood:
        """p(x|z): z (*k, n, d) -> batch (*k, n), event `spec.shape`; never reads batch.x."""

    @abstractmethod
    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """A scalar per player, nats per row; a player that is absent does not move this step."""

    def judged(self, batch: Batch, step: Step) -> Tensor | None:
        """What tells which weights are kept, on held-out rows, nats per row, less is better: what
        the players descend, together. None for a model that descends nothing."""
        losses = self.losses(batch, step)
        return torch.stack([*losses.values()]).sum() if losses else None

    def begin(self, phase: str, data: Data) -> None:
        """Called without gradients before each phase, with all training rows."""

    def closed_form(self, batch: Batch, step: Step) -> None:
        """EM, moving averages: accumulates per batch, updates at `last_of_epoch`; moves buffers."""

    def totals(self, n: int, draw: torch.Generator | None = None) -> Tensor | None:
        """Totals (n,) for rows that do not exist yet: drawn, or the median without a generator;
        None where the likelihood is given none."""
        return None

    def noise(self, n: int, *, seed: int, step: int, like: Tensor) -> Tensor:
        """The standard normal numbers of one training step, (samples, n, noise_size), from (seed,
        step)."""
        draw = generator("step", seed, step, device=like.device)
        shape = (self.samples, n, self.noise_size)
        return torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)


def owned(model: Model) -> dict[str, dict[str, nn.Parameter]]:
    """Per player its parameters by name; every one that may move has exactly one owner."""
    found: dict[str, dict[str, nn.Parameter]] = {name: {} for name in model.players}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # frozen by the user: a network that was trained before
        owners = [
            player
            for player, p in model.players.items()
            if any(own == "" or name == own or name.startswith(own + ".") for own in p.owns)
        ]
        if len(owners) != 1:
            said = ", ".join(owners) if owners else "nobody"
            raise ValueError(f"parameter '{name}' must have one owner; owned by {said}")
        found[owners[0]][name] = parameter
    return found
