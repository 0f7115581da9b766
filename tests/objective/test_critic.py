"""The critic of FactorVAE: what it is shown, what its numbers are worth, who moves what."""

import math

import pytest
import torch
from torch import nn

from tests.fixtures import gradients, star, step_of
from tests.objective.test_aggregate import ROWS, STEP, encoding
from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import owned
from vaes.objective import Factor, terms
from vaes.objective.critic import permuted


class Best(nn.Module):
    """log q(z) / q(z_1) q(z_2) of N(0, [[1, r], [r, 1]])."""

    def __init__(self, r: float) -> None:
        super().__init__()
        self.r = r

    def forward(self, z):
        a, b = z.unbind(-1)
        both = (a * a - 2 * self.r * a * b + b * b) / (1 - self.r**2)
        ratio = -0.5 * math.log(1 - self.r**2) - 0.5 * both + 0.5 * (a * a + b * b)
        return ratio.unsqueeze(-1)


def test_permuting_keeps_marginals_and_no_dependence():
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(1, 4000, 1, generator=draw).double().repeat(1, 1, 3)
    torch.manual_seed(0)
    mixed = permuted(z)
    assert torch.equal(mixed.sort(-2).values, z.sort(-2).values)
    corr = torch.corrcoef(mixed[0].T) - torch.eye(3).double()
    assert corr.abs().max() < 4 / 4000**0.5  # 1 before


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_best_critic_adds_the_total_correlation(gamma):
    """Codes with the moments of a Gaussian of correlation .8: TC = -1/2 log(1 - .64) = .510826."""
    objective = Factor(2, gamma=gamma, width=8, depth=1)
    tril = torch.linalg.cholesky(torch.tensor([[1, 0.8], [0.8, 1]], dtype=torch.float64))
    few = Batch(star(2)[:, 0] @ tril.T)
    model, step = encoding(objective), step_of(torch.zeros(1, 4, 2).double())
    objective.critic = Best(0.8)
    found = terms(model, few, step.noise)
    loss = objective.losses(model, few, step)["model"]
    more = loss - (found.distortion + found.rate).mean()
    assert more.item() == pytest.approx(gamma * 0.5108256237659907, abs=1e-9)
    torch.manual_seed(0)
    assert objective(model, few, step).item() == pytest.approx(loss.item(), abs=1e-12)


def test_critic_is_shown_halves():
    """Draws of the first half as they are, of the second half permuted; its loss is the logistic
    one, log 2 where it says 0."""
    objective, seen = Factor(2, width=4, depth=1), []

    class Spy(nn.Module):
        def forward(self, z):
            seen.append(z)
            return 0 * z[..., :1] + (1.0 if len(seen) == 1 else -3.0)

    objective.critic = Spy()
    z = torch.randn(1, 10, 2, generator=torch.Generator().manual_seed(0)).double()
    loss = objective.confused(z).item()
    assert torch.equal(seen[0], z[:, :5])
    assert torch.equal(seen[1].sort(-2).values, z[:, 5:].sort(-2).values)
    # half of -log sigmoid(1) and of -log(1 - sigmoid(-3))
    assert loss == pytest.approx(0.5 * (math.log1p(math.exp(-1)) + math.log1p(math.exp(-3))))
    objective.critic = nn.Linear(2, 1).double()
    nn.init.zeros_(objective.critic.weight)
    nn.init.zeros_(objective.critic.bias)
    assert objective.confused(z).item() == pytest.approx(math.log(2))


def test_each_player_moves_its_own():
    objective = Factor(2, width=8, depth=2)
    model = encoding(objective)
    mine = owned(model)
    assert {n.split(".")[0] for n in mine["critic"]} == {"objective"}
    losses = objective.losses(model, ROWS, STEP)
    reached = gradients(losses["critic"], mine["model"])
    assert all(g is None for g in reached.values())  # what the critic descends stops at the codes
    assert all(g is not None for g in gradients(losses["critic"], mine["critic"]).values())


def test_refusals_are_one_line():
    for bad in ({"gamma": -1.0}, {"width": 0}, {"depth": 0}):
        with pytest.raises(UsageError, match="gamma is not negative"):
            Factor(2, **bad)
    wrong = Factor(3, width=4, depth=1)
    with pytest.raises(UsageError, match=r"objective.latent=3: the codes here have 2"):
        wrong.losses(encoding(wrong), ROWS, STEP)
    objective = Factor(2, width=4, depth=1)
    model, one, step = encoding(objective), ROWS[:1], step_of(STEP.noise[:, :1])
    with pytest.raises(UsageError, match="a batch of 1 row"):
        objective.losses(model, one, step)
    assert set(objective.losses(model.eval(), one, step)) == {"model"}
