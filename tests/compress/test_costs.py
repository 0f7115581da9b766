"""What rows cost, against bounds and probabilities that are known by enumeration."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson
from torch import Tensor

from tests.uses.models import ThreeClasses, class_rows, seeded, states
from vaes.batch import Batch, Data, Spec
from vaes.compress import Coded, encode
from vaes.compress.ans import Stack
from vaes.compress.coder import Popper, Recorder
from vaes.compress.entries import walker
from vaes.dist.base import Latent
from vaes.dist.counts import NegativeBinomialLikelihood, PoissonLikelihood
from vaes.dist.discrete import BernoulliLikelihood
from vaes.dist.gaussian import DiagonalNormal
from vaes.model import Model, Step

LOG_2 = math.log(2)
WHOLE = Spec((4,), ("binary", "category", "category", "pixel"), (2, 2, 3, 5), (0.0,), (1.0,))


def nats(coded: Coded) -> float:
    """What is on the stack, less the seed and the state that it began with."""
    stack = Stack.of(coded.payload)
    bits = 32 * len(stack.words) + math.log2(stack.state)
    return (bits - 256 - 64.5) * LOG_2


def classes(n: int, gaps: bool) -> Data:
    x = class_rows(n, seed=1)
    if not gaps:
        return Data(WHOLE, x)
    mask = torch.rand(x.shape, generator=seeded(2)) < 0.8
    return Data(ThreeClasses().spec, torch.where(mask, x, 0.0), mask=mask)


def log_joint(data: Data) -> Tensor:
    """log p(observed x, class) of every row (n, 3), by enumeration of all rows there are."""
    every = [*states()]
    codes = torch.tensor([c for c, _ in every]).double() / torch.tensor([1, 1, 1, 4])
    joint = torch.stack([p for _, p in every])
    found = []
    for i, row in enumerate(data.x):
        seen = torch.ones(4, dtype=torch.bool) if data.mask is None else data.mask[i]
        fits = (codes[:, seen] == row[seen]).all(1)
        found.append(joint[fits].sum(0).log())
    return torch.stack(found)


@pytest.mark.parametrize("gaps", [False, True])
def test_an_exact_posterior_costs_the_evidence(gaps):
    """600 rows of three classes: minus the sum of log p(x) by enumeration, within .2 %."""
    given = classes(600, gaps)
    coded = encode(ThreeClasses(exact=True, spec=given.spec), given)
    assert nats(coded) == pytest.approx(-log_joint(given).logsumexp(1).sum().item(), rel=2e-3)


def test_a_wrong_posterior_costs_the_elbo_and_not_the_evidence():
    """q = 1/3 each: the mean of -log p(x, class) - log 3 over classes, by enumeration, within 4
    standard errors of one draw per row, far from the evidence."""
    given = classes(600, False)
    log_w = log_joint(given) + math.log(3)
    elbo, error = log_w.mean(1).sum().item(), math.sqrt(log_w.var(1, correction=0).sum().item())
    found = nats(encode(ThreeClasses(spec=WHOLE), given))
    assert abs(found + elbo) < 4 * error
    assert found + log_joint(given).logsumexp(1).sum().item() > 5 * error


class Curve(Model):
    """z ~ N(0, 1); six bits with logits a z + b; q(z|x) = N(.8 (mean of x) - .4, .35^2)."""

    def __init__(self) -> None:
        super().__init__(Spec((6,), ("binary",), (2,)), 1)
        self.a = torch.nn.Parameter(torch.tensor([2.0, -1.5, 1.0, 0.5, -2.5, 3.0]).double())
        self.b = torch.tensor([0.3, -0.2, 1.0, -1.0, 0.0, 0.5]).double()

    def prior(self, batch: Batch) -> Latent:
        zeros = self.a.new_zeros(len(batch), 1)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch: Batch) -> Latent:
        loc = 0.8 * batch.x.mean(1, keepdim=True) - 0.4
        return DiagonalNormal(loc, torch.full_like(loc, math.log(0.35)))

    def likelihood(self, z: Tensor, batch: Batch) -> BernoulliLikelihood:
        return BernoulliLikelihood(z * self.a + self.b, 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def test_one_real_latent_costs_the_enumerated_bound():
    """The ELBO of 1,200 rows as a sum over 4,000 places of z, within 4 standard errors of one draw
    per row: about 1 % of it."""
    model = Curve()
    x = (torch.rand(1200, 6, generator=seeded(4)) < 0.4).double()
    given = Data(model.spec, x)
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    loc = 0.8 * x.mean(1) - 0.4
    q = torch.exp(-0.5 * ((z[:, None] - loc) / 0.35) ** 2) / (0.35 * math.sqrt(2 * math.pi)) * 0.003
    logits = z[:, None] * model.a.detach() + model.b
    log_p = torch.log_softmax(torch.stack([0 * logits, logits]), 0)
    log_x = log_p[1] @ x.T + log_p[0] @ (1 - x).T
    log_prior = -0.5 * z[:, None] ** 2 - 0.5 * math.log(2 * math.pi)
    log_w = log_x + log_prior - (q / 0.003).log()
    mean = (q * log_w).sum(0)
    error = math.sqrt((q * (log_w - mean) ** 2).sum().item())
    assert q.sum(0) == pytest.approx(1, abs=1e-9)
    assert 4 * error < 0.025 * -mean.sum().item()
    assert abs(nats(encode(model, given)) + mean.sum().item()) < 4 * error


def test_large_counts_cost_their_probability():
    """Counts up to 8,000 under a Poisson of their own mean, without a latent that matters: minus
    the sum of log p(x) by scipy, within a thousandth."""
    mean = torch.tensor([[0.3, 5.0, 100.0, 3000.0]]).double()
    x = np.array([1, 17, 64, 3021])
    r = torch.tensor([0.5, 2.0, 10.0, 50.0]).double()
    share = r.numpy() / (r.numpy() + mean[0].numpy())
    for p, due in (
        (PoissonLikelihood(mean.log()), poisson.logpmf(x, mean[0].numpy())),
        (NegativeBinomialLikelihood(mean.log(), r.log()), nbinom.logpmf(x, r.numpy(), share)),
    ):
        for j in range(4):  # each alone, beside the largest count that there may be
            stack = Stack(hashlib.sha256(b"counts").digest())
            before = 32 * len(stack.words) + math.log2(stack.state)
            recorder = Recorder(x.copy())
            walker(p, recorder, 8000)(np.array([j]))
            recorder.push(stack)
            paid = (32 * len(stack.words) + math.log2(stack.state) - before) * LOG_2
            assert paid == pytest.approx(-due[j], abs=5e-3)
            popper = Popper(4, stack)
            walker(p, popper, 8000)(np.array([j]))
            assert popper.values[j] == x[j]
