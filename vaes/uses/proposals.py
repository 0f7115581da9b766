"""Codes of rows with gaps: draws of z that importance weights turn into p(z | observed entries).

The encoder of a model that was trained on complete rows takes a gap for a value. Averaged over what
may stand in the gaps it is right again, since p(z|x_obs) = E[p(z|x_obs, x_mis)] over
p(x_mis|x_obs): rounds of filling, encoding, weighting and resampling, whose densities are those of
the mixtures that were drawn from. Sources: Cappe et al. 2004 (population Monte Carlo); Rezende et
al. 2014 (arXiv:1401.4082; a chain of fillings, without weights).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.errors import UsageError
from vaes.evaluate.likelihood import ENTRIES
from vaes.model import Model
from vaes.uses.common import at_once, normal

ROUNDS = 10
GROUP = 64  # draws whose proposals are mixed: a density takes their square, not that of k


class Proposals(NamedTuple):
    """z (k, n, d) and the log-density it was drawn with (k, n)."""

    z: Tensor
    log_q: Tensor


def proposals(model: Model, batch: Batch, k: int, draw: torch.Generator) -> Proposals:
    """k codes of each row of `batch`: of q(z|x_obs) where the model was trained with gaps or its
    posterior is exact, else of mixtures of q(z|x_obs, x_mis), after 10 rounds."""
    q = model.posterior(batch)
    half = normal(draw, q.mean, -(-k // 2), len(batch), q.noise_size)
    # in antithetic pairs: a mean over them has no error where the posterior is Gaussian and exact
    # and p(x|z) linear in z
    z = q.draw(torch.cat([half, -half])[:k])
    found = Proposals(z, q.log_prob(z))
    if model.spec.missing or model.bound == "exact":
        return found
    for _ in range(ROUNDS):
        log_w, x = _filled(model, batch, found, draw)
        u = torch.rand(1, len(batch), generator=draw, dtype=torch.float64, device=z.device)
        # evenly spaced: a draw of weight w is taken floor(k w) or ceil(k w) times
        steps = torch.arange(k, dtype=torch.float64, device=z.device).unsqueeze(1)
        chosen = resampled(normalised(log_w), (steps + u) / k)
        x = x.gather(0, chosen.view(*chosen.shape, *(1 for _ in batch.x.shape[1:])).expand_as(x))
        parts = [_mixture(model, batch, group, draw) for group in x.split(GROUP)]
        found = Proposals(*(torch.cat(each) for each in zip(*parts, strict=True)))
    return found


def log_weights(model: Model, batch: Batch, found: Proposals, log_likelihood: Tensor) -> Tensor:
    """log p(x_obs|z) + log p(z) - log q(z), (k, n) float64."""
    return (log_likelihood + model.prior(batch).log_prob(found.z) - found.log_q).double()


def normalised(log_w: Tensor) -> Tensor:
    """Weights that sum to 1 over the k draws of each row; equal where no draw explains the row."""
    weights = log_w.nan_to_num(nan=-torch.inf, posinf=-torch.inf).softmax(0)
    return torch.where(weights.isnan(), 1 / len(log_w), weights)


def resampled(weights: Tensor, u: Tensor) -> Tensor:
    """Which of the k draws (k, n) stand at the places u (m, n) of [0, 1), (m, n)."""
    mass = weights.T.contiguous().cumsum(1)
    return torch.searchsorted(mass, u.T.contiguous()).clamp(max=len(weights) - 1).T


def refuse_without_masks(model: Model, z: Tensor, batch: Batch) -> None:
    """One line where the likelihood cannot leave entries out."""
    p = model.likelihood(z[:1], batch)
    if not p.masks:
        raise UsageError(
            f"the likelihood of this model ({type(p).__name__}) cannot leave entries out, so it "
            "says nothing of gaps; train a recipe whose likelihood can"
        )


def _filled(
    model: Model, batch: Batch, found: Proposals, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Log-weights of the draws and one completed row (k, n, *shape) for each."""
    log_likelihoods, rows = [], []
    assert batch.mask is not None
    for part in found.z.split(at_once(model, len(batch))):
        p = model.likelihood(part, batch)
        log_likelihoods.append(p.log_prob(batch.x, batch.mask))
        rows.append(p.complete(batch.x, batch.mask, draw).to(batch.x.dtype))
    return log_weights(model, batch, found, torch.cat(log_likelihoods)), torch.cat(rows)


def _mixture(model: Model, batch: Batch, x: Tensor, draw: torch.Generator) -> Proposals:
    """One draw from each of g encoded fillings x (g, n, *shape), with the density of all g."""
    g, n = x.shape[:2]
    index = torch.arange(n, device=x.device).repeat(g)
    q = model.posterior(replace(batch[index], x=x.flatten(0, 1), mask=None))
    z = q.draw(normal(draw, q.mean, g * n, q.noise_size)).unflatten(0, (g, n))
    d = z.shape[-1]
    few = max(1, ENTRIES // (g * n * d * d))
    parts = [_log_mean(q, part.unsqueeze(1).expand(-1, g, -1, -1)) for part in z.split(few)]
    return Proposals(z, torch.cat(parts))


def _log_mean(q: Latent, z: Tensor) -> Tensor:
    """log of the mean over g of q_g(z), (k, n), for z (k, g, n, d) and q with batch (g n,)."""
    g = z.shape[1]
    return q.log_prob(z.flatten(1, 2)).unflatten(1, (g, -1)).logsumexp(1) - math.log(g)
