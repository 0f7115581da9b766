"""Rows out of a model: decoded, sampled, varied, reconstructed with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.fitted import PerClass
from vaes.errors import UsageError
from vaes.model import Model
from vaes.uses.common import CHUNK, Rows, batches, blank, drawing, evaluating, normal, values


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


def decode(model: Model, z: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """The mean of p(x|z) at codes z (n, d), (n, *shape); deterministic."""
    if z.dim() != 2 or z.shape[1] != model.latent or not len(z):
        raise UsageError(f"codes of shape {tuple(z.shape)}; the model takes (n, {model.latent})")
    with evaluating(model):
        parts = [values(model, part, blank(model, len(part))) for part in z.split(chunk)]
    return torch.cat(parts)


def sample(
    model: Model,
    n: int,
    *,
    seed: int = 0,
    mean: bool = False,
    label: int | str | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """n new rows: z ~ p(z), x ~ p(x|z), or the mean of p(x|z) where `mean`; (x, z).

    x (n, *shape), z (n, d). Means of p(x|z) look smoother than rows of the data do. Rows of counts
    are given totals drawn as those of the training rows are spread (`Model.totals`). label: a class
    (its name, or its number), whose own prior z is drawn from.
    """
    if n < 1:
        raise UsageError(f"n={n}: at least one row is drawn")
    among = _all if label is None else _within(model, label)
    rows, codes, draw = [], [], drawing(model, "sample", seed)
    with evaluating(model):
        for start in range(0, n, chunk):
            batch = blank(model, min(chunk, n - start), draw)
            p = among(model, batch)
            z = p.draw(normal(draw, batch.x, len(batch), p.noise_size))
            rows.append(values(model, z, batch, None if mean else draw))
            codes.append(z)
    return torch.cat(rows), torch.cat(codes)


def _all(model: Model, batch: Batch) -> Latent:
    return model.prior(batch)


def _within(model: Model, label: int | str) -> Callable[[Model, Batch], Latent]:
    """p(z | class) of a model whose prior is one for each class."""
    classes = model.spec.classes
    if not classes:
        raise UsageError(f"label {label} was asked for, but the rows of this model had no labels")
    named = str(label)
    if named not in classes and not (named.isdigit() and int(named) < len(classes)):
        raise UsageError(f"label '{label}' is none of {', '.join(classes)}")
    number = classes.index(named) if named in classes else int(named)
    prior = getattr(model, "latent_prior", None)
    if not isinstance(prior, PerClass):
        raise UsageError(
            "the prior of this model does not know classes; fit one that does to the run: "
            "vaes train RUN --prior-after mixture --each-class"
        )
    return lambda model, batch: prior.of_class(model, number, batch)


def vary(
    model: Model, data: Rows, n: int, *, seed: int = 0, mean: bool = False, chunk: int = CHUNK
) -> Tensor:
    """n variations of each row: z ~ q(z|x), then x ~ p(x|z) or its mean; (rows, n, *shape)."""
    if n < 1:
        raise UsageError(f"n={n}: at least one variation of a row is drawn")
    draw = drawing(model, "vary", seed)
    with evaluating(model):
        parts = [
            predictive(model, batch, n, draw, mean, chunk).transpose(0, 1)
            for batch in batches(data, max(1, chunk // n))
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
    draw, bounds = drawing(model, "reconstruct", seed), []
    with evaluating(model):
        parts = [values(model, model.posterior(b).mean, b) for b in batches(data, chunk)]
        if not draws:
            return Reconstruction(torch.cat(parts))
        # the quantiles on drawn values, to the outside, so that coverage is not below `level`
        low = math.floor((1 - level) / 2 * (draws - 1))
        for batch in batches(data, max(1, chunk // draws)):
            drawn = predictive(model, batch, draws, draw, False, chunk).sort(0).values
            bounds.append((drawn[low], drawn[draws - 1 - low]))
    lows, highs = zip(*bounds, strict=True)
    return Reconstruction(torch.cat(parts), torch.cat(lows), torch.cat(highs))


def predictive(
    model: Model, batch: Batch, k: int, draw: torch.Generator, mean: bool, chunk: int
) -> Tensor:
    """k times z ~ q(z|x), x ~ p(x|z) (or its mean), (k, n, *shape), `chunk` rows at a time."""
    q, at_once, parts = model.posterior(batch), max(1, chunk // len(batch)), []
    for start in range(0, k, at_once):
        noise = normal(draw, q.mean, min(at_once, k - start), len(batch), q.noise_size)
        parts.append(values(model, q.draw(noise), batch, None if mean else draw))
    return torch.cat(parts)
