"""Codes of z: what each costs, by its density, and that it comes back from the stack."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from tests.compress.test_ans import SEED, size
from vaes.compress import latents
from vaes.compress.ans import LOW, Stack
from vaes.compress.coder import Bins, Grid, Popper, Recorder
from vaes.dist.base import Latent
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.flows import Couplings, Flow
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.dist.point import Point
from vaes.errors import DataError, UsageError

GRID = Grid(4, (9, 10, 9))
LOC = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
TRIL = torch.tensor([[[0.5, 0, 0], [0.7, 0.4, 0], [-0.3, 0.6, 0.2]]], dtype=torch.float64)


def test_bins_have_the_mass_of_the_normal():
    """Against scipy, tails beyond the grid in its end bins; each at least 1, 2^bits in all."""
    grid = Grid(3, (5,))
    for loc, scale in ((0.0, 1.0), (0.37, 0.25), (-5.0, 2.0), (7.9, 0.3), (40.0, 0.1)):
        bins = Bins(grid, 0, loc, math.log(scale))
        assert (bins.first, bins.end) == (0, 512)
        edges = np.array([bins.edge(k) for k in range(513)])
        assert edges[0] == 0
        assert edges[-1] == 1 << bins.bits
        assert (np.diff(edges) >= 1).all()
        inner = norm.cdf((np.arange(1, 512) / 32 - 8 - loc) / scale)
        mass = np.diff(np.concatenate([[0.0], inner, [1.0]]))
        assert np.abs(np.diff(edges) / 2.0**bins.bits - mass).max() < 1e-4
    assert grid.value(0, 0) == -8 + 1 / 64
    assert grid.value(0, 256) == 1 / 64


def test_z_is_drawn_within_eight_spreads():
    """Whatever the bits say, the least and the largest place among them: a bin far out costs a row
    hundreds of nats, and of 40 dimensions with thousands of bins one came up every 4,000 rows."""
    q = DiagonalNormal(LOC, torch.tensor([[0.0, -2.0, -3.0]], dtype=torch.float64))
    for state in (LOW, LOW + (1 << 64) - 1):
        stack = Stack(SEED)
        stack.state, stack.words = state, [state & 0xFFFFFFFF] * 40
        for within, most in ((latents.DRAWN, 8.0), (2.0, 2.0)):
            z = latents.walk(q, Popper(3, stack), GRID, within)
            away = ((z - q.loc) / q.stddev).abs()
            # within its last bin: half of one beyond
            assert (away <= most + 0.5 / 512 / q.stddev + 1e-9).all()
    bins = Bins(Grid(3, (5,)), 0, 0.0, math.log(0.25), 7.9)
    assert (bins.first, bins.end) == (192, 320)  # 7.9 * .25 * 32 = 63.2 bins to both sides
    inner = np.diff(norm.cdf((np.arange(-64, 65) / 32) / 0.25))
    mass = np.diff([bins.edge(k) for k in range(192, 321)]) / 2.0**bins.bits
    assert np.abs(mass - inner).max() < 1e-4
    assert bins.edge(100) == 0
    assert bins.edge(400) == 1 << bins.bits
    with pytest.raises(DataError, match="not the rows that were coded"):
        Recorder(np.array([100])).bin(bins, 0)


def cost(p: Latent, n: int = 200, grid: Grid = GRID) -> tuple[float, float]:
    """Nats per draw that n draws from p pay, and -log p(z) less the width of its bins; each comes
    back as it was pushed."""
    torch.manual_seed(0)
    paid, due, stack = 0.0, 0.0, Stack(SEED)
    # bits to draw from: each draw is popped off a stack of its own
    for i in range(n):
        source = Stack(hashlib.sha256(bytes([i])).digest())
        symbols, z = latents.pop(p, source, grid)
        before, state = size(stack), stack.to_bytes()
        latents.push(p, stack, symbols, grid)
        paid += (size(stack) - before) * math.log(2)
        due -= p.log_prob(z).item() - sum(grid.steps) * math.log(2)
        again = Stack.of(stack.to_bytes())
        found, place = latents.pop(p, again, grid)
        assert (found == symbols).all()
        assert torch.equal(place, z)
        assert again.to_bytes() == state
    return paid / n, due / n


def test_a_diagonal_normal_costs_its_density():
    p = DiagonalNormal(LOC, torch.tensor([[0.2, -1.0, -2.0]], dtype=torch.float64))
    paid, due = cost(p)
    assert paid == pytest.approx(due, abs=2e-3)


def test_a_full_covariance_costs_its_density():
    paid, due = cost(CholeskyNormal(LOC, TRIL))
    assert paid == pytest.approx(due, abs=2e-3)


def test_a_one_hot_code_costs_its_state():
    """Four states of 1/2, 1/4, 1/8, 1/8: 1.75 bits on average over the states that were drawn."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64).log()
    p, grid = OneHot(logits), Grid(3, (0, 0, 0, 0))
    paid, due = cost(p, grid=grid)
    assert paid == pytest.approx(due, abs=1e-4)
    assert 1.5 < due / math.log(2) < 2.0


