"""Posteriors that are one vector of a finite set at each of several places of z.

z (d,) holds `width` numbers at each of d / width places, channels first (as a grid that an image's
convolutions make), and every place holds exactly a vector of the quantiser. A point mass is a
distribution over codes, so with a prior over codes log p(x|z) + log p(z) is a bound of log p(x).
Sources: van den Oord et al. 2017 (arXiv:1711.00937), Mentzer et al. 2023 (arXiv:2309.15505).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from vaes.batch import generator
from vaes.dist.point import Point
from vaes.dist.base import Latent, wide
from vaes.errors import UsageError

if TYPE_CHECKING:
    from vaes.batch import Batch
    from vaes.model import Model, Step

NEAR = 4  # codes that are compared without rounding
SPREAD = 3.0  # of what a lattice rounds: a new encoder says little, and all rows would begin at 0
UNUSED = 1e-6  # vectors a batch below which a code stays where it is


class _Finite(constraints.Constraint):
    """One of finitely many vectors."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite().all(-1)


finite = _Finite()


class Quantiser(nn.Module, ABC):
    """`count` vectors of `width` numbers; bounds and rounds what an encoder says."""

    count: int
    width: int

    @abstractmethod
    def codes(self, vectors: Tensor) -> Tensor:
        """The number of the vector nearest to each, (…, width) -> (…)."""

    @abstractmethod
    def embed(self, codes: Tensor) -> Tensor:
        """The vectors numbered by codes (…), (…, width)."""

    def bounded(self, h: Tensor) -> Tensor:
        """What is rounded, of what the encoder says, (…, width)."""
        return h

    def follow(self, vectors: Tensor, step: Step) -> None:
        """Called in training with the vectors (m, width) of a batch; moves buffers."""


