"""Models whose posterior is found for each row: by descending from nothing, or from an encoder's
start. No row's result depends on its neighbours, nor on how rows are cut into batches.

Costs, (n,) nats, are minus the ELBO or what else a row's numbers are to descend. Sources: Hoffman
et al. 2013 (numbers of q held per row); Bojanowski et al. 2018, arXiv:1707.05776, and Park et al.
2019, arXiv:1901.05103 (point codes); Kim et al. 2018, arXiv:1802.02550 (semi-amortised).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaes.batch import Batch, generator
from vaes.composed import Composed, Readout
from vaes.dist.base import Latent
from vaes.dist.vamp import Vamp
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.nets.codes import BETAS, Table
from vaes.objective import terms
from vaes.plan import widest

Cost = Callable[[Model, Batch, Latent, Tensor], Tensor]
DRAWS, JUDGE = 8, 32  # of z per row: in a step for a new row, and to judge where it ends
WITHIN = 2  # in an inner step of training
ENTRIES = 2_000_000  # numbers that the widest layer may hold while new rows are fitted


def minus_elbo(model: Model, batch: Batch, q: Latent, noise: Tensor) -> Tensor:
    """Distortion + rate of `q`, (n,): closed KL where there is one."""
    found = terms(model, batch, noise, q)
    return found.distortion + found.rate


def pairs(like: Tensor, k: int, size: int, *key: str | int) -> Tensor:
    """k standard normal vectors (k, 1, size) in antithetic pairs, by `key`, common to all rows."""
    draw = generator(*key, device=like.device)
    half = torch.randn(k // 2, 1, size, generator=draw, dtype=like.dtype, device=like.device)
    return torch.cat([half, -half])


@dataclass(frozen=True)
class Inner:
    """How the numbers of a row are found. steps, rate: of Adam at each visit of a training row ·
    refine, refine_rate: for a row that was never trained on, whose rate falls to 0."""

    steps: int = 5
    rate: float = 0.05
    refine: int = 50
    refine_rate: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.refine < 1 or not (self.rate > 0 and self.refine_rate > 0):
            raise UsageError(
                f"inner={self.steps}, inner_rate={self.rate}, refine={self.refine}, "
                f"refine_rate={self.refine_rate}: at least one step each, and rates above 0"
            )


class PerRow(Composed):
    """The parts of `like` without its encoder: `head` makes a posterior of a row's own numbers.

    Those of training rows (`batch.index` from 0 on) are held in a table, which `closed_form` moves;
    x is not read for them. Those of any other row are descended for, from 0, whenever it is met: 8
    draws a step that are common to all rows and fresh at each step; a row keeps 0 where further
    draws say that it ends no better. Gradients of the objective reach all but the numbers.
    """

    def __init__(self, like: Composed, cost: Cost, inner: Inner) -> None:
        head = cast(Readout, like.encoder).head
        if not getattr(head, "path", True):
            raise UsageError(
                f"{type(head).__name__} codes have no gradient through z to descend by; take "
                "posterior=diagonal"
            )
        if isinstance(like.latent_prior, Vamp):
            raise UsageError(
                "prior=vamp is made of an encoder's posteriors and here is no encoder; take "
                "prior=mixture"
            )
        encoder = _Numbers(like.spec.rows, head)
        super().__init__(
            like.spec,
            like.latent,
            like.inputs,
            encoder,
            like.decoder,
            like.latent_prior,
            cast(Any, like.objective),
            like.bound,
        )
        self.cost, self.inner = cost, inner

    @property
    def table(self) -> Table:
        return cast(_Numbers, self.encoder).table

    @property
    def head(self) -> nn.Module:
        return cast(_Numbers, self.encoder).head

    def posterior(self, batch: Batch) -> Latent:
        return self.head(self._numbers(batch))

    def _numbers(self, batch: Batch) -> Tensor:
        index = batch.index
        if index is None or not len(self.table):
            return self.found(batch)
        if torch.compiler.is_compiling():  # a compiled step is of training rows alone
            return self.table(index)
        known = self.table.knows(index)
        if known.all():
            return self.table(index)
        if not known.any():
            return self.found(batch)
        numbers = self.table(torch.where(known, index, 0))
        numbers[~known] = self.found(batch[~known]).to(numbers.dtype)
        return numbers

    def closed_form(self, batch: Batch, step: Step) -> None:
        """The inner steps of the rows of a batch, whose rate falls to a tenth; their draws are not
        those of the outer step, which would find the decoder better than it is."""
        super().closed_form(batch, step)
        index = batch.index
        if index is None or not len(self.table):
            return
        rate = self.inner.rate * float(1 - 0.9 * step.fraction)
        for i in range(self.inner.steps):
            noise = pairs(batch.x, WITHIN, self.noise_size, "inner", int(step.index), i)
            self.table.move(index, self._slope(batch, self.table(index), noise), rate)

    @torch.no_grad()
    def found(self, batch: Batch) -> Tensor:
        """The numbers of rows that were never trained on, (n, size)."""
        most = max(1, ENTRIES // (DRAWS * widest(self)))
        parts = [self._descended(batch[i : i + most]) for i in range(0, len(batch), most)]
        return torch.cat(parts)

    def _descended(self, batch: Batch) -> Tensor:
        start = batch.x.new_zeros(len(batch), self.table.numbers.shape[1])
        end = start.clone()
        adam = torch.optim.Adam([end], self.inner.refine_rate, BETAS)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.inner.refine)
        for i in range(self.inner.refine):
            noise = pairs(batch.x, DRAWS, self.noise_size, "refine", i)
            end.grad = self._slope(batch, end, noise)
            adam.step()
            fall.step()
        judge = pairs(batch.x, JUDGE, self.noise_size, "judge")
        costs = [self.cost(self, batch, self.head(h), judge) for h in (start, end)]
        return torch.where((costs[1] < costs[0]).unsqueeze(-1), end, start)

    def _slope(self, batch: Batch, numbers: Tensor, noise: Tensor) -> Tensor:
        """Of each row's cost by its own numbers."""
        with torch.enable_grad():
            at = numbers.detach().requires_grad_()
            return torch.autograd.grad(self.cost(self, batch, self.head(at), noise).sum(), at)[0]


