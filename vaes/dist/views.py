"""Rows in views: blocks of entries, each with codes of its own beside those that all share.

q of the shared codes is a product of experts, one per view that is there, and the prior N(0, I);
a view that is not there leaves its own codes at the prior (Wu & Goodman 2018, arXiv:1802.05335;
Lee & Pavlovic 2021, arXiv:2005.09891, with private codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Spec
from vaes.dist import likelihood_head
from vaes.dist.base import soft_clip, wide
from vaes.dist.columns import Columns
from vaes.dist.gaussian import LOG_SCALE, DiagonalNormal
from vaes.errors import UsageError
from vaes.nets.mlp import mlp
from vaes.parts import Part

Views = str | int | Sequence[Sequence[int | str]]


def view_entries(spec: Spec, views: Views) -> list[list[int]]:
    """The entries of each view: left_right or top_bottom halves of images, columns by name or
    number, or a number of blocks of columns that stand together."""
    places = torch.arange(spec.size).view(spec.shape)
    if spec.image:
        halves = {"2": -1, "left_right": -1, "top_bottom": -2}
        axis = halves.get(str(views), 0)
        if not axis or spec.shape[axis] < 2:
            raise UsageError(f"views={views}: an image is cut left_right or top_bottom")
        size = spec.shape[axis] // 2
        parts = places.split([size, spec.shape[axis] - size], axis)
        return [part.flatten().tolist() for part in parts]
    if isinstance(views, str):
        raise UsageError(f"views={views}: rows of columns take a number of views, or their columns")
    if isinstance(views, int):
        if not 2 <= views <= spec.size:
            raise UsageError(f"views={views}: {spec.size} columns make 2 to {spec.size} views")
        return [part.tolist() for part in places.tensor_split(views)]
    names = {name: i for i, name in enumerate(spec.names)}
    found = [[names.get(c, -1) if isinstance(c, str) else c for c in view] for view in views]
    if len(found) < 2 or sorted(c for view in found for c in view) != list(range(spec.size)):
        known = ", ".join(spec.names) if spec.names else f"0 to {spec.size - 1}"
        raise UsageError(f"views={views}: each column is in one of two or more views ({known})")
    return found


def view_spec(spec: Spec, view: list[int]) -> Spec:
    """What the entries of one view are, as a flat row."""
    flat = Spec((len(view),), spec.kinds, spec.levels) if spec.image else spec.columns(view)
    return replace(flat, missing=spec.missing)


class ViewInputs(nn.Module):
    """What the encoder sees of a row: of every view what `Inputs` makes of it, then one number per
    view that says whether any of it is there."""

    def __init__(self, spec: Spec, views: list[list[int]]) -> None:
        from vaes.composed import Inputs

        super().__init__()
        self.views = views
        self.parts = nn.ModuleList(Inputs(view_spec(spec, view)) for view in views)
        self.sizes = [cast(Any, part).shape[0] for part in self.parts]

    def forward(self, batch: Batch) -> Tensor:
        x, found, there = batch.x.flatten(1), [], []
        mask = None if batch.mask is None else batch.mask.flatten(1)
        for view, part in zip(self.views, self.parts, strict=True):
            seen = None if mask is None else mask[:, view]
            own = x[:, view] if seen is None else torch.where(seen, x[:, view], 0.0)
            found.append(part(Batch(own, mask=seen)))
            one = torch.ones_like(x[:, :1])
            there.append(one if seen is None else seen.any(1, keepdim=True).to(x.dtype))
        return torch.cat([*found, *there], 1)


class Experts(nn.Module):
    """Encoder: `sizes` numbers of each view, then V of whether it is there -> q over (shared codes,
    own codes of the first view, ...)."""

    def __init__(
        self, sizes: list[int], shared: int, private: int, hidden: Sequence[int], act: str
    ) -> None:
        super().__init__()
        self.sizes, self.shared, self.private = sizes, shared, private
        width = 2 * (shared + private)
        self.nets = nn.ModuleList(
            nn.Sequential(mlp(size, hidden, act), nn.Linear([size, *hidden][-1], width))
            for size in sizes
        )

    def forward(self, h: Tensor, only: int | None = None) -> DiagonalNormal:
        """`only`: the view whose expert alone speaks of the shared codes."""
        *parts, there = h.split([*self.sizes, len(self.sizes)], -1)
        total = torch.ones_like(h[:, : self.shared])  # of precisions; the prior's is 1
        pulled, own = torch.zeros_like(total), []
        for i, (net, part) in enumerate(zip(self.nets, parts, strict=True)):
            loc, raw = wide(net(part)).chunk(2, -1)
            log_scale = soft_clip(raw, *LOG_SCALE)
            here = there[:, i : i + 1]
            if only is None or only == i:
                precision = here * (-2 * log_scale[:, : self.shared]).exp()
                total = total + precision
                pulled = pulled + precision * loc[:, : self.shared]
            own.append((here * loc[:, self.shared :], here * log_scale[:, self.shared :]))
        loc = torch.cat([pulled / total, *(m for m, _ in own)], -1)
        return DiagonalNormal(loc, torch.cat([-0.5 * total.log(), *(s for _, s in own)], -1))


class ViewDecoder(nn.Module):
    """z -> p(x|z): every view from the shared codes and its own, by a network of its own."""

    back: Tensor

    def __init__(
        self,
        spec: Spec,
        views: list[list[int]],
        sizes: tuple[int, int],
        hidden: Sequence[int],
        act: str,
        likelihood: Part,
        scale: str | float | None,
    ) -> None:
        super().__init__()
        self.codes = [sizes[0], *[sizes[1]] * len(views)]
        if spec.image:
            self.head = likelihood_head(spec, likelihood, scale)
            each = cast(int, self.head.size) // spec.size
            numbers = [each * len(view) for view in views]
            order = torch.arange(each).unsqueeze(1) * spec.size
            order = torch.cat([(order + torch.tensor(view)).flatten() for view in views])
        else:
            heads = [likelihood_head(view_spec(spec, v), likelihood, scale) for v in views]
            self.head = Columns(views, heads)
            numbers = self.head.sizes
            order = torch.arange(sum(numbers))
        self.register_buffer("back", order.argsort(), persistent=False)
        self.nets = nn.ModuleList(
            nn.Sequential(mlp(sum(sizes), hidden, act), nn.Linear([sum(sizes), *hidden][-1], n))
            for n in numbers
        )

    def forward(self, z: Tensor) -> Any:
        shared, *own = z.flatten(0, -2).split(self.codes, -1)
        found = [
            net(torch.cat([shared, part], -1)) for net, part in zip(self.nets, own, strict=True)
        ]
        return self.head(torch.cat(found, -1)[..., self.back].view(*z.shape[:-1], -1))
