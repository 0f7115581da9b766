"""VampPrior: the mean of the posteriors of learnt pseudo-inputs (Tomczak & Welling 2018,
arXiv:1705.07120, eq. 9).

A pseudo-input is what the encoder sees of a row (`vaes.composed.Inputs`), not a row: so it exists
for categories, counts and gaps too, where no row between two rows does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.mixture import Mixture
from vaes.dist.priors import Prior
from vaes.errors import UsageError

COMPONENTS = 500
NEAR = 0.01  # spread of the start around a row, so that two pseudo-inputs of one row part


class Vamp(Prior):
    """p(z) = 1/K sum_k q(z | u_k), with `components` = K pseudo-inputs u_k of `shape`.

    They start at training rows drawn at random. Gradients flow into them and, through them, into
    the encoder.
    """

    space = "any"
    pseudo: nn.Parameter

    def __init__(self, shape: tuple[int, ...], components: int) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"prior.components={components}: at least one pseudo-input is needed")
        draw = generator("pseudo-inputs")
        self.pseudo = nn.Parameter(0.05 + NEAR * torch.randn(components, *shape, generator=draw))

    def forward(self, model: Any, batch: Batch) -> Mixture:
        u, encoder = self.pseudo, model.encoder
        weights = u.new_zeros(len(u))
        return Mixture(encoder(u), weights, len(batch), lambda index: encoder(u[index]))

    def begin(self, model: Any, phase: str, data: Data) -> None:
        if phase != "train":
            return
        k, draw = len(self.pseudo), generator("pseudo-inputs")
        rows = torch.randperm(len(data), generator=draw).repeat(-(-k // len(data)))[:k]
        was = model.inputs.training
        model.inputs.eval()  # nothing is hidden from the start of a pseudo-input
        seen = model.inputs(data.rows(rows.to(data.x.device)))
        model.inputs.train(was)
        noise = torch.randn(seen.shape, generator=draw, dtype=torch.float64)
        self.pseudo.copy_(seen + NEAR * noise.to(seen))


def vamp(spec: Spec, components: int | None = None) -> Vamp:
    """components: pseudo-inputs (None: 500, at most a tenth of the training rows)."""
    from vaes.composed import Inputs

    if components is None:
        components = min(COMPONENTS, max(10, spec.rows // 10)) if spec.rows else COMPONENTS
    elif spec.rows and components > spec.rows:
        raise UsageError(
            f"prior.components={components}: there are {spec.rows} training rows, and each gives "
            "a pseudo-input its start; take at most as many"
        )
    return Vamp(Inputs(spec).shape, components)
