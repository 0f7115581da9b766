"""What a page runs: a list of plain operations and one block of float32 weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Op = dict[str, Any]


class Unsupported(Exception):
    """What keeps a decoder from running in a page, as the end of "a page cannot run ..."."""


@dataclass(frozen=True)
class Program:
    """`ops` from a code z (latent,) to the head's numbers, `head` from these to the mean of p(x|z),
    (size,) in model space; both refer to `weights` by [start, length]."""

    latent: int
    size: int
    ops: list[Op]
    head: Op
    weights: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {"latent": self.latent, "size": self.size, "ops": self.ops, "head": self.head}


class Store:
    """Weights in the order in which they were added."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.length = 0

    def add(self, tensor: Tensor | None) -> list[int] | None:
        """Where `tensor` lies from now on, [start, length]; None for none."""
        if tensor is None:
            return None
        flat = tensor.detach().cpu().to(torch.float32).flatten().numpy()
        self.parts.append(flat)
        self.length += len(flat)
        return [self.length - len(flat), len(flat)]
