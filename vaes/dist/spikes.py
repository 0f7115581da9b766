"""Units that are off, or on with a normal strength: x ~ N(W (h * s), v I), h_i ~ Bernoulli,
s_i | h_i ~ N(h_i mu_i, 1 / alpha_i) (S3C; Goodfellow, Courville & Bengio 2012, arXiv:1201.3382).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PATTERNS = 64  # at once


class Spikes(NamedTuple):
    """weight (D, H) · logits, slab (mu) and precision (alpha), (H,)."""

    weight: Tensor
    logits: Tensor
    slab: Tensor
    precision: Tensor


@torch.no_grad()
def coordinate_ascent(
    p: Spikes,
    variance: Tensor,
    x: Tensor,
    seen: Tensor | None,
    sweeps: int,
    told: Callable[[Tensor, Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best prod_i q(h_i) q(s_i|h_i) of every row: logits of q(h_i = 1), mean and variance of
    q(s_i|h_i = 1), (n, H) each. q(s_i|h_i = 0) is the prior.

    x (n, D) has 0 where `seen` is 0. Every update is the maximum over its coordinate, so the bound
    never falls; starts at q(h_i = 1) = 1/2 and the slabs' means. `told` hears of every update.
    """
    n, units = len(x), len(p.logits)
    if seen is None:
        gram = (p.weight.T @ p.weight).expand(n, -1, -1)
    else:
        gram = torch.einsum("nj,ja,jb->nab", seen, p.weight, p.weight)
    gram, inner = gram / variance, x @ p.weight / variance
    power = gram.diagonal(dim1=1, dim2=2)
    total = p.precision + power
    half = 0.5 * (p.precision / total).log()
    logits, mean = torch.zeros_like(inner), p.slab.expand(n, -1).clone()
    code = 0.5 * mean
    for _ in range(sweeps):
        for i in range(units):
            own = power[:, i]
            along = inner[:, i] - (gram[:, i] * code).sum(-1) + own * code[:, i]
            s = (p.precision[i] * p.slab[i] + along) / total[:, i]
            gain = s * along - 0.5 * own * s.square()
            cost = 0.5 * p.precision[i] * (s - p.slab[i]).square()
            mean[:, i], logits[:, i] = s, p.logits[i] + gain - cost + half[:, i]
            code[:, i] = logits[:, i].sigmoid() * s
            if told is not None:
                told(logits, mean, 1 / total)
    return logits, mean, 1 / total


def evidence(p: Spikes, variance: Tensor, x: Tensor, seen: Tensor) -> Tensor:
    """log p(x) of every row, (n,), by all 2^H patterns of h: given one x is normal, with mean
    W (h * mu) and covariance W diag(h / alpha) W^T + v I. x (n, D) has 0 where `seen` is 0."""
    units, found = len(p.logits), []
    bits = torch.arange(2**units, device=x.device).unsqueeze(1) >> torch.arange(units).to(x.device)
    eye = torch.eye(units, dtype=x.dtype, device=x.device)
    gram = torch.einsum("nj,ja,jb->nab", seen, p.weight, p.weight) / variance
    inner, square = x @ p.weight / variance, x.square().sum(-1) / variance
    constant = seen.sum(-1) * (2 * math.pi * variance).log()
    for h in (bits & 1).to(x.dtype).split(PATTERNS):
        shift, root = h * p.slab, h * p.precision.rsqrt()  # (m, H)
        # along W after the shift, and the square of what is left of x
        along = inner - torch.einsum("nab,mb->mna", gram, shift)
        left = square + torch.einsum("ma,nab,mb->mn", shift, gram, shift) - 2 * shift @ inner.T
        inside = eye + root[:, None, :, None] * gram * root[:, None, None, :]
        factor = torch.linalg.cholesky(inside)
        solved = torch.linalg.solve_triangular(
            factor, (root.unsqueeze(1) * along).unsqueeze(-1), upper=False
        )
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = left - solved.square().sum((-2, -1))
        prior = (h * p.logits - F.softplus(p.logits, threshold=40.0)).sum(-1, keepdim=True)
        found.append(prior - 0.5 * (constant + log_det + squares))
    return torch.cat(found).logsumexp(0)
