"""Small problems whose answers are known in closed form, and the loop that trains on them.

LG: z ~ N(0, I_2), x | z ~ N(W z + mu, v I_5), one row. GRAD: z ~ N(0, 1), x | z ~ N(z, 1), x = 2,
q = N(.5, .8^2). PPCA: 500 rows of 8 columns from a rank-3 model. All float64.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec
from vaes.composed import Composed, compose
from vaes.dist.base import Latent
from vaes.dist.gaussian import (
    BELOW,
    LOG_SCALE,
    CholeskyNormal,
    DiagonalNormal,
    NormalLikelihood,
)
from vaes.model import Model, Step, owned
from vaes.objective import Elbo, Objective

# --- LG ---------------------------------------------------------------------------------------
LG_W = torch.tensor([[1, 0], [0.5, -1], [0, 2], [-1, 0.5], [0.25, 0.25]], dtype=torch.float64)
LG_MU = torch.tensor([0, 1, -1, 0.5, 0], dtype=torch.float64)
LG_VAR = 0.5
LG_X = torch.tensor([[1, 0, 2, -1, 0.5]], dtype=torch.float64)
LG_EVIDENCE = -7.696352522037623
LG_PRECISION = torch.eye(2, dtype=torch.float64) + LG_W.T @ LG_W / LG_VAR
LG_MEAN = torch.linalg.solve(LG_PRECISION, LG_W.T @ (LG_X[0] - LG_MU) / LG_VAR)
LG_TRIL = torch.linalg.cholesky(torch.linalg.inv(LG_PRECISION))
LG_DIAGONAL = LG_PRECISION.diagonal().rsqrt()  # standard deviations of the best diagonal q

# --- GRAD -------------------------------------------------------------------------------------
GRAD_X = torch.tensor([[2.0]], dtype=torch.float64)

# --- PPCA -------------------------------------------------------------------------------------
PPCA_EVIDENCE = {1: -13.119438, 2: -12.040434, 3: -11.976043048312958, 4: -11.960499}
PPCA_VARIANCE = {1: 0.962817, 2: 0.542260, 3: 0.486241, 4: 0.457688}


@cache
def ppca_rows() -> np.ndarray:
    """(500, 8); the eigenvalues of the covariance tell a changed random stream."""
    draw = np.random.default_rng(0)
    loadings = draw.standard_normal((8, 3)) * [2, 1, 0.5]
    x = draw.standard_normal((500, 3)) @ loadings.T + 0.7 * draw.standard_normal((500, 8))
    x = x + draw.standard_normal(8)
    known = [44.751, 3.486, 0.822, 0.600, 0.523, 0.477, 0.441, 0.390]
    assert np.allclose(ppca_spectrum(x)[0], known, atol=6e-4)
    return x


def ppca_spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (falling) and eigenvectors of the covariance, divided by N."""
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    return values[::-1], vectors[:, ::-1]


def ppca_data() -> Data:
    return Data(Spec((8,)), torch.from_numpy(ppca_rows().copy()))


def ppca_solution(k: int) -> tuple[Tensor, Tensor, float]:
    """W = U_k (L_k - s2)^1/2, the mean, s2: the maximum of the likelihood."""
    values, vectors = ppca_spectrum(ppca_rows())
    variance = float(values[k:].mean())
    weight = vectors[:, :k] * np.sqrt(values[:k] - variance)
    return torch.from_numpy(weight), torch.from_numpy(ppca_rows().mean(0)), variance


# --- points that stand for noise --------------------------------------------------------------
def hermite(n: int) -> tuple[Tensor, Tensor]:
    """n Gauss-Hermite nodes as noise (n, 1, 1) and their weights (n,), summing to 1."""
    nodes, weights = hermegauss(n)
    return torch.from_numpy(nodes).view(-1, 1, 1), torch.from_numpy(weights / weights.sum())


def star(d: int) -> Tensor:
    """2 d points (2 d, 1, d) of mean 0 and covariance I: their plain mean of any quadratic
    function is its exact expectation under N(0, I), so a linear model's ELBO has no noise."""
    eye = math.sqrt(d) * torch.eye(d, dtype=torch.float64)
    return torch.cat([eye, -eye]).unsqueeze(1)


def cube(d: int) -> Tensor:
    """The 2^d corners of {-1, 1}^d, (2^d, 1, d): exact for quadratics too."""
    return torch.tensor([*itertools.product((-1.0, 1.0), repeat=d)]).double().unsqueeze(1)


