"""Annealed importance sampling: bounds by their expectations, moves by what they must keep."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.fixtures import (
    LG_DIAGONAL,
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_VAR,
    LG_W,
    LG_X,
    lg,
)
from tests.toys import TRAIN, small
from tests.uses.models import ThreeClasses, class_rows, drawn, loaded
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.composed import compose
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.dist.priors import LearntFlow
from vaes.errors import UsageError
from vaes.evaluate import annealed
from vaes.evaluate.annealed import Annealing, anneal, anneal_back, bdmc
from vaes.evaluate.hmc import Hmc, Move, Noise, Path, Place, leapfrog
from vaes.evaluate.likelihood import evidence
from vaes.objective import Elbo, log_likelihood, log_weight

EYE = torch.eye(2, dtype=torch.float64)
GRAM, PULL = LG_W.T @ LG_W / LG_VAR, LG_W.T @ (LG_X[0] - LG_MU) / LG_VAR
SHIFTED = lg(LG_MEAN + 0.3, LG_DIAGONAL * math.sqrt(1.5))
ROW = Data(Spec((5,)), LG_X)


# --- exact Gaussian moves -------------------------------------------------------------------------
def tempered(beta: float, start: str = "prior") -> CholeskyNormal:
    """f_b of the linear-Gaussian row, normalised; from its prior or from `SHIFTED`'s encoder."""
    precision, pull = EYE, torch.zeros(2, dtype=torch.float64)
    if start == "encoder":
        precision = torch.diag(1 / (1.5 * LG_DIAGONAL.square()))
        pull = precision @ (LG_MEAN + 0.3)
    precision = (1 - beta) * precision + beta * (EYE + GRAM)
    covariance = torch.linalg.inv(precision)
    mean = covariance @ ((1 - beta) * pull + beta * PULL)
    return CholeskyNormal(mean, torch.linalg.cholesky(covariance))


def expected_ratio(beta: float, start: str = "prior") -> float:
    """E log p(x,z) - log start(z) under f_b, from its mean and covariance."""
    f = tempered(beta, start)

    def of_normal(q: CholeskyNormal) -> Tensor:
        inverse = torch.linalg.inv(q.covariance_matrix)
        apart = f.mean - q.mean
        quadratic = (inverse @ f.covariance_matrix).trace() + apart @ inverse @ apart
        return -q.half_log_det - math.log(2 * math.pi) - 0.5 * quadratic

    return float(LG_EVIDENCE + of_normal(tempered(1.0)) - of_normal(tempered(0.0, start)))


def exact(path: Path, betas: list[float], noise: Noise) -> Move:
    """Independent draws of f_b, whatever came before."""
    start = "prior" if path.start is path.prior else "encoder"

    def move(at: Place, t: int, noise: Noise) -> tuple[Place, Tensor]:
        z = tempered(betas[t], start).draw(noise.normal(2))
        return path.at(z), torch.ones_like(at.log_ratio)

    return move


# one-chain bounds of the linear spacing, down to their Monte Carlo errors (exact moves)
TABLE = {
    1: (-24.01, 0.11, -4.968, 0.008),
    10: (-8.828, 0.013, -6.942, 0.007),
    100: (-7.791, 0.003, -7.606, 0.003),
    1000: (-7.7047, 0.001, -7.686, 0.001),
}


@pytest.mark.parametrize("steps", TABLE)
def test_expected_bounds_are_those_of_the_table(steps):
    """The closed forms that the chains are held against."""
    b = Annealing(steps=steps, spacing="linear").betas
    pairs = list(pairwise(b))
    lower = sum((high - low) * expected_ratio(low) for low, high in pairs)
    upper = sum((high - low) * expected_ratio(high) for low, high in pairs)
    assert lower == pytest.approx(TABLE[steps][0], abs=4 * TABLE[steps][1])
    assert upper == pytest.approx(TABLE[steps][2], abs=4 * TABLE[steps][3])


