"""Total correlation by a critic that tells draws of q(z) from draws of its independent twin.

Source: Kim & Mnih 2018, arXiv:1802.05983 (FactorVAE), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaes.batch import Batch
from vaes.dist.base import wide
from vaes.errors import UsageError
from vaes.model import Model, Player, Step
from vaes.objective.aggregate import enough
from vaes.objective.base import Objective
from vaes.objective.weights import terms


class Factor(nn.Module, Objective):
    """distortion + rate + gamma TC(z), TC the mean over q(z) of log D / (1 - D).

    The critic says log D / (1 - D) of z, where D is the probability that z is a draw of q(z) and
    not of prod_j q(z_j); it descends its own loss on the draws of one half of the batch and on
    those of the other with every dimension permuted over the rows by itself.

    latent: dimensions of z · gamma: weight of the total correlation · width, depth: of the critic's
    hidden layers (the paper: 1,000 and 6).
    """

    players: ClassVar[Mapping[str, Player]] = {
        "model": Player(("inputs", "encoder", "decoder", "latent_prior")),
        "critic": Player(("objective",), betas=(0.5, 0.9)),
    }

    def __init__(
        self, latent: int, samples: int = 1, gamma: float = 10.0, width: int = 256, depth: int = 4
    ) -> None:
        super().__init__()
        self.latent, self.samples, self.gamma = latent, samples, gamma
        Objective.__post_init__(self)
        if gamma < 0 or min(latent, width, depth) < 1:
            raise UsageError(
                f"latent={latent}, gamma={gamma}, width={width}, depth={depth}: gamma is not "
                "negative, the others are 1 at least"
            )
        sizes, layers = [latent, *[width] * depth], []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.critic = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, model: Model, batch: Batch, step: Step) -> Tensor:
        """What the model descends."""
        return self.losses(model, batch, step)["model"]

    def losses(self, model: Model, batch: Batch, step: Step) -> dict[str, Tensor]:
        q = model.posterior(batch)
        found, z = terms(model, batch, step.noise, q), q.draw(step.noise)
        if z.shape[-1] != self.latent:
            raise UsageError(
                f"objective.latent={self.latent}: the codes here have {z.shape[-1]} dimensions"
            )
        loss = (found.distortion + found.rate).mean()
        if not enough(model, batch):
            return {"model": loss}
        loss = loss + self.gamma * self.log_ratio(z).mean()
        return {"model": loss, "critic": self.confused(z.detach())}

    def judged(self, model: Model, batch: Batch, step: Step) -> Tensor:
        """What the model descends, which a better critic makes no better."""
        return self(model, batch, step)

    def log_ratio(self, z: Tensor) -> Tensor:
        """The critic's log q(z) / prod_j q(z_j), (*k, n)."""
        return wide(self.critic(z)).squeeze(-1)

    def confused(self, z: Tensor) -> Tensor:
        """Minus the critic's mean log-probability of the truth: log 2 where it knows nothing."""
        half = z.shape[-2] // 2
        joint, apart = self.log_ratio(z[..., :half, :]), self.log_ratio(permuted(z[..., half:, :]))
        return 0.5 * (F.softplus(-joint).mean() + F.softplus(apart).mean())


def permuted(z: Tensor) -> Tensor:
    """z (*k, n, d) with every dimension permuted over the n rows by itself: its marginals are those
    of z to the bit, its dimensions independent (Kim & Mnih 2018, algorithm 1)."""
    return z.gather(-2, torch.rand_like(z).argsort(-2))