# --- models -----------------------------------------------------------------------------------
class LinearGaussian(Model):
    """z ~ N(0, I), x | z ~ N(W z + mu, v I); q = N(loc, scale) is one and the same for all rows.

    `scale` (d,) is a standard deviation per dimension, (d, d) a Cholesky factor.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        variance: float,
        loc: Tensor,
        scale: Tensor,
        objective: Objective | None = None,
        spec: Spec | None = None,
    ) -> None:
        objective = objective or Elbo()
        super().__init__(spec or Spec((weight.shape[0],)), weight.shape[1], objective.samples)
        self.weight, self.bias, self.variance = weight, bias, torch.tensor(variance).double()
        self.loc, self.scale = nn.Parameter(loc.clone()), nn.Parameter(scale.clone())
        self.objective = objective

    def prior(self, batch: Batch) -> Latent:
        zeros = self.weight.new_zeros(len(batch), self.latent)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch: Batch) -> Latent:
        loc = self.loc.expand(len(batch), -1)
        if self.scale.dim() == 1:
            return DiagonalNormal(loc, self.scale.log())
        return CholeskyNormal(loc, self.scale)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        return NormalLikelihood(z @ self.weight.T + self.bias, 0.5 * self.variance.log(), 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"model": self.objective(self, batch, step)}


def lg(loc: Tensor, scale: Tensor, **kwargs) -> LinearGaussian:
    return LinearGaussian(LG_W, LG_MU, LG_VAR, loc, scale, **kwargs)


def grad_model(objective: Objective | None = None) -> LinearGaussian:
    one = torch.ones(1, 1, dtype=torch.float64)
    return LinearGaussian(one, one[0] * 0, 1.0, one[0] * 0.5, one[0] * 0.8, objective)


def unclip(y: Tensor, low: float, high: float) -> Tensor:
    """Inverse of `soft_clip`, from e^(y-low) = (1 + e^(x-low)) / (1 + e^(x-high))."""
    ratio = (y - low).exp()
    return ((ratio - 1) / (math.exp(-low) - ratio * math.exp(-high))).log()


@torch.no_grad()
def linear_vae(weight: Tensor, bias: Tensor, variance: float, posterior: str) -> Composed:
    """The library's VAE without hidden layers, its encoder set to the best q of the family.

    cholesky: the posterior itself; diagonal: same mean, the inverse of the precision's diagonal.
    """
    size, d = weight.shape
    model = compose(
        Spec((size,)), Elbo(), latent=d, hidden=(), posterior=posterior, scale=1.0
    ).double()
    model.decoder.head.log_scale.fill_(0.5 * math.log(variance))
    model.decoder.last.weight.copy_(weight)
    model.decoder.last.bias.copy_(bias)
    precision = torch.eye(d, dtype=torch.float64) + weight.T @ weight / variance
    gain = torch.linalg.solve(precision, weight.T / variance)
    last = model.encoder.last
    last.weight.zero_()
    last.weight[:d], last.bias[:d] = gain, -gain @ bias
    if posterior == "diagonal":
        last.bias[d:] = unclip(-0.5 * precision.diagonal().log(), *LOG_SCALE)
    else:
        tril = torch.linalg.cholesky(torch.linalg.inv(precision))
        last.bias[d : 2 * d] = unclip(tril.diagonal().log(), *LOG_SCALE)
        last.bias[2 * d :] = tril[tuple(torch.tril_indices(d, d, -1))] / BELOW
    return model


# --- training ---------------------------------------------------------------------------------
def step_of(noise: Tensor, fraction: float = 1.0, last_of_epoch: bool = False) -> Step:
    """A step with noise of one's own, at the end of its phase unless said otherwise."""
    zero = torch.tensor(0)
    return Step(zero, zero, torch.tensor(fraction), noise, last_of_epoch=last_of_epoch)


def descend(model: Model, batch: Batch, noise: Tensor, steps: int, rate: float) -> None:
    """Adam on the whole data with the same noise at every step; the rate falls to 0 as a cosine."""
    adam = torch.optim.Adam(model.parameters(), rate, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    step = step_of(noise)
    for _ in range(steps):
        adam.zero_grad()
        model.losses(batch, step)["model"].backward()
        adam.step()
        decay.step()


def gradients(loss: Tensor, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor | None]:
    """d loss / d parameter by name; None where the loss does not reach it."""
    found = torch.autograd.grad(loss, [*parameters.values()], retain_graph=True, allow_unused=True)
    return dict(zip(parameters, found, strict=True))


def train(model: Model, data: Data, steps: int, rate: float = 1e-2) -> None:
    """Every phase and every player of any model, on batches that are the whole data."""
    batch = data.rows(slice(None))
    for phase in model.phases:
        with torch.no_grad():
            model.begin(phase.name, data)
        players = {p: q for p, q in owned(model).items() if q}
        moving = [p for p in players if phase.players is None or p in phase.players]
        adams = {p: torch.optim.Adam(players[p].values(), rate) for p in moving}
        for i in range(steps if phase.share else 0):
            step = Step.at(model, batch, i, total=steps, phase=phase.name, last_of_epoch=True)
            losses = model.losses(batch, step)
            # all gradients before any step: a step moves what the other players' graphs hold
            for p in moving:
                if p in losses:
                    for name, g in gradients(losses[p], players[p]).items():
                        players[p][name].grad = g
            for p in moving:
                if p in losses:
                    adams[p].step()
            with torch.no_grad():
                model.closed_form(batch, step)
