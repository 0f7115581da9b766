"""One training step as a function of tensors: gradients per player, clipping, skipping, Adam.

Written so that the whole of it compiles into one graph: every decision is a `torch.where`. A step
whose gradient is not finite moves nothing and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaes.batch import Batch
from vaes.model import Model, Step, owned

EPS = 1e-8


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

    State, all tensors: first and second moments per parameter, steps taken per player, and the
    numbers of skipped steps in all and in a row.
    """

    def __init__(self, model: Model, clip: float | None, precision: str) -> None:
        self.model, self.clip, self.half = model, clip, precision == "bf16"
        self.players = owned(model)
        like = next(model.parameters())
        device, self.dtype = like.device, like.dtype
        self.first = {n: [torch.zeros_like(w) for w in p.values()] for n, p in self.players.items()}
        self.second = {
            n: [torch.zeros_like(w) for w in p.values()] for n, p in self.players.items()
        }
        self.taken = {n: torch.zeros((), dtype=self.dtype, device=device) for n in self.players}
        self.skipped = torch.zeros((), dtype=torch.long, device=device)
        self.streak = torch.zeros((), dtype=torch.long, device=device)

    def step(self, batch: Batch, step: Step, rate: Tensor, movers: tuple[str, ...]) -> Tensor:
        """Moves the players in `movers`; returns (loss, gradient norm) summed over them, (2,)."""
        device = batch.x.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.half):
            losses = self.model.losses(batch, step)
        losses = {name: loss for name, loss in losses.items() if name in movers}
        if not losses:  # a step of `closed_form` alone
            return torch.zeros(2, device=batch.x.device)
        found = gradients(losses, self.players)  # all of them, before anyone moves
        with torch.no_grad():
            norms = {
                n: torch.stack([g.square().sum() for g in gs]).sum().sqrt()
                for n, gs in found.items()
            }
            good = torch.stack([*norms.values(), *(x.detach() for x in losses.values())])
            good = good.isfinite().all()
            self.streak.copy_(torch.where(good, 0, self.streak + 1))
            self.skipped.add_(torch.where(good, 0, 1))
            for name, gs in found.items():
                self._move(name, gs, norms[name], good, rate)
            totals = [torch.stack([*each.values()]).sum() for each in (losses, norms)]
            return torch.stack([t.to(totals[0].dtype) for t in totals])

    def _move(self, name: str, gs: list[Tensor], norm: Tensor, good: Tensor, rate: Tensor) -> None:
        player, taken = self.model.players[name], self.taken[name]
        one, two = player.betas
        taken.add_(good.to(taken.dtype))
        # a skipped step keeps the moments (weights 1 and 0) and moves by a rate of 0; its gradient
        # is replaced by zeros first, since 0 * nan is nan
        factor = torch.ones_like(norm) if self.clip is None else (self.clip / norm).clamp(max=1.0)
        # in the weights' own precision: a plain number would make these float32 for float64 weights
        whole = torch.ones_like(taken)
        keep_one = torch.where(good, one * whole, whole)
        keep_two = torch.where(good, two * whole, whole)
        bias_one, bias_two = 1 - one ** taken.clamp(min=1), (1 - two ** taken.clamp(min=1)).sqrt()
        pace = torch.where(good, player.rate * rate, 0.0) / bias_one
        moments = zip(
            self.players[name].values(), gs, self.first[name], self.second[name], strict=True
        )
        for weight, raw, m, v in moments:
            g = torch.where(good, raw * factor, 0.0).to(weight.dtype)
            m.mul_(keep_one).add_((1 - keep_one) * g)
            v.mul_(keep_two).add_((1 - keep_two) * g * g)
            weight.sub_(pace * m / (v.sqrt() / bias_two + EPS))

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state under a stable name."""
        tensors = {"skipped": self.skipped, "streak": self.streak}
        for name, weights in self.players.items():
            tensors[f"taken/{name}"] = self.taken[name]
            for key, m, v in zip(weights, self.first[name], self.second[name], strict=True):
                tensors[f"first/{key}"], tensors[f"second/{key}"] = m, v
        return tensors


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
