"""Uses of a model against closed forms of the linear-Gaussian model, and their promises."""

from __future__ import annotations

import math

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
    linear_vae,
    ppca_data,
    ppca_solution,
    star,
    train,
)
from vaes import uses
from vaes.batch import Batch, Data, Spec
from vaes.dist.chain import Chain
from vaes.dist.gaussian import DiagonalNormal
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.recipes import build
from vaes.uses.paths import between

GRID = Spec((1, 4, 4), kinds=("pixel",), levels=(5,), scale=(4.0,))
ROW = Batch(x=LG_X)


@pytest.fixture(scope="module")
def pixels() -> tuple[Model, Data]:
    torch.manual_seed(0)
    data = Data(GRID, torch.randint(0, 5, (30, 1, 4, 4), dtype=torch.uint8))
    model = build("vae", GRID, latent=3, hidden=(16,))
    train(model, data, 50)
    return model, data


def linear(k: int = 3, posterior: str = "diagonal") -> Model:
    return linear_vae(*ppca_solution(k), posterior)


def exact_elbo(q: DiagonalNormal) -> Tensor:
    """The ELBO of the linear-Gaussian fixture, by the points that are exact for quadratics."""
    model, noise = lg(LG_MEAN, LG_DIAGONAL), star(2)
    rate = torch.distributions.kl_divergence(q, model.prior(ROW))
    return log_likelihood(model, q.draw(noise), ROW).mean(0) - rate


# --- codes ------------------------------------------------------------------------------------
def test_codes_are_the_posteriors_moments():
    model = lg(LG_MEAN, LG_TRIL)
    codes = uses.encode(model, Batch(x=LG_X.expand(3, -1)))
    torch.testing.assert_close(codes.mean, LG_MEAN.expand(3, -1))
    std = (LG_TRIL @ LG_TRIL.T).diagonal().sqrt()
    torch.testing.assert_close(codes.std, std.expand(3, -1))


def test_codes_do_not_depend_on_the_batches(pixels):
    model, data = pixels
    whole, split = uses.encode(model, data), uses.encode(model, data, chunk=7)
    torch.testing.assert_close(whole.mean, split.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.std, split.std, rtol=1e-5, atol=1e-6)
    part = uses.encode(model, data.rows(slice(4, 6)))
    torch.testing.assert_close(part.mean, whole.mean[4:6], rtol=1e-5, atol=1e-6)


def test_spread_without_a_closed_form_is_drawn():
    model = lg(LG_MEAN, LG_DIAGONAL)
    one = torch.zeros(1, 1, dtype=torch.float64)
    chain = Chain(
        DiagonalNormal(one, one), lambda z: DiagonalNormal(z, torch.zeros_like(z)), sizes=(1, 1)
    )
    model.posterior = lambda batch: chain  # type: ignore[method-assign]
    std = uses.encode(model, ROW).std[0]
    # z2 | z1 ~ N(z1, 1): variances 1 and 2
    torch.testing.assert_close(std, torch.tensor([1, math.sqrt(2)]).double(), rtol=0.15, atol=0)


# --- draws ------------------------------------------------------------------------------------
def test_samples_have_the_models_moments():
    x, z = uses.sample(lg(LG_MEAN, LG_DIAGONAL), 20_000, seed=1)
    covariance = LG_W @ LG_W.T + LG_VAR * torch.eye(5, dtype=torch.float64)
    error = 4 / math.sqrt(20_000)
    assert ((x.mean(0) - LG_MU).abs() < error * covariance.diagonal().sqrt()).all()
    assert (torch.cov(x.T) - covariance).abs().max() < 0.2
    assert (torch.cov(z.T) - torch.eye(2)).abs().max() < 0.05


def test_means_are_means_of_the_likelihood():
    x, z = uses.sample(lg(LG_MEAN, LG_DIAGONAL), 50, mean=True, chunk=20)
    torch.testing.assert_close(x, z @ LG_W.T + LG_MU)


def test_codes_are_decoded_to_means(pixels):
    z = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = lg(LG_MEAN, LG_DIAGONAL)
    torch.testing.assert_close(uses.decode(model, z, chunk=3), z @ LG_W.T + LG_MU)
    model, data = pixels
    found = uses.decode(model, uses.encode(model, data).mean)
    torch.testing.assert_close(found, uses.reconstruct(model, data).mean)


