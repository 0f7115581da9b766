"""Flows: invertible, normalised, and able to learn a density that is bent."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from vaes.dist.flows import Couplings, Flow


def bent(size: int) -> Couplings:
    """Couplings that move things about."""
    torch.manual_seed(0)
    couplings = Couplings(size, layers=4, width=16).double()
    for net in couplings.nets:
        torch.nn.init.normal_(net[-1].weight, std=0.3)
        torch.nn.init.normal_(net[-1].bias, std=0.3)
    return couplings


def test_untrained_it_is_nearly_standard_normal():
    z = torch.randn(5, 3)
    expected = Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(Flow(Couplings(3), 5).log_prob(z), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_density_is_that_of_the_noise_times_the_jacobian(size):
    couplings = bent(size)
    noise = torch.randn(7, size, dtype=torch.float64)
    z = Flow(couplings, 7).draw(noise)
    back, _ = couplings.to_noise(z)
    torch.testing.assert_close(back, noise, rtol=1e-9, atol=1e-9)
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: couplings.to_noise(v)[0], one) for one in z]
    )
    expected = Normal(0.0, 1.0).log_prob(noise).sum(-1) + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(Flow(couplings, 7).log_prob(z), expected, rtol=1e-9, atol=1e-9)
    assert (expected - Normal(0.0, 1.0).log_prob(z).sum(-1)).abs().max() > 0.1


def test_the_density_sums_to_one():
    grid = torch.linspace(-25, 25, 1001, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)
    mass = Flow(bent(2), len(z)).log_prob(z).detach().exp().sum() * (grid[1] - grid[0]).square()
    assert mass == pytest.approx(1.0, abs=1e-4)


def test_it_learns_a_bent_density_to_within_a_tenth_of_a_nat():
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 2, generator=draw)
    z = torch.stack([noise[:, 0], noise[:, 0].square() + 0.3 * noise[:, 1]], 1)
    entropy = 1 + math.log(2 * math.pi) + math.log(0.3)
    torch.manual_seed(0)
    couplings = Couplings(2)
    optimizer = torch.optim.Adam(couplings.parameters(), 5e-3)
    for step in range(400):
        rows = z[torch.randint(2000, (256,), generator=draw)]
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 400)
        loss = -Flow(couplings, 256).log_prob(rows).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        held = -Flow(couplings, 2000).log_prob(z[2000:])
    assert held.mean().item() < entropy + 0.1
    assert held.mean().item() > entropy - 4 * held.std().item() / 2000**0.5


def test_moments_are_those_of_its_draws():
    flow = Flow(bent(2), 3)
    drawn = flow.sample((40_000,))[:, 0]
    error = drawn.std(0) / 1024**0.5
    assert flow.mean.shape == flow.stddev.shape == (3, 2)
    assert ((flow.mean[0] - drawn.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(flow.stddev[0].detach(), drawn.std(0), rtol=0.15, atol=0)
