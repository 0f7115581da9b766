"""Heads and distributions: posteriors by name, and the likelihood that fits a row.

`POSTERIORS` and `LIKELIHOODS` are what `--set posterior=` and `--set likelihood=` accept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from vaes.batch import Spec
from vaes.dist.columns import Columns
from vaes.dist.discrete import Bernoulli, Categorical
from vaes.dist.gaussian import Cholesky, Diagonal, Isotropic, Normal
from vaes.dist.pixels import Logistic
from vaes.errors import UsageError, did_you_mean

Made = Callable[[str, int, tuple[int, ...], Any], nn.Module]  # kind, levels, shape, scale -> head


def _bernoulli(kind: str, levels: int, shape: tuple[int, ...], scale: Any) -> nn.Module:
    return Bernoulli(shape)


def _categorical(kind: str, levels: int, shape: tuple[int, ...], scale: Any) -> nn.Module:
    return Categorical(shape, levels, grid=kind != "category")


def _logistic(kind: str, levels: int, shape: tuple[int, ...], scale: Any) -> nn.Module:
    return Logistic(shape, levels, scale or "network")


def _normal(kind: str, levels: int, shape: tuple[int, ...], scale: Any) -> nn.Module:
    return Normal(shape, "shared" if scale is None else scale)


POSTERIORS: dict[str, Callable[[int], nn.Module]] = {
    "isotropic": Isotropic,
    "diagonal": Diagonal,
    "cholesky": Cholesky,
}
LIKELIHOODS: dict[str, dict[str, Made]] = {
    "binary": {"bernoulli": _bernoulli, "categorical": _categorical},
    "pixel": {"logistic": _logistic, "categorical": _categorical},
    "category": {"categorical": _categorical},
    "real": {"normal": _normal},
}  # of each kind of entry, the default first: a new family is one line here
SCALED = ("normal", "logistic")  # the families that `scale` goes to


def posterior_head(name: str, latent: int) -> nn.Module:
    """The head of the posterior family `name` over `latent` dimensions."""
    if not isinstance(name, str) or name not in POSTERIORS:
        name = str(name)
        raise UsageError(f"posterior '{name}' is not known; {did_you_mean(name, POSTERIORS)}")
    return POSTERIORS[name](latent)


def likelihood_head(
    spec: Spec, likelihood: str = "auto", scale: str | float | None = None
) -> nn.Module:
    """The head of p(x|z) for rows of `spec`: by the kind of each entry, unless named.

    `scale` goes to the families that have one; None takes each family's default.
    """
    if spec.uniform:
        return _head(spec.kinds[0], spec.levels[0], spec.shape, likelihood, scale)
    groups: dict[tuple[str, int], list[int]] = {}
    for i, key in enumerate(spec.column_kinds()):
        groups.setdefault(key, []).append(i)
    if likelihood != "auto":
        raise UsageError(
            f"likelihood '{likelihood}' was given for columns of {len(groups)} kinds; each column "
            "takes its own: leave likelihood=auto, or overrule a column's kind"
        )
    heads = [
        _head(kind, levels, (len(index),), "auto", scale, strict=False)
        for (kind, levels), index in groups.items()
    ]
    return Columns(list(groups.values()), heads)


def _head(
    kind: str,
    levels: int,
    shape: tuple[int, ...],
    likelihood: str,
    scale: str | float | None,
    strict: bool = True,
) -> nn.Module:
    families = LIKELIHOODS[kind]
    name = next(iter(families)) if likelihood == "auto" else likelihood
    if name not in families:
        every = {family for names in LIKELIHOODS.values() for family in names}
        hint = f"it takes {' or '.join(families)}" if name in every else did_you_mean(name, every)
        raise UsageError(f"likelihood '{name}' does not fit entries of kind '{kind}'; {hint}")
    if scale is not None and strict and name not in SCALED:
        raise UsageError(f"scale={scale} was given, but a {name} likelihood has no scale")
    return families[name](kind, levels, shape, scale)
