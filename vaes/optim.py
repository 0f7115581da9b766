"""One training step as a function of tensors: gradients per player, clipping, skipping, Adam.

The losses, their gradients and norms compile into one graph; nothing in it decides anything. A step
whose gradient is not finite moves nothing and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
        self.moments = {n: _Moments(p) for n, p in self.players.items()}
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
        found, over, good, numbers = self._descend(batch, step, movers)
        if not found:  # a step of `closed_form` alone
            return numbers
        with torch.no_grad():
            for name, gs in found.items():
                self._move(name, gs, over[name], good, rate)
            if int(step.index) % SWEEP == SWEEP - 1:
                self._sweep()
        return numbers

    def _sweep(self) -> None:
        """Moments that have decayed to dust become 0.

        Where a unit is dead its moments halve for ever, and a processor takes six times as long
        over numbers below 1e-38; from 1e-30 it takes 175 steps to get there.
        """
        for kin in (kin for state in self.moments.values() for kin in state.kin):
            for tensor in (*kin.first, *kin.second):
                tensor.masked_fill_(tensor.abs() < DUST, 0.0)

    def descend(
        self, batch: Batch, step: Step, movers: tuple[str, ...]
    ) -> tuple[dict[str, list[Tensor]], dict[str, Tensor], Tensor, Tensor]:
        """Gradients per player and how many times too long they are, whether all is finite, and
        (loss, norm) in all; counts what is to be skipped."""
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
            self.streak.add_(1).mul_(~good)
            self.skipped.add_(~good)
            limit = self.clip or math.inf
            over = {n: (norm / limit).clamp(min=1.0).float() for n, norm in norms.items()}
            totals = [torch.stack([*each.values()]).sum() for each in (losses, norms)]
            return found, over, good, torch.stack([t.to(totals[0].dtype) for t in totals])

    def _move(self, name: str, gs: list[Tensor], over: Tensor, good: Tensor, rate: float) -> None:
        """Torch's fused kernel, called directly: what `torch.optim` does around it takes as long
        again. It divides the gradient by `grad_scale` and moves nothing where `found_inf` is 1."""
        player, state = self.model.players[name], self.moments[name]
        bad = None
        if good.device.type != "cpu":
            bad = (~good).float()
        elif not good:  # a look costs nothing on a processor; dividing is a pass over memory
            return
        elif over == 1:
            over = None  # type: ignore[assignment]
        state.steps.add_(good)
        for kin in state.kin:
            torch._fused_adam_(  # type: ignore[attr-defined]
                kin.weights,
                [gs[i] for i in kin.places],
                kin.first,
                kin.second,
                [],
                [state.steps] * len(kin.places),
                lr=rate * player.rate,
                beta1=player.betas[0],
                beta2=player.betas[1],
                weight_decay=0.0,
                eps=EPS,
                amsgrad=False,
                maximize=False,
                grad_scale=over,
                found_inf=bad,
            )

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state under a stable name."""
        tensors = {"skipped": self.skipped, "streak": self.streak}
        for player, weights in self.players.items():
            state, names = self.moments[player], list(weights)
            tensors[f"steps/{player}"] = state.steps
            for kin in state.kin:
                tensors |= {
                    f"first/{names[i]}": t for i, t in zip(kin.places, kin.first, strict=True)
                }
                tensors |= {
                    f"second/{names[i]}": t for i, t in zip(kin.places, kin.second, strict=True)
                }
        return tensors


@dataclass(frozen=True)
class _Kin:
    """Weights of one type, their places among the player's, and their moments."""

    places: list[int]
    weights: list[nn.Parameter]
    first: list[Tensor]
    second: list[Tensor]


class _Moments:
    """Adam's state of one player: steps taken, which a skip leaves, and moments by type."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        every = list(weights.values())
        self.steps = torch.zeros((), device=every[0].device if every else None)
        self.kin = []
        for dtype in dict.fromkeys(w.dtype for w in every):
            places = [i for i, w in enumerate(every) if w.dtype == dtype]
            own = [every[i] for i in places]
            zeros = [torch.zeros_like(w) for w in own]
            self.kin.append(_Kin(places, own, zeros, [torch.zeros_like(w) for w in own]))


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
