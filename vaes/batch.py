"""What one row is (`Spec`), a handful of rows (`Batch`) and all of them (`Data`).

Shapes: n rows, `shape` the event of one row, d latent dimensions. Model space is what networks
see: discrete entries lie on the grid k / (levels - 1) of [0, 1] (a category holds its code k),
reals are standardised, counts are themselves. The user's value is `shift + scale * x`; the
log-Jacobian of that map belongs to every density that is reported, so that nats are in the units of
the user's data. A numeric column of a table lies in pieces (`vaes.data.pieces`): x is the number of
the piece plus the place within it, and the likelihood itself is a density over the user's values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vaes.errors import DataError

KINDS = ("binary", "pixel", "category", "count", "numeric", "real")
DISCRETE = ("binary", "pixel", "category", "count")
FIELDS = ("x", "y", "c", "group", "mask", "index", "unseen")  # of rows


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that is a pure function of `key`: there is no state to lose."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)


@dataclass(frozen=True)
class Spec:
    """What one row is.

    `kinds`, `levels`, `shift` and `scale` hold one value for all entries, or one per column of a
    flat row. `levels` is the size of the alphabet of a discrete entry, the number of pieces of a
    numeric column and 0 for reals and counts. `pieces` holds low and high of every piece of a
    numeric column in turn, `centres` the mean of the training rows in each, and both () for the
    others. `shown_by` says of each column of a flat row which binary column tells whether it has a
    value at all, -1 = none; those columns come first. `totals`, of flat rows of counts alone: the
    total of a row is given, not modelled (`vaes.dist.counts`).
    """

    shape: tuple[int, ...]
    kinds: tuple[str, ...] = ("real",)
    levels: tuple[int, ...] = (0,)
    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ()
    missing: bool = False
    classes: tuple[str, ...] = ()
    conditions: int = 0
    rows: int = 0
    pieces: tuple[tuple[float, ...], ...] = ()
    centres: tuple[tuple[float, ...], ...] = ()
    shown_by: tuple[int, ...] = ()
    totals: bool = False

    def __post_init__(self) -> None:
        columns = self.size if len(self.shape) == 1 else 1
        for field in ("kinds", "levels", "shift", "scale"):
            length = len(getattr(self, field))
            entries = self.size if field in ("shift", "scale") else columns
            if length not in (1, entries):
                raise DataError(
                    f"Spec.{field} has {length} values; a row of shape {self.shape} takes 1"
                    f"{f' or {entries}' if entries > 1 else ''}"
                )
        for kind in self.kinds:
            if kind not in KINDS:
                raise DataError(f"kind '{kind}' is not known; known: {', '.join(KINDS)}")
        if len(self.kinds) != len(self.levels):
            raise DataError(f"{len(self.kinds)} kinds but {len(self.levels)} levels in Spec")
        for kind, levels in zip(self.kinds, self.levels, strict=True):
            least = {"category": 1, "count": 0}.get(kind, 2)
            if kind in DISCRETE and levels < least:
                raise DataError(f"kind '{kind}' needs at least two levels, got {levels}")
        if self.totals and (len(self.shape) != 1 or set(self.kinds) != {"count"}):
            raise DataError("totals are of flat rows all of whose entries are counts")
        if "numeric" not in self.kinds:
            return
        lengths = [2 * n if kind == "numeric" else 0 for kind, n in self.column_kinds()]
        if [len(p) for p in self.pieces] != lengths:
            raise DataError("a numeric column needs low and high of every one of its pieces")
        if self.centres and [2 * len(c) for c in self.centres] != lengths:
            raise DataError("a numeric column has one centre for each of its pieces")

    @property
    def size(self) -> int:
        """How many entries one row has."""
        return math.prod(self.shape)

    @property
    def gates(self) -> int:
        """How many leading columns only say whether another one has a value."""
        return sum(by >= 0 for by in self.shown_by)

    @property
    def uniform(self) -> bool:
        """True where every entry of a row has the same kind and number of levels."""
        return len(set(zip(self.kinds, self.levels, strict=True))) == 1

    @property
    def image(self) -> bool:
        """True for rows laid out as channels x height x width."""
        return len(self.shape) == 3

    @property
    def discrete(self) -> bool:
        """True where every entry is discrete, so that log p(x) is a log-probability (<= 0)."""
        return all(kind in DISCRETE for kind in self.kinds)

    def column_kinds(self) -> list[tuple[str, int]]:
        """(kind, levels) of every entry of a flat row, in order."""
        pairs = list(zip(self.kinds, self.levels, strict=True))
        return pairs * self.size if len(pairs) == 1 else pairs

    def columns(self, index: Sequence[int]) -> Spec:
        """What the columns numbered by `index` of a flat row are: kinds, levels, pieces."""
        pairs = self.column_kinds()
        return Spec(
            (len(index),),
            tuple(pairs[i][0] for i in index),
            tuple(pairs[i][1] for i in index),
            pieces=tuple(self.pieces[i] for i in index) if self.pieces else (),
            centres=tuple(self.centres[i] for i in index) if self.centres else (),
        )

    @cached_property
    def log_jacobian(self) -> Tensor:
        """Per entry, log |dx / d(user's value)|: -log scale for reals, 0 for discrete entries."""
        scale = torch.tensor(self.scale, dtype=torch.float64).expand(self.size)
        real = torch.tensor([kind == "real" for kind in self.kinds]).expand(self.size)
        return torch.where(real, -scale.log(), torch.zeros((), dtype=torch.float64)).view(
            self.shape
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for run.json."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Spec:
        """Inverse of `to_json`."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
        }
        for name in ("pieces", "centres"):
            fields[name] = tuple(tuple(p) for p in stored.get(name, ()))
        return cls(**fields)


@dataclass(frozen=True)
class Batch:
    """A handful of rows.

    x (n, *shape) in model space, 0 where unobserved, never NaN · index (n,) row in the training
    set, -1 = never trained on · y (n,) label, -1 = unknown · c (n, w) conditions that are always
    given · group (n,) sequence or utterance · mask (n, *shape) bool, True = observed · unseen
    (n, *shape) bool, True = a gap to the model, since the entry holds what no training row could
    have held · total (n,) sum of the observed entries, of rows of counts alone (`Spec.totals`). A
    field that the data do not have is None (for mask: everything is observed).
    """

    x: Tensor
    index: Tensor | None = None
    y: Tensor | None = None
    c: Tensor | None = None
    group: Tensor | None = None
    mask: Tensor | None = None
    unseen: Tensor | None = None
    total: Tensor | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, rows: Any) -> Batch:
        return self._map(lambda t: t[rows])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The same rows on `device`; floating-point fields become `dtype` where it is given."""
        return self._map(lambda t: t.to(device, dtype if dtype and t.is_floating_point() else None))

    def _map(self, f: Any) -> Batch:
        fields: dict[str, Any] = {k: getattr(self, k) for k in self.__annotations__}
        mapped: dict[str, Any] = {k: None if t is None else f(t) for k, t in fields.items()}
        return Batch(**mapped)


@dataclass(frozen=True)
class Data:
    """All rows, in memory, on their device; streamed as batches.

    x (n, *shape): floating point in model space, or uint8 level codes of a uniform discrete spec
    (a quarter of the memory; turned into model space as batches leave). With `binarize="dynamic"`
    x holds grey levels of 256 as uint8 and every pass of `stream` draws Bernoulli(x / 255) afresh
    from (seed, step), so that a resumed run sees the same bits.
    """

    spec: Spec
    x: Tensor
    y: Tensor | None = None
    c: Tensor | None = None
    group: Tensor | None = None
    mask: Tensor | None = None
    index: Tensor | None = None
    binarize: str | None = None
    unseen: Tensor | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    def to(self, device: torch.device | str) -> Data:
        """The same rows on `device`."""
        fields = {k: getattr(self, k) for k in FIELDS}
        return replace(self, **{k: None if t is None else t.to(device) for k, t in fields.items()})

    def part(self, rows: Tensor) -> Data:
        """The rows numbered by `rows` (k,), in that order; `index` still counts in the whole."""
        fields = {k: getattr(self, k) for k in FIELDS}
        return replace(self, **{k: None if t is None else t[rows] for k, t in fields.items()})

    def rows(self, rows: Tensor | slice, draw: torch.Generator | None = None) -> Batch:
        """The rows numbered by `rows` as a batch in model space."""

        def take(t: Tensor) -> Tensor:
            # index_select copies whole rows; indexing by a tensor takes 10 times as long
            return t[rows] if isinstance(rows, slice) else t.index_select(0, rows)

        x = take(self.x)
        if self.binarize == "dynamic":
            draw = draw or generator("binarize", 0, device=x.device)
            x = (torch.rand(x.shape, generator=draw, device=x.device) * 255 < x).float()
        elif x.dtype == torch.uint8:
            x = x.float()
            if self.spec.kinds[0] != "category" and self.spec.levels[0] > 2:
                x = x / (self.spec.levels[0] - 1)
        fields: dict[str, Any] = {k: getattr(self, k) for k in FIELDS[1:]}
        taken = {k: None if t is None else take(t) for k, t in fields.items()}
        total = None
        if self.spec.totals:
            seen = x if taken["mask"] is None else x * taken["mask"]
            total = seen.sum(-1, dtype=torch.float64).to(x.dtype)
        return Batch(x=x, **taken, total=total)

    def batches(self, size: int) -> Iterator[Batch]:
        """Every row once, in order. Dynamic binarisation is drawn once for all passes."""
        draw = generator("binarize", 0, device=self.x.device)
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size), draw)

    def steps_per_epoch(self, size: int, partial: bool = False) -> int:
        """How many batches of `size` one pass of `stream` has."""
        return -(-len(self) // size) if partial else max(1, len(self) // size)

    def stream(
        self, size: int, seed: int, start: int = 0, partial: bool = False
    ) -> Iterator[Batch]:
        """Batches without end, from step `start` on; the order is a pure function of (seed, epoch).

        The rows left over at the end of a pass wait for the next shuffle, so that every batch has
        the same shape; with `partial` they form a smaller batch (needed where a pass must be
        whole, as in EM).
        """
        per_epoch, device = self.steps_per_epoch(size, partial), self.x.device
        step, order, shuffled = start, torch.empty(0, dtype=torch.long), -1
        while True:
            epoch, place = divmod(step, per_epoch)
            if epoch != shuffled:
                order = torch.randperm(len(self), generator=generator("order", seed, epoch))
                order, shuffled = order.to(device), epoch
            rows = order[place * size : (place + 1) * size]
            draw = (
                generator("binarize", seed, step, device=device)
                if self.binarize == "dynamic"
                else None
            )
            yield self.rows(rows, draw)
            step += 1
