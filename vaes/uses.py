"""What a fitted model is good for: codes, draws, variations, paths between rows.

Everything is in model space: rows come in as `Data` or `Batch` and go out as tensors, which
`vaes.data.decode` brings back to the user's units. No gradients, evaluation mode, bounded memory
(`chunk` rows of a network at a time), and randomness is a pure function of `seed` and the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaes.batch import Batch, Data, generator
from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, diagonal_kl_terms
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import closed_kl, log_likelihood

Rows = Data | Batch
CHUNK = 1000
ACTIVE = 0.01  # of the variance of posterior means (Burda et al. 2016, appendix C)
DULL = 0.01  # nats: a dimension with a lower rate is not worth a row of a traversal
REFINE_DRAWS, JUDGE_DRAWS = 8, 64  # of z per row: in a step of `refine`, and to judge it


@dataclass(frozen=True)
class Codes:
    """Posterior means and standard deviations, both (n, d)."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """`mean` (n, *shape): the mean of p(x|z) at the posterior mean.

    `low`, `high` (n, *shape) bound each entry by itself under the posterior predictive; None where
    no draws were asked for. Of a category, `mean` is the most probable code and the bounds say
    nothing, since codes have no order.
    """

    mean: Tensor
    low: Tensor | None = None
    high: Tensor | None = None


@dataclass(frozen=True)
class Units:
    """What each latent dimension carries.

    variance (d,): of the posterior means over the rows · active (d,) bool: variance > 0.01 ·
    rates (d,): mean over the rows of KL(q(z_j|x) || p(z_j)) in nats, of the marginals where the
    family does not split over dimensions; None where it has no closed form.
    """

    variance: Tensor
    active: Tensor
    rates: Tensor | None

    @property
    def count(self) -> int:
        """How many dimensions are active."""
        return int(self.active.sum())


def encode(model: Model, data: Rows, *, chunk: int = CHUNK) -> Codes:
    """Posterior mean and standard deviation of every row; deterministic, and row by row."""
    with _evaluating(model):
        found = [_moments(model.posterior(batch)) for batch in _batches(data, chunk)]
    means, stds = zip(*found, strict=True)
    return Codes(torch.cat(means), torch.cat(stds))


def sample(
    model: Model, n: int, *, seed: int = 0, mean: bool = False, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """n new rows: z ~ p(z), x ~ p(x|z), or the mean of p(x|z) where `mean`; (x, z).

    x (n, *shape), z (n, d). Means of p(x|z) look smoother than rows of the data do.
    """
    if n < 1:
        raise UsageError(f"n={n}: at least one row is drawn")
    rows, codes, draw = [], [], _generator(model, "sample", seed)
    with _evaluating(model):
        for start in range(0, n, chunk):
            batch = _blank(model, min(chunk, n - start))
            p = model.prior(batch)
            z = p.draw(_normal(draw, batch.x, len(batch), p.noise_size))
            rows.append(_values(model, z, batch, None if mean else draw))
            codes.append(z)
    return torch.cat(rows), torch.cat(codes)


def vary(
    model: Model, data: Rows, n: int, *, seed: int = 0, mean: bool = False, chunk: int = CHUNK
) -> Tensor:
    """n variations of each row: z ~ q(z|x), then x ~ p(x|z) or its mean; (rows, n, *shape)."""
    if n < 1:
        raise UsageError(f"n={n}: at least one variation of a row is drawn")
    draw = _generator(model, "vary", seed)
    with _evaluating(model):
        parts = [
            _predictive(model, batch, n, draw, mean, chunk).transpose(0, 1)
            for batch in _batches(data, max(1, chunk // n))
        ]
    return torch.cat(parts)


def reconstruct(
    model: Model,
    data: Rows,
    *,
    draws: int = 0,
    level: float = 0.9,
    seed: int = 0,
    chunk: int = CHUNK,
) -> Reconstruction:
    """The mean of p(x|z) at the posterior mean; deterministic.

    With `draws`, also an interval that holds the share `level` of that many draws of z ~ q(z|x),
    x ~ p(x|z), entry by entry: posterior predictive, so both the code's and the likelihood's
    uncertainty are inside. Bounds are drawn values (never between two levels of a grid).
    """
    if draws < 0 or draws == 1 or not 0 < level < 1:
        raise UsageError(f"draws={draws}, level={level}: draws are 0 or >= 2, 0 < level < 1")
    draw, bounds = _generator(model, "reconstruct", seed), []
    with _evaluating(model):
        parts = [_values(model, model.posterior(b).mean, b) for b in _batches(data, chunk)]
        if not draws:
            return Reconstruction(torch.cat(parts))
        # the quantiles on drawn values, to the outside, so that coverage is not below `level`
        low = math.floor((1 - level) / 2 * (draws - 1))
        for batch in _batches(data, max(1, chunk // draws)):
            drawn = _predictive(model, batch, draws, draw, False, chunk).sort(0).values
            bounds.append((drawn[low], drawn[draws - 1 - low]))
    lows, highs = zip(*bounds, strict=True)
    return Reconstruction(torch.cat(parts), torch.cat(lows), torch.cat(highs))


def interpolate(
    model: Model, a: Rows, b: Rows, steps: int = 9, path: str = "linear", *, chunk: int = CHUNK
) -> Tensor:
    """Means of p(x|z) along a path of codes from each row of `a` to its partner in `b`.

    (pairs, steps, *shape); the ends are exactly the reconstructions. path: "linear", or "slerp",
    which keeps the norm that codes of a Gaussian prior have in high dimensions (White 2016,
    arXiv:1609.04468).
    """
    if path not in ("linear", "slerp"):
        raise UsageError(f"path '{path}' is not known; known: linear, slerp")
    if steps < 2 or len(a) != len(b):
        raise UsageError(
            f"{len(a)} rows were paired with {len(b)} in {steps} steps; a path takes one row of "
            "each and at least 2 steps"
        )
    ends = [reconstruct(model, rows, chunk=chunk).mean.unsqueeze(1) for rows in (a, b)]
    parts = []
    with _evaluating(model):
        size = max(1, chunk // steps)
        for first, second in zip(_batches(a, size), _batches(b, size), strict=True):
            z = [model.posterior(batch).mean for batch in (first, second)]
            t = torch.linspace(0, 1, steps, dtype=z[0].dtype, device=z[0].device)[1:-1]
            between = _between(z[0], z[1], t.view(-1, 1, 1), path)
            parts.append(_values(model, between, first).transpose(0, 1))
    return torch.cat([ends[0], torch.cat(parts), ends[1]], 1)


def traverse(
    model: Model,
    row: Rows | None = None,
    dims: Sequence[int] | None = None,
    steps: int = 7,
    span: float = 2.0,
    *,
    rates: Tensor | None = None,
) -> Tensor:
    """Means of p(x|z) as one latent dimension at a time moves through the prior's range.

    (dims, steps, *shape): z_j runs from `span` prior standard deviations below the prior's mean to
    as many above it, the others stay at the code of `row` (one row; the prior's mean without one).
    dims: which (None: at most 10, the largest `rates` (d,) first, those below 0.01 nats left out;
    without rates the first ones); see `active_units`, and `traversed` for the choice.
    """
    chosen = traversed(model, rates) if dims is None else list(dims)
    if row is not None and len(row) != 1:
        raise UsageError(f"{len(row)} rows were given; a traversal starts from one")
    if steps < 2 or not chosen or not all(0 <= j < model.latent for j in chosen):
        raise UsageError(
            f"dims={chosen}, steps={steps}: dimensions are 0 to {model.latent - 1}, steps >= 2"
        )
    with _evaluating(model):
        batch = _blank(model, 1) if row is None else next(_batches(row, 1))
        centre, scale = _moments(model.prior(batch))
        start = centre if row is None else model.posterior(batch).mean
        z = start.expand(steps, len(chosen), -1).clone()
        way = torch.linspace(-span, span, steps, dtype=z.dtype, device=z.device)
        for place, j in enumerate(chosen):
            z[:, place, j] = centre[0, j] + way * scale[0, j]
        found = _values(model, z.flatten(0, 1).unsqueeze(1), batch)
    return found.squeeze(1).unflatten(0, (steps, len(chosen))).transpose(0, 1)


def traversed(model: Model, rates: Tensor | None = None) -> list[int]:
    """The dimensions that `traverse` moves by default: at most 10, highest rate first."""
    if rates is None or len(rates) != model.latent:
        return list(range(min(10, model.latent)))
    order = [int(j) for j in rates.argsort(descending=True)[:10]]
    return [j for j in order if rates[j] >= DULL] or order[:1]


def refine(
    model: Model,
    data: Rows,
    *,
    steps: int = 100,
    lr: float = 0.05,
    seed: int = 0,
    chunk: int = CHUNK,
) -> DiagonalNormal:
    """The best diagonal Gaussian posterior of each row that Adam finds from the encoder's moments.

    Removes the amortisation gap (Cremer et al. 2018, arXiv:1801.03558); (n, d). The numbers of a
    step are common to all rows but fresh at each step: a posterior that is fitted to 8 fixed draws
    lowered the ELBO of 12 to 35 % of rows of the digits. A row moves only where a further, larger
    set of numbers, the same for start and end, says that its ELBO rose; so no row ends below its
    start, N(mean, diag std^2) of q(z|x), beyond the error of that comparison.
    """
    found = []
    with _evaluating(model):
        for batch in _batches(data, max(1, chunk // REFINE_DRAWS)):
            mean, std = _moments(model.posterior(batch))
            # a point mass has no width to start from: a tenth of the prior's
            width = torch.where(std > 0, std, 0.1 * _moments(model.prior(batch))[1])
            start = torch.stack([mean, width.log()])
            end = _ascend(model, batch, start, steps, lr, seed)
            judge = _pairs(mean, JUDGE_DRAWS, "judge", seed)
            rose = _bound(model, batch, end, judge) > _bound(model, batch, start, judge)
            found.append(torch.where(rose.unsqueeze(-1), end, start))
    loc, log_scale = torch.cat(found, 1)
    return DiagonalNormal(loc, log_scale)


def active_units(model: Model, data: Rows, *, chunk: int = CHUNK) -> Units:
    """Which latent dimensions are used: Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016, appendix C).

    The threshold is meant for a prior of unit variance. Accumulated in float64.
    """
    means, rates = [], []
    with _evaluating(model):
        for batch in _batches(data, chunk):
            q = model.posterior(batch)
            means.append(q.mean)
            rates.append(_rates(q, model.prior(batch)))
    variance = torch.cat(means).double().var(0, correction=0)
    known = [r for r in rates if r is not None]
    rate = torch.cat(known).double().mean(0) if len(known) == len(rates) else None
    return Units(variance, variance > ACTIVE, rate)


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """No gradients and evaluation mode within; every submodule's own mode after."""
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in was.items():
            module.training = mode