@pytest.mark.parametrize(
    ("steps", "spacing", "start"),
    [
        (1, "linear", "prior"),
        (10, "linear", "prior"),
        (100, "linear", "prior"),
        (10, "sigmoid", "prior"),
        (1, "linear", "encoder"),
        (7, "sigmoid", "encoder"),
    ],
)
def test_one_chain_bounds_with_exact_moves(steps, spacing, start):
    """5,000 rows of one chain: means within 4 standard errors of the closed forms."""
    how = Annealing(chains=1, steps=steps, spacing=spacing, start=start, kernels=exact)
    rows = Data(Spec((5,)), LG_X.expand(5000, -1))
    b = how.betas
    pairs = list(pairwise(b))
    lower = anneal(SHIFTED, rows, how)
    expected = sum((high - low) * expected_ratio(low, start) for low, high in pairs)
    assert lower.mean == pytest.approx(expected, abs=4 * lower.se)
    draws = torch.randn(5000, 2, generator=torch.Generator().manual_seed(1)).double()
    upper = anneal_back(SHIFTED, rows, LG_MEAN + draws @ LG_TRIL.T, how)
    expected = sum((high - low) * expected_ratio(high, start) for low, high in pairs)
    assert upper.mean == pytest.approx(expected, abs=4 * upper.se)


@pytest.mark.parametrize(("steps", "near"), [(10, 0.1), (100, 0.01)])
def test_many_chains_reach_the_evidence(steps, near):
    """20,000 chains: both within .01 after 100 steps, and within 4 of their own errors."""
    how = Annealing(chains=20_000, steps=steps, spacing="linear", kernels=exact, seed=1)
    z = LG_MEAN + torch.randn(1, 2, generator=torch.Generator().manual_seed(2)).double() @ LG_TRIL.T
    for found in (anneal(SHIFTED, ROW, how), anneal_back(SHIFTED, ROW, z, how)):
        error = found.errors.item()
        assert found.mean == pytest.approx(LG_EVIDENCE, abs=min(near, 4 * error + 1e-4))
        assert (found.chains, found.steps) == (20_000, steps)


def test_temperatures():
    b = Annealing(steps=4).betas
    assert b[0] == 0
    assert b[4] == 1
    s = [1 / (1 + math.exp(-4 * v)) for v in (-1, -0.5, 0, 0.5, 1)]
    assert b == pytest.approx([(v - s[0]) / (s[4] - s[0]) for v in s], abs=1e-12)
    assert Annealing(steps=4, spacing="linear").betas == [0, 0.25, 0.5, 0.75, 1]


def test_an_encoder_that_is_the_posterior_leaves_nothing_to_chance():
    """f_b is the posterior for every b and the ratio is log p(x) everywhere."""
    how = Annealing(chains=2, steps=5, start="encoder")
    found = anneal(lg(LG_MEAN, LG_TRIL), ROW, how)
    back = anneal_back(lg(LG_MEAN, LG_TRIL), ROW, LG_MEAN.unsqueeze(0), how)
    assert found.mean == pytest.approx(LG_EVIDENCE, abs=1e-9)
    assert back.mean == pytest.approx(LG_EVIDENCE, abs=1e-9)
    assert found.errors.item() < 1e-6
    assert found.ess == pytest.approx(2)


def test_one_step_is_importance_sampling():
    """With one temperature step from the encoder, w is that of `log_weight` for the same draws."""
    how = Annealing(chains=40, steps=1, start="encoder", seed=5)
    found = anneal(SHIFTED, ROW, how)
    noise = Noise(("annealed", 5), 0, 1, 40, LG_X).normal(2)
    w = log_weight(SHIFTED, Batch(LG_X), noise=noise).exp()
    assert found.mean == pytest.approx(w.mean().log().item(), abs=1e-12)
    assert found.ess == pytest.approx((w.sum().square() / w.square().sum()).item())
    assert found.errors.item() == pytest.approx((w.std() / w.mean() / math.sqrt(40)).item())
    assert math.isnan(found.acceptance)


# --- Hamiltonian moves ----------------------------------------------------------------------------
def lg_path(start: str = "prior") -> Path:
    with torch.no_grad():
        return Path(SHIFTED, Batch(LG_X), start)


def some(k: int, seed: int = 0) -> Tensor:
    return torch.randn(k, 1, 2, generator=torch.Generator().manual_seed(seed)).double()


