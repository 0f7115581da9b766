"""What is asked of q(z), the mean of q(z|x) over all N training rows: that its dimensions be
independent, that its covariance be I.

q(z) is estimated from the M rows of a batch. Sources: Chen et al. 2018, arXiv:1802.04942 (parts of
the rate, sampling weights); Kumar et al. 2018, arXiv:1711.00848 (DIP); Hoffman & Johnson 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import HALF_LOG_2PI, Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import terms

ESTIMATORS = ("mss", "mws")
ENTRIES = 8_000_000  # numbers of the largest table of pairs of rows
FITTING = "take posterior=diagonal, isotropic or cholesky"


class Parts(NamedTuple):
    """log q(z|x) - log p(z) of each draw, (k, n), in three: log q(z|x) - log q(z), whose mean is
    I(x; z); log q(z) - sum_j log q(z_j), the total correlation; the rest, the KL of each dimension.
    """

    information: Tensor
    correlation: Tensor
    dimensions: Tensor


def decomposed(q: Latent, p: Latent | None, z: Tensor, rows: int, estimator: str = "mss") -> Parts:
    """The parts of the rate (Chen et al. 2018, eq. 2) of draws z (k, n, d) of q, batch (n,).

    rows: N, from which the n rows of q were drawn without replacement; for n = N nothing is
    estimated · p: of independent dimensions; without one the third part is 0.
    """
    joint, single = log_aggregate(q, z, rows, estimator)
    over = single.sum(-1)
    alone = over if p is None else factored(p, z)
    return Parts(q.log_prob(z) - joint, joint - over, over - alone)


def factored(p: Latent, z: Tensor) -> Tensor:
    """log p(z) (k, n) of a prior whose dimensions are independent; one line for others."""
    if not isinstance(p, DiagonalNormal):
        raise UsageError(
            f"gamma weighs each dimension against a prior of independent ones, which a "
            f"{type(p).__name__} is not here; take prior=standard, or gamma=1"
        )
    return p.log_prob(z)


def log_aggregate(q: Latent, z: Tensor, rows: int, estimator: str = "mss") -> tuple[Tensor, Tensor]:
    """log q(z) (k, n) and log q(z_j) (k, n, d) of draws z (k, n, d), z_i from the i-th row of q.

    mss: the row of a draw has weight 1 / N and each other one (N - 1) / (N (M - 1)), so that the
    estimate of q(z), not of its logarithm, has no bias · mws: all have 1 / (N M), which is too low
    by far (Chen et al. 2018, eq. 4).
    """
    marginal, n = independent(q), z.shape[-2]
    weights = log_weights(n, rows, estimator, z)
    step = max(1, ENTRIES // z.numel())  # rows of z at a time
    joint, single = [], []
    for start in range(0, n, step):
        part, weight = z[..., start : start + step, None, :], weights[start : start + step]
        pairs = normal_terms(part, marginal.loc, marginal.log_scale)  # (k, step, n, d)
        whole = pairs.sum(-1) if marginal is q else q.log_prob(part)
        joint.append((whole + weight).logsumexp(-1))
        single.append((pairs + weight.unsqueeze(-1)).logsumexp(-2))
    return torch.cat(joint, -1), torch.cat(single, -2)


def log_weights(n: int, rows: int, estimator: str, like: Tensor) -> Tensor:
    """log of the weight of q(z_i|x_j) in the estimate of q(z_i), (n, n)."""
    if estimator == "mws":
        return like.new_full((n, n), -math.log(rows * n))
    own = torch.eye(n, dtype=torch.bool, device=like.device)
    # of a data set of one row there is no other
    other = math.log((rows - 1) / (rows * (n - 1))) if rows > 1 and n > 1 else -math.inf
    return torch.where(own, like.new_full((), -math.log(rows)), like.new_full((), other))


def normal_terms(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log N(z_j; loc_j, exp(log_scale_j)^2) of every dimension."""
    standard = (z - loc) * (-log_scale).exp()
    return -(0.5 * standard.square() + log_scale + HALF_LOG_2PI)


def independent(q: Latent) -> DiagonalNormal:
    """The product of q's marginals; one line for families whose marginals are not known."""
    if isinstance(q, DiagonalNormal):
        return q
    if isinstance(q, CholeskyNormal):
        return DiagonalNormal(q.loc, 0.5 * q.variance.log())
    raise UsageError(
        f"the single dimensions of a {type(q).__name__} posterior have no density here; {FITTING}"
    )


