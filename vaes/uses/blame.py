"""Which entries make a row odd: -log p(x_j | all other entries), nats."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import Latent, masked, sum_event
from vaes.errors import UsageError, did_you_mean
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.model import Model
from vaes.uses.common import Rows, at_once, batches, evaluating, new_nats, shared

METHODS = ("auto", "leave-out", "weights")
FEW = 64  # entries of a row up to which each is left out in turn


def blame(model: Model, data: Rows, *, k: int = 64, seed: int = 0, method: str = "auto") -> Tensor:
    """-log p(x_j | the other observed entries of the row), (n, *shape) float64, nats per entry in
    the user's units; 0 in gaps, log(n + 1) where an entry holds what none of n training rows could.

    method: "leave-out", log p(x without x_j) - log p(x), each by k codes of its own: the encoder
    runs once per entry, and no error is left where the posterior is exact. The encoder of a model
    that was trained on complete rows knows no gaps; half of the codes are then those of the whole
    row · "weights", log sum_k W_k / p(x_j|z_k), W the normalised weights of the whole row: one pass
    for all entries, but the codes follow an odd entry away from where the others point, the sum has
    a heavy tail, and the odd entry gets too little blame · "auto": leave-out up to 64 entries a
    row, weights beyond and for models of gaps.

    With "weights", where entries depend on each other given z (an autoregressive likelihood), x_j
    is blamed for its own term only. Densities have units: compare entries by how far each lies
    above what is usual for it. Raises UsageError for a model without a density.
    """
    refuse_without_bound(model)
    if k < 1 or method not in METHODS:
        raise UsageError(f"k={k}, method '{method}': k >= 1; {did_you_mean(str(method), METHODS)}")
    # to such a model an entry that is left out is one that went missing, for reasons of its own
    gaps_tell = model.evidence == "x,s"
    if method == "leave-out" and gaps_tell:
        raise UsageError("method leave-out makes gaps, which this model explains; use weights")
    if method == "auto":
        method = "leave-out" if model.spec.size <= FEW and not gaps_tell else "weights"
    of = _by_leaving_out if method == "leave-out" else _by_weights
    parts = []
    with evaluating(model):
        for batch in batches(data, at_once(model, 2 * k)):
            nats = of(model, batch, k, seed) - model.log_jacobian
            nats = masked(nats, batch.mask)
            if batch.unseen is not None:
                nats = nats + batch.unseen * new_nats(model)
            parts.append(nats)
    return torch.cat(parts)


class Codes(NamedTuple):
    """q of some rows, k codes of each (k, n, d), log p(z) (k, n) and the terms of log p(x|z) of the
    whole row (k, n, *shape); float64."""

    q: Latent
    z: Tensor
    log_prior: Tensor
    terms: Tensor


def _by_weights(model: Model, batch: Batch, k: int, seed: int) -> Tensor:
    found = _codes(model, batch, k, seed)
    log_w = _whole(model, found)
    ones = (1,) * len(model.spec.shape)
    rest = log_w.view(*log_w.shape, *ones) - found.terms
    return _log_sum(rest) - _log_sum(log_w).view(-1, *ones)


def _by_leaving_out(model: Model, batch: Batch, k: int, seed: int) -> Tensor:
    seen = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
    pooled = not model.spec.missing and model.bound != "exact"
    base = _codes(model, batch, k, seed)
    whole = _log_sum(_whole(model, base)) - math.log(k)
    result = torch.zeros_like(batch.x, dtype=torch.float64)
    for j in range(model.spec.size):
        mask, x = seen.clone(), batch.x.clone()
        mask.flatten(1)[:, j], x.flatten(1)[:, j] = False, 0
        left = replace(batch, x=x, mask=mask)
        q = model.posterior(left)
        z = q.draw(shared("blame", seed, q, k))
        log_q = q.log_prob(z)
        if pooled:
            # codes of both, under the density of both: their mixture
            z = torch.cat([z, base.z])
            log_q = torch.logaddexp(q.log_prob(z), base.q.log_prob(z)) - math.log(2)
        # evaluated anew, not less one term: columns may depend on one another given z
        # given what the whole row is given: the total of its counts
        log_p = model.likelihood(z, batch).log_prob(x, mask).double()
        rest = log_p + model.prior(left).log_prob(z) - log_q
        result.flatten(1)[:, j] = _log_sum(rest) - math.log(len(z)) - whole
    return result


def _codes(model: Model, batch: Batch, k: int, seed: int) -> Codes:
    """k codes z ~ q(z|x), the same numbers for all rows, and what they make of the row."""
    q = model.posterior(batch)
    z = q.draw(shared("blame", seed, q, k))
    terms = model.likelihood(z, batch).terms(batch.x, batch.mask).double()
    return Codes(q, z, model.prior(batch).log_prob(z).double(), terms)


def _whole(model: Model, found: Codes) -> Tensor:
    """log weights of the whole row, (k, n)."""
    return (
        sum_event(found.terms, len(model.spec.shape)) + found.log_prior - found.q.log_prob(found.z)
    )


def _log_sum(log_w: Tensor) -> Tensor:
    # a code that gives an entry no chance at all is none: -inf less -inf
    return log_w.nan_to_num(nan=-torch.inf).logsumexp(0)
