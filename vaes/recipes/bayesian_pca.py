"""Bayesian PCA (Bishop 1999, NIPS 11 and ICANN): PCA that finds how many directions it needs."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.choose import default_latent
from vaes.recipes.ppca import FLOOR, PPCA, only_reals

SETTINGS = {"batch": 2048, "epochs": 300}
WIDEST, DEAD = 1e8, 1e-6  # precision of a direction at most; share of the largest that is none


class BayesianPCA(PPCA):
    """ppca whose column i of W is N(0, I / alpha_i): directions that the rows do not need go to 0.

    Variational EM over q(z) q(W, mu): every row (w_j, mu_j) is N(m_j, C_j), mu has no prior,
    alpha_i = D / E |w_i|^2, and s2 is a point. The model that is used afterwards has W and mu at
    their means, so log w is the exact log-density of rows under these: no bound on the evidence
    that averages over W.
    """

    spread: Tensor
    alpha: Tensor

    def __init__(self, spec: Spec, latent: int) -> None:
        super().__init__(spec, latent, "em")
        columns = spec.size if spec.missing else 1
        # covariance of the loadings and the mean of every column, (columns, d + 1, d + 1)
        self.register_buffer("spread", torch.zeros(columns, latent + 1, latent + 1))
        self.register_buffer("alpha", torch.ones(latent))

    @property
    def directions(self) -> int:
        """How many directions are left."""
        power = self.weight.square().sum(0)
        return int((power > DEAD * power.max()).sum())

    def begin(self, phase: str, data: Data) -> None:
        super().begin(phase, data)
        self._solve(data)  # the directions of the closed form, gaps at the mean, for EM to weigh
        self.spread.zero_()
        self.alpha.copy_(self._precision())

    def expected(self, batch: Batch) -> CholeskyNormal:
        """q(z) under q(W): as the posterior, with the uncertainty of W in its precision."""
        seen, d = self._observed(batch), self.latent
        second = self.spread[:, :-1, :-1] + self.weight.unsqueeze(2) * self.weight.unsqueeze(1)
        second = second.expand(self.spec.size, -1, -1)
        centred = (batch.x.flatten(1) - self.bias) * seen
        projected = centred @ self.weight
        projected = projected - seen @ self.spread[:, :-1, -1].expand(self.spec.size, -1)
        eye = torch.eye(d, dtype=seen.dtype, device=seen.device)
        if self.spec.missing:
            gram = torch.einsum("nj,jab->nab", seen, second)
        else:
            gram = second.sum(0).expand(len(seen), -1, -1)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(gram / self.variance + eye))
        mean = (covariance @ (projected / self.variance).unsqueeze(-1)).squeeze(-1)
        return CholeskyNormal(mean, torch.linalg.cholesky(covariance))

    def _maximise(self) -> None:
        """q(W), then s2, then alpha, each the best given the others."""
        prior = torch.diag(torch.cat([self.alpha, self.alpha.new_zeros(1)]))
        columns = len(self.spread)
        inverse = torch.linalg.inv(self.second[:columns] / self.variance + prior)
        self.spread.copy_(inverse)
        right = (self.cross / self.variance).unsqueeze(-1)
        solution = (inverse @ right).squeeze(-1)
        moment = inverse + solution.unsqueeze(2) * solution.unsqueeze(1)
        residual = self.power - 2 * (solution * self.cross).sum(-1)
        residual = residual + (moment * self.second).sum((-2, -1))
        self.weight.copy_(solution[:, :-1])
        self.bias.copy_(solution[:, -1])
        self.variance.copy_((residual.sum() / self.count.sum()).clamp(min=FLOOR))
        self.alpha.copy_(self._precision())
        for running in (self.cross, self.second, self.power, self.count):
            running.zero_()

    def _precision(self) -> Tensor:
        spread = self.spread.diagonal(dim1=1, dim2=2)[:, :-1].expand(self.spec.size, -1).sum(0)
        return (self.spec.size / (self.weight.square().sum(0) + spread)).clamp(max=WIDEST)


def build(spec: Spec, *, latent: int | None = None) -> Model:
    """ppca that prunes: of `latent` directions those that the rows do not need go to 0.

    latent: directions at most (None: by the size of a row).
    """
    only_reals(spec, "bayesian_pca")
    d = latent if latent is not None else min(default_latent(spec), spec.size - 1)
    if not 1 <= d < spec.size:
        raise UsageError(
            f"latent={d}: bayesian_pca of {spec.size} columns takes 1 to {spec.size - 1}"
        )
    return BayesianPCA(spec, d)
