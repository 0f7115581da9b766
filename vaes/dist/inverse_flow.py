"""Inverse autoregressive flow: every dimension moves by what those before it were.

Sources: Kingma et al. 2016, arXiv:1606.04934, eq. 10; Germain et al. 2015, arXiv:1502.03509
(masks); with width 0 the linear flow of Tomczak & Welling 2017, arXiv:1706.02326, whose family
holds every full covariance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaes.dist.flowed import FlowStep
from vaes.dist.flows import NEARLY, STRETCH


class Masked(nn.Module):
    """A network (*k, n, d) -> shift and log-scale (*k, n, d) each, both strictly autoregressive: of
    dimension i they depend on the context and on the dimensions before i in `order`.

    One hidden layer of `width` units, unit j of which sees the first j mod d dimensions, and
    straight connections beside it. Nearly 0 at first.
    """

    order: Tensor
    first: Tensor
    last: Tensor
    straight: Tensor

    def __init__(self, order: Tensor, width: int, context: int) -> None:
        super().__init__()
        d = len(order)
        sees = torch.arange(width) % d  # how many of the first dimensions
        self.register_buffer("order", order, persistent=False)
        self._mask("first", order.unsqueeze(0) < sees.unsqueeze(1))
        self._mask("last", (sees.unsqueeze(0) <= order.unsqueeze(1)).repeat(2, 1))
        before = order.unsqueeze(0) < order.unsqueeze(1)
        # without hidden units the map is affine: how it scales is the context's to say
        self._mask("straight", torch.cat([before, before & (width > 0)]))
        self.context = nn.Linear(context, width + 2 * d)
        with torch.no_grad():
            self.context.weight[width:].normal_(std=NEARLY)
            self.context.bias[width:].zero_()
        self.linear = nn.Parameter(torch.empty(2 * d, d).normal_(std=NEARLY))
        self.width = width
        if width:
            self.hidden = nn.Parameter(nn.Linear(d, width).weight.detach().clone())
            self.out = nn.Parameter(torch.empty(2 * d, width).normal_(std=NEARLY))

    def _mask(self, name: str, allowed: Tensor) -> None:
        self.register_buffer(name, allowed.float(), persistent=False)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        d = len(self.order)
        h, found = self.context(context).split([self.width, 2 * d], -1)
        found = found + F.linear(z, self.linear * self.straight)
        if self.width:
            h = F.silu(h + F.linear(z, self.hidden * self.first))
            found = found + F.linear(h, self.out * self.last)
        shift, raw = found.chunk(2, -1)
        return shift, STRETCH * torch.tanh(raw / STRETCH)


class InverseAutoregressive(FlowStep):
    """exp(s(z, h)) z + m(z, h) with m and s of `Masked`: one pass there, d passes back.

    The published form, sigmoid(s) z + (1 - sigmoid(s)) m, is this one with other names for m and s,
    but for their bounds: here e^-2 ... e^2 and the identity at first. reverse: the last dimension
    comes first; every other step should.
    """

    def __init__(self, latent: int, width: int, context: int, reverse: bool = False) -> None:
        super().__init__()
        order = torch.arange(latent)
        self.net = Masked(order.flip(0) if reverse else order, width, context)

    def forward(self, z: Tensor, h: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        if not back:
            shift, log_scale = self.net(z, h)
            return z * log_scale.exp() + shift, log_scale.sum(-1)
        found = torch.zeros_like(z)
        for i in range(len(self.net.order)):
            shift, log_scale = self.net(found, h)
            # only what depends on entries that are found already is taken over
            found = torch.where(self.net.order == i, (z - shift) * (-log_scale).exp(), found)
        return found, self.net(found, h)[1].sum(-1)
