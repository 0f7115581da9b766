"""The mathematics: draws, log-weights, and what models descend by it.

`weights.py` has the draws and `log_weight`, the pivot of everything that is reported; `base.py`
what an objective is; the other files have the objectives, by kind. `OBJECTIVES` is what
`--set objective=` accepts: a name, and a class whose fields are its options.
"""

from __future__ import annotations

from collections.abc import Callable

from vaes.objective.base import Objective
from vaes.objective.elbo import Elbo
from vaes.objective.importance import Iwae
from vaes.objective.weights import (
    Draw,
    Terms,
    closed_kl,
    draw,
    log_jacobian,
    log_likelihood,
    log_weight,
    terms,
)

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "elbo": Elbo,
    "iwae": Iwae,
}

__all__ = [
    "OBJECTIVES",
    "Draw",
    "Elbo",
    "Iwae",
    "Objective",
    "Terms",
    "closed_kl",
    "draw",
    "log_jacobian",
    "log_likelihood",
    "log_weight",
    "terms",
]
