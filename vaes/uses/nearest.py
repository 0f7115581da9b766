"""Distances between rows of mixed columns, and the nearest of many, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Data
from vaes.uses.common import CHUNK

ENTRIES = 4_000_000  # numbers of one block of distances or rows


class Space:
    """Rows as points: entries divided by their standard deviation over `train` (one for all
    entries of an image), bits as they are, a category as an indicator over sqrt(2), so that two
    different ones are 1 apart. A coordinate that two rows do not share counts what two training
    rows differ in it on average (`usual`), so that a row of which little is known is near to none.
    """

    def __init__(self, train: Data) -> None:
        self.spec, device = train.spec, train.x.device
        flat = len(self.spec.shape) == 1
        kinds = self.spec.column_kinds()
        self.levels = [n if kind == "category" else 0 for kind, n in kinds]
        total = torch.zeros(3, self.spec.size, dtype=torch.float64, device=device)
        for batch in train.batches(CHUNK):
            x, seen = _flat(batch)
            total += torch.stack([seen.sum(0), (seen * x).sum(0), (seen * x * x).sum(0)])
        count, first, second = total if flat else total.sum(1, keepdim=True)
        variance = second / count.clamp(min=1) - (first / count.clamp(min=1)).square()
        scale = variance.clamp(min=0).sqrt().expand(self.spec.size)
        plain = torch.tensor([kind in ("binary", "category") for kind, _ in kinds], device=device)
        self.scale = torch.where(plain | (scale < 1e-9), 1.0, scale)
        self.width = sum(n or 1 for n in self.levels)
        total = torch.zeros(3, self.width, dtype=torch.float64, device=device)
        for batch in train.batches(CHUNK):
            x, seen = self.points(batch)
            total += torch.stack([seen.sum(0), x.sum(0), (x * x).sum(0)])
        mean, power = total[1:] / total[0].clamp(min=1)
        self.usual = 2 * (power - mean.square()).clamp(min=0)

    def points(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rows as points (n, width) and which of their coordinates are observed; float64."""
        x, seen = _flat(batch)
        x = x / self.scale
        if not any(self.levels):
            return x * seen, seen
        columns, masks = [], []
        for column, mask, n in zip(x.unbind(1), seen.unbind(1), self.levels, strict=True):
            code = column.long().clamp(0, n - 1) if n else column
            hot = torch.nn.functional.one_hot(code, n).double() if n else column.unsqueeze(1)
            columns.append(hot * 0.5**0.5 if n else hot)
            masks.append(mask.unsqueeze(1).expand(-1, n or 1))
        mask = torch.cat(masks, 1)
        return torch.cat(columns, 1) * mask, mask

    def nearest(self, rows: Data, among: Data) -> tuple[Tensor, Tensor]:
        """Distance (n,) of each row to the nearest of `among`, and which that is (n,)."""
        size = max(1, min(CHUNK, ENTRIES // max(self.width, CHUNK)))
        distances, places = [], []
        for batch in rows.batches(size):
            a = self.points(batch)
            best = torch.full((len(batch),), torch.inf, dtype=torch.float64, device=batch.x.device)
            place, start = torch.zeros_like(best, dtype=torch.long), 0
            for other in among.batches(size):
                found, index = self._squares(a, self.points(other)).min(1)
                place = torch.where(found < best, start + index, place)
                best, start = torch.minimum(best, found), start + len(other)
            # differences of the pairs themselves: products lose what is near 0
            b = self.points(among.rows(place))
            common = a[1] * b[1]
            square = (a[0] - b[0]).square() * common + (1 - common) * self.usual
            distances.append(square.sum(1).sqrt())
            places.append(place)
        return torch.cat(distances), torch.cat(places)

    def _squares(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        """Squared distances, (n, m)."""
        (x, seen), (y, known) = a, b
        square = (x * x) @ known.T + seen @ (y * y).T - 2 * x @ y.T
        return square.clamp(min=0) + (self.usual.sum() - (seen * self.usual) @ known.T)


def _flat(batch: Batch) -> tuple[Tensor, Tensor]:
    x = batch.x.flatten(1).double()
    seen = torch.ones_like(x) if batch.mask is None else batch.mask.flatten(1).double()
    return x * seen, seen
