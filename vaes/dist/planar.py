"""Flow steps whose numbers are the row's own: planar and Sylvester.

Sources: Rezende & Mohamed 2015, arXiv:1505.05770, eq. 10 and appendix A.1; van den Berg et al.
2018, arXiv:1803.05649, eq. 13 (Q a product of Householder reflections).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vaes.dist.flowed import FlowStep
from vaes.dist.lowrank import reflected

HALVINGS = 80  # to the rounding of float64 from any bracket that occurs
AT_REST = math.log(math.e - 1)  # softplus of it is 1: a planar step with this w^T u moves nothing


class Planar(FlowStep):
    """z + u' tanh(w^T z + b), 2 d + 1 numbers; u' as near to u as invertibility lets it be.

    u' = u + (m(w^T u) - w^T u) w / |w|^2, m(a) = softplus(a) - 1 > -1. Where the network says 0, w
    is the axis `axis` and the step moves nothing.
    """

    axis: Tensor

    def __init__(self, latent: int, axis: int = 0) -> None:
        super().__init__()
        self.size = 2 * latent + 1
        self.register_buffer("axis", torch.eye(latent)[axis % latent], persistent=False)

    def forward(self, z: Tensor, h: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        d = len(self.axis)
        u, w, b = h.split([d, d, 1], -1)
        w = w + self.axis
        return planar(z, u + AT_REST * w / _square(w), w, b, back)


def planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
    """The planar map of z (*k, n, d) by u, w (n, d) and b (n, 1), or what z is its image of; and
    log |det d image / d z| of the map."""
    along = (w * u).sum(-1, keepdim=True)
    room = F.softplus(along)  # 1 + w^T u', without the rounding of either
    u = u + (room - 1 - along) * w / _square(w)
    if back:
        place = solved((w * z).sum(-1, keepdim=True), room - 1, torch.ones_like(b), b)
        t = torch.tanh(place + b)
        z = z - u * t
    else:
        t = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        z = z + u * t
    # 1 + (1 - t^2) w^T u'
    return z, (t.square() + room * (1 - t.square())).log().squeeze(-1)


def solved(target: Tensor, a: Tensor, w: Tensor, c: Tensor) -> Tensor:
    """y with y + a tanh(w y + c) = target, elementwise; rising in y where a w > -1.

    By bisection, then one Newton step, through which gradients are those of the implicit function.
    """
    with torch.no_grad():
        low, high = torch.broadcast_tensors(target - a.abs(), target + a.abs())
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            above = middle + a * torch.tanh(w * middle + c) > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        y = 0.5 * (low + high)
        slope = 1 + a * w * (1 - torch.tanh(w * y + c).square())
        slope = slope.clamp(min=1e-12)
    return y - (y + a * torch.tanh(w * y + c) - target) / slope


class Sylvester(FlowStep):
    """z + Q R tanh(R' Q^T z + b) with Q orthogonal, R and R' upper triangular with r_ii r'_ii > -1:
    as many planar steps at once as z has dimensions. Q is a product of `reflections`, an even
    number, d (reflections + d + 2) numbers in all; the identity where the network says 0."""

    axes: Tensor
    above: Tensor

    def __init__(self, latent: int, reflections: int = 4) -> None:
        super().__init__()
        self.latent, self.pairs = latent, latent * (latent - 1) // 2
        self.parts = [latent * reflections, self.pairs, self.pairs, latent, latent, latent]
        self.size = sum(self.parts)
        rows, columns = torch.triu_indices(latent, latent, 1)
        axes = torch.eye(latent)[(torch.arange(reflections) // 2) % latent]
        self.register_buffer("axes", axes, persistent=False)
        self.register_buffer("above", rows * latent + columns, persistent=False)

    def forward(self, z: Tensor, h: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        vectors, upper, inner, r, s, b = h.split(self.parts, -1)
        vectors = vectors.unflatten(-1, (-1, self.latent)) + self.axes
        # tanh keeps the product of the two diagonals above -1
        r, s = torch.tanh(r), torch.tanh(s)
        outer, inner = self._upper(upper, r), self._upper(inner, s)
        y = reflected(z, vectors.flip(-2))
        if back:
            moved, y = y, self._back(y, outer, inner, b)
            t = torch.tanh(_times(inner, y) + b)
            z = z + reflected(y - moved, vectors)
        else:
            t = torch.tanh(_times(inner, y) + b)
            z = z + reflected(_times(outer, t), vectors)
        return z, torch.log1p(r * s * (1 - t.square())).sum(-1)

    def _upper(self, above: Tensor, diagonal: Tensor) -> Tensor:
        flat = above.new_zeros(*above.shape[:-1], self.latent**2).index_copy(-1, self.above, above)
        return flat.unflatten(-1, (self.latent, self.latent)) + torch.diag_embed(diagonal)

    def _back(self, moved: Tensor, outer: Tensor, inner: Tensor, b: Tensor) -> Tensor:
        """y with y + R tanh(R' y + b) = moved, from the last dimension to the first: each depends
        on itself and those behind it alone."""
        found: list[Tensor] = []
        for i in reversed(range(self.latent)):
            behind = moved.new_zeros(()) if not found else torch.stack(found, -1)
            shift, inside = moved[..., i], b[..., i]
            if found:
                t = torch.tanh(_times(inner[..., i + 1 :, i + 1 :], behind) + b[..., i + 1 :])
                shift = shift - (outer[..., i, i + 1 :] * t).sum(-1)
                inside = inside + (inner[..., i, i + 1 :] * behind).sum(-1)
            found.insert(0, solved(shift, outer[..., i, i], inner[..., i, i], inside))
        return torch.stack(found, -1)


def _square(w: Tensor) -> Tensor:
    return w.square().sum(-1, keepdim=True)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
