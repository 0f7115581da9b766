"""Wake-sleep (Hinton et al. 1995) and reweighted wake-sleep (Bornschein & Bengio 2015)."""

from __future__ import annotations

from typing import Any

from vaes.batch import Spec
from vaes.composed import compose
from vaes.model import Model
from vaes.objective import Reweighted, WakeSleep

FIXED = ("objective",)  # parts that are no option here


def build(spec: Spec, *, samples: int = 5, phi: str = "both", **parts: Any) -> Model:
    """The decoder by log p(x, z) of codes from q, the encoder by log q(z|x) of pairs.

    samples: draws of z per row and step · phi: where the encoder's pairs are from: sleep, the
    model's own x and z; wake, the rows and their codes, weighted; both · parts: see `compose`, with
    any posterior, discrete ones too. samples=1 phi=sleep is wake-sleep, all else reweighted.
    """
    plain = samples == 1 and phi == "sleep"
    return compose(spec, WakeSleep() if plain else Reweighted(samples, phi), **parts)
