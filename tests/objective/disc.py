"""F-DISC: z in {0, 1}^3, p(z) = 1/2 each, x | z ~ N(a z + c, .8), x = 1.1, q logits (.2, -.5, 1).

Every row of the model has numbers of its own, so that one pass gives the gradient of every tuple
of draws: what an estimator gives on average, and how it scatters, is then exact.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from tests.fixtures import step_of
from vaes.batch import Batch, Spec
from vaes.dist.gaussian import NormalLikelihood
from vaes.dist.latent_codes import Bits
from vaes.model import Model, Step
from vaes.objective import Objective

Z = torch.tensor([*itertools.product((0.0, 1.0), repeat=3)], dtype=torch.float64)
WEIGHT = torch.tensor([1, -2, 0.5], dtype=torch.float64)
LOGITS = torch.tensor([0.2, -0.5, 1.0], dtype=torch.float64)
EVIDENCE = -1.5384789406
BOUNDS = {1: -1.9822880453, 2: -1.7247405468, 3: -1.6534730434}
NAMES = ("logits", "weight", "prior_logits")


class Disc(Model):
    """n rows, each with its own q, decoder and prior, all starting at the fixture's numbers."""

    def __init__(self, n: int, objective: Objective) -> None:
        super().__init__(Spec((1,)), 3, objective.samples)
        self.logits = nn.Parameter(LOGITS.repeat(n, 1))
        self.weight = nn.Parameter(WEIGHT.repeat(n, 1))
        self.prior_logits = nn.Parameter(torch.zeros(n, 3, dtype=torch.float64))
        self.objective = objective

    def prior(self, batch: Batch) -> Bits:
        return Bits(self.prior_logits)

    def posterior(self, batch: Batch) -> Bits:
        return Bits(self.logits)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        mean = (z * self.weight).sum(-1, keepdim=True) + 0.3
        return NormalLikelihood(mean, torch.tensor(0.5 * math.log(0.8), dtype=z.dtype), 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"model": self.objective(self, batch, step)}


def rows(n: int) -> Batch:
    return Batch(torch.full((n, 1), 1.1, dtype=torch.float64))


def tuples(k: int) -> tuple[Tensor, Tensor]:
    """Noise (k, 8^k, 3) that makes every tuple of k draws once, and its probability (8^k,)."""
    index = torch.tensor([*itertools.product(range(8), repeat=k)])
    z = Z[index].transpose(0, 1)
    return 8.0 * (2 * z - 1), Bits(LOGITS).log_prob(z).sum(0).exp()


def estimates(objective: Objective, noise: Tensor) -> dict[str, Tensor]:
    """Gradient of the *bound* of every row, by name of the parameter, (n, 3)."""
    n = noise.shape[1]
    model = Disc(n, objective)
    loss = model.losses(rows(n), step_of(noise))["model"]
    found = torch.autograd.grad(loss, [getattr(model, name) for name in NAMES])
    return {name: -n * g for name, g in zip(NAMES, found, strict=True)}


def exact(k: int) -> dict[str, Tensor]:
    """Value and gradients of L_k by enumeration and autograd."""
    parts = {
        "logits": LOGITS.clone().requires_grad_(),
        "weight": WEIGHT.clone().requires_grad_(),
        "prior_logits": torch.zeros(3, dtype=torch.float64, requires_grad=True),
    }
    index = torch.tensor([*itertools.product(range(8), repeat=k)])
    log_q = Bits(parts["logits"]).log_prob(Z)
    error = 1.1 - 0.3 - Z @ parts["weight"]
    joint = -0.5 * error.square() / 0.8 - 0.5 * math.log(2 * math.pi * 0.8)
    log_w = joint + Bits(parts["prior_logits"]).log_prob(Z) - log_q
    bound = log_w[index].logsumexp(1) - math.log(k)
    value = (log_q[index].sum(1).exp() * bound).sum()
    found = torch.autograd.grad(value, list(parts.values()))
    return {"value": value.detach(), **dict(zip(parts, found, strict=True))}
