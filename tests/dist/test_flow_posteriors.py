"""Flow posteriors: log-determinants, inverses, masks, normalisation, and what they can learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaes.dist import posterior_head
from vaes.dist.coupled import Coupling, spline
from vaes.dist.flowed import Flowed, FlowHead, FlowStep
from vaes.dist.flows import halves
from vaes.dist.inverse_flow import InverseAutoregressive
from vaes.dist.planar import Planar, Sylvester, planar, solved
from vaes.errors import UsageError

NAMES = ("planar", "sylvester", "iaf", "coupling", "spline")
over = pytest.mark.parametrize("name", NAMES)


def far(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def bent(name: str, d: int, n: int, spread: float = 0.3, **options) -> Flowed:
    """A posterior of n rows that moves things about."""
    torch.manual_seed(0)
    head = posterior_head({"name": name, **options}, d).double()
    for p in head.parameters():
        # a spline's bins are as uneven as e to its numbers, and so is what it magnifies
        torch.nn.init.normal_(p, std=spread / 3 if name == "spline" else spread)
    return head(far(n, int(head.size)))  # type: ignore[call-overload]


def step_of(name: str, d: int = 6) -> tuple[FlowStep, int]:
    """One step of six dimensions and how many numbers it is given."""
    torch.manual_seed(1)
    steps: dict[str, tuple[FlowStep, int]] = {
        "planar": (Planar(d), 2 * d + 1),
        "sylvester": (Sylvester(d), d * (d + 6)),
        "iaf": (InverseAutoregressive(d, 20, 5), 5),
        "coupling": (Coupling(halves(d, 1)[0], 16, 5), 5),
        "spline": (Coupling(halves(d, 1)[0], 16, 5, bins=6), 5),
    }
    step, size = steps[name]
    step = step.double()
    for p in step.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return step, size


@over
def test_the_log_determinant_is_that_of_the_jacobian(name):
    """At 100 random (z, h) of six dimensions, to 1e-9, and back again to 1e-8."""
    step, size = step_of(name)
    z, h = far(100, 6), far(100, size)
    image, change = step(z, h)

    def one(z: Tensor, h: Tensor) -> Tensor:
        return step(z.unsqueeze(0), h.unsqueeze(0))[0].squeeze(0)

    jacobian = torch.func.vmap(torch.func.jacrev(one))(z, h)
    expected = torch.linalg.slogdet(jacobian)
    assert (expected.sign > 0).all()
    torch.testing.assert_close(change, expected.logabsdet, rtol=0, atol=1e-9)
    assert change.abs().max() > 0.1
    back, same = step(image, h, True)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-8)
    torch.testing.assert_close(same, change, rtol=0, atol=1e-8)


@over
def test_draws_share_the_numbers_of_their_row(name):
    """Draws of several rows at once are those of each row by itself, and so is the density."""
    q = bent(name, 3, 4)
    noise = far(5, 4, 3)
    z, log_q = q.drawn(noise)
    for i in range(4):
        base = type(q.base)(q.base.loc[i : i + 1], q.base.log_scale[i : i + 1])
        alone = Flowed(base, q.steps, [h[i : i + 1] for h in q.given])
        each, log_each = alone.drawn(noise[:, i : i + 1])
        torch.testing.assert_close(each[:, 0], z[:, i], rtol=0, atol=1e-10)
        torch.testing.assert_close(log_each[:, 0], log_q[:, i], rtol=0, atol=1e-10)
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=0, atol=1e-8)
    # one z against all rows
    torch.testing.assert_close(
        q.log_prob(z[:, :1]), q.log_prob(z[:, :1].expand(5, 4, 3)), rtol=0, atol=1e-10
    )


@over
def test_the_density_sums_to_one(name):
    q = bent(name, 2, 1, spread=0.1)
    places = torch.linspace(-12, 12, 401, dtype=torch.float64)
    z = torch.cartesian_prod(places, places).unsqueeze(1)
    with torch.no_grad():
        mass = q.log_prob(z).exp().sum() * (places[1] - places[0]).square()
    assert mass.item() == pytest.approx(1.0, abs=1e-3)


@over
def test_gradients_of_the_density_reach_z_and_the_numbers(name):
    """The way back is differentiated, by the implicit function where it has no formula: against
    differences, to 1e-6."""
    q = bent(name, 3, 1)
    z, toward = far(1, 3).requires_grad_(), far(1, 3)
    slope = torch.autograd.grad(q.log_prob(z).sum(), z)[0].mul(toward).sum().item()
    with torch.no_grad():
        up, down = q.log_prob(z + 1e-5 * toward), q.log_prob(z - 1e-5 * toward)
    assert slope == pytest.approx((up - down).item() / 2e-5, rel=1e-5, abs=1e-6)
    # in the numbers: log q of a draw, with z held, against the same of the pass there
    h = q.given[0].detach()
    aim = torch.randn_like(h)

    def density(amount: Tensor) -> Tensor:
        given = [h + amount * aim, *[g.detach() for g in q.given[1:]]]
        return Flowed(q.base, q.steps, given).log_prob(z.detach()).sum()

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(density(amount), amount)[0].item()
    with torch.no_grad():
        up, down = density(amount + 1e-5), density(amount - 1e-5)
    assert slope == pytest.approx((up - down).item() / 2e-5, rel=1e-5, abs=1e-6)


@over
def test_stopped_is_the_same_density_without_its_gradients(name):
    head = posterior_head(name, 3).double()
    for p in head.parameters():
        torch.nn.init.normal_(p, std=0.3)
    h = far(2, int(head.size)).requires_grad_()  # type: ignore[arg-type]
    q, z = head(h), far(4, 2, 3).requires_grad_()
    held = q.stopped().log_prob(z)
    torch.testing.assert_close(held, q.log_prob(z), rtol=0, atol=1e-12)
    reached = torch.autograd.grad(held.sum(), [z, h, *head.parameters()], allow_unused=True)
    assert reached[0].abs().sum() > 0
    assert all(g is None or not g.any() for g in reached[1:])


@over
def test_where_the_network_says_nothing_nothing_moves(name):
    """Zero numbers and a zero last layer: the diagonal normal, to 1e-7."""
    head = posterior_head(name, 4)
    for part, p in head.named_parameters():
        if "last" in part or "out" in part or "linear" in part or "net.context" in part:
            torch.nn.init.zeros_(p)
    q = head(torch.zeros(3, int(head.size)))  # type: ignore[call-overload]
    plain = posterior_head("diagonal", 4)(torch.zeros(3, 8))
    noise = torch.randn(5, 3, 4)
    z, log_q = q.drawn(noise)
    torch.testing.assert_close(z, plain.draw(noise), rtol=0, atol=2e-6)
    torch.testing.assert_close(log_q, plain.log_prob(z), rtol=0, atol=1e-5)
    q = head.double()(torch.zeros(3, int(head.size)).double())  # type: ignore[call-overload]
    plain = posterior_head("diagonal", 4)(torch.zeros(3, 8).double())
    z, log_q = q.drawn(noise.double())
    torch.testing.assert_close(z, plain.draw(noise.double()), rtol=0, atol=1e-7)
    torch.testing.assert_close(log_q, plain.log_prob(z), rtol=0, atol=1e-7)


def test_planar_of_the_card():
    """z = (.3, -.7), w = (1.5, -.4), u = (-.6, .9), b = .2."""
    z, u, w, b = (
        torch.tensor([v], dtype=torch.float64)
        for v in ([0.3, -0.7], [-0.6, 0.9], [1.5, -0.4], [0.2])
    )
    image, change = planar(z, u, w, b)
    expected = torch.tensor([[0.09342263, -0.10427322]], dtype=torch.float64)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-8)
    assert change.item() == pytest.approx(-0.43048956, abs=1e-8)
    back, _ = planar(image, u, w, b, back=True)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-12)


def test_a_planar_step_that_would_fold_space_does_not():
    """w^T u = -50: along w the map still rises, and what comes back has the same image."""
    w = torch.tensor([[5.0, 0.0]], dtype=torch.float64)
    u, b = torch.tensor([[-10.0, 1.0]], dtype=torch.float64), torch.zeros(1, 1).double()
    z = torch.zeros(2001, 2, dtype=torch.float64)
    z[:, 0] = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    image, change = planar(z, u, w, b)
    steps = image[:, 0].diff()
    assert (steps >= 0).all()
    assert (steps > 0).double().mean() > 0.95
    assert change.isfinite().all()
    back, _ = planar(image, u, w, b, back=True)
    torch.testing.assert_close(planar(back, u, w, b)[0], image, rtol=0, atol=1e-9)


def test_the_solver_is_right_up_to_its_border():
    a = torch.tensor([-0.999, -0.5, 0.0, 3.0, 50.0], dtype=torch.float64)
    t = torch.tensor([-7.0, -0.1, 0.0, 0.3, 20.0], dtype=torch.float64).unsqueeze(1)
    y = solved(t, a, torch.ones_like(a), 0.2 * torch.ones_like(a))
    torch.testing.assert_close(y + a * torch.tanh(y + 0.2), t.expand(5, 5), rtol=0, atol=1e-10)


@pytest.mark.parametrize("reverse", [False, True])
def test_masks_are_strict_and_nothing_else_is_cut(reverse):
    """d(shift, log-scale)_i / dz_j: exactly 0 unless j comes before i, and then not 0."""
    torch.manual_seed(0)
    net = InverseAutoregressive(5, 30, 3, reverse).double().net
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    z, h = far(5), far(1, 3)
    order = torch.arange(5).flip(0) if reverse else torch.arange(5)
    before = order.unsqueeze(0) < order.unsqueeze(1)
    for part in (0, 1):
        slopes = torch.func.jacrev(lambda z, p=part: net(z, h)[p][0])(z)
        assert (slopes[~before] == 0).all()
        assert (slopes[before].abs() > 1e-6).all()


def test_splines_are_the_identity_beyond_their_reach_and_meet_it():
    raw = far(1, 23).expand(5, -1)
    x = torch.tensor([-9.0, -4.0, 4.0 - 1e-9, 4.0, 9.0], dtype=torch.float64)
    y, slope = spline(x, raw, 4.0)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(slope, torch.zeros_like(x), rtol=0, atol=1e-5)


def test_moments_are_those_of_draws():
    q = bent("iaf", 3, 2)
    drawn = q.rsample((20_000,)).detach()
    spread = drawn.std(0)
    assert ((q.mean - drawn.mean(0)).abs() < 0.35 * spread).all()
    torch.testing.assert_close(q.stddev.detach(), spread, rtol=0.3, atol=0)
    # steps that move nothing leave the exact mean
    still = Flowed(q.base, [], [])
    torch.testing.assert_close(still.mean, q.base.loc, rtol=0, atol=1e-12)


def banana(name: str, options: dict, steps: int, rate: float) -> float:
    """KL(q || p) of a trained q to p: z1 ~ N(0, 1), z2 | z1 ~ N(z1^2, .5^2), by quadrature."""
    torch.manual_seed(0)
    head = posterior_head({"name": name, **options}, 2)
    h = torch.zeros(1, int(head.size), requires_grad=True)  # type: ignore[call-overload]
    with torch.no_grad():
        h.normal_(std=0.1)
    adam = torch.optim.Adam([h, *head.parameters()], rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)

    def gap(z: Tensor, log_q: Tensor) -> Tensor:
        inside = z[..., 0].square() + ((z[..., 1] - z[..., 0].square()) / 0.5).square()
        return log_q + 0.5 * inside + math.log(2 * math.pi * 0.5)

    for _ in range(steps):
        adam.zero_grad()
        gap(*head(h).drawn(torch.randn(256, 1, 2))).mean().backward()
        adam.step()
        decay.step()
    head, h = head.double(), h.detach().double()
    # quadrature over the noise: the midpoints of 300 x 300 cells of even probability
    u = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    noise = torch.special.ndtri(torch.cartesian_prod(u, u)).unsqueeze(1)
    with torch.no_grad():
        return gap(*head(h).drawn(noise)).mean().item()


def test_autoregressive_steps_learn_a_banana():
    """Two of them, to within .02 nats, where the best normal misses .80."""
    assert banana("iaf", {"width": 32, "context": 1}, 800, 0.02) < 0.02


def test_linear_steps_are_a_full_covariance():
    """Width 0: affine in the noise, so a normal whose covariance its Jacobian says."""
    q = bent("iaf", 3, 1, width=0)
    zero, axes = torch.zeros(1, 1, 3).double(), torch.eye(3).double().unsqueeze(1)
    root = (q.draw(axes) - q.draw(zero)).squeeze(1).T
    noise = far(5, 1, 3)
    z = q.draw(zero) + (noise @ root.T)
    torch.testing.assert_close(q.draw(noise), z, rtol=0, atol=1e-12)
    normal = torch.distributions.MultivariateNormal(q.mean, root @ root.T)
    torch.testing.assert_close(q.log_prob(z), normal.log_prob(z), rtol=0, atol=1e-9)
    assert ((root @ root.T)[[0, 0, 1], [1, 2, 2]].abs() > 1e-3).all()


def test_options_that_cannot_be():
    for name, options, said in (
        ("planar", {"layers": 0}, "layers=0"),
        ("iaf", {"width": -1}, "width=-1"),
        ("iaf", {"context": 0}, "context=0"),
        ("sylvester", {"reflections": 3}, "take 4"),
        ("coupling", {"width": 0}, "width=0"),
        ("spline", {"bins": 1}, "bins=1"),
        ("spline", {"reach": 0.0}, "reach=0.0"),
    ):
        with pytest.raises(UsageError, match=said):
            posterior_head({"name": name, **options}, 4)


def test_a_head_counts_its_numbers():
    head = posterior_head({"name": "planar", "layers": 3}, 4)
    assert isinstance(head, FlowHead)
    assert head.size == 2 * 4 + 3 * 9
    with pytest.raises(RuntimeError):
        head(torch.zeros(2, int(head.size) + 1))
