"""Parts put together: which combinations make sense, and what must hold of each that does.

`everything` are all parts of the tables, `FEW` representatives of each; `cover` chooses
combinations so that every pair of parts that makes sense together is met.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import safetensors.torch
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec, generator
from vaes.composed import Composed, compose
from vaes.dist import LIKELIHOODS, POSTERIORS
from vaes.dist.priors import PRIORS
from vaes.evaluate.likelihood import evidence
from vaes.objective import OBJECTIVES
from vaes.parts import Part, named

ROWS, LATENT = 24, 4
SPECS = {  # one spec for each kind of entry, and rows with gaps
    "binary": Spec((6,), ("binary",), (2,), rows=ROWS),
    "pixel": Spec((1, 4, 4), ("pixel",), (5,), rows=ROWS),
    "category": Spec((5,), ("category",), (3,), rows=ROWS),
    "count": Spec((5,), ("count",), (0,), rows=ROWS),
    "totals": Spec((5,), ("count",), (0,), totals=True, rows=ROWS),
    "numeric": Spec(
        (3,), ("numeric",), (2,), pieces=((-1.0, 0.0, 0.0, 2.0),) * 3, rows=ROWS, missing=False
    ),
    "real": Spec((6,), rows=ROWS),
    "gaps": Spec((6,), missing=True, rows=ROWS),
    "mixed": Spec((3,), ("real", "binary", "category"), (0, 2, 3), rows=ROWS),
}
# options without which a part does not suit data this small
SUITED: dict[str, dict[str, object]] = {
    "likelihood=continuous_bernoulli": {"low": -20.0, "high": 20.0},
    "likelihood=truncated": {"low": -20.0, "high": 20.0},
    "objective=factor": {"latent": LATENT},
    "posterior=categorical": {"classes": 2},
    "prior=vamp": {"components": 3},
    "prior=fitted_mixture": {"components": 2},
    "prior=fitted_flow": {"steps": 5},
}
# quantised codes, their prior and their objective come together, in recipes vq_vae and fsq
TOGETHER = {"vq", "fsq", "codes", "quantising"}
CHAINS = {"ladder", "second_stage"}  # priors over a chain of codes
GAUSSIAN = {"diagonal", "isotropic", "cholesky"}
DISCRETE = {"bernoulli", "categorical"}
ALLOWED: dict[str, dict[str, set[str]]] = {  # what an objective needs beside what it says itself
    "tc": {"posterior": GAUSSIAN},
    "concrete": {"posterior": DISCRETE, "prior": {"auto", *DISCRETE}},
    "straight_through": {"posterior": DISCRETE, "prior": {"auto", *DISCRETE}},
}

FEW: dict[str, Sequence] = {  # a representative of every sort of part
    "likelihood": [
        ("real", "normal"),
        ("binary", "bernoulli"),
        ("pixel", "logistic"),
        ("count", "negative_binomial"),
        ("gaps", "auto"),
        ("mixed", "auto"),
    ],
    "posterior": ["diagonal", "cholesky", "iaf", "student", "bernoulli", "dirichlet"],
    "prior": ["auto", "mixture", "vamp", "flow", "fitted_mixture"],
    "objective": ["elbo", "dreg", "vimco", "mmd", "wake_sleep", "concrete"],
    "net": ["mlp", "residual"],
}


@dataclass(frozen=True)
class Combination:
    """A kind of rows and a likelihood for them, and the names of the other parts."""

    rows: str
    likelihood: str
    posterior: str
    prior: str
    objective: str
    net: str = "mlp"

    def pairs(self) -> set[tuple[tuple[str, str], tuple[str, str]]]:
        """Every two of its parts."""
        parts = [("likelihood", f"{self.rows} {self.likelihood}")]
        parts += [(k, getattr(self, k)) for k in ("posterior", "prior", "objective", "net")]
        return set(itertools.combinations(parts, 2))

    def __str__(self) -> str:
        return "-".join(str(value) for value in vars(self).values())


def likelihoods() -> list[tuple[str, str]]:
    """Every kind of rows with every family that takes it."""
    found = [(kind, family) for kind, families in LIKELIHOODS.items() for family in families]
    # a multinomial is of rows whose totals are given
    found = [("totals" if name == "multinomial" else kind, name) for kind, name in found]
    return [*found, ("gaps", "auto"), ("mixed", "auto")]


def everything() -> dict[str, Sequence]:
    """All parts of the tables."""
    return {
        "likelihood": likelihoods(),
        "posterior": [name for name in POSTERIORS if name not in TOGETHER],
        "prior": ["auto", *(name for name in PRIORS if name not in TOGETHER)],
        "objective": [name for name in OBJECTIVES if name not in TOGETHER],
        "net": ["mlp", "residual"],
    }


def suited(name: str, what: str) -> Part:
    """The part with the options that small data need."""
    return {"name": name, **SUITED[f"{what}={name}"]} if f"{what}={name}" in SUITED else name


def built(c: Combination) -> Composed:
    """The model of a combination, small, float64; `UsageError` where it makes no sense."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compose(
            SPECS[c.rows],
            suited(c.objective, "objective"),
            latent=LATENT,
            hidden=(8,),
            net=c.net,
            posterior=suited(c.posterior, "posterior"),
            likelihood=suited(c.likelihood, "likelihood"),
            prior=suited(c.prior, "prior"),
        ).double()


