"""Layers of codes: z = (z_L, ..., z_1), each layer drawn given all above it, x given z_1 alone.

p(z) = p(z_L) prod_l p(z_l | z_{l+1} ... z_L). What the encoder says of each layer is merged with
what the layers above say (ladder VAE; Sonderby et al. 2016, arXiv:1602.02282, eq. 10-12), or is a
step away from it (NVAE; Vahdat & Kautz 2020, arXiv:2007.03898, eq. 4), or holds for z_1 alone,
from which z_2, and then z_3, are inferred (Burda et al. 2016, arXiv:1509.00519, eq. 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaes.batch import Batch
from vaes.dist.base import Latent, soft_clip, wide
from vaes.dist.chain import Chain, Flipped, Given
from vaes.dist.gaussian import LOG_SCALE, DiagonalNormal
from vaes.dist.priors import Prior
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.mlp import mlp

MERGES = ("precision", "residual", "bottom_up")
WIDTH = 128


def layer_sizes(latent: int, layers: int | None) -> tuple[int, ...]:
    """Dimensions from z_1 up: `latent`, then half of it ...; without a number of layers three, or
    as many as `latent` can be halved to."""
    most = latent.bit_length()
    layers = min(3, most) if layers is None else layers
    if not 1 <= layers <= most:
        raise UsageError(
            f"layers={layers}: each layer has half the dimensions of the one below, so latent="
            f"{latent} carries 1 to {most} layers; give more latent dimensions, or fewer layers"
        )
    return tuple(latent >> i for i in range(layers))


class Layer(nn.Module):
    """p(z_l | what is above): a network from (…, above) to a diagonal normal, softly bounded."""

    def __init__(self, above: int, size: int, width: int) -> None:
        super().__init__()
        self.body, self.last = mlp(above, (width,)), nn.Linear(width, 2 * size)

    def forward(self, z: Tensor) -> DiagonalNormal:
        h = self.last(self.body(z.flatten(0, -2))).view(*z.shape[:-1], -1)
        loc, raw = wide(h).chunk(2, -1)
        return DiagonalNormal(loc, soft_clip(raw, *LOG_SCALE))


def merged(said: DiagonalNormal, above: DiagonalNormal) -> DiagonalNormal:
    """The product of two normals: precisions add, means are weighed by them."""
    own, prior = (-2 * said.log_scale).exp(), (-2 * above.log_scale).exp()
    total = own + prior
    return DiagonalNormal((own * said.loc + prior * above.loc) / total, -0.5 * total.log())


def moved(said: DiagonalNormal, above: DiagonalNormal) -> DiagonalNormal:
    """`above` shifted by its scales times said.loc, and widened by said.scale."""
    loc = above.loc + above.log_scale.exp() * said.loc
    return DiagonalNormal(loc, above.log_scale + said.log_scale)


class Rung(nn.Module):
    """q(z_l | x, what is above): what the encoder said of the layer, joined with `layer`'s word."""

    def __init__(self, layer: Layer, merge: str) -> None:
        super().__init__()
        self.layer, self.join = layer, {"precision": merged, "residual": moved}[merge]

    def forward(self, z: Tensor, loc: Tensor, log_scale: Tensor) -> DiagonalNormal:
        return self.join(DiagonalNormal(loc, log_scale), self.layer(z))


class Ladder(Prior):
    """The prior of `sizes` (from z_1 up), which also makes the posterior of what the encoder says.

    With `merge` precision or residual the encoder speaks of all layers, d = sum of sizes, and the
    posterior is drawn from the top down; with bottom_up it speaks of z_1, and the prior's `extra`
    layers are inferred from z_1 upwards.
    """

    zeros: Tensor

    def __init__(
        self, sizes: tuple[int, ...], merge: str = "precision", width: int = WIDTH
    ) -> None:
        super().__init__()
        if merge not in MERGES:
            raise UsageError(f"merge '{merge}' is not known; use {', '.join(MERGES)}")
        if width < 1:
            raise UsageError(f"width={width}: at least one unit is needed")
        self.merge, self.sizes, self.shown = merge, sizes[::-1], sizes[0]
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        self.layers = nn.ModuleList(
            Layer(end, size, width) for end, size in zip(ends, self.sizes[1:], strict=False)
        )
        self.up = nn.ModuleList()
        if merge == "bottom_up":
            self.extra = sum(sizes[1:])
            # z_l from all below it, as the chain hands them on
            below = torch.tensor(sizes).cumsum(0).tolist()
            self.up.extend(
                Layer(end, size, width) for end, size in zip(below, sizes[1:], strict=False)
            )
        self.register_buffer("zeros", torch.zeros(self.sizes[0]), persistent=False)

    def forward(self, model: Model, batch: Batch) -> Chain:
        links = [Given(layer) for layer in self.layers]
        return Chain(self._top(len(batch)), *links, sizes=self.sizes)

    def joined(self, q: Latent) -> Latent:
        if self.merge == "bottom_up":
            return Flipped(Chain(q, *(Given(layer) for layer in self.up), sizes=self.sizes[::-1]))
        if not isinstance(q, DiagonalNormal):
            raise UsageError(
                f"the layers of a ladder are diagonal normals, which {type(q).__name__} is not; "
                "take merge=bottom_up, which takes any"
            )
        said = [
            DiagonalNormal(loc, log_scale)
            for loc, log_scale in zip(
                q.loc.split(self.sizes, -1), q.log_scale.split(self.sizes, -1), strict=True
            )
        ]
        join = merged if self.merge == "precision" else moved
        links = [
            Given(Rung(layer, self.merge), (own.loc, own.log_scale))  # type: ignore[arg-type]
            for layer, own in zip(self.layers, said[1:], strict=True)
        ]
        return Chain(join(said[0], self._top(len(q.loc))), *links, sizes=self.sizes)

    def _top(self, n: int) -> DiagonalNormal:
        zeros = self.zeros.expand(n, -1)
        return DiagonalNormal(zeros, zeros)


class BottomUp(nn.Module):
    """Head of an encoder that speaks of every layer: a network climbs from layer to layer, and of
    each floor z_l's mean and scale are read off (deterministic bottom-up path of the ladder VAE).

    `size` numbers in; sizes from z_1 up; the codes are z = (z_L, ..., z_1).
    """

    def __init__(self, sizes: tuple[int, ...], width: int = WIDTH) -> None:
        super().__init__()
        self.size, self.latent = width, sum(sizes)
        self.floors = nn.ModuleList(mlp(width, (width,)) for _ in sizes[1:])
        self.reads = nn.ModuleList(nn.Linear(width, 2 * size) for size in sizes)

    def forward(self, h: Tensor) -> DiagonalNormal:
        found = [self.reads[0](h)]
        for floor, read in zip(self.floors, self.reads[1:], strict=True):
            h = floor(h)
            found.append(read(h))
        pairs = [wide(part).chunk(2, -1) for part in reversed(found)]
        loc, raw = (torch.cat(parts, -1) for parts in zip(*pairs, strict=True))
        return DiagonalNormal(loc, soft_clip(raw, *LOG_SCALE))
