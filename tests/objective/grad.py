"""F-GRAD with numbers of q for every row: exact means and variances of gradients by quadrature.

p(z) = N(0, 1), p(x|z) = N(z + shift, 1), x = 2, q = N(loc, scale^2). A row per point of a
Gauss-Hermite grid over the noise of k draws, so that one backward pass gives the gradient at each.
"""

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor, nn

from tests.fixtures import step_of
from vaes.batch import Batch, Spec
from vaes.dist.gaussian import DiagonalNormal, NormalLikelihood
from vaes.model import Model, Player
from vaes.objective import Objective

EVIDENCE = -2.2655121235
M, S, X = 0.5, 0.8, 2.0
RECOGNISER, GENERATOR = ("loc", "scale"), ("shift",)


class Grid(Model):
    def __init__(self, n: int, objective: Objective, loc: float = M, scale: float = S) -> None:
        super().__init__(Spec((1,)), 1, objective.samples)
        full = torch.full((n, 1), 1.0, dtype=torch.float64)
        self.loc, self.scale = nn.Parameter(loc * full), nn.Parameter(scale * full)
        self.shift, self.objective = nn.Parameter(0 * full), objective
        if objective.players:
            self.players = {"generator": Player(GENERATOR), "recogniser": Player(RECOGNISER)}

    def prior(self, batch):
        zeros = torch.zeros(len(batch), 1, dtype=torch.float64)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch):
        return DiagonalNormal(self.loc, self.scale.log())

    def likelihood(self, z, batch):
        return NormalLikelihood(z + self.shift, torch.zeros(1, dtype=torch.float64), 1)

    def losses(self, batch, step):
        return self.objective.losses(self, batch, step)


def grid(k: int, nodes: int = 40) -> tuple[Tensor, Tensor]:
    """Noise (k, nodes^k, 1) and weights (nodes^k,) that sum to 1."""
    at, weight = (torch.from_numpy(t) for t in hermegauss(nodes))
    weight = weight / weight.sum()
    points = torch.cartesian_prod(*[at] * k).view(-1, k)
    weights = torch.cartesian_prod(*[weight] * k).view(-1, k).prod(1)
    return points.T.unsqueeze(-1), weights


def gradients(
    objective: Objective, k: int, loc: float = M, scale: float = S
) -> dict[str, tuple[float, float]]:
    """Mean and variance over the draws of minus each number's gradient of its owner's loss."""
    noise, weight = grid(k)
    model = Grid(len(weight), objective, loc, scale)
    losses = model.losses(Batch(torch.full((len(weight), 1), X).double()), step_of(noise))
    found = {}
    for name in (*RECOGNISER, *GENERATOR):
        owner = "generator" if name in GENERATOR else "recogniser"
        loss = losses[owner if owner in losses else "model"]
        (g,) = torch.autograd.grad(loss, [getattr(model, name)], retain_graph=True)
        g = -len(weight) * g.squeeze(-1)
        mean = weight @ g
        found[name] = mean.item(), (weight @ (g - mean).square()).item()
    return found


def by_hand(k: int, loc: float = M, scale: float = S) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noise, z, log w (k, n each) and weights of the grid, by the densities written out."""
    noise, weight = grid(k)
    noise = noise.squeeze(-1)
    z = loc + scale * noise
    log_two_pi = torch.tensor(2 * torch.pi).double().log()
    joint = -0.5 * (z.square() + (X - z).square()) - log_two_pi
    log_q = -0.5 * noise.square() - 0.5 * log_two_pi - torch.tensor(scale).double().log()
    return noise, z, joint - log_q, weight