def test_variations_have_the_posterior_predictives_moments():
    model = lg(LG_MEAN, LG_TRIL)
    x = uses.vary(model, Batch(x=LG_X.expand(2, -1)), 8000, seed=3)
    assert x.shape == (2, 8000, 5)
    covariance = LG_W @ LG_TRIL @ LG_TRIL.T @ LG_W.T + LG_VAR * torch.eye(5).double()
    for row in x:
        assert (row.mean(0) - LG_W @ LG_MEAN - LG_MU).abs().max() < 0.05
        assert (torch.cov(row.T) - covariance).abs().max() < 0.06
    assert not torch.equal(x[0], x[1])
    means = uses.vary(model, ROW, 8000, seed=3, mean=True)[0]
    assert (torch.cov(means.T) - covariance + LG_VAR * torch.eye(5)).abs().max() < 0.06


def test_pixels_are_drawn_on_their_grid(pixels):
    model, data = pixels
    for x in (uses.sample(model, 9)[0], uses.vary(model, data.part(torch.arange(2)), 4)):
        torch.testing.assert_close(x * 4, (x * 4).round())


def test_seeds_decide_the_draws(pixels):
    model, data = pixels
    few = data.part(torch.arange(3))
    for draw in (
        lambda seed: uses.sample(model, 5, seed=seed)[0],
        lambda seed: uses.vary(model, few, 5, seed=seed),
        lambda seed: uses.reconstruct(model, few, draws=5, seed=seed).high,
        lambda seed: uses.refine(model, few, steps=3, seed=seed).loc,
    ):
        first = draw(0)
        torch.manual_seed(5)
        state = torch.get_rng_state()
        assert torch.equal(first, draw(0))
        assert not torch.equal(first, draw(1))
        assert torch.equal(state, torch.get_rng_state())


# --- reconstructions and paths ----------------------------------------------------------------
def test_reconstructions_and_their_intervals():
    model = lg(LG_MEAN, LG_TRIL)
    found = uses.reconstruct(model, ROW, draws=20_000, level=0.8)
    centre = LG_W @ LG_MEAN + LG_MU
    torch.testing.assert_close(found.mean[0], centre)
    covariance = LG_W @ LG_TRIL @ LG_TRIL.T @ LG_W.T + LG_VAR * torch.eye(5).double()
    half = 1.2815515655 * covariance.diagonal().sqrt()  # the normal's quantile at 90 %
    assert found.low is not None
    assert found.high is not None
    torch.testing.assert_close(found.low[0], centre - half, rtol=0, atol=0.05)
    torch.testing.assert_close(found.high[0], centre + half, rtol=0, atol=0.05)


def test_intervals_lie_on_the_grid_around_the_mean(pixels):
    model, data = pixels
    found = uses.reconstruct(model, data, draws=64, chunk=200)
    assert found.low is not None
    assert found.high is not None
    assert (found.low <= found.high).all()
    torch.testing.assert_close(found.low * 4, (found.low * 4).round())
    assert uses.reconstruct(model, data).low is None


@pytest.mark.parametrize("path", ["linear", "slerp"])
def test_paths_end_in_the_reconstructions(pixels, path):
    model, data = pixels
    a, b = data.part(torch.arange(5)), data.part(torch.arange(5, 10))
    found = uses.interpolate(model, a, b, 4, path, chunk=9)
    assert found.shape == (5, 4, 1, 4, 4)
    assert torch.equal(found[:, 0], uses.reconstruct(model, a, chunk=9).mean)
    assert torch.equal(found[:, -1], uses.reconstruct(model, b, chunk=9).mean)
    assert uses.interpolate(model, a, b, 2, path).shape[1] == 2


def test_paths_between_codes():
    model, data = linear(2), ppca_data()
    a, b = data.part(torch.arange(3)), data.part(torch.arange(3, 6))
    weight, bias, _ = ppca_solution(2)
    codes = [uses.encode(model, part).mean for part in (a, b)]
    middle = uses.interpolate(model, a, b, 3)[:, 1]
    torch.testing.assert_close(middle, (codes[0] + codes[1]) / 2 @ weight.T + bias)
    # halfway along the arc: both codes weigh the same, sin(w / 2) / sin(w) = 1 / (2 cos(w / 2))
    cosine = torch.nn.functional.cosine_similarity(*codes, dim=-1)
    halves = (0.5 / ((1 + cosine) / 2).sqrt()).unsqueeze(-1)
    arc = uses.interpolate(model, a, b, 3, "slerp")[:, 1]
    torch.testing.assert_close(arc, halves * (codes[0] + codes[1]) @ weight.T + bias)


def test_slerp_keeps_norm_and_pace():
    a, b = torch.eye(3, dtype=torch.float64)[:2].unsqueeze(1)
    t = torch.tensor([0.25, 0.5, 0.9], dtype=torch.float64).view(-1, 1, 1)
    angle = t.flatten() * math.pi / 2
    expected = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    torch.testing.assert_close(between(a, b, t, "slerp")[:, 0], expected)


