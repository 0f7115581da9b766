"""Posteriors that are refined for every row: full covariances, and better proposals for evidence.

Where an encoder is poor, a Gaussian that was fitted to the row itself covers p(z|x) better, and
importance sampling with it needs far fewer draws (Cremer et al. 2018, arXiv:1801.03558, sec. 5;
Roeder et al. 2017, arXiv:1703.09194: gradients that vanish at the exact posterior).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import HALF_LOG_2PI, Latent, Likelihood
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.errors import UsageError
from vaes.evaluate.annealed import refuse_discrete
from vaes.evaluate.likelihood import ENTRIES, Evidence, evidence
from vaes.model import Model, Step
from vaes.objective import log_likelihood
from vaes.uses.common import Rows, as_data, at_once, batches, evaluating
from vaes.uses.refine import JUDGE_DRAWS, REFINE_DRAWS, pairs, refine

ROWS = 250  # refined at once


def refined_evidence(
    model: Model,
    data: Rows,
    k: int = 1000,
    *,
    widen: float = 1.0,
    full: bool = False,
    steps: int = 100,
    lr: float = 0.05,
    seed: int = 0,
) -> Evidence:
    """log p(x) by importance sampling with k draws of a posterior that was refined for each row.

    widen: factor on its standard deviations, for tails that a best fit is too narrow for · full: a
    full covariance instead of a diagonal one · steps, lr: of the refinement. What it says is a
    lower bound as `evidence` is, whatever the refinement found; `elbo` is that of the proposal.
    """
    refuse_without_gaussian(model, data, k)
    if not widen > 0:
        raise UsageError(f"widen={widen}: a factor above 0 is needed")
    if model.bound == "exact":
        return evidence(model, as_data(model, data), k=k, seed=seed)
    with evaluating(model):
        proposal = _Refined(model, widen, full, steps, lr, seed)
        return evidence(proposal, as_data(model, data), k=k, seed=seed)


class _Refined(Model):
    """The same model with a posterior that is refined for every row that it is asked for."""

    def __init__(
        self, model: Model, widen: float, full: bool, steps: int, lr: float, seed: int
    ) -> None:
        super().__init__(model.spec, model.latent, model.samples)
        self.model, self.widen, self.full = model, widen, full
        self.how = {"steps": steps, "lr": lr, "seed": seed}
        self.evidence = model.evidence

    def prior(self, batch: Batch) -> Latent:
        return self.model.prior(batch)

    def posterior(self, batch: Batch) -> Latent:
        q = refine(self.model, batch, **self.how, chunk=REFINE_DRAWS * ROWS)
        if not self.full:
            return DiagonalNormal(q.mean, q.log_scale + math.log(self.widen))
        best = refine_full(self.model, batch, **self.how, start=q)
        return CholeskyNormal(best.loc, self.widen * best.tril)

    def likelihood(self, z: Tensor, batch: Batch) -> Likelihood:
        return self.model.likelihood(z, batch)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def refine_full(
    model: Model,
    data: Rows,
    *,
    steps: int = 100,
    lr: float = 0.05,
    seed: int = 0,
    start: Latent | None = None,
) -> CholeskyNormal:
    """The best Gaussian posterior of each row, covariance and all, that Adam finds; (n, d).

    start: a Gaussian per row (None: the diagonal that `refine` finds). A row moves only where draws
    that are common to start and end say that its ELBO rose; so no row ends below its start beyond
    the error of that comparison.
    """
    q = refine(model, data, steps=steps, lr=lr, seed=seed) if start is None else start
    loc = q.mean
    tril = q.tril if isinstance(q, CholeskyNormal) else torch.diag_embed(q.stddev)
    most = min(at_once(model, REFINE_DRAWS, ROWS), max(1, ENTRIES // loc.shape[-1] ** 2))
    found, first = [], 0
    with evaluating(model):
        for batch in batches(data, most):
            rows = slice(first, first + len(batch))
            begin, first = (loc[rows], tril[rows]), first + len(batch)
            end = _climb(model, batch, begin, steps, lr, seed)
            judge = pairs(begin[0], JUDGE_DRAWS, "judge full", seed)
            before, after = (
                log_weight_full(model, batch, *at, judge).mean(0) for at in (begin, end)
            )
            rose = (after > before).unsqueeze(-1)
            found.append(
                (
                    torch.where(rose, end[0], begin[0]),
                    torch.where(rose.unsqueeze(-1), end[1], begin[1]),
                )
            )
    return CholeskyNormal(*(torch.cat(each) for each in zip(*found, strict=True)))


def _climb(
    model: Model, batch: Batch, start: tuple[Tensor, Tensor], steps: int, lr: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Adam on the ELBO of every row at once, in coordinates in which the start is N(0, I)."""
    loc, tril = start
    n, d = loc.shape
    rows, columns = torch.tril_indices(d, d, -1, device=loc.device)
    numbers = [loc.new_zeros(n, size).requires_grad_() for size in (d, d, len(rows))]
    adam = torch.optim.Adam(numbers, lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))

    def gaussian() -> tuple[Tensor, Tensor]:
        shift, log_diagonal, below = numbers
        factor = torch.diag_embed(log_diagonal.exp()).index_put(
            (torch.arange(n, device=loc.device).unsqueeze(1), rows, columns), below
        )
        return loc + (tril @ shift.unsqueeze(-1)).squeeze(-1), tril @ factor

    for i in range(steps):
        noise = pairs(loc, REFINE_DRAWS, "refine full", seed, i)
        with torch.enable_grad():
            mean, factor = gaussian()
            z = _draw(mean, factor, noise)
            joint = log_likelihood(model, z, batch) + model.prior(batch).log_prob(z)
            # minus the gradient of log q by z alone: what is left vanishes at the posterior
            pull = torch.linalg.solve_triangular(
                factor.detach().mT, noise.permute(1, 2, 0).expand(n, -1, -1), upper=True
            ).permute(2, 0, 1)
            loss = -(joint + (z * pull).sum(-1)).mean(0).sum()
        for number, slope in zip(numbers, torch.autograd.grad(loss, numbers), strict=True):
            number.grad = slope
        adam.step()
        decay.step()
    with torch.no_grad():
        mean, factor = gaussian()
    return mean, factor


def _draw(loc: Tensor, tril: Tensor, noise: Tensor) -> Tensor:
    """loc + tril noise, (k, n, d), without a copy of `tril` for each draw."""
    return loc + torch.einsum("nij,knj->kni", tril, noise.expand(-1, len(loc), -1))


def log_weight_full(model: Model, batch: Batch, loc: Tensor, tril: Tensor, noise: Tensor) -> Tensor:
    """log p(x,z) - log q(z) of draws of q = N(loc, tril tril^T), (k, n), from noise (k, 1, d).

    log q is that of the noise, so nothing is solved.
    """
    z = _draw(loc, tril, noise)
    half_log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_q = -(0.5 * noise.square() + HALF_LOG_2PI).sum(-1) - half_log_det
    return log_likelihood(model, z, batch) + model.prior(batch).log_prob(z) - log_q


def refuse_without_gaussian(model: Model, data: Rows, k: int) -> None:
    """One line where no Gaussian can be fitted to p(z|x), or there is nothing to fit it to."""
    if k < 1:
        raise UsageError(f"k={k}: at least one draw per row is needed")
    if not len(data):
        raise UsageError("no rows: at least one is needed")
    with evaluating(model):
        refuse_discrete(model, next(batches(data, 1)))
