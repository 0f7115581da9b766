"""Maximum mean discrepancy against loops, closed forms and its mean under the null."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.fixtures import hermite, step_of
from tests.objective.test_aggregate import ROWS, STEP, encoding
from vaes.batch import Spec
from vaes.composed import compose
from vaes.dist.point import PointHead
from vaes.errors import UsageError
from vaes.objective import Info, Wasserstein, terms
from vaes.objective.discrepancy import SCALES, discrepancy, mmd


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(name: str, x: Tensor, y: Tensor) -> float:
    r, d = (x - y).square().sum().item(), len(x)
    each = [
        2 * d * s / (2 * d * s + r) if name == "imq" else math.exp(-r / (2 * d * s)) for s in SCALES
    ]
    return sum(each) / len(each)


@pytest.mark.parametrize("name", ["imq", "rbf"])
def test_statistic_is_its_loops(name):
    """Pairs of different draws within, all pairs between; a row of one sample more."""
    x, y = normal(4, 3, seed=0), 2 * normal(5, 3, seed=1)
    within = [kernel(name, x[i], x[j]) for i, j in itertools.permutations(range(4), 2)]
    beyond = [kernel(name, y[i], y[j]) for i, j in itertools.permutations(range(5), 2)]
    across = [kernel(name, a, b) for a in x for b in y]
    said = sum(within) / 12 + sum(beyond) / 20 - 2 * sum(across) / 20
    assert mmd(x, y, name).item() == pytest.approx(said, abs=1e-12)
    both = mmd(torch.stack([x, x]), torch.stack([y, 0 * y]), name)
    assert both[0].item() == pytest.approx(said, abs=1e-12)


@pytest.mark.parametrize("name", ["imq", "rbf"])
def test_mean_is_0_where_both_are_one_distribution(name):
    found = mmd(normal(2000, 6, 3, seed=0), normal(2000, 6, 3, seed=1), name)
    error = found.std().item() / len(found) ** 0.5
    assert abs(found.mean().item()) < 4 * error
    assert error < 0.01  # pairs of a draw with itself would add 2 / 6 of 1 - E k, some .1


def test_gaussians_in_closed_form():
    """E k of N(a, s^2 I) and N(b, t^2 I) is (1 + 2 v / c)^(-d / 2) exp(-|a - b|^2 / (c + 2 v)),
    v = s^2 + t^2."""
    d, s, t, shift = 2, 0.7, 1.3, torch.tensor([1.0, -0.5], dtype=torch.float64)

    def expected(v: float, apart: float) -> float:
        each = [
            (1 + 2 * v / c) ** (-d / 2) * math.exp(-apart / (c + 2 * v))
            for c in (2 * d * w for w in SCALES)
        ]
        return sum(each) / len(each)

    apart = shift.square().sum().item()
    said = expected(2 * s * s, 0) + expected(2 * t * t, 0) - 2 * expected(s * s + t * t, apart)
    found = mmd(s * normal(400, 40, d, seed=0), t * normal(400, 40, d, seed=1) + shift, "rbf")
    assert abs(found.mean().item() - said) < 4 * found.std().item() / 20
    assert said > 0.1


def test_inverse_multiquadric_by_quadrature():
    """In one dimension the difference of two draws is normal: 60 nodes integrate c / (c + r^2)."""
    nodes, weights = hermite(60)

    def expected(variance: float, shift: float) -> float:
        r = (shift + math.sqrt(variance) * nodes.flatten()).square()
        return sum((weights * (2 * s / (2 * s + r))).sum().item() for s in SCALES) / len(SCALES)

    said = expected(2.0, 0) + expected(2 * 0.25, 0) - 2 * expected(1.25, 1.5)
    found = mmd(normal(400, 40, 1, seed=0), 0.5 * normal(400, 40, 1, seed=1) + 1.5)
    # quadrature of the narrowest kernel is good to .002
    assert abs(found.mean().item() - said) < 4 * found.std().item() / 20 + 0.002


def test_prior_is_the_one_of_the_model():
    """Codes around 5: far from N(0, I), at no distance from a prior that was learnt there."""
    near, far = encoding(Info(), scale=1.0, prior="normal"), encoding(Info(), scale=1.0)
    with torch.no_grad():
        near.latent_prior.loc.fill_(5.0)
    z = 5 + normal(50, 4, 2, seed=3)
    torch.manual_seed(0)
    # 4 draws of each: 50 statistics, whose mean is 0 to .03
    assert abs(discrepancy(near, ROWS, z, "imq").item()) < 0.12
    assert discrepancy(far, ROWS, z, "imq").item() > 0.6


def seeded(objective, model, step=STEP) -> float:
    torch.manual_seed(7)
    return objective(model, ROWS, step).item()


def test_weights_of_the_objectives():
    """(1 - alpha) of the rate, alpha + scaling - 1 of the discrepancy; alpha 0, scaling 1: the
    ELBO."""
    model = encoding(Info())
    found = terms(model, ROWS, STEP.noise)
    d, r = found.distortion.mean().item(), found.rate.mean().item()
    z = model.posterior(ROWS).draw(STEP.noise)
    for name in ("imq", "rbf"):
        torch.manual_seed(7)
        apart = discrepancy(model, ROWS, z, name).item()
        assert seeded(Info(1, 0.0, 1.0, name), model) == pytest.approx(d + r, abs=1e-12)
        said = d + 0.75 * r + 9.25 * apart
        assert seeded(Info(1, 0.25, 10.0, name), model) == pytest.approx(said, abs=1e-10)
        said = d + 30 * apart
        assert seeded(Wasserstein(1, 30.0, name), model) == pytest.approx(said, abs=1e-10)


def test_point_codes_take_a_discrepancy():
    torch.manual_seed(0)
    objective = Wasserstein()
    model = compose(
        Spec((2,)), objective, latent=2, hidden=(8,), posterior=PointHead(2), bound="none"
    ).double()
    loss = objective(model, ROWS, STEP)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.manual_seed(0)
    codes = model.posterior(ROWS).mean
    prior = torch.randn(1, 4, 2, dtype=torch.float64)
    distortion = -model.likelihood(codes, ROWS).log_prob(ROWS.x).mean()
    torch.manual_seed(0)
    again = objective(model, ROWS, STEP)
    said = distortion + 100 * mmd(codes.unsqueeze(0), prior).mean()
    assert again.item() == pytest.approx(said.item(), abs=1e-10)


def test_refusals_are_one_line():
    for bad, said in (
        (lambda: Info(kernel="cosine"), "imq or rbf"),
        (lambda: Wasserstein(kernel="cosine"), "imq or rbf"),
        (lambda: Info(alpha=1.5), "neither may be negative"),
        (lambda: Info(alpha=0.0, scaling=0.5), "neither may be negative"),
        (lambda: Wasserstein(scaling=-1), "finite and not negative"),
    ):
        with pytest.raises(UsageError, match=said):
            bad()
    one, step = ROWS[:1], step_of(STEP.noise[:, :1])
    for objective in (Info(), Wasserstein()):
        model = encoding(objective)
        with pytest.raises(UsageError, match="a batch of 1 row"):
            objective(model, one, step)
        assert objective(model.eval(), one, step).isfinite()