def chain() -> Chain:
    """A state of two, then a real whose mean is the state's, then one around the first real."""
    first = OneHot(torch.tensor([[0.7, 0.3]], dtype=torch.float64).log())

    def second(z: Tensor) -> Latent:
        return DiagonalNormal(3 * z[..., 1:2] - 1, torch.full((1, 1), -1.0).double())

    def third(z: Tensor) -> Latent:
        return DiagonalNormal(0.5 * z[..., 2:3], torch.full((1, 1), -0.5).double())

    return Chain(first, second, third, sizes=(2, 1, 1))


def test_a_chain_costs_its_links():
    paid, due = cost(chain(), grid=Grid(4, (0, 0, 9, 9)))
    assert paid == pytest.approx(due, abs=2e-3)


def flow(d: int, strength: float) -> Flow:
    """A flow far from the identity: scales of e^-1 ... e^1 and shifts about as large."""
    torch.manual_seed(0)
    couplings = Couplings(d, 6, 16).double()
    with torch.no_grad():
        for net in couplings.nets:
            net[-1].weight.normal_(std=strength)
            net[-1].bias.normal_(std=strength)
    return Flow(couplings, 1)


@pytest.mark.parametrize("strength", [1e-3, 0.4])
@torch.no_grad()
def test_a_flow_costs_its_density(strength):
    """Scaling by whole numbers and bits that come back costs minus the log-derivative: within the
    width of the bins of the density of `Flow`."""
    p = flow(3, strength)
    noise = torch.randn(500, 3, dtype=torch.float64)
    if strength > 0.1:
        change = p.couplings.to_noise(p.draw(noise))[1]
        assert change.std() > 0.5
    paid, due = cost(p, grid=Grid(5, (11, 11, 11)))
    assert paid == pytest.approx(due, abs=5e-3)


@torch.no_grad()
def test_z_without_density_under_a_flow_is_refused():
    grid = Grid(8, (8, 8, 8))
    with pytest.raises(UsageError, match="no density to speak of"):
        latents.push(flow(3, 1e-3), Stack(SEED), np.zeros(3, dtype=np.int64), grid)


def test_bins_follow_the_narrowest_and_the_farthest():
    """Eighths of the least spread, as powers of two; 9 spreads around the farthest mean."""
    q = DiagonalNormal(
        torch.tensor([[0.0, 3.0], [1.0, -6.0]]), torch.tensor([[0.1, 0.02], [0.5, 0.3]]).log()
    )
    grid = latents.grid_of([latents.spread(q)])
    assert grid.steps == (7, 9)  # 8 / .1 = 80 <= 2^7, 8 / .02 = 400 <= 2^9
    assert grid.reach == 4  # 6 + 9 * .3 = 8.7 <= 2^4
    loc, scale = latents.spread(chain())
    assert loc.tolist() == [[0, 0, -1, -0.5]]
    assert scale[0, :2].tolist() == [0, 0]
    assert scale[0, 2].item() == pytest.approx(math.exp(-1))
    loc, scale = latents.spread(CholeskyNormal(LOC, TRIL))
    assert scale.tolist() == [[0.5, 0.4, 0.2]]
    with pytest.raises(UsageError, match="more than the 2\\^28"):
        Grid(4, (26,))


def test_an_unknown_family_is_one_line():
    p = Point(torch.zeros(1, 2, dtype=torch.float64))
    for ask in (lambda: latents.spread(p), lambda: latents.walk(p, Popper(2, Stack(SEED)), GRID)):
        with pytest.raises(UsageError, match="follows a Point, of which no code is known"):
            ask()