class Codebook(Quantiser):
    """Vectors that follow the mean of what falls to them, by moving averages (eq. 6-8, appendix).

    keep: of the averages, gamma; 0 and a batch of all rows is a step of k-means · restart: a code
    that has fewer than this share of an even share of the vectors starts afresh at one of the
    batch, as all do in the first batch.
    """

    table: Tensor
    sizes: Tensor
    sums: Tensor
    usage: Tensor

    def __init__(self, count: int, width: int, keep: float = 0.99, restart: float = 0.01) -> None:
        super().__init__()
        if count < 2 or width < 1:
            raise UsageError(f"codes={count}, width={width}: at least 2 codes of 1 number")
        if not (0 <= keep < 1 and 0 <= restart < 1):
            raise UsageError(f"keep={keep}, restart={restart}: both lie in 0 ... 1, 1 excluded")
        self.count, self.width, self.keep, self.restart = count, width, keep, restart
        self.register_buffer("table", torch.randn(count, width))
        self.register_buffer("sizes", torch.zeros(count))
        self.register_buffer("sums", torch.zeros(count, width))
        self.register_buffer("usage", torch.zeros(count))  # sizes, but for fresh starts

    def codes(self, vectors: Tensor) -> Tensor:
        v, table = wide(vectors), wide(self.table)
        with torch.autocast(v.device.type, enabled=False):  # never in half precision
            # |e|^2 - 2 v e orders codes as the distance does, but for rounding: the nearest few by
            # it are compared by their differences, so that a code's own vector always finds it
            near = (table.square().sum(-1) - 2 * v @ table.T).topk(
                min(NEAR, self.count), largest=False
            )
            apart = (v.unsqueeze(-2) - self.embed(near.indices)).square().sum(-1)
        return near.indices.gather(-1, apart.argmin(-1, keepdim=True)).squeeze(-1)

    def embed(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes, self.table)

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy of the running usage: how many codes are in even use, 1 to count."""
        share = self.usage / self.usage.sum().clamp(min=UNUSED)
        return torch.special.entr(share).sum().exp()

    def follow(self, vectors: Tensor, step: Step) -> None:
        code = self.codes(vectors)
        sizes = torch.zeros_like(self.sizes).index_add_(0, code, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, code, vectors)
        first = self.sizes.sum() == 0
        self.sizes.lerp_(sizes, 1 - self.keep)
        self.usage.lerp_(sizes, 1 - self.keep)
        self.sums.lerp_(sums, 1 - self.keep)
        share = len(vectors) / self.count
        if self.restart:
            afresh = first | (self.sizes < self.restart * share)
            self.sizes.copy_(torch.where(afresh, share, self.sizes))
            drawn = share * vectors[self._rows(len(vectors), step)]
            self.sums.copy_(torch.where(afresh.unsqueeze(-1), drawn, self.sums))
        mean = self.sums / self.sizes.clamp(min=UNUSED).unsqueeze(-1)
        self.table.copy_(torch.where((self.sizes > UNUSED).unsqueeze(-1), mean, self.table))

    def _rows(self, n: int, step: Step) -> Tensor:
        """A row of the batch for each code, all different where there are enough."""
        draw = generator("restart", int(step.index))
        many = -(-self.count // n)
        order = torch.cat([torch.randperm(n, generator=draw) for _ in range(many)])
        return order[: self.count].to(self.table.device)


class Lattice(Quantiser):
    """Bounded and rounded to `levels` values per number: no codebook, no collapse (FSQ, sec. 3.1).

    The values of a number with L levels lie evenly over -1 ... 1 (of an even L: -1 ... 1 - 2/L).
    """

    reach: Tensor
    shift: Tensor
    offset: Tensor
    steps: Tensor
    base: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise UsageError(
                f"levels={list(levels)}: how many levels each number of a code has, 2 or more"
            )
        self.levels, self.width, self.count = tuple(levels), len(levels), math.prod(levels)
        number = torch.tensor(levels, dtype=torch.float64)
        offset = 0.5 * (number % 2 == 0)
        reach = (number - 1) * (1 - 1e-3) / 2  # just inside, so that the ends are not rounded out
        base = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        # with two levels 0 is their border, which no shift can help
        shift = (offset / reach).clamp(max=1.0 - 1e-6).atanh() * (number > 2)
        kept = {"reach": reach, "offset": offset, "shift": shift}
        for name, value in {**kept, "steps": (number / 2).floor()}.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("base", base, persistent=False)

    def bounded(self, h: Tensor) -> Tensor:
        return ((SPREAD * h + self.shift).tanh() * self.reach - self.offset) / self.steps

    def codes(self, vectors: Tensor) -> Tensor:
        place = (vectors * self.steps).round() + self.steps
        top = torch.tensor(self.levels, device=place.device) - 1
        return (place.long().clamp(min=0).minimum(top) * self.base).sum(-1)

    def embed(self, codes: Tensor) -> Tensor:
        number = torch.tensor(self.levels, device=codes.device)
        place = codes.unsqueeze(-1) // self.base % number
        return (place.to(self.steps.dtype) - self.steps) / self.steps


class Quantised(Point):
    """All mass at `loc` (*batch, d), the vectors `exact` of `codes` (*batch, places).

    Backward the gradient of `loc` is that of what was rounded, `said` (*batch, places, width):
    straight through.
    """

    support = finite  # type: ignore[assignment]

    def __init__(self, loc: Tensor, codes: Tensor, said: Tensor, exact: Tensor) -> None:
        super().__init__(loc)
        self.codes, self.said, self.exact = codes, said, exact

    @property
    def missed(self) -> Tensor:
        """Squared distance from what was said to z, which moves the encoder alone, (*batch,)."""
        return (self.said - self.exact).square().sum((-2, -1))

    @property
    def noise_size(self) -> int:
        return 0

    def drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z = self.draw(noise)
        return z, z.new_zeros(z.shape[:-1])


class QuantisedHead(nn.Module):
    """Head of `Quantised`: what the encoder says at every place, bounded and rounded."""

    space, noise_size = "codes", 0

    def __init__(self, size: int, quantiser: Quantiser) -> None:
        super().__init__()
        if size % quantiser.width:
            raise UsageError(
                f"latent={size}: codes of width {quantiser.width} take a multiple of that"
            )
        self.size, self.places = size, size // quantiser.width
        self.quantiser = quantiser

    def forward(self, h: Tensor) -> Quantised:
        said = self.quantiser.bounded(self.split(wide(h)))
        codes = self.quantiser.codes(said.detach())
        exact = self.quantiser.embed(codes)
        # said - said is 0 exactly: z is a vector of the quantiser to the bit
        return Quantised(self.joined(exact + (said - said.detach())), codes, said, exact)

    def split(self, z: Tensor) -> Tensor:
        """z (…, d) -> (…, places, width)."""
        return z.unflatten(-1, (self.quantiser.width, self.places)).mT

    def joined(self, vectors: Tensor) -> Tensor:
        """(…, places, width) -> z (…, d)."""
        return vectors.mT.flatten(-2)

    def closed_form(self, model: Model, batch: Batch, step: Step) -> None:
        """Lets the quantiser follow the batch, as the encoder sees it without dropout."""
        if step.phase != "train":
            return
        was = model.training
        model.eval()
        q = model.posterior(batch)
        model.train(was)
        assert isinstance(q, Quantised)
        self.quantiser.follow(q.said.flatten(0, -2), step)


def vq(
    size: int, codes: int = 64, width: int = 8, keep: float = 0.99, restart: float = 0.01
) -> QuantisedHead:
    """The head of codes of a codebook, size / width of them for a row."""
    return QuantisedHead(size, Codebook(codes, width, keep, restart))


def fsq(size: int, levels: Sequence[int] = (4, 4, 4)) -> QuantisedHead:
    """The head of codes of a lattice, one for every len(levels) numbers of z."""
    return QuantisedHead(size, Lattice(levels))
