"""Probabilistic PCA (Tipping & Bishop 1999): the linear model with an exact evidence."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, NormalLikelihood
from vaes.errors import UsageError
from vaes.model import Model, Phase, Step
from vaes.nets.choose import default_latent

FLOOR = 1e-8  # of the noise variance, in standardised units


class PPCA(Model):
    """z ~ N(0, I_d), x | z ~ N(W z + mu, s2 I). Its posterior is exact, so log w is log p(x).

    Closed form for complete rows (eigenvectors of the covariance); EM for any, gaps included:
    W, mu and s2 are buffers that `closed_form` moves once per pass.
    """

    bound = "exact"
    whole_epochs = True
    weight: Tensor
    bias: Tensor
    variance: Tensor
    cross: Tensor
    second: Tensor
    power: Tensor
    count: Tensor

    def __init__(self, spec: Spec, latent: int, method: str) -> None:
        super().__init__(spec, latent)
        self.method, size, extended = method, spec.size, latent + 1
        self.players = {}
        self.phases = (Phase("train", share=0.0 if method == "closed" else 1.0),)
        self.register_buffer("weight", torch.zeros(size, latent))
        self.register_buffer("bias", torch.zeros(size))
        self.register_buffer("variance", torch.ones(()))
        # running sums of one pass, per column j over its observed rows, with t = (z, 1):
        # E x t, E t t^T, x^2 and the number of rows
        self.register_buffer("cross", torch.zeros(size, extended), persistent=False)
        self.register_buffer("second", torch.zeros(size, extended, extended), persistent=False)
        self.register_buffer("power", torch.zeros(size), persistent=False)
        self.register_buffer("count", torch.zeros(size), persistent=False)

    def prior(self, batch: Batch) -> DiagonalNormal:
        zeros = self.weight.new_zeros(len(batch), self.latent)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch: Batch) -> CholeskyNormal:
        x, observed = batch.x.flatten(1) - self.bias, self._observed(batch)
        identity = torch.eye(self.latent, dtype=x.dtype, device=x.device)
        if batch.mask is None:
            precision = self.weight.T @ self.weight / self.variance + identity
        else:
            outer = self.weight.unsqueeze(2) * self.weight.unsqueeze(1)
            precision = torch.einsum("nj,jab->nab", observed, outer) / self.variance + identity
        # covariance = precision^-1 through its Cholesky factor; its own lower factor is needed
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        projected = (x * observed) @ self.weight / self.variance
        mean = (covariance @ projected.unsqueeze(-1)).squeeze(-1)
        return CholeskyNormal(mean, torch.linalg.cholesky(covariance))

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        mean = (z @ self.weight.T + self.bias).unflatten(-1, self.spec.shape)
        return NormalLikelihood(mean, 0.5 * self.variance.log(), len(self.spec.shape))

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}

    def begin(self, phase: str, data: Data) -> None:
        """EM starts from the columns' moments and small random loadings; closed form is the end."""
        start = torch.Generator().manual_seed(0)
        total = torch.zeros(3, self.spec.size, dtype=torch.float64, device=self.weight.device)
        for batch in data.batches(1000):
            seen, x = self._observed(batch).double(), batch.x.flatten(1).double()
            total += torch.stack([(seen * x).sum(0), (seen * x.square()).sum(0), seen.sum(0)])
        mean = total[0] / total[2].clamp(min=1)
        self.bias.copy_(mean)
        spread = (total[1] / total[2].clamp(min=1) - mean.square()).mean()
        self.variance.copy_((spread / 2).clamp(min=FLOOR))
        loadings = torch.randn(self.weight.shape, generator=start, dtype=torch.float64)
        self.weight.copy_((spread / 2 / self.latent).sqrt() * loadings.to(mean.device))
        if self.method == "closed":
            self._solve(data)

    def expected(self, batch: Batch) -> CholeskyNormal:
        """What the E-step says of z."""
        return self.posterior(batch)

    def closed_form(self, batch: Batch, step: Step) -> None:
        """The E-step of every batch; the M-step after the last one of a pass."""
        q, seen, x = self.expected(batch), self._observed(batch), batch.x.flatten(1)
        t = torch.cat([q.mean, torch.ones_like(q.mean[:, :1])], 1)
        moment = t.unsqueeze(2) * t.unsqueeze(1)
        moment[:, :-1, :-1] += q.covariance_matrix
        self.cross += (seen * x).T @ t
        self.second += torch.einsum("nj,nab->jab", seen, moment)
        self.power += (seen * x.square()).sum(0)
        self.count += seen.sum(0)
        if step.last_of_epoch:
            self._maximise()

    def _maximise(self) -> None:
        solution = torch.linalg.solve(self.second, self.cross.unsqueeze(-1)).squeeze(-1)
        quadratic = (solution.unsqueeze(1) @ self.second @ solution.unsqueeze(-1)).flatten()
        residual = self.power - 2 * (solution * self.cross).sum(-1) + quadratic
        self.weight.copy_(solution[:, :-1])
        self.bias.copy_(solution[:, -1])
        self.variance.copy_((residual.sum() / self.count.sum()).clamp(min=FLOOR))
        for running in (self.cross, self.second, self.power, self.count):
            running.zero_()

    def _solve(self, data: Data) -> None:
        """W = U_d (L_d - s2 I)^1/2, s2 = mean of the discarded eigenvalues (covariance over N)."""
        mean, d, size = self.bias.double(), self.latent, self.spec.size
        scatter = torch.zeros(size, size, dtype=torch.float64, device=mean.device)
        for batch in data.batches(1000):
            centred = (batch.x.flatten(1).double() - mean) * self._observed(batch)
            scatter += centred.T @ centred
        values, vectors = torch.linalg.eigh(scatter / len(data))
        values, vectors = values.flip(0), vectors.flip(1)
        variance = values[d:].mean().clamp(min=FLOOR)
        self.variance.copy_(variance)
        self.weight.copy_(vectors[:, :d] * (values[:d] - variance).clamp(min=0).sqrt())

    def _observed(self, batch: Batch) -> Tensor:
        if batch.mask is None:
            return torch.ones_like(batch.x.flatten(1))
        return batch.mask.flatten(1).to(batch.x.dtype)


def only_reals(spec: Spec, name: str) -> None:
    """One line where the rows of a linear Gaussian recipe hold anything else."""
    for kind in spec.kinds:
        if kind != "real":
            raise UsageError(
                f"{name} is a density of reals, but the data hold '{kind}' entries; "
                "overrule with --kind real, or take another recipe"
            )


def build(spec: Spec, *, latent: int | None = None, method: str = "auto") -> Model:
    """Probabilistic PCA of standardised reals.

    latent: dimensions of z (None: by the size of a row) · method: closed, em, or auto (closed for
    complete rows, em where rows have gaps).
    """
    d = latent if latent is not None else min(default_latent(spec), spec.size - 1)
    only_reals(spec, "ppca")
    if not 1 <= d < spec.size:
        raise UsageError(f"latent={d}: ppca of {spec.size} columns takes 1 to {spec.size - 1}")
    if method not in ("auto", "closed", "em"):
        raise UsageError(f"method '{method}' is not known; use closed, em or auto")
    if method == "closed" and spec.missing:
        raise UsageError("method=closed needs complete rows; these have gaps: use method=em")
    if method == "auto":
        method = "em" if spec.missing else "closed"
    return PPCA(spec, d, method)
