"""The mathematics: draws, log-weights, and what models descend by it.

`weights.py` has the draws and `log_weight`, the pivot of everything that is reported; `base.py`
what an objective is; the other files have the objectives, by kind. `OBJECTIVES` is what
`--set objective=` accepts: a name, and a class whose fields are its options.
"""

from __future__ import annotations

from collections.abc import Callable

from vaes.objective.aggregate import Decomposed, Dip
from vaes.objective.base import Objective
from vaes.objective.critic import Factor
from vaes.objective.discrepancy import Info, Wasserstein
from vaes.objective.elbo import Elbo
from vaes.objective.importance import Ciwae, Dreg, Iwae, Miwae, Piwae, Stl
from vaes.objective.lagging import Lagging
from vaes.objective.quantised import Quantising
from vaes.objective.relaxed import Concrete, StraightThrough
from vaes.objective.renyi import Chi, Renyi
from vaes.objective.score import Reinforce, Vimco
from vaes.objective.wake import Reweighted, WakeSleep
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
    "stl": Stl,
    "dreg": Dreg,
    "miwae": Miwae,
    "piwae": Piwae,
    "ciwae": Ciwae,
    "renyi": Renyi,
    "chi": Chi,
    "lagging": Lagging,
    "wake_sleep": WakeSleep,
    "reweighted": Reweighted,
    "reinforce": Reinforce,
    "vimco": Vimco,
    "concrete": Concrete,
    "straight_through": StraightThrough,
    "quantising": Quantising,
    "tc": Decomposed,
    "dip": Dip,
    "factor": Factor,
    "mmd": Info,
    "wae": Wasserstein,
}

__all__ = [
    "OBJECTIVES",
    "Decomposed",
    "Dip",
    "Draw",
    "Elbo",
    "Factor",
    "Info",
    "Iwae",
    "Objective",
    "Terms",
    "Wasserstein",
    "closed_kl",
    "draw",
    "log_jacobian",
    "log_likelihood",
    "log_weight",
    "terms",
]
