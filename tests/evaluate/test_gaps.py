"""Gaps and refined posteriors: known in closed form for the linear-Gaussian row."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.distributions import kl_divergence

from tests.fixtures import LG_DIAGONAL, LG_EVIDENCE, LG_MEAN, LG_TRIL, LG_X, descend, lg, linear_vae
from tests.toys import TRAIN, small
from tests.uses.models import ThreeClasses, class_rows, lg_ppca
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.dist.base import Latent
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.errors import UsageError
from vaes.evaluate.annealed import Annealing, anneal
from vaes.evaluate.gaps import gaps
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.refined import log_weight_full, refine_full, refined_evidence
from vaes.model import Model
from vaes.objective import log_weight
from vaes.recipes import build

DIAGONAL_ELBO = -7.723983861  # of the best diagonal posterior of F-LG
CORRELATION = 0.027631339  # what it gives away: 1/2 (sum log L_ii - log |L|)
SHIFTED_ELBO = -8.4266  # of q = N(mean + .3, 1.5 x diagonal variances)
ROW = Data(Spec((5,)), LG_X)
TWICE = Data(Spec((5,)), LG_X.expand(2, -1))
POSTERIOR = CholeskyNormal(LG_MEAN.unsqueeze(0), LG_TRIL.unsqueeze(0))
SHIFTED = lg(LG_MEAN + 0.3, LG_DIAGONAL * math.sqrt(1.5))
LOST = lg(LG_MEAN + 2, LG_DIAGONAL * 0.2)  # most draws explain nothing


def exact_elbo(q: Latent) -> Tensor:
    """log p(x) - KL(q || posterior), (n,)."""
    return LG_EVIDENCE - kl_divergence(q, POSTERIOR)


# --- gaps -----------------------------------------------------------------------------------------
def test_gaps_of_a_shifted_encoder():
    """Amortisation: KL of the encoder's q from the posterior less that of the best diagonal."""
    found = gaps(SHIFTED, TWICE, k=20_000, steps=500)
    lost = float(exact_elbo(SHIFTED.posterior(Batch(LG_X))).detach())
    assert lost == pytest.approx(SHIFTED_ELBO, abs=1e-3)
    assert found.family == "diagonal"
    assert found.elbo == pytest.approx(lost, abs=0.05)
    assert found.diagonal == pytest.approx(DIAGONAL_ELBO, abs=0.01)
    assert found.full == pytest.approx(LG_EVIDENCE, abs=1e-3)
    assert found.evidence == pytest.approx(LG_EVIDENCE, abs=1e-3)
    assert found.amortisation == pytest.approx(
        DIAGONAL_ELBO - lost, abs=4 * found.amortisation_se + 1e-3
    )
    assert found.approximation == pytest.approx(CORRELATION, abs=4 * found.approximation_se + 1e-3)
    assert found.correlation == pytest.approx(CORRELATION, abs=4 * found.correlation_se + 1e-3)
    assert found.amortisation_se < 0.02
    assert found.approximation_se < 0.003
    assert found.amortisation + found.approximation == pytest.approx(found.evidence - found.elbo)


def test_gaps_of_the_best_encoders():
    """The best diagonal has no amortisation gap; the posterior has none at all."""
    found = gaps(lg(LG_MEAN, LG_DIAGONAL), TWICE, k=20_000, steps=60)
    assert found.amortisation == pytest.approx(0, abs=2e-3)
    assert found.approximation == pytest.approx(CORRELATION, abs=4 * found.approximation_se + 1e-3)
    found = gaps(lg(LG_MEAN, LG_TRIL), TWICE, k=100, steps=20)
    assert found.family == "full"
    assert found.amortisation == pytest.approx(0, abs=1e-9)
    assert found.approximation == pytest.approx(0, abs=1e-9)


def test_gaps_of_a_full_encoder():
    """A full covariance and a shifted mean: the gap is 1/2 shift' precision shift."""
    shift = torch.tensor([0.3, -0.1], dtype=torch.float64)
    model = lg(LG_MEAN + shift, LG_TRIL)
    found = gaps(model, TWICE, k=20_000, steps=400)
    white = torch.linalg.solve_triangular(LG_TRIL, shift.unsqueeze(1), upper=False)
    expected = 0.5 * white.square().sum().item()
    assert found.family == "full"
    assert found.amortisation == pytest.approx(expected, abs=4 * found.amortisation_se + 1e-3)
    assert found.approximation == pytest.approx(0, abs=1e-3)
    assert expected > 0.3


