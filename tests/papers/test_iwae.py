"""The claim of recipe iwae."""

import math

import torch

from tests.fixtures import (
    PPCA_EVIDENCE,
    descend,
    step_of,
)
from tests.papers.helpers import ALL, DATA
from vaes.objective import log_weight
from vaes.recipes import build


def test_iwae_bound_tightens_with_k():
    """Burda et al. 2016, theorem 1: on one and the same model K = 50 is above K = 1."""
    losses = {}
    for k in (1, 50):
        torch.manual_seed(0)  # the same weights
        model = build("iwae", DATA.spec, samples=k, latent=3, hidden=(8,)).double()
        draws = [model.noise(500, seed=0, step=i, like=ALL.x) for i in range(30)]
        with torch.no_grad():
            losses[k] = torch.stack([model.losses(ALL, step_of(n))["model"] for n in draws])
    error = math.hypot(*(v.std().item() / math.sqrt(30) for v in losses.values()))
    assert losses[1].mean() - losses[50].mean() > 4 * error
    # and it trains: the linear model ends at the evidence of PPCA, which bounds it from above
    torch.manual_seed(0)
    model = build("iwae", DATA.spec, samples=5, latent=3, hidden=()).double()
    descend(model, ALL, model.noise(500, seed=0, step=0, like=ALL.x), steps=400, rate=0.05)
    with torch.no_grad():
        fresh = torch.randn(400, 500, 3, generator=torch.Generator().manual_seed(1)).double()
        bound = log_weight(model, ALL, noise=fresh).logsumexp(0) - math.log(400)
    assert PPCA_EVIDENCE[3] - 0.3 < bound.mean().item() < PPCA_EVIDENCE[3]
