"""Heads and distributions: posteriors by name, and the likelihood that fits a row.

`POSTERIORS` and `LIKELIHOODS` are what `--set posterior=` and `--set likelihood=` accept.
"""

from __future__ import annotations

from torch import nn

from vaes.batch import Spec
from vaes.dist.columns import Columns
from vaes.dist.discrete import Bernoulli, Categorical
from vaes.dist.gaussian import Cholesky, Diagonal, Isotropic, Normal
from vaes.dist.pixels import Logistic
from vaes.errors import UsageError, did_you_mean

POSTERIORS = {"isotropic": Isotropic, "diagonal": Diagonal, "cholesky": Cholesky}
LIKELIHOODS = {
    "binary": ("bernoulli", "categorical"),
    "pixel": ("logistic", "categorical"),
    "category": ("categorical",),
    "real": ("normal",),
}  # of each kind of entry, the default first


def posterior_head(name: str, latent: int) -> nn.Module:
    """The head of the posterior family `name` over `latent` dimensions."""
    if name not in POSTERIORS:
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
    name = families[0] if likelihood == "auto" else likelihood
    if name not in families:
        every = {family for names in LIKELIHOODS.values() for family in names}
        hint = f"it takes {' or '.join(families)}" if name in every else did_you_mean(name, every)
        raise UsageError(f"likelihood '{name}' does not fit entries of kind '{kind}'; {hint}")
    if name == "normal":
        return Normal(shape, "shared" if scale is None else scale)
    if name == "logistic":
        if scale is not None and not isinstance(scale, str):
            raise UsageError(f"scale {scale}: a logistic takes network, entry or shared")
        return Logistic(shape, levels, scale or "network")
    if scale is not None and strict:
        raise UsageError(f"scale={scale} was given, but a {name} likelihood has no scale")
    return Bernoulli(shape) if name == "bernoulli" else Categorical(shape, levels)
