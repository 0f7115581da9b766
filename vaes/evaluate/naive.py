"""Evidence without an encoder: draws of the prior, or of one q(z) that all rows share.

To teach and to diagnose, not to measure by: the relative variance of one draw grows as
e^KL(p(z|x) || q), and where it does the effective sample size says so. Nats per row in the user's
units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.batch import Data, generator
from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal
from vaes.errors import DataError, UsageError
from vaes.evaluate.likelihood import ENTRIES, refuse_without_bound
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.plan import widest
from vaes.uses.common import at_once, blank, evaluating, normal

DRAWS = 100  # of z at a time for each row


@dataclass(frozen=True)
class Naive:
    """log of the mean of k weights, per row (n,), and how far it can be trusted.

    mean: over rows; unbiased for p(x), too low for log p(x) · variance (n,): of one weight,
    relative to p(x)^2: the mean of k has relative standard error sqrt(variance / k) · ess (n,):
    (sum w)^2 / sum w^2, of k; near 1 the number is that of one lucky draw.
    """

    mean: float
    per_row: Tensor
    variance: Tensor
    ess: Tensor
    k: int


def naive_evidence(
    model: Model, data: Data, k: int = 10_000, *, proposal: Latent | None = None, seed: int = 0
) -> Naive:
    """log p(x) of every row by k draws that all rows share: of the prior, or of `proposal`.

    proposal: one q(z), batch (1,) or (), as `shared_proposal` gives; its weights are
    p(x|z) p(z) / q(z). UsageError for fewer than two draws and for models without a density.
    """
    refuse_without_bound(model)
    if k < 2:
        raise UsageError(f"k={k}: a variance takes at least two draws")
    parts: list[tuple[Tensor, Tensor]] = []
    with evaluating(model):
        rows = at_once(model, DRAWS)
        chunk = max(1, ENTRIES // (rows * widest(model)))
        for batch in data.batches(rows):
            prior = model.prior(batch)
            q = prior if proposal is None else proposal
            draw = generator("naive", seed, device=batch.x.device)
            none = torch.full((len(batch),), -math.inf, dtype=torch.float64)
            sums = squares = none.to(batch.x.device)
            for start in range(0, k, chunk):
                size = min(chunk, k - start)
                z = q.draw(normal(draw, batch.x, size, 1, q.noise_size))
                log_w = log_likelihood(model, z, batch)
                if proposal is not None:
                    log_w = log_w + prior.log_prob(z) - proposal.log_prob(z)
                log_w = log_w.double()
                sums = torch.logaddexp(sums, log_w.logsumexp(0))
                squares = torch.logaddexp(squares, (2 * log_w).logsumexp(0))
            parts.append((sums, squares))
    sums, squares = (torch.cat(each) for each in zip(*parts, strict=True))
    ess = (2 * sums - squares).exp()
    per_row = sums - math.log(k)
    return Naive(float(per_row.mean()), per_row, (k / ess - 1) * k / (k - 1), ess, k)


def shared_proposal(model: Model, data: Data, *, draws: int = 16, seed: int = 0) -> CholeskyNormal:
    """N(mean, covariance) of q(z), the average of q(z|x) over the rows; batch (1,).

    The Gaussian that misses least of what the posteriors of all rows cover.
    """
    if len(data) * draws <= model.latent:
        raise DataError(
            f"{len(data)} rows and {draws} draws each: a covariance of {model.latent} dimensions "
            "takes more"
        )
    codes = []
    with evaluating(model):
        draw = generator("shared proposal", seed, device=data.x.device)
        for batch in data.batches(at_once(model, 1)):
            q = model.posterior(batch)
            z = q.draw(normal(draw, batch.x, draws, len(batch), q.noise_size))
            codes.append(z.flatten(0, 1).double())
    z = torch.cat(codes)
    covariance = torch.cov(z.T, correction=0).view(z.shape[1], z.shape[1])
    ridge = 1e-6 * covariance.diagonal().max().clamp(min=1e-12)
    tril = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)).to(z))
    like = blank(model, 1).x
    return CholeskyNormal(z.mean(0, keepdim=True).to(like), tril.unsqueeze(0).to(like))
