"""Heads and distributions: posteriors by name, and the likelihood that fits a row.

`POSTERIORS` and `LIKELIHOODS` are what `--set posterior=` and `--set likelihood=` accept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from vaes.batch import Spec
from vaes.dist.bounded import Continuous, Truncated
from vaes.dist.cells import Pieces
from vaes.dist.columns import Columns
from vaes.dist.counts import Counts
from vaes.dist.discrete import Bernoulli, Categorical
from vaes.dist.flow_heads import coupling, iaf, planar, spline, sylvester
from vaes.dist.gaussian import Cholesky, Diagonal, Isotropic, Normal
from vaes.dist.heavy import Laplace, Student
from vaes.dist.joint import FullNormal
from vaes.dist.latent_codes import BitsHead, OneHotsHead
from vaes.dist.location_scale import LaplaceHead, LogisticHead, StudentHead
from vaes.dist.lowrank import Householder, LowRank, RankOne
from vaes.dist.mixture_pixels import PixelMixture
from vaes.dist.multinomial import MultinomialCounts
from vaes.dist.optimal import Optimal
from vaes.dist.ordinal import Ordinal
from vaes.dist.pixel_normal import PixelNormal
from vaes.dist.pixels import Logistic
from vaes.dist.quantised import fsq, vq
from vaes.dist.simplex import BetaHead, DirichletHead
from vaes.dist.structured import Structured
from vaes.dist.zeros import ZeroInflated
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


def _multinomial(spec: Spec, scale: Any) -> nn.Module:
    if not spec.totals:
        raise UsageError("a multinomial is of rows that hold counts alone, whose total is given")
    return MultinomialCounts(spec.size)


def _pieces(spec: Spec, scale: Any) -> nn.Module:
    return Pieces(spec)


def _own(spec: Spec) -> str:
    """Columns of a table differ in how well they can be told, pixels of an image hardly do."""
    return "entry" if len(spec.shape) == 1 else "shared"


def _normal(spec: Spec, scale: Any) -> nn.Module:
    if scale == "optimal":
        return Optimal(spec.shape)
    return Normal(spec.shape, _own(spec) if scale is None else scale)


def _laplace(spec: Spec, scale: Any) -> nn.Module:
    return Laplace(spec.shape, _own(spec) if scale is None else scale)


def _student(spec: Spec, scale: Any, df: str | float = "shared") -> nn.Module:
    return Student(spec.shape, _own(spec) if scale is None else scale, df)


def _continuous_bernoulli(
    spec: Spec, scale: Any, low: float = 0.0, high: float = 1.0
) -> nn.Module:
    return Continuous(spec, low, high)


def _truncated(spec: Spec, scale: Any, low: float, high: float) -> nn.Module:
    return Truncated(spec, low, high, _own(spec) if scale is None else scale)


def _full_normal(spec: Spec, scale: Any) -> nn.Module:
    if len(spec.shape) != 1:
        raise UsageError("full_normal is for flat rows; images take structured")
    return FullNormal(spec)


def _structured(spec: Spec, scale: Any, neighbourhood: int = 3) -> nn.Module:
    return Structured(spec.shape, neighbourhood)


def _logistic_mixture(spec: Spec, scale: Any, components: int = 5) -> nn.Module:
    return PixelMixture(spec.shape, spec.levels[0], components)


def _ordinal(spec: Spec, scale: Any) -> nn.Module:
    return Ordinal(spec.shape, spec.levels[0])


def _zero_inflated(family: str) -> Made:
    def make(spec: Spec, scale: Any) -> nn.Module:
        return ZeroInflated(spec.size, family, scale, spec.totals)

    return make


def _pixel_normal(spec: Spec, scale: Any) -> nn.Module:
    if scale == "optimal":
        raise UsageError(
            "scale=optimal is analytic for reals alone; pixels take shared, or overrule them with "
            "--kind real"
        )
    return PixelNormal(spec.shape, spec.levels[0], "network" if scale is None else scale)


POSTERIORS: dict[str, Callable[..., nn.Module]] = {
    "isotropic": Isotropic,
    "diagonal": Diagonal,
    "cholesky": Cholesky,
    "lowrank": LowRank,
    "rank1": RankOne,
    "householder": Householder,
    "planar": planar,
    "sylvester": sylvester,
    "iaf": iaf,
    "coupling": coupling,
    "spline": spline,
    "logistic": LogisticHead,
    "laplace": LaplaceHead,
    "student": StudentHead,
    "dirichlet": DirichletHead,
    "beta": BetaHead,
    "bernoulli": BitsHead,
    "categorical": OneHotsHead,
    "vq": vq,
    "fsq": fsq,
}
LIKELIHOODS: dict[str, dict[str, Made]] = {
    "binary": {"bernoulli": _bernoulli, "categorical": _categorical},
    "pixel": {
        "logistic": _logistic,
        "categorical": _categorical,
        "normal": _pixel_normal,
        "logistic_mixture": _logistic_mixture,
        "ordinal": _ordinal,
    },
    "category": {"categorical": _categorical},
    "count": {
        "negative_binomial": _negative_binomial,
        "poisson": _poisson,
        "multinomial": _multinomial,
        "zero_inflated_negative_binomial": _zero_inflated("negative_binomial"),
        "zero_inflated_poisson": _zero_inflated("poisson"),
    },
    "numeric": {"pieces": _pieces},
    "real": {
        "normal": _normal,
        "laplace": _laplace,
        "student": _student,
        "full_normal": _full_normal,
        "structured": _structured,
        "continuous_bernoulli": _continuous_bernoulli,
        "truncated": _truncated,
    },
}  # of each kind of entry, the default first: a new family is one line here
SCALED = ("normal", "logistic", "negative_binomial", "laplace", "student", "truncated")
SCALED += ("zero_inflated_negative_binomial",)  # the families that `scale` goes to


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
    if scale == "optimal":
        raise UsageError("scale=optimal is for rows whose entries are all reals; take entry")
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
