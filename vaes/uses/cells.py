"""What stands in gaps of entries that take cells, read from P(cell | what is observed).

The likelihood tells that of each missing entry given a code; weighted over the codes it needs no
draw of the other gaps, which would only add noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Spec
from vaes.data.pieces import locate
from vaes.dist.cells import Celled, quantile
from vaes.model import Model
from vaes.uses.common import at_once

FEW = 20  # pieces of a numeric column up to which it is taken for levels


def summary(model: Model, batch: Batch, z: Tensor, weights: Tensor, level: float) -> Tensor:
    """Best values, low and high ends of the gaps of `batch`, (3, n, m) in model space; what stands
    where something was observed means nothing. z (k, n, d), weights (k, n) that sum to 1."""
    p = model.likelihood(z[:1], batch)
    assert isinstance(p, Celled)
    n, m = batch.x.shape
    codes = torch.zeros(3, n, m, dtype=torch.long, device=z.device)
    places = torch.full((3, n, m), 0.5, dtype=weights.dtype, device=z.device)
    means = torch.full((n, m), torch.nan, dtype=torch.float64, device=z.device)
    for j, (rows, share) in _shares(model, batch, z, weights).items():
        if p.cells.ordered[j]:
            found = [quantile(share, q) for q in (0.5, (1 - level) / 2, (1 + level) / 2)]
            codes[:, rows, j] = torch.stack([code for code, _ in found])
            places[:, rows, j] = torch.stack([place for _, place in found])
        else:
            codes[:, rows, j] = share.argmax(-1)
        if p.cells.tailed[j] and p.cells.sizes[j] - 2 > FEW:
            means[rows, j] = _mean(model.spec, j, share)
    found = p.cells.place(codes, places)
    found[0] = torch.where(means.isnan(), found[0], means)
    return found


def _shares(
    model: Model, batch: Batch, z: Tensor, weights: Tensor
) -> dict[int, tuple[Tensor, Tensor]]:
    """By column with gaps: the rows (r,) where it is missing, P(cell | observed) there."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    few = at_once(model, len(batch), len(z))
    assert batch.mask is not None
    for some, weight in zip(z.split(few), weights.split(few), strict=True):
        p = model.likelihood(some, batch)
        assert isinstance(p, Celled)
        for j, rows, share in p.conditionals(batch.x, batch.mask):
            part = (weight[:, rows].unsqueeze(-1) * share).sum(0)
            found[j] = rows, part + found[j][1] if j in found else part
    return found


def _mean(spec: Spec, j: int, share: Tensor) -> Tensor:
    """The mean (r,) of probabilities (r, levels) of the pieces of column j, in model space."""
    ends = torch.tensor(spec.pieces[j], dtype=torch.float64, device=share.device)
    middle = ends[::2] / 2 + ends[1::2] / 2
    centres = middle.new_tensor(spec.centres[j]) if spec.centres else middle
    mean = (share.double() @ centres).clamp(ends[1], ends[-2])
    return torch.from_numpy(locate(mean.cpu().numpy(), spec.pieces[j])).to(share.device)