def sensible(c: Combination) -> bool:
    """Whether the parts fit, by what they say of themselves."""
    head = POSTERIORS[c.posterior](LATENT, **named(suited(c.posterior, "posterior"))[1])
    if OBJECTIVES[c.objective].path and not getattr(head, "path", True):  # type: ignore[attr-defined]
        return False
    rule = ALLOWED.get(c.objective, {})
    if any(getattr(c, part) not in allowed for part, allowed in rule.items()):
        return False
    if c.prior == "auto":
        return True
    if c.prior in CHAINS and c.objective in ("tc", "factor"):
        return False
    part = named(suited(c.prior, "prior"))[1]
    prior = PRIORS[c.prior](SPECS["real"], LATENT, **part)
    if prior.player and OBJECTIVES[c.objective].players is not None:  # type: ignore[attr-defined]
        return False
    return prior.space in (getattr(head, "space", "real"), "any")


def cover(parts: Mapping[str, Sequence], tries: int = 60) -> list[Combination]:
    """Combinations that meet every pair of parts that makes sense together: each time the best of
    `tries` candidates that hold a pair that is still missing."""
    names = list(parts)
    every = [
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x, y in itertools.product(parts[a], parts[b])
    ]
    missing, chosen, draw = dict.fromkeys(every), [], generator("cover")
    while missing:
        pair = next(iter(missing))
        candidates = [_with(pair, parts, draw) for _ in range(tries)]
        candidates = [c for c in candidates if sensible(c)]
        if not candidates:  # no such pair makes sense
            del missing[pair]
            continue
        best = max(candidates, key=lambda c: len(_pairs(c, parts) & missing.keys()))
        chosen.append(best)
        for met in _pairs(best, parts):
            missing.pop(met, None)
    return chosen


def _with(pair: tuple, parts: Mapping[str, Sequence], draw: torch.Generator) -> Combination:
    held = dict(pair)
    for name, values in parts.items():
        if name not in held:
            held[name] = values[int(torch.randint(len(values), (), generator=draw))]
    rows, likelihood = held.pop("likelihood")
    return Combination(rows, likelihood, **held)


def _pairs(c: Combination, parts: Mapping[str, Sequence]) -> set[tuple]:
    found = {name: getattr(c, name) for name in parts if name != "likelihood"}
    held = [(n, (c.rows, c.likelihood) if n == "likelihood" else found[n]) for n in parts]
    return set(itertools.combinations(held, 2))


def rows_of(spec: Spec) -> Data:
    """`ROWS` rows of a spec, that two hidden numbers explain in part, float64."""
    draw = generator("combinations", str(spec))
    hidden = torch.randn(ROWS, 2, generator=draw, dtype=torch.float64)
    loadings = torch.randn(2, spec.size, generator=draw, dtype=torch.float64)
    x = hidden @ loadings + 0.5 * torch.randn(ROWS, spec.size, generator=draw).double()
    for i, (kind, n) in enumerate(spec.column_kinds()):
        if kind == "count":
            x[:, i] = (2 * x[:, i].sigmoid()).exp().floor()
        elif n:
            place = (x[:, i].sigmoid() * n).clamp(0, n - 1e-3)
            code = place.floor()
            x[:, i] = {"category": code, "numeric": place}.get(kind, code / max(1, n - 1))
    x = x.view(ROWS, *spec.shape)
    if not spec.missing:
        return Data(spec, x)
    mask = torch.rand(x.shape, generator=draw) < 0.7
    return Data(spec, x * mask, mask=mask)


def check(c: Combination) -> None:
    """Trains 3 steps; the evidence is finite; ELBO <= L_K within error; saved and loaded, it gives
    the same numbers to the bit."""
    model, data = built(c), rows_of(SPECS[c.rows])
    train(model, data, steps=3, rate=1e-3)
    model.eval()
    assert all(p.isfinite().all() for p in model.parameters())
    found = evidence(model, data, k=200)
    assert math.isfinite(found.mean)
    assert math.isfinite(found.elbo)
    assert found.elbo <= found.mean + 4 * math.hypot(found.se_draws, 1e-9)
    other = built(c)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(model.state_dict())))
    assert torch.equal(evidence(other.eval(), data, k=20).per_row, _evidence(model, data))


def _evidence(model: Composed, data: Data) -> torch.Tensor:
    return evidence(model, data, k=20).per_row


def senseless(parts: Mapping[str, Sequence]) -> Iterable[Combination]:
    """One combination for each posterior with each prior, and each objective, that do not fit."""
    first = likelihoods()[0]
    for posterior, prior in itertools.product(parts["posterior"], parts["prior"]):
        c = Combination(*first, posterior, prior, "elbo")
        if not sensible(c):
            yield c
    for posterior, objective in itertools.product(parts["posterior"], parts["objective"]):
        c = Combination(*first, posterior, "auto", objective)
        if not sensible(c):
            yield c
