"""Hamiltonian Monte Carlo from a distribution that can be drawn from to the posterior.

f_b(z) = start(z)^(1-b) [p(z) p(x|z)]^b, b from 0 to 1, for k chains of each of n rows at once; nats
in the user's units. Sources: Neal 2011 (arXiv:1206.1901); Wu et al. 2016 (arXiv:1611.04273).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch, generator
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.uses.common import moments, normal

BLOCK = 16  # rows that are drawn for together
FIRST_SIZE, WARM, RATE = 0.3, 30, 0.5  # of the pilot: first step size, settling moves, its gain
GRID = 16  # log step sizes of the pilot per unit
JITTER = 0.2  # of the step size of a move, per chain


class Place(NamedTuple):
    """Where chains stand: z (k, n, d), log start(z) and log p(x,z) - log start(z) (k, n), and the
    gradients of both by z."""

    z: Tensor
    log_start: Tensor
    log_ratio: Tensor
    d_start: Tensor
    d_ratio: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log f_beta, (k, n) float64."""
        return self.log_start.double() + beta * self.log_ratio.double()

    def gradient(self, beta: float) -> Tensor:
        return self.d_start + beta * self.d_ratio


class Path:
    """f_b of the rows of `batch`, from `start` at b = 0 to p(x,z) at b = 1."""

    def __init__(self, model: Model, batch: Batch, start: str) -> None:
        self.model, self.batch, self.prior = model, batch, model.prior(batch)
        self.start = self.prior if start == "prior" else model.posterior(batch)
        self.scale = moments(self.start)[1]  # (n, d), of the moves

    def at(self, z: Tensor) -> Place:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            log_start = self.start.log_prob(z)
            log_ratio = log_likelihood(self.model, z, self.batch)
            if self.start is not self.prior:
                log_ratio = log_ratio + self.prior.log_prob(z) - log_start
            (d_start,) = torch.autograd.grad(log_start.sum(), z, retain_graph=True)
            (d_ratio,) = torch.autograd.grad(log_ratio.sum(), z)
        return Place(z.detach(), log_start.detach(), log_ratio.detach(), d_start, d_ratio)

    def begin(self, noise: Noise) -> Place:
        """Chains drawn from `start`."""
        return self.at(self.start.draw(noise.normal(self.start.noise_size)))


class Noise:
    """Numbers for k chains of rows `first` ... `first` + n - 1, a row's by its place in the data
    alone: they are drawn for blocks of 16 rows whole, however rows are cut into batches."""

    def __init__(self, key: tuple[str, int], first: int, n: int, k: int, like: Tensor) -> None:
        blocks = range(first // BLOCK, -(-(first + n) // BLOCK))
        self.draws = [generator(*key, block, device=like.device) for block in blocks]
        self.rows = slice(first - blocks[0] * BLOCK, first - blocks[0] * BLOCK + n)
        self.k, self.like = k, like

    def normal(self, d: int) -> Tensor:
        """(k, n, d) standard normal."""
        parts = [normal(draw, self.like, self.k, BLOCK, d) for draw in self.draws]
        return torch.cat(parts, 1)[:, self.rows]

    def uniform(self) -> Tensor:
        """(k, n) in [0, 1), float64."""
        given: dict[str, Any] = {"dtype": torch.float64, "device": self.like.device}
        parts = [torch.rand(self.k, BLOCK, generator=draw, **given) for draw in self.draws]
        return torch.cat(parts, 1)[:, self.rows]


Move = Callable[[Place, int, Noise], tuple[Place, Tensor]]
"""(place, t, noise) -> the next place and the probability (k, n) that it was accepted with; leaves
f of the t-th temperature as it is, and is reversible."""
Kernels = Callable[[Path, list[float], Noise], Move]
"""What makes the moves for a path, from its temperatures and noise for a pilot run of its own."""


def leapfrog(
    path: Path, at: Place, momentum: Tensor, beta: float, size: Tensor, steps: int
) -> tuple[Place, Tensor]:
    """`steps` leapfrog steps of log f_beta with step `size` (*k, n) in units of `path.scale`."""
    stride = size.unsqueeze(-1) * path.scale
    momentum = momentum + 0.5 * stride * at.gradient(beta)
    for i in range(steps):
        at = path.at(at.z + stride * momentum)
        momentum = momentum + (0.5 if i == steps - 1 else 1.0) * stride * at.gradient(beta)
    return at, momentum


@dataclass(frozen=True)
class Hmc:
    """Hamiltonian moves (Neal 2011) of `leapfrogs` steps, each move's size 20 % up or down at most,
    so that no orbit of a Gaussian closes on itself.

    A pilot run of `pilot` moves tunes the step size of every row to accept the share `target`, as a
    function of the temperature; in the run that counts sizes are fixed, since adapting them there
    would bias the weights.
    """

    leapfrogs: int = 10
    target: float = 0.65
    pilot: int = 100

    def __call__(self, path: Path, betas: list[float], noise: Noise) -> Move:
        stops, log_sizes = self.tuned(path, betas, noise)

        def move(at: Place, t: int, noise: Noise) -> tuple[Place, Tensor]:
            right = min(bisect_left(stops, t), len(stops) - 1)
            left = max(0, right - 1)
            share = (t - stops[left]) / max(1, stops[right] - stops[left])
            size = log_sizes[left].lerp(log_sizes[right], min(1.0, max(0.0, share))).exp()
            return self.move(path, at, betas[t], size, noise)

        return move

    def tuned(self, path: Path, betas: list[float], noise: Noise) -> tuple[list[int], Tensor]:
        """Numbers of the temperatures where the pilot stopped, and log step sizes there (s, n)."""
        steps = len(betas) - 1
        count = min(steps, self.pilot)
        stops = torch.linspace(1, steps, count, dtype=torch.float64).round().long().tolist()
        at, found = path.begin(noise), []
        log_size = torch.full_like(at.log_start[0], math.log(FIRST_SIZE))
        for stop in stops:
            extra = WARM if stop == stops[0] else 0
            for _ in range(extra + -(-self.pilot // count)):
                # on a grid, else a rounding error would feed back and grow from move to move
                size = ((log_size * GRID).round() / GRID).exp()
                at, accepted = self.move(path, at, betas[stop], size, noise)
                gain = RATE * (accepted.mean(0) - self.target)
                log_size = log_size + gain.to(log_size.dtype)
            found.append(log_size)
        return stops, torch.stack(found)

    def move(
        self, path: Path, at: Place, beta: float, size: Tensor, noise: Noise
    ) -> tuple[Place, Tensor]:
        momentum = noise.normal(at.z.shape[-1])
        size = size * (1 + JITTER * (2 * noise.uniform() - 1)).to(size.dtype)
        there, end = leapfrog(path, at, momentum, beta, size, self.leapfrogs)
        change = there.log_density(beta) - at.log_density(beta)
        change = change + 0.5 * (momentum.double().square() - end.double().square()).sum(-1)
        # a path that left the numbers is not taken
        accepted = change.clamp(max=0.0).exp().nan_to_num(nan=0.0)
        taken = noise.uniform() < accepted
        parts = [
            torch.where(taken.unsqueeze(-1) if new.dim() > taken.dim() else taken, new, old)
            for new, old in zip(there, at, strict=True)
        ]
        return Place(*parts), accepted