class _Numbers(nn.Module):
    """What stands where an encoder does: the table and the head."""

    def __init__(self, rows: int, head: nn.Module) -> None:
        super().__init__()
        self.table, self.head = Table(rows, cast(int, head.size)), head


class SemiAmortised(Composed):
    """The parts of `like`, whose encoder only says where the posterior of each row starts: `steps`
    steps of its gradient with momentum lead to where it is.

    through: gradients of the objective go back through the steps; else they take the end for the
    start moved by a constant · clip: norm that a row's gradient is shortened to. A row keeps its
    start where draws common to both say that it ends no better.
    """

    def __init__(
        self,
        like: Composed,
        steps: int,
        rate: float,
        momentum: float = 0.5,
        clip: float = 5.0,
        through: bool = True,
    ) -> None:
        if steps < 0 or not (rate > 0 and 0 <= momentum < 1 and clip > 0):
            raise UsageError(
                f"inner={steps}, inner_rate={rate}, momentum={momentum}, inner_clip={clip}: no "
                "fewer than 0 steps, a rate and a clip above 0, a momentum from 0 to below 1"
            )
        head = cast(Readout, like.encoder).head
        if not getattr(head, "path", True):
            raise UsageError(
                f"{type(head).__name__} codes have no gradient through z to descend by; take "
                "posterior=diagonal"
            )
        super().__init__(
            like.spec,
            like.latent,
            like.inputs,
            like.encoder,
            like.decoder,
            like.latent_prior,
            cast(Any, like.objective),
            like.bound,
        )
        self.steps, self.rate, self.momentum, self.clip = steps, rate, momentum, clip
        self.through = through

    def posterior(self, batch: Batch) -> Latent:
        encoder = cast(Readout, self.encoder)
        return encoder.head(self.moved(batch, encoder.numbers(self.inputs(batch))))

    def moved(self, batch: Batch, start: Tensor) -> Tensor:
        """The numbers (n, size) that a row's steps lead to from `start`."""
        head = cast(Readout, self.encoder).head
        through = self.through and torch.is_grad_enabled()
        end = start if through else start.detach()
        velocity = torch.zeros_like(end)
        with torch.enable_grad():
            for i in range(self.steps):
                at = end if end.requires_grad else end.detach().requires_grad_()
                noise = pairs(batch.x, WITHIN, self.noise_size, "inner", i)
                cost = minus_elbo(self, batch, head(at), noise).sum()
                slope = torch.autograd.grad(cost, at, create_graph=through)[0]
                length = torch.linalg.vector_norm(slope, dim=-1, keepdim=True)
                velocity = self.momentum * velocity + slope / (length / self.clip).clamp(min=1.0)
                end = at - self.rate * velocity
                end = end if through else end.detach()
        with torch.no_grad():
            judge = pairs(batch.x, JUDGE, self.noise_size, "judge")
            costs = [minus_elbo(self, batch, head(h), judge) for h in (start, end)]
            better = (costs[1] < costs[0]).unsqueeze(-1)
        if not through:
            end = start + (end - start).detach()
        return torch.where(better, end, start)