def enough(model: Model, batch: Batch) -> bool:
    """Whether the batch says something of q(z), for which two rows are needed; in training one line
    where it does not, and what is left over of the held-out rows goes without."""
    if len(batch) < 2 and model.training:
        raise UsageError("a batch of 1 row says nothing of q(z); take batch=2 at least")
    return len(batch) > 1


def rows_of(model: Model) -> int:
    """N, how many rows the model is trained on."""
    if not model.spec.rows:
        raise UsageError(
            "q(z) is a mean over all training rows, and how many there are is not known; build the "
            "model for a Spec with rows=N"
        )
    return model.spec.rows


@dataclass(frozen=True)
class Decomposed(Objective):
    """distortion + alpha I(x; z) + beta TC(z) + gamma sum_j KL(q(z_j) || p(z_j)), whose weights
    rise from 0 together (Chen et al. 2018, eq. 4).

    estimator: of q(z), mss or mws · warmup: share of the budget over which the weights rise. The
    rate is taken as it is, closed where it can be, and only what the weights add to it or take from
    it is estimated: with all of them 1 it is minus the ELBO to the last bit.
    """

    samples: int = 1
    alpha: float = 1.0
    beta: float = 6.0
    gamma: float = 1.0
    estimator: str = "mss"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alpha, self.beta, self.gamma) < 0 or not 0 <= self.warmup <= 1:
            raise UsageError(
                f"alpha={self.alpha}, beta={self.beta}, gamma={self.gamma}, warmup={self.warmup}: "
                "weights are not negative, warmup lies in 0 ... 1"
            )
        if self.estimator not in ESTIMATORS:
            raise UsageError(
                f"estimator '{self.estimator}' is not known; it takes {' or '.join(ESTIMATORS)}"
            )

    @property
    def settling(self) -> float:
        return self.warmup

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q = model.posterior(batch)
        found = terms(model, batch, step.noise, q)
        rate, rows = found.rate.mean(), rows_of(model)
        if enough(model, batch):
            p = model.prior(batch) if self.gamma != 1 else None
            parts = decomposed(q, p, q.draw(step.noise), rows, self.estimator)
            surplus = (self.alpha - 1, self.beta - 1, self.gamma - 1)
            rate = rate + sum(w * part.mean() for w, part in zip(surplus, parts, strict=True))
        if self.warmup:
            rate = rate * (step.fraction / self.warmup).clamp(max=1.0)
        return found.distortion.mean() + rate


@dataclass(frozen=True)
class Dip(Objective):
    """distortion + rate + off sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2.

    C is, of variant 1, the covariance of the means of q(z|x) over the rows; of variant 2, that of z
    itself, which is the first and the mean of the covariances of q(z|x) (Kumar et al. 2018, eqs. 5
    to 7).
    """

    samples: int = 1
    variant: int = 2
    off: float = 5.0
    diagonal: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in (1, 2):
            raise UsageError(f"variant={self.variant}: there are variants 1 and 2")
        if min(self.off, self.diagonal) < 0:
            raise UsageError(f"off={self.off}, diagonal={self.diagonal}: weights are not negative")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q = model.posterior(batch)
        found = terms(model, batch, step.noise, q)
        loss = (found.distortion + found.rate).mean()
        if not enough(model, batch):
            return loss
        c = covariance(q, self.variant, q.draw(step.noise))
        variance = c.diagonal()
        off = (c - torch.diag(variance)).square().sum()
        return loss + self.off * off + self.diagonal * (variance - 1).square().sum()


def covariance(q: Latent, variant: int, z: Tensor) -> Tensor:
    """Covariance (d, d) of z ~ q(z), or of the means of q(z|x) alone (variant 1), by the rows of q,
    batch (n,): without bias for those of rows that were drawn at random.

    Of Gaussian q it is known; of other families the draws z (k, n, d) say it.
    """
    known = isinstance(q, (DiagonalNormal, CholeskyNormal))
    of = q.mean.unsqueeze(0) if variant == 1 or known else z
    centred = of - of.mean(-2, keepdim=True)
    spread = (centred.mT @ centred).mean(0) / (of.shape[-2] - 1)
    if variant == 1 or not known:
        return spread
    if isinstance(q, CholeskyNormal):
        return spread + q.covariance_matrix.mean(0)
    return spread + torch.diag(q.variance.mean(0))