def test_gaps_by_a_reference():
    """Evidence from annealing instead: the approximation gap is its distance."""
    other = anneal(SHIFTED, TWICE, Annealing(chains=4, steps=20)).per_row
    found = gaps(SHIFTED, TWICE, k=50, steps=5, reference=other)
    assert torch.equal(found.per_row[3], other)
    assert found.evidence == pytest.approx(other.mean().item())
    assert found.approximation == pytest.approx((other - found.per_row[1]).mean().item())
    names = ("elbo", "diagonal", "full", "evidence")
    assert [getattr(found, name) for name in names] == pytest.approx(found.per_row.mean(1).tolist())


def test_errors_are_the_spread_over_seeds():
    """Few draws: of both gaps' quoted errors, where rows are equal and only the draws differ."""
    runs = [gaps(SHIFTED, TWICE, k=50, steps=0, seed=seed) for seed in range(60)]
    for name in ("amortisation", "approximation"):
        spread = torch.tensor([getattr(r, name) for r in runs]).std().item()
        quoted = torch.tensor([getattr(r, f"{name}_se") for r in runs]).square().mean().sqrt()
        if name == "amortisation":  # nothing was refined, so nothing was gained
            assert spread == quoted == 0
        else:
            assert quoted.item() == pytest.approx(spread, rel=0.35)


# --- refined posteriors ---------------------------------------------------------------------------
@pytest.mark.parametrize(("start", "near"), [((0.0, 1.0), 1e-4), ((3.0, 0.2), 1e-3)])
def test_refinement_reaches_the_posterior(start, near):
    loc = torch.full((1, 2), start[0], dtype=torch.float64)
    q = refine_full(
        SHIFTED,
        ROW,
        steps=800,
        lr=0.1,
        start=DiagonalNormal(loc, torch.full_like(loc, math.log(start[1]))),
    )
    assert float(exact_elbo(q)) == pytest.approx(LG_EVIDENCE, abs=near)
    torch.testing.assert_close(q.loc[0], LG_MEAN, rtol=0, atol=0.02)
    torch.testing.assert_close(q.tril[0], LG_TRIL, rtol=0, atol=0.02)


@pytest.mark.parametrize(("steps", "lr"), [(1, 0.5), (30, 0.05), (30, 2.0)])
def test_refinement_never_lowers_the_bound(steps, lr):
    """From the posterior, from the best diagonal, and in a hurry."""
    best = DiagonalNormal(LG_MEAN.unsqueeze(0), LG_DIAGONAL.log().unsqueeze(0))
    for start in (best, POSTERIOR, DiagonalNormal(LG_MEAN.unsqueeze(0) + 0.5, best.log_scale)):
        q = refine_full(SHIFTED, ROW, steps=steps, lr=lr, start=start)
        assert float(exact_elbo(q)) > float(exact_elbo(start)) - 2e-3


