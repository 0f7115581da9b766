"""Heads and distributions: posteriors by name, and the likelihood that fits a row.

`POSTERIORS` and `LIKELIHOODS` are what `--set posterior=` and `--set likelihood=` accept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from vaes.batch import Spec
from vaes.dist.cells import Pieces
from vaes.dist.columns import Columns
from vaes.dist.counts import Counts
from vaes.dist.discrete import Bernoulli, Categorical
from vaes.dist.gaussian import Cholesky, Diagonal, Isotropic, Normal
from vaes.dist.pixels import Logistic
from vaes.errors import UsageError
from vaes.parts import Part, called, known, made

# entries of one kind, their scale -> head; keyword arguments are `likelihood.<option>`
Made = Callable[..., nn.Module]


def _bernoulli(spec: Spec, scale: Any) -> nn.Module:
    return Bernoulli(spec.shape)


def _categorical(spec: Spec, scale: Any) -> nn.Module:
    return Categorical(spec.shape, spec.levels[0], grid=spec.kinds[0] != "category")


def _logistic(spec: Spec, scale: Any) -> nn.Module:
    return Logistic(spec.shape, spec.levels[0], scale or "network")


def _negative_binomial(spec: Spec, scale: Any) -> nn.Module:
    return Counts(spec.size, "negative_binomial", scale, spec.totals)


def _poisson(spec: Spec, scale: Any) -> nn.Module:
    return Counts(spec.size, "poisson", None, spec.totals)


def _pieces(spec: Spec, scale: Any) -> nn.Module:
    return Pieces(spec)


def _normal(spec: Spec, scale: Any) -> nn.Module:
    # columns of a table differ in how well they can be told, pixels of an image hardly do
    own = "entry" if len(spec.shape) == 1 else "shared"
    return Normal(spec.shape, own if scale is None else scale)


POSTERIORS: dict[str, Callable[..., nn.Module]] = {
    "isotropic": Isotropic,
    "diagonal": Diagonal,
    "cholesky": Cholesky,
}
LIKELIHOODS: dict[str, dict[str, Made]] = {
    "binary": {"bernoulli": _bernoulli, "categorical": _categorical},
    "pixel": {"logistic": _logistic, "categorical": _categorical},
    "category": {"categorical": _categorical},
    "count": {"negative_binomial": _negative_binomial, "poisson": _poisson},
    "numeric": {"pieces": _pieces},
    "real": {"normal": _normal},
}  # of each kind of entry, the default first: a new family is one line here
SCALED = ("normal", "logistic", "negative_binomial")  # the families that `scale` goes to


def posterior_head(part: Part, latent: int) -> nn.Module:
    """The head of the posterior family `part` (a name, or a name and options) over `latent`
    dimensions."""
    return made("posterior", part, POSTERIORS, latent)


def likelihood_head(
    spec: Spec, likelihood: Part = "auto", scale: str | float | None = None
) -> nn.Module:
    """The head of p(x|z) for rows of `spec`: by the kind of each entry, unless named.

    `scale` goes to the families that have one; None takes each family's default.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for i, (kind, levels) in enumerate(() if spec.uniform else spec.column_kinds()):
        # numeric columns share a head, whatever the number of their pieces
        groups.setdefault((kind, 0 if kind == "numeric" else levels), []).append(i)
    if len(groups) < 2:
        return _head(spec, likelihood, scale)
    if likelihood != "auto":
        raise UsageError(
            f"likelihood '{likelihood}' was given for columns of {len(groups)} kinds; each column "
            "takes its own: leave likelihood=auto, or overrule a column's kind"
        )
    heads = [_head(spec.columns(index), "auto", scale, strict=False) for index in groups.values()]
    return Columns(list(groups.values()), heads)


def _head(spec: Spec, likelihood: Part, scale: str | float | None, strict: bool = True) -> nn.Module:
    """The head of entries that are all of one kind."""
    kind = spec.kinds[0]
    families = LIKELIHOODS[kind]
    every = {"auto"} | {family for names in LIKELIHOODS.values() for family in names}
    name, options = known("likelihood", likelihood, dict.fromkeys(every))
    name = next(iter(families)) if name == "auto" else name
    if name not in families:
        raise UsageError(
            f"likelihood '{name}' does not fit entries of kind '{kind}'; "
            f"it takes {' or '.join(families)}"
        )
    if scale is not None and strict and name not in SCALED:
        raise UsageError(f"scale={scale} was given, but a {name} likelihood has no scale")
    return called(f"likelihood={name}", families[name], options, spec, scale)