def test_slerp_without_an_arc_is_straight():
    a = torch.tensor([[1.0, 0], [1, 0], [0, 0]], dtype=torch.float64)
    b = torch.tensor([[3.0, 0], [-1, 0], [0, 2]], dtype=torch.float64)
    middle = between(a, b, torch.full((1, 1, 1), 0.5).double(), "slerp")[0]
    torch.testing.assert_close(middle, (a + b) / 2)


def test_traversals_move_one_dimension_through_the_prior():
    model, data = linear(3), ppca_data()
    weight, bias, _ = ppca_solution(3)
    row = data.part(torch.tensor([7]))
    code = uses.encode(model, row).mean[0]
    found = uses.traverse(model, row, [2, 0], steps=5, span=3.0)
    assert found.shape == (2, 5, 8)
    for place, j in enumerate([2, 0]):
        for step, value in enumerate([-3, -1.5, 0, 1.5, 3]):
            z = code.clone()
            z[j] = value
            torch.testing.assert_close(found[place, step], weight @ z + bias)
    torch.testing.assert_close(uses.traverse(model, dims=[1])[0, 3], bias)


def test_traversals_choose_the_dimensions_with_the_highest_rates():
    model = linear(3)
    assert uses.traversed(model) == [0, 1, 2]
    assert uses.traversed(model, torch.tensor([0.5, 0.001, 2.0])) == [2, 0]
    assert uses.traversed(model, torch.zeros(3)) == [0]
    assert uses.traversed(model, torch.tensor([4.0])) == [0, 1, 2]  # a rate that does not split
    chosen = uses.traverse(model, rates=torch.tensor([0.5, 0.001, 2.0]))
    torch.testing.assert_close(chosen, uses.traverse(model, dims=[2, 0]))


# --- refinement -------------------------------------------------------------------------------
@pytest.mark.parametrize("start", [(0.0, 1.0), (3.0, 0.05)])
def test_refinement_reaches_the_best_diagonal(start):
    loc = torch.full((2,), start[0], dtype=torch.float64)
    model = lg(loc, torch.full((2,), start[1], dtype=torch.float64))
    q = uses.refine(model, ROW, steps=1000, lr=0.05)
    assert float(exact_elbo(q)) == pytest.approx(-7.723983861, abs=1e-3)
    torch.testing.assert_close(q.loc[0], LG_MEAN, rtol=0, atol=0.02)
    torch.testing.assert_close(q.stddev[0], LG_DIAGONAL, rtol=0.03, atol=0)


def test_refinement_never_lowers_the_bound():
    best = DiagonalNormal(LG_MEAN.unsqueeze(0), LG_DIAGONAL.log().unsqueeze(0))
    assert float(exact_elbo(best)) == pytest.approx(-7.723983861, abs=1e-9)
    for steps, lr in ((1, 0.5), (30, 0.05), (30, 2.0)):
        q = uses.refine(lg(LG_MEAN, LG_DIAGONAL), ROW, steps=steps, lr=lr)
        # what is lost to the comparison by draws is far below what a bad step would cost
        assert float(exact_elbo(q)) > -7.723983861 - 2e-3
    assert torch.equal(uses.refine(lg(LG_MEAN, LG_DIAGONAL), ROW, steps=0).loc[0], LG_MEAN)


def test_refinement_closes_the_gap_of_a_bad_encoder(pixels):
    model, data = pixels
    start = uses.encode(model, data)
    before = DiagonalNormal(start.mean, start.std.log())
    after = uses.refine(model, data, steps=60)
    noise = torch.randn(4000, 1, 3, generator=torch.Generator().manual_seed(9))
    batch = data.rows(slice(None))
    with torch.no_grad():
        gain = [
            log_likelihood(model, q.draw(noise), batch).mean(0)
            - torch.distributions.kl_divergence(q, model.prior(batch))
            for q in (before, after)
        ]
    rise = gain[1] - gain[0]
    assert rise.mean() > 0.05
    assert rise.min() > -0.05
    alone = uses.refine(model, data.part(torch.tensor([11])), steps=60)
    torch.testing.assert_close(alone.loc[0], after.loc[11], rtol=1e-3, atol=1e-3)


def test_refinement_leaves_no_gradients(pixels):
    model, data = pixels
    model.zero_grad()
    uses.refine(model, data, steps=2)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_evidence_bounds_what_refinement_reaches():
    q = uses.refine(lg(LG_MEAN * 0, LG_DIAGONAL), ROW, steps=300)
    assert float(exact_elbo(q)) < LG_EVIDENCE


