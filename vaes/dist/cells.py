"""Entries that take one of a number of cells: bits, levels, categories, pieces of a numeric column.

Whatever a column holds, p(x) = P(cell) p(x | cell). Within the piece of a numeric column x is
uniform, in its tails exponential, so that the whole is a density (a mass, where values recur) over
the user's values: normalised, with atoms where the data have them, and bounded by nothing but the
data. All columns together are one row of `total` cells; column j has those from `offset[j]` on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import Spec
from vaes.dist.base import Likelihood, filled, masked, wide
from vaes.errors import UsageError

CODED = ("binary", "pixel", "category", "numeric")
PLACE = (1e-7, 0.999)  # where a drawn value lies within its piece: float32 keeps it inside


class Cells(nn.Module):
    """The cells of a flat row of `spec`, all of whose columns must be of the kinds `CODED`."""

    offset: Tensor
    unit: Tensor
    numeric: Tensor
    levels: Tensor
    log_width: Tensor
    tail: Tensor
    alone: Tensor
    back: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        pairs = spec.column_kinds()
        if len(spec.shape) != 1 or any(kind not in CODED for kind, _ in pairs):
            other = next((kind for kind, _ in pairs if kind not in CODED), "image")
            raise UsageError(
                f"columns of the kinds {', '.join(CODED)} are needed, not '{other}'; "
                "--kind numeric cuts reals into pieces"
            )
        levels = torch.tensor([n for _, n in pairs])
        self.sizes, self.total = levels.tolist(), int(levels.sum())
        self.tailed = [kind == "numeric" for kind, _ in pairs]
        self.columns, self.ordered = len(pairs), [kind != "category" for kind, _ in pairs]
        widths, tails, alone = [], [], []
        for j, (kind, n) in enumerate(pairs):
            ends = torch.tensor(spec.pieces[j], dtype=torch.float64) if kind == "numeric" else None
            width = torch.zeros(n).double() if ends is None else ends[1::2] - ends[::2]
            alone.append(width == 0)
            widths.append(torch.where(width > 0, width, 1.0).log())
            tail = torch.zeros(n)
            if ends is not None:
                tail[0], tail[-1] = -1, 1
            tails.append(tail)
        for name, value in {
            "levels": levels,
            "offset": levels.cumsum(0) - levels,
            "unit": torch.tensor([max(1, n - 1) if k == "pixel" else 1 for k, n in pairs]).float(),
            "numeric": torch.tensor([kind == "numeric" for kind, _ in pairs]),
            "log_width": torch.cat(widths).float(),
            "tail": torch.cat(tails),
            "alone": torch.cat(alone),
        }.items():
            self.register_buffer(name, value, persistent=False)
        groups: dict[int, list[int]] = {}
        for j, n in enumerate(self.sizes):
            groups.setdefault(n, []).append(j)
        self.groups = [(n, columns) for n, columns in groups.items()]
        for i, (n, columns) in enumerate(self.groups):
            index = self.offset[columns].unsqueeze(1) + torch.arange(n)
            self.register_buffer(f"cells_{i}", index, persistent=False)
        order = torch.tensor([j for _, columns in self.groups for j in columns])
        self.register_buffer("back", order.argsort(), persistent=False)

    def codes(self, x: Tensor) -> Tensor:
        """The cell of every entry, (…, m) whole numbers from 0 on."""
        found = torch.where(self.numeric, x.floor(), (x * self.unit).round())
        return torch.minimum(found.long().clamp(min=0), self.levels - 1)

    def place(self, codes: Tensor, u: Tensor) -> Tensor:
        """Entries of model space in the cells `codes`, at uniform numbers `u` within them."""
        u = torch.where(self.alone[self.offset + codes], 0.5, u.clamp(*PLACE))
        return torch.where(self.numeric, codes + u, codes / self.unit)

    def log_within(self, x: Tensor, codes: Tensor) -> Tensor:
        """log p(x | cell), (…, m): per unit of the user's values; 0 for discrete entries."""
        place, cell = x - x.floor(), self.offset + codes
        tail = self.tail[cell]
        left = torch.where(tail < 0, place, torch.where(tail > 0, 1 - place, 1.0))
        return left.clamp(min=PLACE[0]).log() - self.log_width[cell]

    def one_hot(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """1 at the cell of every observed entry, (…, total)."""
        index = self.offset + self.codes(x)
        ones = torch.ones_like(x) if mask is None else mask.to(x.dtype)
        return x.new_zeros(*x.shape[:-1], self.total).scatter_(-1, index, ones)

    def inside(self, logits: Tensor, j: int) -> Tensor:
        """Logits (…, levels) of column j without its tails: draws stay within what was seen."""
        if not self.tailed[j]:
            return logits
        return torch.nn.functional.pad(logits[..., 1:-1], (1, 1), value=-torch.inf)

    def split(self, values: Tensor) -> list[Tensor]:
        """(…, total) as one (…, columns, levels) per group of columns with as many levels."""
        return [values[..., self.get_buffer(f"cells_{i}")] for i in range(len(self.groups))]

    def join(self, parts: list[Tensor]) -> Tensor:
        """One (…, columns) per group back in the order of the columns, (…, m)."""
        return torch.cat(parts, -1)[..., self.back]


class Celled(Likelihood):
    """A likelihood that can tell the cell of any column given z and whatever else is observed."""

    cells: Cells

    @abstractmethod
    def conditionals(self, x: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Of every column with gaps in x (n, m): its number, the rows (r,) where it is missing and
        P(cell | observed entries, z) there, (*k, r, levels), without tails."""


class CellsLikelihood(Celled):
    """Independent columns given z: `logits` (*k, n, total) of the cells of each."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, logits: Tensor, cells: Cells) -> None:
        super().__init__(logits[..., : cells.columns], 1)
        self.logits, self.cells = logits, cells

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x, cells = filled(x, mask), self.cells
        codes = cells.codes(x)
        shape = torch.broadcast_shapes(x.shape[:-1], self.logits.shape[:-1])
        index = (cells.offset + codes).expand(*shape, -1)
        chosen = self.logits.expand(*shape, -1).gather(-1, index)
        norms = cells.join([part.logsumexp(-1) for part in cells.split(self.logits)])
        return masked(chosen - norms + cells.log_within(x, codes), mask)

    @property
    def mean(self) -> Tensor:
        """The middle of every column: the median where values have an order, else the mode."""
        found = [part.softmax(-1) for part in self.cells.split(self.logits)]
        medians = [median(p) for p in found]
        codes = self.cells.join([code for code, _ in medians])
        modes = self.cells.join([p.argmax(-1) for p in found])
        ordered = torch.tensor(self.cells.ordered, device=codes.device)
        places = self.cells.join([place for _, place in medians])
        return self.cells.place(torch.where(ordered, codes, modes), places)

    def conditionals(self, x: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        for j, rows in gaps(mask):
            start = int(self.cells.offset[j])
            logits = self.logits[..., rows, start : start + self.cells.sizes[j]]
            yield j, rows, self.cells.inside(logits, j).softmax(-1)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        cells, codes = self.cells, []
        shape, like = (*self.batch_shape, cells.columns), self.logits
        u = torch.rand(2, *shape, generator=generator, dtype=like.dtype, device=like.device)
        first = torch.cat([u[0][..., columns] for _, columns in cells.groups], -1)
        start = 0
        for (_, columns), part in zip(cells.groups, cells.split(self.logits), strict=True):
            part = torch.stack(
                [cells.inside(part[..., i, :], j) for i, j in enumerate(columns)], -2
            )
            codes.append(pick(part, first[..., start : start + len(columns)]))
            start += len(columns)
        return cells.place(cells.join(codes), u[1])


def pick(logits: Tensor, u: Tensor) -> Tensor:
    """The cell (…) that a uniform number u (…) falls in, of logits (…, levels)."""
    return (logits.softmax(-1).cumsum(-1) < u.unsqueeze(-1)).sum(-1).clamp(max=logits.shape[-1] - 1)


def median(p: Tensor) -> tuple[Tensor, Tensor]:
    """The cell that holds the median of probabilities p (…, levels), and the place within it."""
    return quantile(p, 0.5)


def quantile(p: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The cell below which, or in which, the `share` of probabilities p (…, levels) ends, and the
    place within it."""
    summed = p.cumsum(-1)
    code = (summed < share).sum(-1).clamp(max=p.shape[-1] - 1)
    here = p.gather(-1, code.unsqueeze(-1)).squeeze(-1)
    below = summed.gather(-1, code.unsqueeze(-1)).squeeze(-1) - here
    return code, ((share - below) / here.clamp(min=1e-12)).clamp(*PLACE)


def gaps(mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Every column that is somewhere missing, and the rows (r,) where it is."""
    for j in (~mask).any(0).nonzero().flatten().tolist():
        yield j, (~mask[:, j]).nonzero().squeeze(1)


class Pieces(nn.Module):
    """Head of `CellsLikelihood` over the columns of `spec`: one logit per cell."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.cells = Cells(spec)
        self.size = self.cells.total

    def forward(self, h: Tensor) -> CellsLikelihood:
        return CellsLikelihood(wide(h), self.cells)
