"""Networks into which noise comes at every layer.

Source: Rezende et al. 2014, arXiv:1401.4082, eq. 1-4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaes.nets.mlp import mlp


class Layered(nn.Module):
    """z = (xi_1 ... xi_L) in equal parts, (n, d) -> features: h_L = G_L xi_L, then downwards h_l =
    T_l(h_{l+1}) + G_l xi_l, last T_0(h_1).

    Every T is an `mlp` of the widths `hidden`; all but T_0, behind which comes the readout, end in
    a linear layer. With `hidden` empty they are linear.
    """

    final = False  # these are features, whatever their number

    def __init__(self, latent: int, layers: int, hidden: Sequence[int], act: str = "silu") -> None:
        super().__init__()
        part = latent // layers
        self.layers = layers
        self.noise = nn.ModuleList(nn.Linear(part, part, bias=False) for _ in range(layers))
        width = hidden[-1] if hidden else part
        self.down = nn.ModuleList(
            nn.Sequential(mlp(part, hidden, act), nn.Linear(width, part)) for _ in range(layers - 1)
        )
        self.shown = mlp(part, hidden, act)
        with torch.no_grad():
            for p in self.noise.parameters():  # each layer's part of h starts as large as its xi
                nn.init.eye_(p)

    def forward(self, z: Tensor) -> Tensor:
        parts = z.chunk(self.layers, -1)
        h = self.noise[-1](parts[-1])
        for level in reversed(range(self.layers - 1)):
            h = self.down[level](h) + self.noise[level](parts[level])
        return self.shown(h)