def test_gradients_are_differences():
    path, step = lg_path("encoder"), 1e-5 * torch.eye(2, dtype=torch.float64)
    at = path.at(some(1))
    up, down = (path.at(at.z[:, 0] + sign * step.unsqueeze(1)) for sign in (1, -1))
    for beta in (0.0, 0.3, 1.0):
        slope = (up.log_density(beta) - down.log_density(beta))[:, 0] / 2e-5
        torch.testing.assert_close(at.gradient(beta)[0, 0], slope, rtol=1e-7, atol=1e-7)


def test_leapfrog_is_reversible():
    path, p = lg_path(), some(50, 1)
    at = path.at(some(50))
    size = torch.tensor([0.11], dtype=torch.float64)
    there, end = leapfrog(path, at, p, 0.7, size, 10)
    assert (there.z - at.z).abs().max() > 0.1
    back, begin = leapfrog(path, there, -end, 0.7, size, 10)
    torch.testing.assert_close(back.z, at.z, rtol=0, atol=1e-10)
    torch.testing.assert_close(-begin, p, rtol=0, atol=1e-10)


def test_energy_error_is_quadratic_in_the_step():
    path, p = lg_path("encoder"), some(200, 1)
    at = path.at(tempered(1.0).draw(some(200)))

    def error(steps: int) -> float:
        size = torch.tensor([0.8 / steps], dtype=torch.float64)
        there, end = leapfrog(path, at, p, 1.0, size, steps)
        energy = there.log_density(1) - at.log_density(1) + 0.5 * (p**2 - end**2).sum(-1)
        return energy.abs().mean().item()

    assert error(20) / error(40) == pytest.approx(4, rel=0.05)
    assert error(40) / error(80) == pytest.approx(4, rel=0.05)
    assert error(80) < 0.02


def chains_at(path: Path, beta: float, moves: int, size: float, leapfrogs: int) -> Place:
    """5,000 chains of one row that start in f_beta itself."""
    noise = Noise(("moves", 0), 0, 1, 5000, LG_X)
    at = path.at(tempered(beta).draw(noise.normal(2)))
    step = torch.tensor([size], dtype=torch.float64)
    with torch.no_grad():
        for _ in range(moves):
            at, _ = Hmc(leapfrogs).move(path, at, beta, step, noise)
    return at


@pytest.mark.parametrize(("size", "leapfrogs"), [(0.2, 3), (0.45, 2)])
def test_moves_keep_the_posterior(size, leapfrogs):
    """Mean and covariance of chains in equilibrium, at a step that is rejected often too."""
    z = chains_at(lg_path(), 1.0, 20, size, leapfrogs).z[:, 0]
    target = tempered(1.0)
    whitened = torch.linalg.solve_triangular(target.tril, (z - target.mean).T, upper=False)
    assert (whitened.mean(1) * math.sqrt(5000)).abs().max() < 4
    square = whitened @ whitened.T / 5000
    error = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).sqrt().double() / math.sqrt(5000)
    assert ((square - EYE) / error).abs().max() < 4


def test_the_pilot_reaches_its_target():
    """Step sizes that accept .65, and that move with the temperature: the posterior is narrower."""
    path, how = lg_path(), Annealing(chains=64, steps=200)
    with torch.no_grad():
        stops, sizes = Hmc().tuned(path, how.betas, Noise(("pilot", 0), 0, 1, 64, LG_X))
    assert stops[0] == 1
    assert stops[-1] == 200
    assert sizes.shape == (100, 1)
    assert (sizes[0] - sizes[-1]).exp().item() > 2
    found = anneal(SHIFTED, ROW, how)
    assert found.acceptance == pytest.approx(0.65, abs=0.1)