def test_log_weights_of_a_full_gaussian():
    """As `log_weight` has them, whose densities are solved for."""
    noise = torch.randn(7, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    batch, tril = Batch(LG_X.expand(3, -1)), torch.tensor([[0.5, 0.0], [0.3, 0.2]]).double()
    q = CholeskyNormal(LG_MEAN.expand(3, -1), tril)
    found = log_weight_full(SHIFTED, batch, q.loc, q.tril, noise)
    torch.testing.assert_close(found, log_weight(SHIFTED, batch, noise=noise, q=q))


def test_rows_do_not_know_their_neighbours(digits):
    model, data = digits
    some = data.part(torch.arange(6))
    whole = refine_full(model, some, steps=30)
    alone = refine_full(model, some.part(torch.tensor([4])), steps=30)
    torch.testing.assert_close(alone.tril[0], whole.tril[4], rtol=1e-3, atol=1e-3)
    both = gaps(model, some, k=50, steps=10).per_row
    one = gaps(model, some.part(torch.tensor([4])), k=50, steps=10).per_row
    torch.testing.assert_close(one[:, 0], both[:, 4], rtol=0, atol=0.05)


# --- better proposals -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def digits() -> tuple[Model, Data]:
    """A VAE of the 8 x 8 digits and rows that it was not trained on."""
    x = torch.from_numpy(load_digits().images).float().flatten(1) / 16
    spec = Spec((64,), ("binary",), (2,))
    data = Data(spec, (x > 0.5).float())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("vae", spec, latent=4, hidden=(32,))
    noise = torch.randn(1, 1000, 4, generator=torch.Generator().manual_seed(1))
    descend(model, data.rows(slice(0, 1000)), noise, 250, 1e-2)
    return model, data.part(torch.arange(1500, 1540))


def test_better_proposals_for_a_bad_encoder():
    """Far off and too narrow: 500 of its draws miss nats of evidence; refined ones miss nothing."""
    plain = evidence(LOST, TWICE, k=500)
    assert plain.mean < LG_EVIDENCE - 0.3
    for full in (False, True):
        found = refined_evidence(LOST, TWICE, k=500, full=full, steps=400)
        assert found.mean == pytest.approx(LG_EVIDENCE, abs=0.03)
        assert found.ess > 20 * plain.ess
        assert found.k == 500
        assert found.n == 2
    assert found.ess > 490  # the posterior itself


def test_wider_proposals():
    """Standard deviations times 2: the ELBO is that of the widened posterior, in closed form."""
    found = refined_evidence(LOST, TWICE, k=4000, full=True, widen=2.0, steps=400)
    wide = CholeskyNormal(POSTERIOR.loc, 2 * POSTERIOR.tril)
    assert found.elbo == pytest.approx(float(exact_elbo(wide)), abs=4 * found.elbo_se + 5e-3)
    assert found.mean == pytest.approx(LG_EVIDENCE, abs=4 * found.se_draws)
    diagonal = refined_evidence(LOST, TWICE, k=4000, widen=1.5, steps=400)
    wide = DiagonalNormal(LG_MEAN.unsqueeze(0), (1.5 * LG_DIAGONAL).log().unsqueeze(0))
    assert diagonal.elbo == pytest.approx(float(exact_elbo(wide)), abs=4 * diagonal.elbo_se + 5e-3)


def test_gaps_and_proposals_of_digits(digits):
    """Test rows: refinement and then correlation gain nats, and the same draws count for more."""
    model, data = digits
    found = gaps(model, data, k=200, steps=100)
    assert found.elbo < found.diagonal < found.full < found.evidence < 0
    assert found.amortisation > 5 * found.amortisation_se > 0
    rises = found.per_row.diff(dim=0)
    assert rises[2].min() >= 0  # the same draws: Jensen's inequality holds row by row
    assert rises[0].min() > -0.3  # nothing is lost beyond the error of 200 draws
    plain, better = evidence(model, data, k=50), refined_evidence(model, data, k=50, full=True)
    assert better.ess > plain.ess
    assert better.elbo > plain.elbo + 0.3
    assert better.mean > plain.mean
    referee = anneal(model, data, Annealing(chains=8, steps=60))
    assert found.evidence == pytest.approx(referee.mean, abs=0.15)


def test_an_exact_posterior_needs_no_refinement():
    found = refined_evidence(lg_ppca(), Data(lg_ppca().spec, LG_X), k=7)
    assert found.mean == pytest.approx(LG_EVIDENCE, abs=1e-9)
    weight = torch.tensor([[1.0], [0.5]], dtype=torch.float64)
    model = linear_vae(weight, torch.zeros(2).double(), 0.5, "cholesky")
    data = Data(model.spec, torch.tensor([[1.0, -0.5], [0.3, 0.2]]).double())
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(2).double(), torch.tensor([[1.5, 0.5], [0.5, 0.75]]).double()
    )
    found = gaps(model, data, k=10, steps=0)
    assert found.evidence == pytest.approx(exact.log_prob(data.x).mean().item(), abs=1e-6)
    assert found.amortisation == found.amortisation_se == 0


# --- manners --------------------------------------------------------------------------------------
def test_nothing_else_moves():
    model, some = small(), TRAIN.part(torch.arange(3))
    model.train()
    state = torch.get_rng_state()
    gaps(model, some, k=3, steps=2)
    refined_evidence(model, some, k=3, steps=2, full=True)
    assert all(module.training for module in model.modules())
    model.eval()
    refined_evidence(model, some, k=3, steps=2)
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    uses.refine(model, some, steps=1)


CLASSES = Data(ThreeClasses().spec, class_rows(2, 0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gaps(ThreeClasses(), CLASSES), "not all real"),
        (lambda: refined_evidence(ThreeClasses(), CLASSES), "not all real"),
        (lambda: gaps(small("autoencoder"), TRAIN), "no density"),
        (lambda: gaps(SHIFTED, ROW, k=0), "k=0"),
        (lambda: gaps(SHIFTED, ROW, reference=torch.zeros(3)), "reference of shape"),
        (lambda: gaps(SHIFTED, ROW.part(torch.arange(0))), "no rows"),
        (lambda: refined_evidence(SHIFTED, ROW, widen=0.0), "widen=0.0"),
        (lambda: refined_evidence(SHIFTED, ROW, k=0), "k=0"),
    ],
)
def test_mistakes_end_in_one_line(call, said):
    with pytest.raises(UsageError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
