"""The claims of recipe structured_residuals."""

import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Data, Spec
from vaes.dist.structured import StructuredNormal
from vaes.errors import UsageError
from vaes.evaluate.likelihood import evidence
from vaes.recipes import build

SHAPE = (1, 4, 4)
LOG_DIAGONAL = math.log(1.5)


def field(n: int, seed: int) -> tuple[Data, float]:
    """Images of noise whose pixels lean on those to the right and below, and what the field itself
    says of them, nats per image."""
    diagonal = torch.full((n, *SHAPE), LOG_DIAGONAL, dtype=torch.float64)
    below = torch.zeros(n, 4, *SHAPE, dtype=torch.float64)
    below[:, 0], below[:, 2] = -0.8, -0.6
    p = StructuredNormal(torch.zeros_like(diagonal), diagonal, below, 3, False)
    x = p.draw(torch.Generator().manual_seed(seed))
    return Data(Spec(SHAPE, rows=n), x), -p.log_prob(x).mean().item()


def test_structured_residuals_find_the_field():
    """Dorta et al. 2018, sec. 5: a field of noise is scored at its entropy, 16 (log 2 pi e) / 2 -
    16 log 1.5 = 16.216 nats, which pixels that are independent given one z do not come near; what
    the mean has learned stands still meanwhile."""
    (data, _), (held, truth) = field(800, 0), field(500, 1)
    torch.manual_seed(0)
    model = build("structured_residuals", data.spec, latent=1, net="mlp", hidden=()).double()
    entropy = 16 * (0.5 * math.log(2 * math.pi * math.e) - LOG_DIAGONAL)
    assert entropy == pytest.approx(16.2156, abs=1e-4)
    assert truth == pytest.approx(entropy, abs=4 * math.sqrt(8 / 500))
    phases, found = model.phases, []
    for phase in phases:
        model.phases = (phase,)
        train(model, data, steps=60, rate=0.1)
        found.append(-evidence(model.eval(), held, k=5).mean)
        frozen = torch.cat([p.detach().flatten() for p in model.decoder.mean.parameters()])
        if phase is phases[0]:
            before = frozen
    assert torch.equal(frozen, before)
    assert truth < found[1] < truth + 0.6
    assert found[0] > found[1] + 1


def test_structured_residuals_are_refused_where_there_are_none():
    with pytest.raises(UsageError, match="overrule with --kind real"):
        build("structured_residuals", Spec(SHAPE, ("pixel",), (5,)))
    with pytest.raises(UsageError, match="an odd number of pixels"):
        build("structured_residuals", Spec(SHAPE), neighbourhood=4)
