"""A second variational autoencoder over the codes of the first (Dai & Wipf 2019, arXiv:1903.05789).

p(z) = E p(z|u) over u ~ N(0, I), with q(u|z): together with the first stage one model of (u, z),
p(u) p(z|u) p(x|z) beside q(z|x) q(u|z).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data
from vaes.dist.base import Latent, soft_clip, wide
from vaes.dist.chain import Chain, Flipped, Given
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, LOG_SCALE, DiagonalNormal
from vaes.dist.priors import Prior
from vaes.errors import UsageError
from vaes.model import Model, Phase
from vaes.nets.mlp import mlp

SECOND = "second"  # the phase in which the codes get their own model, and its player


class Stage(nn.Module):
    """(…, inputs) -> a diagonal normal over `size` numbers; N(0, I) while `on` is 0.

    The input joins the last layer, as in the paper. `shared`: one standard deviation for all, the
    gamma_z of p(z|u); else one for each number, as q(u|z) has.
    """

    on: Tensor

    def __init__(self, inputs: int, size: int, width: int, shared: bool) -> None:
        super().__init__()
        self.body, self.size = mlp(inputs, (width, width), "relu"), size
        self.last = nn.Linear(width + inputs, size if shared else 2 * size)
        self.log_scale = nn.Parameter(torch.zeros(())) if shared else None
        self.register_buffer("on", torch.zeros(()))

    def forward(self, z: Tensor) -> DiagonalNormal:
        flat = z.flatten(0, -2)
        h = wide(self.last(torch.cat([self.body(flat), flat], -1))).view(*z.shape[:-1], -1)
        if self.log_scale is None:
            log_scale = soft_clip(h[..., self.size :], *LOG_SCALE)
        else:
            log_scale = soft_clip(self.log_scale, *LIKELIHOOD_LOG_SCALE)
        return DiagonalNormal(self.on * h[..., : self.size], self.on * log_scale)


class SecondStage(Prior):
    """The aggregate of q(z|x) by a small VAE with u of `latent` dimensions (None: as many as z).

    Learnt after the first stage, which then stands still, from fresh draws of q(z|x), in `share` of
    the first stage's budget; until then u and z are N(0, I) and independent, and the bound is that
    of the first stage alone.
    """

    player = SECOND

    def __init__(
        self, size: int, latent: int | None = None, width: int = 256, share: float = 0.5
    ) -> None:
        super().__init__()
        latent = size if latent is None else latent
        if latent < 1 or width < 1 or not share > 0:
            raise UsageError(
                f"latent={latent}, width={width}, share={share}: a second stage has at least one "
                "of each, and a share of the budget above 0"
            )
        self.extra, self.sizes = latent, (latent, size)
        self.phases = (Phase(SECOND, share=share, players=(SECOND,)),)
        self.infer = Stage(size, latent, width, shared=False)
        self.generate = Stage(latent, size, width, shared=True)

    @property
    def on(self) -> Tensor:
        """1 once the second stage is part of the model."""
        return self.generate.on

    def forward(self, model: Model, batch: Batch) -> Chain:
        zeros = self.on.new_zeros(len(batch), self.extra)
        return Chain(DiagonalNormal(zeros, zeros), Given(self.generate), sizes=self.sizes)

    def joined(self, q: Latent) -> Flipped:
        return Flipped(Chain(q, Given(self.infer), sizes=self.sizes[::-1]))

    def begin(self, model: Model, phase: str, data: Data) -> None:
        for stage in (self.infer, self.generate):
            stage.on.fill_(float(phase == SECOND))
