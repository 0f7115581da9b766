"""Paths through the latent space: between rows, and along one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vaes.errors import UsageError
from vaes.model import Model
from vaes.uses.common import CHUNK, Rows, batches, blank, evaluating, moments, values
from vaes.uses.rows import reconstruct

DULL = 0.01  # nats: a dimension with a lower rate is not worth a row of a traversal


def interpolate(
    model: Model, a: Rows, b: Rows, steps: int = 9, path: str = "linear", *, chunk: int = CHUNK
) -> Tensor:
    """Means of p(x|z) along a path of codes from each row of `a` to its partner in `b`.

    (pairs, steps, *shape); the ends are exactly the reconstructions. Totals of counts go along in
    equal steps. path: "linear", or "slerp",
    which keeps the norm that codes of a Gaussian prior have in high dimensions (White 2016,
    arXiv:1609.04468).
    """
    if path not in ("linear", "slerp"):
        raise UsageError(f"path '{path}' is not known; known: linear, slerp")
    if steps < 2 or len(a) != len(b):
        raise UsageError(
            f"{len(a)} rows were paired with {len(b)} in {steps} steps; a path takes one row of "
            "each and at least 2 steps"
        )
    ends = [reconstruct(model, rows, chunk=chunk).mean.unsqueeze(1) for rows in (a, b)]
    if steps == 2:
        return torch.cat(ends, 1)
    parts = []
    with evaluating(model):
        size = max(1, chunk // steps)
        for first, second in zip(batches(a, size), batches(b, size), strict=True):
            z = [model.posterior(batch).mean for batch in (first, second)]
            t = torch.linspace(0, 1, steps, dtype=z[0].dtype, device=z[0].device)[1:-1]
            way = between(z[0], z[1], t.view(-1, 1, 1), path)
            if first.total is not None and second.total is not None:
                total = first.total + t.view(-1, 1) * (second.total - first.total)
                first = replace(first, total=total)
            parts.append(values(model, way, first).transpose(0, 1))
    return torch.cat([ends[0], torch.cat(parts), ends[1]], 1)


def traverse(
    model: Model,
    row: Rows | None = None,
    dims: Sequence[int] | None = None,
    steps: int = 7,
    span: float = 2.0,
    *,
    rates: Tensor | None = None,
) -> Tensor:
    """Means of p(x|z) as one latent dimension at a time moves through the prior's range.

    (dims, steps, *shape): z_j runs from `span` prior standard deviations below the prior's mean to
    as many above it, the others stay at the code of `row` (one row; the prior's mean without one).
    dims: which (None: at most 10, the largest `rates` (d,) first, those below 0.01 nats left out;
    without rates the first ones); see `active_units`, and `traversed` for the choice.
    """
    chosen = traversed(model, rates) if dims is None else list(dims)
    if row is not None and len(row) != 1:
        raise UsageError(f"{len(row)} rows were given; a traversal starts from one")
    if steps < 2 or not chosen or not all(0 <= j < model.latent for j in chosen):
        raise UsageError(
            f"dims={chosen}, steps={steps}: dimensions are 0 to {model.latent - 1}, steps >= 2"
        )
    with evaluating(model):
        batch = blank(model, 1) if row is None else next(batches(row, 1))
        centre, scale = moments(model.prior(batch))
        start = centre if row is None else model.posterior(batch).mean
        z = start.expand(steps, len(chosen), -1).clone()
        way = torch.linspace(-span, span, steps, dtype=z.dtype, device=z.device)
        for place, j in enumerate(chosen):
            z[:, place, j] = centre[0, j] + way * scale[0, j]
        found = values(model, z.flatten(0, 1).unsqueeze(1), batch)
    return found.squeeze(1).unflatten(0, (steps, len(chosen))).transpose(0, 1)


def traversed(model: Model, rates: Tensor | None = None) -> list[int]:
    """The dimensions that `traverse` moves by default: at most 10, highest rate first."""
    if rates is None or len(rates) != model.latent:
        return list(range(min(10, model.latent)))
    order = [int(j) for j in rates.argsort(descending=True)[:10]]
    return [j for j in order if rates[j] >= DULL] or order[:1]


def between(a: Tensor, b: Tensor, t: Tensor, path: str) -> Tensor:
    """Points at t (steps, 1, 1) on the way from a to b (n, d), (steps, n, d)."""
    straight = a + t * (b - a)
    if path == "linear":
        return straight
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = cosine.acos()
    sine = angle.sin()
    around = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine
    # parallel and opposite codes, and a code at the origin, have no arc of their own
    arc = (sine > 1e-4) & (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True) > 0)
    return torch.where(arc, around, straight)
