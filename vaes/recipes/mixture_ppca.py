"""Mixture of probabilistic PCAs (Tipping & Bishop 1999, Neural Computation 11), by exact EM."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, NormalLikelihood
from vaes.dist.regression import Regression, moments, observed
from vaes.errors import UsageError
from vaes.model import Model, Phase, Step
from vaes.recipes.ppca import only_reals

SETTINGS = {"batch": 2048, "epochs": 60}
LEAST = 1e-3  # noise, as a share of the columns' variance: no component may close in on one row


class MixturePPCA(Model):
    """z = (c, u): c one of K components, u ~ N(0, I_d), x | c, u ~ N(W_c u + mu_c, s2_c I).

    The posterior p(c|x) p(u|c,x) is exact, so log w is log p(x), gaps included. All numbers are
    buffers that `closed_form` moves once per pass.
    """

    bound = "exact"
    whole_epochs = True
    phases = (Phase("train"),)
    weight: Tensor
    bias: Tensor
    variance: Tensor
    shares: Tensor
    least: Tensor

    def __init__(self, spec: Spec, components: int, latent: int) -> None:
        super().__init__(spec, components + latent)
        self.players, self.sizes, k = {}, (components, latent), components
        self.register_buffer("weight", torch.zeros(k, spec.size, latent))
        self.register_buffer("bias", torch.zeros(k, spec.size))
        self.register_buffer("variance", torch.ones(k))
        self.register_buffer("shares", torch.full((k,), 1 / k))
        self.register_buffer("least", torch.tensor(LEAST))
        self.sums = Regression(k, spec.size, latent + 1, spec.missing)

    def prior(self, batch: Batch) -> Chain:
        zeros = self.weight.new_zeros(len(batch), self.sizes[1])
        first = OneHot(self.shares.log().expand(len(batch), -1))
        return Chain(first, lambda c: DiagonalNormal(zeros, zeros), sizes=self.sizes)

    def posterior(self, batch: Batch) -> Chain:
        mean, tril, joint = self._components(batch)

        def link(c: Tensor) -> CholeskyNormal:
            loc = torch.einsum("...nk,nka->...na", c, mean)
            return CholeskyNormal(loc, torch.einsum("...nk,nkab->...nab", c, tril))

        return Chain(OneHot(joint), link, sizes=self.sizes)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        c, u = z.split(self.sizes, -1)
        both, dims = (c.unsqueeze(-1) * u.unsqueeze(-2)).flatten(-2), len(self.spec.shape)
        mean = both @ self.weight.mT.flatten(0, 1) + c @ self.bias
        log_scale = (0.5 * (c @ self.variance).log()).view(*c.shape[:-1], *(1,) * dims)
        return NormalLikelihood(mean.unflatten(-1, self.spec.shape), log_scale, dims)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}

    def begin(self, phase: str, data: Data) -> None:
        """Means by rounds of k-means over at most 4096 rows whose gaps hold 0, the columns' mean;
        small random loadings."""
        k, d = self.sizes
        rows = torch.randperm(len(data), generator=generator("mixture_ppca"))[: max(4096, k)]
        x = data.rows(rows.to(data.x.device)).x.flatten(1).to(self.bias.dtype)
        if len(x) < k:
            raise UsageError(f"components={k}: there are {len(x)} rows; give it at most as many")
        spread, centres = x.var(0, correction=0).mean(), x[:k]
        for _ in range(20):
            near = torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(1), k).to(x.dtype)
            found = near.T @ x / near.sum(0).clamp(min=1).unsqueeze(1)
            centres = torch.where(near.sum(0).unsqueeze(1) > 0, found, centres)
        draw = torch.randn(self.weight.shape, generator=generator("loadings"), dtype=torch.float64)
        self.bias.copy_(centres)
        self.weight.copy_((spread / 2 / d).sqrt() * draw.to(x))
        self.least.copy_(LEAST * spread)
        self.variance.copy_((spread / 2).expand(k))
        self.shares.fill_(1 / k)

    def closed_form(self, batch: Batch, step: Step) -> None:
        """The E-step of every batch; the M-step after the last one of a pass."""
        mean, tril, joint = self._components(batch)
        x, seen = batch.x.flatten(1), observed(batch.x, batch.mask)
        self.sums.add(x, seen, joint.softmax(-1), *moments(mean, tril @ tril.mT))
        if step.last_of_epoch:
            found = self.sums.solve()
            self.weight.copy_(found.weight[..., :-1])
            self.bias.copy_(found.weight[..., -1])
            variance = found.residual / found.count.clamp(min=1e-12)
            self.variance.copy_(torch.maximum(variance, self.least))
            self.shares.copy_((found.mass / found.mass.sum()).clamp(min=1e-30))

    def _components(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of every row and component: mean (n, K, d) and Cholesky factor (n, K, d, d) of p(u|c,x),
        and log p(x, c), (n, K)."""
        seen, s2 = observed(batch.x, batch.mask), self.variance
        centred = (batch.x.flatten(1).unsqueeze(1) - self.bias) * seen.unsqueeze(1)
        eye = torch.eye(self.sizes[1], dtype=seen.dtype, device=seen.device)
        if batch.mask is None:
            gram = (self.weight.mT @ self.weight).unsqueeze(0)
        else:
            gram = torch.einsum("nj,kja,kjb->nkab", seen, self.weight, self.weight)
        factor = torch.linalg.cholesky(gram / s2.view(-1, 1, 1) + eye)
        covariance = torch.cholesky_inverse(factor)
        projected = torch.einsum("nkj,kja->nka", centred, self.weight) / s2.unsqueeze(-1)
        mean = (covariance @ projected.unsqueeze(-1)).squeeze(-1)
        squares = centred.square().sum(-1) / s2 - (projected * mean).sum(-1)
        constant = seen.sum(-1, keepdim=True) * (2 * math.pi * s2).log()
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        joint = self.shares.log() - 0.5 * (constant + log_det + squares)
        tril = torch.linalg.cholesky(covariance).expand(len(seen), -1, -1, -1)
        return mean, tril, joint


def build(spec: Spec, *, latent: int | None = None, components: int | None = None) -> Model:
    """K linear models of standardised reals, each of its own place, directions and noise.

    latent: dimensions within a component (None: a quarter of the columns, 1 to 8) · components: K
    (None: one for 60 training rows, 2 to 10).
    """
    only_reals(spec, "mixture_ppca")
    d = latent if latent is not None else min(8, max(1, spec.size // 4))
    k = components if components is not None else min(10, max(2, spec.rows // 60))
    if not 1 <= d < spec.size:
        raise UsageError(
            f"latent={d}: mixture_ppca of {spec.size} columns takes 1 to {spec.size - 1}"
        )
    if k < 1:
        raise UsageError(f"components={k}: at least one is needed")
    return MixturePPCA(spec, k, d)
