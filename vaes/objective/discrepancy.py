"""Objectives that hold draws of q(z) against draws of the prior, by maximum mean discrepancy.

They ask nothing of the densities of q and p: any posterior whose draws carry gradients goes with
any prior that can be drawn from. Sources: Gretton et al. 2012 (the U-statistic); Zhao et al. 2019,
arXiv:1706.02262 (InfoVAE); Tolstikhin et al. 2018, arXiv:1711.01558 (WAE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import wide
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.aggregate import enough
from vaes.objective.base import Objective
from vaes.objective.weights import log_likelihood, terms

KERNELS = ("imq", "rbf")
# of the kernels' widths, as multiples of 2 d, the mean squared distance of two draws of N(0, I)
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(x: Tensor, y: Tensor, kernel: str = "imq") -> Tensor:
    """Squared maximum mean discrepancy of draws x (*k, n, d) and y (*k, m, d), (*k,): the
    U-statistic, whose mean is exact, 0 where both have one distribution; it may be negative.

    The kernel is the mean over `SCALES` s, with c = 2 d s, of c / (c + r^2) (imq) or of
    exp(-r^2 / c) (rbf), r the distance.
    """
    n, m = x.shape[-2], y.shape[-2]
    # a draw is at distance 0 from itself: those pairs are left out
    within = (similarity(x, x, kernel).sum((-2, -1)) - n) / (n * (n - 1))
    beyond = (similarity(y, y, kernel).sum((-2, -1)) - m) / (m * (m - 1))
    return within + beyond - 2 * similarity(x, y, kernel).mean((-2, -1))


def similarity(x: Tensor, y: Tensor, kernel: str) -> Tensor:
    """The kernel of all pairs, (*k, n, m)."""
    # not by products of matrices, which lose the small distances
    r = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    widths = [2 * x.shape[-1] * s for s in SCALES]
    each = [c / (c + r) if kernel == "imq" else (-r / c).exp() for c in widths]
    return torch.stack(each).mean(0)


def discrepancy(model: Model, batch: Batch, z: Tensor, kernel: str) -> Tensor:
    """`mmd` between z (k, n, d), draws of q for the rows of a batch, and as many draws of the
    prior; the mean over k, since draws of one row are no independent draws of q(z)."""
    p = model.prior(batch)
    shape = (*z.shape[:-1], p.noise_size)
    drawn = p.draw(torch.randn(shape, dtype=z.dtype, device=z.device))
    return mmd(wide(z), wide(drawn), kernel).mean()


def checked_kernel(kernel: str) -> None:
    """One line for a kernel that is not known."""
    if kernel not in KERNELS:
        raise UsageError(f"kernel '{kernel}' is not known; it takes {' or '.join(KERNELS)}")


@dataclass(frozen=True)
class Info(Objective):
    """distortion + (1 - alpha) rate + (alpha + scaling - 1) MMD(q(z), p(z)) (Zhao et al. 2019,
    eq. 6, whose lambda is `scaling`; alpha = 0, scaling = 1: minus the ELBO)."""

    samples: int = 1
    alpha: float = 0.0
    scaling: float = 100.0
    kernel: str = "imq"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_kernel(self.kernel)
        finite = math.isfinite(self.alpha) and math.isfinite(self.scaling)
        if not finite or self.alpha > 1 or self.alpha + self.scaling < 1:
            raise UsageError(
                f"alpha={self.alpha}, scaling={self.scaling}: 1 - alpha weighs the rate and "
                "alpha + scaling - 1 the discrepancy, and neither may be negative"
            )

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        q = model.posterior(batch)
        found = terms(model, batch, step.noise, q)
        loss = (found.distortion + (1 - self.alpha) * found.rate).mean()
        if not enough(model, batch):
            return loss
        apart = discrepancy(model, batch, q.draw(step.noise), self.kernel)
        return loss + (self.alpha + self.scaling - 1) * apart


@dataclass(frozen=True)
class Wasserstein(Objective):
    """distortion + scaling MMD(q(z), p(z)), and no rate (Tolstikhin et al. 2018, algorithm 2, whose
    lambda is `scaling` and whose cost is here -log p(x|z))."""

    samples: int = 1
    scaling: float = 100.0
    kernel: str = "imq"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_kernel(self.kernel)
        if not 0 <= self.scaling < math.inf:
            raise UsageError(f"scaling={self.scaling}: a weight is finite and not negative")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        z = model.posterior(batch).draw(step.noise)
        loss = -log_likelihood(model, z, batch).mean()
        if not enough(model, batch):
            return loss
        return loss + self.scaling * discrepancy(model, batch, z, self.kernel)