# --- what dimensions carry --------------------------------------------------------------------
def test_active_units_of_the_linear_model():
    # Lucas et al. 2019: variances of means 1 - s2 / lambda_j, the whole rate 3.508739 nats
    found = uses.active_units(linear(3), ppca_data(), chunk=99)
    expected = torch.tensor([0.9891, 0.8605, 0.4087]).double()
    torch.testing.assert_close(found.variance, expected, rtol=0, atol=1e-4)
    assert found.rates is not None
    assert float(found.rates.sum()) == pytest.approx(3.508739, abs=1e-5)
    assert found.count == 3


def test_dimensions_that_the_encoder_does_not_use_are_not_active():
    model = linear(3)
    last = model.encoder.last  # type: ignore[union-attr]
    with torch.no_grad():
        last.weight[1] = 0  # type: ignore[index]
    found = uses.active_units(model, ppca_data())
    assert found.active.tolist() == [True, False, True]
    assert float(found.variance[1]) < 1e-20


def test_rates_of_a_full_covariance_are_those_of_its_marginals():
    found = uses.active_units(lg(LG_MEAN, LG_TRIL), ROW)
    variance = torch.tensor([0.18787879, 0.09090909]).double()
    expected = 0.5 * (variance + LG_MEAN**2 - 1 - variance.log())
    assert found.rates is not None
    torch.testing.assert_close(found.rates, expected, rtol=1e-6, atol=1e-6)


# --- all models -------------------------------------------------------------------------------
def test_a_model_without_a_posterior_has_uses_too():
    torch.manual_seed(0)
    data = Data(GRID, torch.randint(0, 5, (40, 1, 4, 4), dtype=torch.uint8))
    model = build("autoencoder", GRID, latent=2, hidden=(16,))
    train(model, data, 20)
    codes, few = uses.encode(model, data), data.part(torch.arange(4))
    assert (codes.std == 0).all()
    _, z = uses.sample(model, 4000)
    spread = torch.cov(codes.mean.T, correction=0)
    torch.testing.assert_close(torch.cov(z.T), spread, rtol=0, atol=0.2 * float(spread.max()))
    assert uses.vary(model, few, 3).shape == (4, 3, 1, 4, 4)
    assert uses.traverse(model, few.rows(slice(0, 1))).shape[:2] == (2, 7)
    assert uses.active_units(model, data).rates is None
    assert torch.isfinite(uses.refine(model, few, steps=5).log_scale).all()


def test_modes_and_gradients_are_as_before(pixels):
    model, data = pixels
    model.train()
    model.decoder.eval()
    few = data.part(torch.arange(2))
    for use in (
        lambda: uses.encode(model, few).mean,
        lambda: uses.sample(model, 2)[0],
        lambda: uses.reconstruct(model, few).mean,
        lambda: uses.refine(model, few, steps=1).loc,
    ):
        assert not use().requires_grad
        assert model.training
        assert model.encoder.training
        assert not model.decoder.training
    model.eval()


def test_gaps_are_filled_from_what_is_seen():
    spec = Spec((8,), missing=True)
    x = ppca_data().x.clone()
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 3] = False
    x[:, 3] = 0
    data = Data(spec, x, mask=mask)
    model = build("vae", spec, latent=2, hidden=(8,)).double()
    found = uses.reconstruct(model, data, draws=3)
    assert found.high is not None
    assert torch.isfinite(found.high).all()


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda m, d: uses.decode(m, torch.zeros(4, 2)), "takes \\(n, 3\\)"),
        (lambda m, d: uses.sample(m, 0), "n=0"),
        (lambda m, d: uses.vary(m, d, 0), "n=0"),
        (lambda m, d: uses.reconstruct(m, d, draws=1), "draws=1"),
        (lambda m, d: uses.reconstruct(m, d, draws=9, level=1.0), "level=1.0"),
        (lambda m, d: uses.interpolate(m, d, d, path="round"), "path 'round'"),
        (lambda m, d: uses.interpolate(m, d, d, 1), "at least 2 steps"),
        (lambda m, d: uses.interpolate(m, d, d.part(torch.arange(1))), "500 rows"),
        (lambda m, d: uses.traverse(m, d), "500 rows"),
        (lambda m, d: uses.traverse(m, dims=[3]), "0 to 2"),
    ],
)
def test_mistakes(use, said):
    with pytest.raises(UsageError, match=said):
        use(linear(3), ppca_data())
