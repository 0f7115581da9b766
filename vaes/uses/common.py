"""What the uses share: evaluation mode, chunks of rows, seeded noise, moments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor

from vaes.batch import Batch, Data, generator
from vaes.dist.base import Latent
from vaes.evaluate.likelihood import ENTRIES
from vaes.model import Model
from vaes.plan import widest

Rows = Data | Batch
CHUNK = 1000


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """No gradients and evaluation mode within; every submodule's own mode after."""
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in was.items():
            module.training = mode


def batches(data: Rows, size: int) -> Iterator[Batch]:
    if isinstance(data, Data):
        yield from data.batches(size)
    else:
        for start in range(0, len(data), size):
            yield data[start : start + size]


def as_data(model: Model, rows: Rows) -> Data:
    """The same rows as `Data`."""
    if isinstance(rows, Data):
        return rows
    # totals are counted again as batches leave
    fields = {name: getattr(rows, name) for name in rows.__annotations__ if name != "total"}
    return Data(model.spec, **fields)


def at_once(model: Model, draws: int, most: int = CHUNK) -> int:
    """How many rows with `draws` draws each keep the widest layer within `ENTRIES` numbers."""
    return max(1, min(most, ENTRIES // (draws * widest(model))))


def blank(model: Model, n: int, draw: torch.Generator | None = None) -> Batch:
    """n rows of nothing, for p(z) and p(x|z), which never read x; their totals, where rows have
    any, are drawn, or all the training rows' median where there is nothing to draw with."""
    named = chain(model.named_parameters(), model.named_buffers())
    like = next(t for name, t in named if name != "log_jacobian" and t.is_floating_point())
    return Batch(x=like.new_zeros(n, *model.spec.shape), total=model.totals(n, draw))


def drawing(model: Model, use: str, seed: int) -> torch.Generator:
    return generator(use, seed, device=blank(model, 1).x.device)


def normal(draw: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)


def new_nats(model: Model) -> float:
    """Of an entry that holds what none of the n training rows could have held: log(n + 1), since
    after n rows without it something new has a chance of 1 in n + 1 (Laplace's rule)."""
    return math.log(model.spec.rows + 1)


def shared(use: str, seed: int, q: Latent, k: int) -> Tensor:
    """k draws that all rows share, (k, 1, q.noise_size): no row's result knows its neighbours."""
    return normal(generator(use, seed, device=q.mean.device), q.mean, k, 1, q.noise_size)


def values(model: Model, z: Tensor, batch: Batch, draw: torch.Generator | None = None) -> Tensor:
    """The mean of p(x|z), or a draw where there is something to draw with; (*k, n, *shape)."""
    p = model.likelihood(z, batch)
    return p.mean if draw is None else p.draw(draw)


def moments(q: Latent) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (n, d); by fixed draws, the same for all rows, where the family
    has no closed form (a chain of links)."""
    try:
        return q.mean, q.stddev
    except NotImplementedError:
        draw = generator("moments", device=q.mean.device)
        return q.mean, q.draw(normal(draw, q.mean, 256, 1, q.noise_size)).std(0, correction=0)
