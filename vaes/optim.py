"""One training step as a function of tensors: gradients per player, clipping, skipping, Adam.

The losses, their gradients and norms compile into one graph; nothing in it decides anything. A step
whose gradient is not finite moves nothing and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from vaes.batch import Batch
from vaes.model import Model, Step, owned

EPS = 1e-8
SWEEP, DUST = 100, 1e-30  # steps between sweeps; moments below it are dust beside EPS


def gradients(
    losses: Mapping[str, Tensor], players: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, list[Tensor]]:
    """Of each loss with respect to its own player's parameters and no one else's."""
    several = len(losses) > 1
    return {
        name: list(
            torch.autograd.grad(
                loss,
                list(players[name].values()),
                retain_graph=several,
                materialize_grads=True,
            )
        )
        for name, loss in losses.items()
    }


class Optimizer:
    """Adam (Kingma & Ba 2015) over the players of a model, with clipping and skipping.

    Torch's fused Adam does the update in one pass over memory. A step whose gradient is not finite
    moves nothing; `skipped` counts those in all, `streak` those in a row.
    """

    def __init__(self, model: Model, clip: float | None, precision: str) -> None:
        self.model, self.clip, self.half = model, clip, precision == "bf16"
        self.players = owned(model)
        device = next(model.parameters()).device
        self.skipped = torch.zeros((), dtype=torch.long, device=device)
        self.streak = torch.zeros((), dtype=torch.long, device=device)
        self.moments = {n: _moments(p) for n, p in self.players.items()}
        self.eager()

    def compile(self) -> None:
        """From here on the losses and their gradients are one graph; the update is one kernel."""
        if self._descend == self.descend:
            self._descend = torch.compile(self.descend, dynamic=False)

    def eager(self) -> None:
        """From here on nothing is compiled."""
        self._descend = self.descend

    def step(self, batch: Batch, step: Step, rate: float, movers: tuple[str, ...]) -> Tensor:
        """Moves the players in `movers`; returns (loss, gradient norm) summed over them, (2,)."""
        found, norms, good, numbers = self._descend(batch, step, movers)
        if not found:  # a step of `closed_form` alone
            return numbers
        with torch.no_grad():
            self.streak.add_(1).mul_(~good)
            self.skipped.add_(~good)
            for name, gs in found.items():
                self._move(name, gs, norms[name], good, rate)
            if int(step.index) % SWEEP == SWEEP - 1:
                self._sweep()
        return numbers

    def _sweep(self) -> None:
        """Moments that have decayed to dust become 0.

        Where a unit is dead its moments halve for ever, and a processor takes six times as long
        over numbers below 1e-38; from 1e-30 it takes 175 steps to get there.
        """
        for state in self.moments.values():
            for tensor in (*state["first"], *state["second"]):
                tensor.masked_fill_(tensor.abs() < DUST, 0.0)

    def descend(
        self, batch: Batch, step: Step, movers: tuple[str, ...]
    ) -> tuple[dict[str, list[Tensor]], dict[str, Tensor], Tensor, Tensor]:
        """Gradients and their norms per player, whether all is finite, and (loss, norm) in all."""
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.half):
            losses = self.model.losses(batch, step)
        losses = {name: loss for name, loss in losses.items() if name in movers}
        if not losses:
            zeros = torch.zeros(2, device=batch.x.device)
            return {}, {}, zeros, zeros
        found = gradients(losses, self.players)  # all of them, before anyone moves
        with torch.no_grad():
            norms = {
                n: torch.stack([g.square().sum() for g in gs]).sum().sqrt()
                for n, gs in found.items()
            }
            good = torch.stack([*norms.values(), *losses.values()]).isfinite().all()
            totals = [torch.stack([*each.values()]).sum() for each in (losses, norms)]
            return found, norms, good, torch.stack([t.to(totals[0].dtype) for t in totals])

    def _move(self, name: str, gs: list[Tensor], norm: Tensor, good: Tensor, rate: float) -> None:
        player, state = self.model.players[name], self.moments[name]
        # the kernel divides the gradient by the one and leaves everything as it is where the other
        # is 1: torch's gradient scaler uses the same two
        over = None if self.clip is None else (norm / self.clip).clamp(min=1.0).float()
        if over is not None and over.device.type == "cpu" and over == 1:
            over = None  # a look costs nothing on a processor; dividing is a pass over memory
        adam(
            list(self.players[name].values()),
            gs,
            state["first"],
            state["second"],
            [],
            state["step"],
            fused=True,
            grad_scale=over,
            found_inf=(~good).float(),  # type: ignore[arg-type]
            amsgrad=False,
            beta1=player.betas[0],
            beta2=player.betas[1],
            lr=rate * player.rate,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state under a stable name."""
        tensors = {"skipped": self.skipped, "streak": self.streak}
        for name, weights in self.players.items():
            for kind, found in self.moments[name].items():
                tensors |= {f"{kind}/{k}": t for k, t in zip(weights, found, strict=True)}
        return tensors


def _moments(weights: Mapping[str, nn.Parameter]) -> dict[str, list[Tensor]]:
    """Adam's state per weight: first and second moment, and steps taken, which a skip leaves."""
    return {
        "first": [torch.zeros_like(w) for w in weights.values()],
        "second": [torch.zeros_like(w) for w in weights.values()],
        "step": [torch.zeros((), dtype=torch.float32, device=w.device) for w in weights.values()],
    }


class Average:
    """Exponential moving average of a model's parameters, held by a copy of the model.

    Updated every `EVERY` steps with the decay to that power: the same average to a part in a
    thousand at a tenth of the memory traffic. Early decays are (1 + t) / (10 + t), so that the
    average forgets where training started.
    """

    EVERY = 10

    def __init__(self, model: Model, decay: float) -> None:
        import copy

        self.decay, self.source = decay, model
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, taken: int) -> None:
        """To be called after step number `taken`, a multiple of `EVERY`."""
        keep = min(self.decay, (1 + taken) / (10 + taken)) ** self.EVERY
        ours, theirs = list(self.model.parameters()), list(self.source.parameters())
        if ours:
            torch._foreach_lerp_(ours, theirs, 1 - keep)  # type: ignore

    @torch.no_grad()
    def current(self) -> nn.Module:
        """The averaged model, its buffers those of the source."""
        for ours, theirs in zip(self.model.buffers(), self.source.buffers(), strict=True):
            ours.copy_(theirs)
        return self.model
