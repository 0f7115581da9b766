"""The claim of recipe semi_amortized."""

import pytest
import torch

from tests.fixtures import LG_PRECISION, star, unclip
from tests.papers.helpers import X, on_lg
from vaes.dist.gaussian import LOG_SCALE
from vaes.objective import log_weight
from vaes.per_row import SemiAmortised


def refined(**options):
    """LG with an encoder that says N(0, I) whatever the row."""
    like = on_lg("vae")
    torch.nn.init.zeros_(like.encoder.last.weight)
    torch.nn.init.zeros_(like.encoder.last.bias)
    torch.nn.init.constant_(like.encoder.last.bias[2:], unclip(torch.zeros(()), *LOG_SCALE))
    return SemiAmortised(like, **options).eval()


def test_semi_amortized_goes_back_through_its_steps():
    """Card 4a (4): the steps are linear on LG, and the Jacobian of their end by their start is
    (I - a L)^T with L the posterior's precision; it vanishes as T grows."""
    assert torch.linalg.eigvalsh(LG_PRECISION).tolist() == pytest.approx([5.08726, 12.16274])
    eye, sizes = torch.eye(2).double(), []
    for steps in (1, 3, 8, 30):
        model = refined(steps=steps, rate=0.05, momentum=0.0, clip=1e9)

        def end(start, model=model):
            return model.moved(X, torch.cat([start, torch.full((1, 2), -1.2).double()], 1))[:, :2]

        start = torch.tensor([[0.4, -0.3]]).double().requires_grad_()
        jacobian = torch.autograd.functional.jacobian(end, start)[0, :, 0]
        expected = torch.linalg.matrix_power(eye - 0.05 * LG_PRECISION, steps)
        assert torch.allclose(jacobian, expected, atol=1e-10)
        sizes.append(jacobian.norm().item())
        model.through = False  # what is added counts as a constant
        found = torch.autograd.functional.jacobian(end, start)[0, :, 0]
        assert torch.equal(found, eye)
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3]
    assert sizes[3] < 1e-3


def test_semi_amortized_steps_close_the_amortisation_gap():
    """From an encoder that says N(0, I), ELBO -23.986824715, to the best diagonal, -7.723983861."""
    start = refined(steps=0, rate=0.1)
    model = refined(steps=150, rate=0.02, momentum=0.5, clip=1e9)
    with torch.no_grad():
        assert log_weight(start, X, noise=star(2)).mean().item() == pytest.approx(-23.986824715)
        elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert -7.723983861 - 0.05 < elbo < -7.723983861 + 1e-9
