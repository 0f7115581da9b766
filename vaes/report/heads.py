"""The means of likelihoods as operations: what a page makes of a head's numbers.

The numbers of an autoregressive table are those of its context: what follows goes column by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vaes.dist.autoregressive import Autoregressive
from vaes.dist.base import soft_clip
from vaes.dist.cells import PLACE, Cells, Pieces
from vaes.dist.columns import Columns
from vaes.dist.counts import LOG_MEAN, Counts
from vaes.dist.discrete import Bernoulli, Categorical
from vaes.dist.gaussian import Normal
from vaes.dist.pixels import Logistic
from vaes.report.program import Op, Store, Unsupported


def head(module: nn.Module, store: Store) -> Op:
    """How the mean of p(x|z) follows from the numbers of the head `module`."""
    if type(module) not in HEADS:
        raise Unsupported(f"a likelihood of type {type(module).__name__}")
    return HEADS[type(module)](module, store)


def _logistic(module: Logistic, store: Store) -> Op:
    found: Op = {"head": "logistic", "levels": module.levels}
    if module.network:
        return found | {"start": module.start, "bounds": list(module.bounds)}
    scale = soft_clip(module.log_scale + module.start, *module.bounds)
    return found | {"log_scale": store.add(scale)}


def _categorical(module: Categorical, store: Store) -> Op:
    return {"head": "categorical", "levels": module.levels, "grid": module.grid}


def _counts(module: Counts, store: Store) -> Op:
    """Means of counts; of rows that are given their total, at the training rows' median total."""
    if not module.by_total:
        return {"head": "counts", "bounds": list(LOG_MEAN)}
    total = math.log(max(1e-8, float(module.totals(1)[0])))
    return {"head": "shares", "log_total": total, "log_share": store.add(module.log_share)}


def _columns(module: Columns, store: Store) -> Op:
    parts = [
        {"index": module.get_buffer(f"index_{i}").tolist(), "numbers": size, **head(each, store)}
        for i, (each, size) in enumerate(zip(module.heads, module.sizes, strict=True))
    ]
    return {"head": "columns", "parts": parts}


def _cells(cells: Cells) -> list[Op]:
    """Of each column: how many cells it has, whether they have an order, how a place within a cell
    becomes an entry of model space, and which cells are single values."""
    starts = cells.offset.tolist()
    return [
        {
            "n": n,
            "ordered": cells.ordered[j],
            "numeric": bool(cells.numeric[j]),
            "unit": float(cells.unit[j]),
            "alone": cells.alone[starts[j] : starts[j] + n].nonzero().flatten().tolist(),
        }
        for j, n in enumerate(cells.sizes)
    ]


def _pieces(module: Pieces, store: Store) -> Op:
    return {"head": "cells", "place": list(PLACE), "columns": _cells(module.cells)}


@torch.no_grad()
def columnwise(module: Autoregressive, store: Store) -> Op:
    """The conditionals of an autoregressive table, curves of cells worked into their weights."""
    net, cells = module.net, module.cells
    columns = _cells(cells)
    for j, (column, n) in enumerate(zip(columns, cells.sizes, strict=True)):
        place = slice(net.starts[j], net.starts[j] + n)
        own = net.weight[place]
        weight = own if net.curves_out is None else net.curves_out(own, place)
        gate = module.shown_by[j] if module.shown_by else -1
        column |= {
            "tailed": cells.tailed[j],
            "gate": gate if gate >= 0 else None,
            "embedding": store.add(net._embedding(place)),
            "weight": store.add(weight),
            "base": store.add(net.base[place]),
            "bias": store.add(net.bias[j]),
            "block": store.add(net.block[j]),
            "shift": store.add(net.shift[j]),
        }
    return {"head": "columnwise", "place": list(PLACE), "columns": columns}


HEADS: dict[type, Callable[[Any, Store], Op]] = {
    Bernoulli: lambda module, store: {"head": "bernoulli"},
    Normal: lambda module, store: {"head": "normal"},
    Logistic: _logistic,
    Categorical: _categorical,
    Counts: _counts,
    Columns: _columns,
    Pieces: _pieces,
}
