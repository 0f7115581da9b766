"""Where the scale of a likelihood over entries comes from, the same for every family."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaes.dist.base import soft_clip, wide
from vaes.errors import UsageError


class Scale(nn.Module):
    """`size` numbers per row in, log-scales that broadcast against (*k, n, *shape) out.

    scale: "shared" one learned number, "entry" one for each entry, "network" a number for each
    entry and row from the decoder, or a positive number that stays fixed (a buffer). Softly clipped
    to `bounds` from a start at `start`.
    """

    log_scale: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        scale: str | float,
        bounds: tuple[float, float],
        start: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.bounds, self.start = tuple(shape), bounds, start
        self.network, self.fixed = scale == "network", not isinstance(scale, str)
        self.size = math.prod(self.shape) if self.network else 0
        if scale in ("shared", "entry"):
            size = self.shape if scale == "entry" else ()
            self.log_scale = nn.Parameter(torch.zeros(size))
        elif not isinstance(scale, str):
            if not scale > 0:
                raise UsageError(f"a fixed scale must be positive, got {scale}")
            self.register_buffer("log_scale", torch.tensor(math.log(scale)))
        elif not self.network:
            raise UsageError(
                f"scale '{scale}' is not known; use shared, entry, network or a positive number"
            )

    def forward(self, h: Tensor) -> Tensor:
        if self.fixed:
            return self.log_scale
        raw = wide(h).unflatten(-1, self.shape) if self.network else self.log_scale
        return soft_clip(raw + self.start, *self.bounds)