def _batches(data: Rows, size: int) -> Iterator[Batch]:
    if isinstance(data, Data):
        yield from data.batches(size)
    else:
        for start in range(0, len(data), size):
            yield data[start : start + size]


def _blank(model: Model, n: int) -> Batch:
    """n rows of nothing, for p(z) and p(x|z), which never read x."""
    named = chain(model.named_parameters(), model.named_buffers())
    like = next(t for name, t in named if name != "log_jacobian" and t.is_floating_point())
    return Batch(x=like.new_zeros(n, *model.spec.shape))


def _generator(model: Model, use: str, seed: int) -> torch.Generator:
    return generator(use, seed, device=_blank(model, 1).x.device)


def _normal(draw: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)


def _values(model: Model, z: Tensor, batch: Batch, draw: torch.Generator | None = None) -> Tensor:
    """The mean of p(x|z), or a draw where there is something to draw with; (*k, n, *shape)."""
    p = model.likelihood(z, batch)
    return p.mean if draw is None else p.draw(draw)


def _predictive(
    model: Model, batch: Batch, k: int, draw: torch.Generator, mean: bool, chunk: int
) -> Tensor:
    """k times z ~ q(z|x), x ~ p(x|z) (or its mean), (k, n, *shape), `chunk` rows at a time."""
    q, at_once, parts = model.posterior(batch), max(1, chunk // len(batch)), []
    for start in range(0, k, at_once):
        noise = _normal(draw, q.mean, min(at_once, k - start), len(batch), q.noise_size)
        parts.append(_values(model, q.draw(noise), batch, None if mean else draw))
    return torch.cat(parts)


def _moments(q: Latent) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (n, d); by fixed draws, the same for all rows, where the family
    has no closed form (a chain of links)."""
    try:
        return q.mean, q.stddev
    except NotImplementedError:
        draw = generator("moments", device=q.mean.device)
        return q.mean, q.draw(_normal(draw, q.mean, 256, 1, q.noise_size)).std(0, correction=0)


def _rates(q: Latent, p: Latent) -> Tensor | None:
    """KL(q(z_j|x) || p(z_j)) between Gaussian marginals, (n, d)."""
    gaussian = (DiagonalNormal, CholeskyNormal)
    if not (isinstance(q, gaussian) and isinstance(p, gaussian)):
        return None
    marginals = [DiagonalNormal(each.mean, each.stddev.log()) for each in (q, p)]
    return diagonal_kl_terms(*marginals)


def _between(a: Tensor, b: Tensor, t: Tensor, path: str) -> Tensor:
    """Points at t (steps, 1, 1) on the way from a to b (n, d), (steps, n, d)."""
    straight = a + t * (b - a)
    if path == "linear":
        return straight
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = cosine.acos()
    sine = angle.sin()
    around = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / sine
    # parallel and opposite codes, and a code at the origin, have no arc of their own
    return torch.where(sine > 1e-4, around, straight)


def _pairs(like: Tensor, k: int, *key: str | int) -> Tensor:
    """k standard normal vectors (k, 1, d) in antithetic pairs: the same ones for all rows."""
    half = _normal(generator(*key, device=like.device), like, k // 2, 1, like.shape[-1])
    return torch.cat([half, -half])


def _bound(model: Model, batch: Batch, numbers: Tensor, noise: Tensor) -> Tensor:
    """The ELBO (n,) of q = N(loc, diag exp(log_scale)^2), `numbers` = (loc, log_scale) (2, n, d).

    The KL is closed where it can be, else taken by the draws.
    """
    q, p = DiagonalNormal(*numbers), model.prior(batch)
    z = q.draw(noise)
    rate = kl_divergence(q, p) if closed_kl(q, p) else (q.log_prob(z) - p.log_prob(z)).mean(0)
    return log_likelihood(model, z, batch).mean(0) - rate


def _ascend(model: Model, batch: Batch, start: Tensor, steps: int, lr: float, seed: int) -> Tensor:
    """Adam on the ELBO of every row at once (its steps are per number, so rows do not mix)."""
    numbers = start.clone().requires_grad_()
    adam = torch.optim.Adam([numbers], lr=lr)
    # down to no step at all, so that the noise of the last draws does not stay in the result
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))
    for i in range(steps):
        noise = _pairs(start[0], REFINE_DRAWS, "refine", seed, i)
        with torch.enable_grad():
            loss = -_bound(model, batch, numbers, noise).sum()
        numbers.grad = torch.autograd.grad(loss, numbers)[0]
        adam.step()
        decay.step()
    return numbers.detach()
