"""Two players that never meet in one gradient: the generator descends -log p(x, z) at codes that
are given to it, the recogniser -log q(z|x) at pairs that are given to it.

None needs a path through z, so codes may be discrete. Sources: Hinton et al. 1995 (wake-sleep);
Bornschein & Bengio 2015 (arXiv:1406.2751, reweighted).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vaes.batch import Batch, Spec
from vaes.errors import UsageError, did_you_mean
from vaes.model import Model, Player, Step
from vaes.objective.base import Objective
from vaes.objective.importance import GENERATOR, RECOGNISER, mean_weight
from vaes.objective.weights import log_likelihood

PHI = ("wake", "sleep", "both")


def given(model: Model, batch: Batch, z: Tensor) -> Tensor:
    """log p(x, z) of codes z (k, n, d) that are given, (k, n)."""
    return log_likelihood(model, z, batch) + model.prior(batch).log_prob(z)


@torch.no_grad()
def dream(model: Model, batch: Batch) -> tuple[Batch, Tensor]:
    """As many rows as `batch` has, and their codes (n, d), drawn from p(x, z) by the global
    generator. Rows with gaps keep the gaps of `batch`, but for those that x itself tells of."""
    p = model.prior(batch)
    noise = torch.randn(len(batch), p.noise_size, dtype=batch.x.dtype, device=batch.x.device)
    z = p.draw(noise)
    x = model.likelihood(z, batch).draw().to(batch.x.dtype)
    mask, total = batch.mask, batch.total
    if mask is not None:
        mask = shown(model.spec, x, mask)
        x = torch.where(mask, x, torch.zeros_like(x))
    if total is not None:  # a row's counts are drawn given its total, but do not add up to it
        total = x.sum(-1)
    return replace(batch, x=x, mask=mask, total=total, index=None, unseen=None), z


def shown(spec: Spec, x: Tensor, mask: Tensor) -> Tensor:
    """`mask` where the gates of x say which columns have a value at all."""
    gated = [(column, gate) for column, gate in enumerate(spec.shown_by) if gate >= 0]
    if not gated:
        return mask
    columns, gates = torch.tensor(gated, device=x.device).unbind(1)
    mask = mask.index_fill(1, gates, True)
    return mask.index_copy(1, columns, x[:, gates] == 1)


def asleep(model: Model, batch: Batch) -> Tensor:
    """-log q(z|x) of a dream, the mean over its rows."""
    dreamt, z = dream(model, batch)
    return -model.posterior(dreamt).log_prob(z).mean()


@dataclass(frozen=True)
class Reweighted(Objective):
    """Reweighted wake-sleep (Bornschein & Bengio 2015, eqs. 4 to 7).

    With z_k ~ q and v_k = w_k / sum w, the generator descends minus the importance-weighted bound,
    sum v_k grad log p(x, z_k), and the recogniser sum v_k grad -log q(z_k|x) (phi=wake), which
    draws q towards the posterior of the rows as K grows, or -log q(z|x) of a dream (phi=sleep), or
    the mean of the two (phi=both).
    """

    samples: int = 5
    phi: str = "wake"
    path: ClassVar[bool] = False
    players: ClassVar[Mapping[str, Player]] = {"generator": GENERATOR, "recogniser": RECOGNISER}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phi not in PHI:
            raise UsageError(f"phi '{self.phi}' is not known; {did_you_mean(self.phi, PHI)}")
        if self.samples == 1 and self.phi == "wake":
            raise UsageError(
                "samples=1: one draw always has weight 1, by which q learns only its own draws; "
                "take phi=sleep, or samples=2 or more"
            )

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self._wake(model, batch, step)[0]

    def _wake(self, model: Model, batch: Batch, step: Step) -> tuple[Tensor, Tensor]:
        """Minus the bound, and what the recogniser descends of the same draws."""
        q = model.posterior(batch)
        z = q.draw(step.noise).detach()
        log_q = q.log_prob(z)
        log_w = given(model, batch, z) - log_q.detach()
        share = log_w.detach().softmax(0)
        return -mean_weight(log_w).mean(), -(share * log_q).sum(0).mean()

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        generator, recogniser = self._wake(model, batch, step)
        if self.phi == "sleep":
            recogniser = asleep(model, batch)
        elif self.phi == "both":
            recogniser = 0.5 * (recogniser + asleep(model, batch))
        return {"generator": generator, "recogniser": recogniser}

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self(model, batch, step)


@dataclass(frozen=True)
class WakeSleep(Objective):
    """Wake-sleep (Hinton et al. 1995): the generator descends -log p(x, z) of z ~ q(z|x), the
    recogniser -log q(z|x) of x, z ~ p. The first descends minus the ELBO, the second does not: it
    is KL(p || q) over the model's own rows, whatever the data are.
    """

    samples: int = 1
    path: ClassVar[bool] = False
    players: ClassVar[Mapping[str, Player]] = {"generator": GENERATOR, "recogniser": RECOGNISER}

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q = model.posterior(batch)
        z = q.draw(step.noise).detach()
        return -(given(model, batch, z) - q.log_prob(z).detach()).mean()

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"generator": self(model, batch, step), "recogniser": asleep(model, batch)}

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        return self(model, batch, step)
