"""Reals whose gaps depend on what would stand in them: p(x|z) times p(s|x), s = 1 where observed.

Self-masking, one logistic per column: P(s_j = 1 | x_j) = sigmoid(a_j + b_j x_j). Given z a gap then
has the probability that the integral of N(x_j) P(s_j = 0 | x_j) over x_j says, one number per entry,
which is summed over fixed nodes where Ipsen et al. 2021 (not-MIWAE, arXiv:2006.12871, eq. 6) draw
x_j ~ p(x_j|z) once: the same model, its bound that of endlessly many such draws.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import HALF_LOG_2PI, Likelihood, filled
from vaes.dist.gaussian import Normal, NormalLikelihood

# Nodes of the trapezoid rule, in standard deviations of p(x_j|z): each for draws and means, every
# second one for densities. The error falls as exp(-2 pi^2 / (step slope)): of densities 4e-6 where
# the log-odds rise by 4 in a standard deviation, 2e-3 where by 8.
REACH, STEP, COARSE = 7.2, 0.2, 2
QUICK = 10.0


class SelectedLikelihood(Likelihood):
    """p(x_observed, s | z) of independent Gaussian entries `x` whose gaps are s = 0; log-odds of
    being observed `shift` + `slope` x, both (*shape)."""

    support = constraints.real  # type: ignore[assignment]

    def __init__(self, x: NormalLikelihood, shift: Tensor, slope: Tensor, nodes: Tensor) -> None:
        super().__init__(x.mean, len(x.event_shape))
        self.x, self.shift, self.slope, self.nodes = x, shift, slope, nodes

    @property
    def mean(self) -> Tensor:
        """Of p(x|z), whether observed or not."""
        return self.x.mean

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x_j, s_j = 1 | z) of what is observed, log p(s_j = 0 | z) of a gap."""
        seen = self.x.terms(x, mask) + F.logsigmoid(self._odds(filled(x, mask)))
        if mask is None:
            return seen
        return torch.where(mask, seen, self._at_nodes(COARSE)[1].logsumexp(-1))

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return self.x.draw(generator)

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Gaps by draws of p(x_j | z, s_j = 0): a node by its weight, then a place around it."""
        nodes, log_p = self._at_nodes()
        u = torch.rand(
            (2, *self.mean.shape), generator=generator, dtype=log_p.dtype, device=log_p.device
        )
        mass = log_p.softmax(-1).cumsum(-1)
        which = torch.searchsorted(mass, u[0].unsqueeze(-1)).clamp(max=len(self.nodes) - 1)
        # the density between nodes is near a line: a triangle around each adds up to one
        place = nodes.gather(-1, which).squeeze(-1)
        width = STEP * self._scale()
        spread = torch.where(u[1] < 0.5, (2 * u[1]).sqrt() - 1, 1 - (2 - 2 * u[1]).sqrt())
        return torch.where(mask, x, place + width * spread)

    def expected(self, x: Tensor, mask: Tensor) -> Tensor:
        nodes, log_p = self._at_nodes()
        return torch.where(mask, x, (log_p.softmax(-1) * nodes).sum(-1))

    def _odds(self, x: Tensor) -> Tensor:
        return self.shift + self.slope * x

    def _scale(self) -> Tensor:
        return self.x.log_scale.exp().expand_as(self.mean)

    def _at_nodes(self, every: int = 1) -> tuple[Tensor, Tensor]:
        """Values (…, nodes) and log p(x_j = value, s_j = 0 | z), each with its node's weight."""
        nodes = self.nodes[::every]
        values = self.mean.unsqueeze(-1) + self._scale().unsqueeze(-1) * nodes
        odds = self.shift.unsqueeze(-1) + self.slope.unsqueeze(-1) * values
        density = -0.5 * nodes.square() - HALF_LOG_2PI + math.log(STEP * every)
        return values, F.logsigmoid(-odds) + density


class SelfMasking(nn.Module):
    """Head of `SelectedLikelihood`: that of p(x|z), and the logistic of every column.

    Log-odds are `QUICK` times the parameters: their way is that much longer than that of weights.
    """

    nodes: Tensor

    def __init__(self, head: Normal) -> None:
        super().__init__()
        self.of, self.size = head, head.size
        self.shift = nn.Parameter(torch.zeros(head.shape))
        self.slope = nn.Parameter(torch.zeros(head.shape))
        count = round(2 * REACH / STEP) + 1
        self.width = count * self.shift.numel()  # numbers per row and draw
        self.register_buffer("nodes", torch.linspace(-REACH, REACH, count), persistent=False)

    def forward(self, h: Tensor) -> SelectedLikelihood:
        return SelectedLikelihood(self.of(h), QUICK * self.shift, QUICK * self.slope, self.nodes)