def test_sizes_are_frozen_where_it_counts():
    """Whatever the chains do; between two stops of the pilot they are interpolated."""
    path, betas = lg_path(), Annealing(steps=300).betas
    seen: list[Tensor] = []
    at_beta: list[float] = []

    class Watched(Hmc):
        def move(self, path, at, beta, size, noise):
            seen.append(size)
            at_beta.append(beta)
            return super().move(path, at, beta, size, noise)

    with torch.no_grad():
        pilot = Noise(("pilot", 0), 0, 1, 8, LG_X)
        move = Watched()(path, betas, pilot)
        stops, sizes = Hmc().tuned(path, betas, Noise(("pilot", 0), 0, 1, 8, LG_X))
        assert stops[:3] == [1, 4, 7]
        seen.clear()
        at_beta.clear()
        for seed in (0, 1):
            at = path.at(some(8, seed))
            for t in (1, 2, 4, 300):
                move(at, t, Noise(("chain", seed), 0, 1, 8, LG_X))
    assert at_beta == [betas[t] for t in (1, 2, 4, 300)] * 2
    expected = torch.stack([sizes[0], (2 * sizes[0] + sizes[1]) / 3, sizes[1], sizes[-1]]).exp()
    torch.testing.assert_close(torch.stack(seen[:4]), expected)
    assert all(torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True))


# --- both bounds ----------------------------------------------------------------------------------
def test_the_sandwich_holds_on_simulated_rows():
    """Hamiltonian moves, 1,000 steps: log p(x) lies between the bounds of 95 % of rows, to 3 of
    their errors, each bound is right on average, and the certificate is tight."""
    model = loaded(6, 2, seed=0)
    found = bdmc(model, 40, Annealing(chains=8, kernels=Hmc(leapfrogs=4)))
    batch, _ = annealed.simulated(model, 40)
    truth = evidence(model, uses.common.as_data(model, batch)).per_row
    low, high = found.lower, found.upper
    below = low.per_row - 3 * low.errors <= truth
    above = high.per_row + 3 * high.errors >= truth
    assert (below & above).double().mean() >= 0.95
    for bound in (low, high):
        apart = bound.per_row - truth
        assert abs(apart.mean()) < 4 * apart.std() / math.sqrt(40)
        assert apart.square().mean().sqrt() < 0.3
    gaps = high.per_row - low.per_row
    assert found.gap == pytest.approx(gaps.mean().item(), abs=1e-12)
    assert found.gap_se == pytest.approx(gaps.std().item() / math.sqrt(40), abs=1e-12)
    assert abs(found.gap) < 0.1


def test_bad_annealing_is_told_by_the_gap():
    """Two steps: the lower bound is nats too low, the upper too high, and the gap says so."""
    model = loaded(6, 3, seed=0)
    found = bdmc(model, 60, Annealing(chains=1, steps=2, kernels=Hmc(leapfrogs=1)))
    batch, _ = annealed.simulated(model, 60)
    truth = evidence(model, uses.common.as_data(model, batch)).mean
    assert found.lower.mean < truth - 1
    assert found.upper.mean > truth + 1
    assert found.gap > 2


def test_errors_are_the_spread_over_seeds():
    """Of 200 equal rows, each with chains of its own."""
    rows = Data(Spec((5,)), LG_X.expand(200, -1))
    found = anneal(SHIFTED, rows, Annealing(chains=32, steps=50, kernels=Hmc(5)))
    spread = found.per_row.std().item()
    quoted = found.errors.square().mean().sqrt().item()
    assert quoted == pytest.approx(spread, rel=0.2)
    assert found.se == pytest.approx(spread / math.sqrt(200), rel=1e-9)


def test_the_units_of_the_user():
    """Columns of 2 x + 3 and 10 x: log 20 nats fewer than in model space, per observed column."""
    x = drawn(loaded(2, 1, seed=3), 12, seed=0)
    plain, scaled = Spec((2,)), Spec((2,), shift=(3.0, 0.0), scale=(2.0, 10.0))
    mask = torch.ones(12, 2, dtype=torch.bool)
    mask[:6, 0] = False
    how, found = Annealing(chains=4, steps=10), {}
    for name, spec in (("plain", plain), ("scaled", scaled)):
        model = loaded(2, 1, seed=3, shift=spec.shift, scale=spec.scale)
        found[name] = anneal(model, Data(model.spec, torch.where(mask, x, 0.0), mask=mask), how)
    less = found["plain"].per_row - found["scaled"].per_row
    expected = torch.tensor([math.log(10)] * 6 + [math.log(20)] * 6).double()
    torch.testing.assert_close(less, expected, rtol=0, atol=1e-5)


