"""Gaps filled by a Markov chain over complete rows, for models that learnt from complete rows.

x = (x_o, x_m). Repeat: xi ~ q(xi|x_o, x_m), then x_m ~ p(x_m|xi, x_o) (Rezende et al. 2014,
arXiv:1401.4082, appendix F). What that settles to is p(x_m|x_o) only if q is the posterior itself.
Metropolis-within-Gibbs (Mattei & Frellsen 2018, arXiv:1802.04826, sec. 4.1) takes the draw of q as
a proposal that is accepted with min(1, w' / w), w = p(x, xi) / q(xi|x), and is right for every q.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaes.batch import Batch, generator
from vaes.errors import UsageError
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.model import Model
from vaes.uses.common import Rows, at_once, batches, evaluating
from vaes.uses.proposals import refuse_without_masks

BLOCK = 64  # rows at most that share a random generator


@dataclass(frozen=True)
class Chained:
    """draws (m, n, *shape): states of the chain of each row, in order, complete rows in model space
    in which what was observed came back to the bit · accepted (n,): share of the proposals that
    were accepted, 1 for the plain chain and for rows without gaps."""

    draws: Tensor
    accepted: Tensor


def chain_impute(
    model: Model,
    data: Rows,
    *,
    draws: int = 100,
    burn: int = 100,
    every: int = 1,
    metropolis: bool = True,
    seed: int = 0,
) -> Chained:
    """Completed rows from a chain each: `burn` steps that are not kept, then `draws` states `every`
    steps apart.

    metropolis: False gives the plain chain, which costs the same and inherits the encoder's errors.
    The first state has the gaps filled from the prior. States next to each other are alike; few
    accepted proposals say that they are very much so. Of a model that was trained on rows with gaps
    `impute`, whose draws are independent, is the better choice. Random numbers belong to (seed,
    place of the row in `data`). Raises UsageError for a model without a density, for one whose gaps
    are modelled themselves, and for a likelihood that cannot leave entries out.
    """
    refuse_without_bound(model)
    if draws < 1 or burn < 0 or every < 1:
        raise UsageError(
            f"draws={draws}, burn={burn}, every={every}: draws >= 1, burn >= 0, every >= 1"
        )
    if model.evidence == "x,s" or model.spec.gates:
        raise UsageError(
            "a chain fills gaps that hide a value; here the model tells gaps; use impute"
        )
    if model.spec.totals:
        raise UsageError("a chain would change the totals that this model is given; use impute")
    size, parts = at_once(model, 1, BLOCK), []
    with evaluating(model):
        for block, batch in enumerate(batches(data, size)):
            draw = generator("chain_impute", seed, block, device=batch.x.device)
            n = len(batch)
            if batch.mask is None or bool(batch.mask.all()):
                whole = torch.ones(n, dtype=torch.float64, device=batch.x.device)
                parts.append((batch.x.expand(draws, *batch.x.shape), whole))
                continue
            # padded, so that the numbers a row gets depend on its place alone
            padded = batch[torch.arange(size, device=batch.x.device).clamp(max=n - 1)]
            kept, accepted = _walk(model, padded, draws, burn, every, metropolis, draw)
            parts.append((kept[:, :n], accepted[:n]))
    kept, accepted = zip(*parts, strict=True)
    return Chained(torch.cat(kept, 1), torch.cat(accepted))


def _walk(
    model: Model,
    batch: Batch,
    draws: int,
    burn: int,
    every: int,
    metropolis: bool,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The kept states (draws, n, *shape) and the share of proposals accepted (n,)."""
    x, mask = batch.x, batch.mask
    assert mask is not None

    def noise(size: int) -> Tensor:
        shape = (1, len(batch), size)
        return torch.randn(shape, generator=draw, dtype=x.dtype, device=x.device)

    def filled(z: Tensor) -> Batch:
        """x_m ~ p(x_m|xi, x_o), as a row without gaps."""
        new = model.likelihood(z, batch).complete(x, mask, draw)[0]
        return replace(batch, x=torch.where(mask, x, new.to(x.dtype)), mask=None)

    prior = model.prior(batch)
    z = prior.draw(noise(prior.noise_size))
    z = z.expand(1, len(batch), -1)
    refuse_without_masks(model, z, batch)
    state, kept = filled(z), []
    taken = torch.zeros(len(batch), dtype=torch.float64, device=x.device)
    steps = burn + draws * every
    for step in range(steps):
        q = model.posterior(state)
        proposed, log_q = q.drawn(noise(q.noise_size))
        accept = torch.ones_like(taken, dtype=torch.bool)
        if metropolis and step:  # the first code is the prior's: nothing worth keeping
            gain = _log_joint(model, proposed, state) - log_q
            gain = gain - _log_joint(model, z, state) + q.log_prob(z)
            u = torch.rand(gain.shape, generator=draw, dtype=gain.dtype, device=gain.device)
            accept = (u.log() < gain)[0]
        z = torch.where(accept.unsqueeze(-1), proposed, z)
        taken += accept
        state = filled(z)
        if step >= burn and (step - burn + 1) % every == 0:
            kept.append(state.x)
    taken = torch.where((~mask).flatten(1).any(1), taken / steps, torch.ones_like(taken))
    return torch.stack(kept), taken


def _log_joint(model: Model, z: Tensor, batch: Batch) -> Tensor:
    """log p(x, xi) but for the units of x, (1, n)."""
    log_likelihood = model.likelihood(z, batch).log_prob(batch.x, batch.mask)
    return log_likelihood + model.prior(batch).log_prob(z)
