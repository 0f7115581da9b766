"""Models beside one another and beside trivial baselines, on the same rows and in the same unit.

Differences are taken row by row: the error of a difference is far smaller than that of either mean,
since rows that are hard for one model are hard for the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.batch import Spec
from vaes.errors import UsageError
from vaes.evaluate.likelihood import error_of_draws, standard_error

TIED = 2.0  # standard errors within which two models are not told apart
NEAR = 1e-5  # of a value: rows that went through two scalings are the same rows


@dataclass(frozen=True)
class Contender:
    """One model.

    per_row (n,): log-evidence in nats, None where it has none · bound: "exact", or "lower" where
    the evidence is bounded from below · evidence_of, rows, spec: what the evidence is of, the rows
    (n, ...) in the user's units, what those are · left_out (blocks,): the mean without each block
    of draws, which models share; None where nothing was drawn.
    """

    name: str
    per_row: Tensor | None
    bound: str
    evidence_of: str
    rows: Tensor
    spec: Spec
    left_out: Tensor | None = None


@dataclass(frozen=True)
class Place:
    """mean, se: log-evidence, nats per row, and its error over rows and from the draws · behind,
    behind_se: what the best has more, row by row · tied: whether that is within two standard
    errors. None of a model without evidence."""

    name: str
    mean: float | None
    se: float | None
    behind: float | None
    behind_se: float | None
    tied: bool
    bound: str


def ranked(contenders: Sequence[Contender]) -> list[Place]:
    """The contenders, best first, those without evidence last.

    UsageError where their numbers are not of the same thing: other rows, other entries (bits where
    the other has grey levels, a density where the other has probabilities), another evidence.
    """
    first = contenders[0]
    for other in contenders[1:]:
        refuse_unlike(first, other)
    scored = [c for c in contenders if c.per_row is not None]
    scored.sort(key=lambda c: -float(c.per_row.mean()))  # type: ignore[union-attr]
    places = []
    for c in scored:
        assert c.per_row is not None
        assert scored[0].per_row is not None
        apart = scored[0].per_row.double() - c.per_row.double()
        behind = float(apart.mean())
        se = math.hypot(standard_error(apart), _drawn(scored[0], c))
        tied = behind <= TIED * se if se == se else False
        mean = float(c.per_row.double().mean())
        own = math.hypot(standard_error(c.per_row.double()), _drawn(c))
        places.append(Place(c.name, mean, own, behind, se, tied, c.bound))
    nothing = (None, None, None, None, False)
    return places + [Place(c.name, *nothing, c.bound) for c in contenders if c.per_row is None]


def _drawn(a: Contender, b: Contender | None = None) -> float:
    """Monte Carlo error of the mean of one, or of the difference of two that share their draws."""
    parts = [c.left_out for c in (a, b) if c is not None and c.left_out is not None]
    parts = [part for part in parts if len(part)]
    if len(parts) == 2 and len(parts[0]) == len(parts[1]):
        return error_of_draws(parts[0] - parts[1])
    return math.hypot(*(error_of_draws(part) for part in parts)) if parts else 0.0


def refuse_unlike(a: Contender, b: Contender) -> None:
    """One line where the evidences of two contenders do not compare."""
    told = f"'{a.name}' and '{b.name}' do not compare"
    if a.evidence_of != b.evidence_of:
        raise UsageError(
            f"{told}: the one's evidence is of {a.evidence_of}, the other's of {b.evidence_of}"
        )
    entries = [(c.spec.shape, c.spec.column_kinds()) for c in (a, b)]
    if entries[0] != entries[1]:
        kinds = [", ".join(sorted(set(c.spec.kinds))) for c in (a, b)]
        what = f"{a.spec.shape} of kind {kinds[0]} and {b.spec.shape} of kind {kinds[1]}"
        if kinds[0] == kinds[1] and a.spec.shape == b.spec.shape:
            what = f"of kind {kinds[0]} with other numbers of levels"
        raise UsageError(f"{told}: their rows are {what}, so that nats are not of the same thing")
    same = a.rows.shape == b.rows.shape and torch.allclose(
        a.rows.double(), b.rows.double(), rtol=NEAR, atol=NEAR, equal_nan=True
    )
    if not same:
        raise UsageError(
            f"{told}: they were tested on other rows (another set, seed or split); name rows that "
            "neither was trained on with --data"
        )