def test_rows_with_gaps():
    """The evidence of what is there: F-LG without its last two columns."""
    model = loaded(5, 2, seed=0)
    model.weight.copy_(LG_W)
    model.bias.copy_(LG_MU)
    model.variance.fill_(LG_VAR)
    mask = torch.tensor([[True, True, True, False, False]])
    found = anneal(model, Data(model.spec, LG_X * mask, mask=mask), Annealing(64, 200))
    assert found.mean == pytest.approx(-4.862598629, abs=4 * found.errors.item())
    assert found.errors.item() < 0.1


def test_rows_do_not_depend_on_the_batches(monkeypatch):
    """A row's numbers go by its place alone, beyond the block of 16 too."""
    model, rows = small().double(), Data(TRAIN.spec, TRAIN.x[:23].double())
    how = Annealing(chains=3, steps=4, kernels=Hmc(leapfrogs=3, pilot=4))
    whole = anneal(model, rows, how).per_row
    fewer = anneal(model, rows.part(torch.arange(18)), how).per_row
    torch.testing.assert_close(fewer, whole[:18], rtol=0, atol=1e-7)
    monkeypatch.setattr(annealed, "at_once", lambda *_: 9)
    torch.testing.assert_close(anneal(model, rows, how).per_row, whole, rtol=0, atol=1e-7)
    assert len(whole.unique()) == 23


def test_networks_and_single_precision():
    """Of a VAE as it is built: annealing agrees with importance sampling to its own errors."""
    some = TRAIN.part(torch.arange(20))
    found = anneal(small(), some, Annealing(chains=32, steps=100))
    assert found.per_row.dtype == torch.float64
    apart = (found.per_row - evidence(small(), some, k=4000).per_row) / found.errors
    assert apart.abs().max() < 4
    assert found.errors.max() < 0.15


def test_a_learnt_prior():
    """A flow as the prior: its density, not the standard normal's, is what chains start from."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = compose(Spec((6,)), Elbo(), latent=2, hidden=(8,), prior=LearntFlow).double()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.latent_prior.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw, dtype=torch.float64))
        batch = Data(TRAIN.spec, TRAIN.x[:20].double()).rows(slice(None))
        noise = torch.randn(10_000, 1, 2, generator=draw, dtype=torch.float64)
        weights = log_likelihood(model, model.prior(batch).draw(noise), batch)
    found = anneal(model, batch, Annealing(16, 30, kernels=Hmc(4, pilot=30)))
    apart = (found.per_row - (weights.logsumexp(0) - math.log(10_000))) / found.errors
    assert apart.abs().max() < 4
    assert found.errors.max() < 0.5
    with torch.no_grad():
        scale = model.prior(batch).stddev[0]
    assert (scale - 1).abs().max() > 0.1


def test_nothing_else_moves():
    """Parameters get no gradients, modes come back, no global random number is taken."""
    model = small()
    model.train()
    state = torch.get_rng_state()
    bdmc(model, 3, Annealing(chains=2, steps=3))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: anneal(ThreeClasses(), Data(ThreeClasses().spec, class_rows(2, 0))), "not all re"),
        (lambda: anneal(small("autoencoder"), TRAIN), "no density"),
        (lambda: bdmc(small("autoencoder")), "no density"),
        (lambda: Annealing(chains=0), "chains=0"),
        (lambda: Annealing(start="middle"), "start='middle'"),
        (lambda: Annealing(spacing="even"), "spacing='even'"),
        (lambda: anneal_back(SHIFTED, ROW, torch.zeros(2, 2)), "z of shape"),
        (lambda: anneal(SHIFTED, ROW.part(torch.arange(0))), "no rows"),
        (lambda: bdmc(SHIFTED, 0), "n=0"),
    ],
)
def test_mistakes_end_in_one_line(call, said):
    with pytest.raises(UsageError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_start_of_the_encoder_is_its_own():
    q = lg_path("encoder").start
    assert isinstance(q, DiagonalNormal)
    assert torch.equal(q.loc[0], LG_MEAN + 0.3)
