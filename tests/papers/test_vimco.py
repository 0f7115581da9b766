"""Mnih & Rezende 2016: a bound of K draws of discrete codes, whose prior is learnt with it."""

import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec
from vaes.model import Step
from vaes.objective import log_likelihood, log_weight
from vaes.recipes import build

SPEC = Spec((6,), ("binary",), (2,))
ROWS = torch.tensor(
    [[0, 0, 1, 0, 1, 1], [0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]]
)
ENTROPY = 1.75 * math.log(2)  # of (1/2, 1/4, 1/8, 1/8)


def test_vimco_learns_four_classes_and_their_shares():
    """Rows in the proportions 4 : 2 : 1 : 1, one variable of as many classes as there are rows:
    log p(x) comes near -1.75 log 2 by the sum over its states, which an even prior (-log 4) cannot.
    """
    torch.manual_seed(1)  # from some starts two rows share a class for good, which costs .52 nats
    rows = ROWS[torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])].double()
    data = Data(SPEC, rows.repeat(8, 1))
    model = build("vimco", SPEC, latent=4, classes=4, hidden=(32,), samples=6, learnt=True)
    train(model.double(), data, steps=300)
    few, z = data.rows(slice(0, 8)), torch.eye(4, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        log_p = (log_likelihood(model, z, few) + model.prior(few).log_prob(z)).logsumexp(0)
    assert -ENTROPY - 0.1 < log_p.mean() < -ENTROPY
    assert log_p.mean() > -math.log(4)


def test_vimco_says_the_bound_of_its_draws():
    """Minus the log-mean-exp of the step's own K log-weights, K as given."""
    torch.manual_seed(0)
    model = build("vimco", SPEC, latent=3, samples=7).double()
    few = Data(SPEC, ROWS.double()).rows(slice(None))
    step = Step.at(model, few, 0)
    assert step.noise.shape == (7, 4, 3)
    log_w = log_weight(model, few, noise=step.noise)
    bound = (log_w.logsumexp(0) - math.log(7)).mean().item()
    assert model.losses(few, step)["model"].item() == pytest.approx(-bound, abs=1e-12)
