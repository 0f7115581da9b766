"""log p(x) from draws of the posterior itself (Kingma & Welling 2014, appendix D).

With z ~ p(z|x) and any density r, E r(z) / p(x, z) = 1 / p(x): exact in one draw where r is the
posterior. Draws are the ends of Hamiltonian chains; half of them fit r, a normal per row, the
others are averaged. The mean of 1 / p(x) is not robust in many dimensions, where r has tails that
the posterior has not: for fewer than five.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaes.batch import Batch, Data
from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import UsageError
from vaes.evaluate.hmc import Hmc, Noise, Path
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.model import Model
from vaes.objective import log_likelihood

MOST = 4  # latent dimensions
ROWS = 64  # at once


def inverse_evidence(model: Model, batch: Batch, z: Tensor, r: Latent) -> Tensor:
    """-log mean of r(z) / p(x, z) over draws z (k, n, d) of the posterior: log p(x), (n,), nats."""
    joint = log_likelihood(model, z, batch) + model.prior(batch).log_prob(z)
    ratio = (r.log_prob(z) - joint).double()
    return math.log(len(z)) - ratio.logsumexp(0)


def normal_of(z: Tensor) -> CholeskyNormal:
    """The normal with mean and covariance of each row's draws (k, n, d)."""
    centred = z - z.mean(0)
    covariance = torch.einsum("kni,knj->nij", centred, centred) / (len(z) - 1)
    return CholeskyNormal(z.mean(0), torch.linalg.cholesky(covariance))


def posterior_evidence(
    model: Model, data: Data, chains: int = 200, moves: int = 30, seed: int = 0
) -> Tensor:
    """log p(x) of every row, (n,) float64, nats in the user's units, by `chains` chains of `moves`
    Hamiltonian moves each, that start at draws of q(z|x)."""
    refuse_without_bound(model)
    if model.latent > MOST:
        raise UsageError(
            f"latent={model.latent}: posterior draws give the evidence of at most {MOST} latent "
            "dimensions; take vaes evaluate, or annealed importance sampling"
        )
    if chains < 4 * (model.latent + 1) or moves < 1:
        raise UsageError(
            f"chains={chains}, moves={moves}: half of the chains fit a covariance, so at least "
            f"{4 * (model.latent + 1)} are needed, of one move or more"
        )
    was, found, first = model.training, [], 0
    model.eval()
    for batch in data.batches(ROWS):
        path = Path(model, batch, "posterior")
        like = path.scale
        pilot, noise = (
            Noise((key, seed), first, len(batch), chains, like) for key in ("pilot", "posterior")
        )
        move, at = Hmc(pilot=30)(path, [0.0, 1.0], pilot), path.begin(noise)
        for _ in range(moves):
            at, _ = move(at, 1, noise)
        fitted, fresh = at.z[: chains // 2], at.z[chains // 2 :]
        with torch.no_grad():
            found.append(inverse_evidence(model, batch, fresh, normal_of(fitted)))
        first += len(batch)
    model.train(was)
    return torch.cat(found)
