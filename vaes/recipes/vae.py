"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114; Rezende et al. 2014)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Elbo, Objective
from vaes.parts import Part


def build(
    spec: Spec,
    *,
    samples: int | None = None,
    warmup: float | None = None,
    free_bits: float | None = None,
    objective: Part | Objective | None = None,
    **parts: Any,
) -> Model:
    """The ELBO with closed-form KL where one exists; or any objective in its place.

    samples: draws of z per row and step (None: 1) · warmup: share of the budget over which the
    weight of the rate rises to 1 (None: 0.1) · free_bits: nats per dimension that cost nothing
    (None: 0) · objective: another one, with options of its own in place of these three ·
    parts: see `compose`.
    """
    own = {"samples": samples, "warmup": warmup, "free_bits": free_bits}
    given = {key: value for key, value in own.items() if value is not None}
    if objective is None:
        return compose(spec, Elbo(**{"warmup": 0.1, **given}), **parts)
    if given:
        key, value = next(iter(given.items()))
        raise UsageError(
            f"{key}={value} is an option of the ELBO; beside objective=... say objective.{key}, "
            "where it has one"
        )
    return compose(spec, objective, **parts)
