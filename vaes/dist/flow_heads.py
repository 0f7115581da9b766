"""Flow posteriors by name; their keyword arguments are the options `posterior.<option>`."""

from __future__ import annotations

from vaes.dist.coupled import Coupling
from vaes.dist.flowed import FlowHead
from vaes.dist.flows import halves
from vaes.dist.inverse_flow import InverseAutoregressive
from vaes.dist.planar import Planar, Sylvester
from vaes.errors import UsageError


def planar(latent: int, layers: int = 8) -> FlowHead:
    """Planar steps whose numbers the encoder says (Rezende & Mohamed 2015)."""
    _some(layers=layers)
    return FlowHead(latent, [Planar(latent, axis=i) for i in range(layers)])


def sylvester(latent: int, layers: int = 4, reflections: int = 4) -> FlowHead:
    """Sylvester steps, Q by Householder reflections (van den Berg et al. 2018)."""
    _some(layers=layers, reflections=reflections)
    if reflections % 2:
        raise UsageError(
            f"reflections={reflections}: an odd number turns space over; take {reflections + 1}"
        )
    return FlowHead(latent, [Sylvester(latent, reflections) for _ in range(layers)])


def iaf(latent: int, layers: int = 2, width: int = 128, context: int = 32) -> FlowHead:
    """Inverse autoregressive steps, turned round after each (Kingma et al. 2016); width 0:
    linear."""
    _some(layers=layers, context=context)
    if width < 0:
        raise UsageError(f"width={width}: hidden units of a step; 0 makes it linear")
    steps = [InverseAutoregressive(latent, width, context, i % 2 == 1) for i in range(layers)]
    return FlowHead(latent, steps, context)


def coupling(latent: int, layers: int = 4, width: int = 64, context: int = 32) -> FlowHead:
    """Affine couplings (Dinh et al. 2017)."""
    _some(layers=layers, width=width, context=context)
    return FlowHead(latent, [Coupling(h, width, context) for h in halves(latent, layers)], context)


def spline(
    latent: int,
    layers: int = 4,
    width: int = 64,
    context: int = 32,
    bins: int = 8,
    reach: float = 4.0,
) -> FlowHead:
    """Couplings by rational-quadratic splines of `bins` bins within -reach ... reach (Durkan et al.
    2019)."""
    _some(layers=layers, width=width, context=context)
    if not 2 <= bins <= 256 or not reach > 0:
        raise UsageError(f"bins={bins}, reach={reach}: 2 to 256 bins over a reach above 0")
    steps = [Coupling(h, width, context, bins, reach) for h in halves(latent, layers)]
    return FlowHead(latent, steps, context)


def _some(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{name}={count}: a flow takes at least one")
