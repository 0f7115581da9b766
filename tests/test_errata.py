"""Well-spread mistakes (docs/errata.md): numbers that come out only where none of them is made."""

from __future__ import annotations

import ast
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from tests.fixtures import (
    GRAD_X,
    LG_DIAGONAL,
    LG_MEAN,
    LG_MU,
    LG_VAR,
    LG_W,
    LG_X,
    grad_model,
    hermite,
    lg,
    linear_vae,
    ppca_data,
    ppca_rows,
    ppca_spectrum,
    star,
    step_of,
    unclip,
)
from tests.run.helpers import LENGTH
from vaes import disk
from vaes.batch import Batch, Data, Spec
from vaes.dist.chain import Chain
from vaes.dist.discrete import BernoulliLikelihood, OneHot
from vaes.dist.gaussian import LOG_SCALE, DiagonalNormal, NormalLikelihood
from vaes.errors import UsageError
from vaes.evaluate.aggregate import log_shares
from vaes.evaluate.likelihood import bound, evidence
from vaes.objective import Elbo, Iwae, log_jacobian, log_weight, terms
from vaes.recipes import build
from vaes.training import train

ROOT = Path(__file__).parents[1]
TWO = Batch(GRAD_X)


def f64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- the page -------------------------------------------------------------------------------------
def page() -> str:
    return (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")


def named_tests(text: str | None = None) -> list[tuple[str, str]]:
    """(path, name) of every test that `text` names; the whole page where None is given."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page() if text is None else text)


def entries() -> list[str]:
    return re.split(r"^### ", page(), flags=re.MULTILINE)[1:]


def test_every_entry_names_tests_that_exist():
    known = {
        path: {
            node.name
            for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        for path, _ in named_tests()
    }
    assert [f"{path}::{name}" for path, name in named_tests() if name not in known[path]] == []
    assert len(entries()) >= 24
    for entry in entries():
        for part in ("**Said.**", "**True.**", "**Test.** `tests/"):
            assert part in entry, entry.splitlines()[0]


def test_every_number_of_an_entry_is_in_the_tests_that_it_names():
    """Those with three digits after the point or more, as they are rounded there."""
    for entry in entries():
        files = {path for path, _ in named_tests(entry)} | {"tests/fixtures.py"}
        code = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in sorted(files))
        known = np.array([float(n) for n in re.findall(r"\d*\.\d+", code)])
        for number in re.findall(r"(?<![\w.:])\d*\.\d{3,}", entry):
            half = 0.51 * 10 ** -len(number.split(".")[1])
            assert np.abs(known - float(number)).min() <= half, (entry.splitlines()[0], number)


def test_every_test_here_is_named_on_the_page():
    named = {name for path, name in named_tests() if path == "tests/test_errata.py"}
    here = {name for name in globals() if name.startswith("test_")}
    about = {name for name in here if name.startswith("test_every_")}
    assert here - about == named


# --- draws and signs ------------------------------------------------------------------------------
def test_scale_is_half_the_log_variance():
    """q = N(.5, .8^2), ELBO -2.53208; drawn with exp(log s^2) = .64 as deviation it is reported as
    -2.41688, too high by (.64 - .4096) / 2."""
    nodes, weights = hermite(20)
    model = grad_model()
    q = model.posterior(TWO)
    assert (q.draw(nodes[:2]).diff(dim=0) / nodes[:2].diff(dim=0)).item() == pytest.approx(0.8)
    found = terms(model, TWO, f64([-1.0, 1.0]).view(2, 1, 1))
    elbo = -(found.distortion + found.rate).item()
    assert elbo == pytest.approx(-2.5320820845, abs=1e-9)
    assert (weights @ log_weight(model, TWO, noise=nodes)).item() == pytest.approx(elbo, abs=1e-9)
    assert pytest.approx(0.115, abs=5e-4) == (0.64 - 0.4096) / 2
    assert elbo + (0.64 - 0.4096) / 2 == pytest.approx(-2.41688, abs=1e-5)


def test_the_loss_falls_as_the_bound_rises():
    """dELBO/dm = 1 at m = .5: the loss has slope -1, a step moves m towards the posterior's 1."""
    model = grad_model()
    pair = f64([-1.0, 1.0]).view(2, 1, 1)
    loss = model.losses(TWO, step_of(pair))["model"]
    assert loss.item() == pytest.approx(2.5320820845, abs=1e-9)
    loss.backward()
    assert model.loc.grad.item() == pytest.approx(-1, abs=1e-9)
    with torch.no_grad():
        model.loc -= 0.1 * model.loc.grad
    assert model.losses(TWO, step_of(pair))["model"] < loss


def test_the_rate_is_in_the_bound_once():
    """Distortion 4.9706, rate 2.7533: -7.7240, and not -10.4773, in closed form and by draws."""
    model, row = lg(LG_MEAN, LG_DIAGONAL), Batch(LG_X)
    found = terms(model, row, star(2))
    loss = model.losses(row, step_of(star(2)))["model"].item()
    by_draws = log_weight(model, row, noise=star(2)).mean().item()
    assert found.distortion.item() == pytest.approx(4.9706, abs=5e-5)
    assert found.rate.item() == pytest.approx(2.7533, abs=5e-5)
    assert (-loss, by_draws) == pytest.approx((-7.7240, -7.7240), abs=5e-5)
    assert by_draws - found.rate.item() == pytest.approx(-10.4773, abs=1e-4)


# --- distortion -----------------------------------------------------------------------------------
def test_squared_error_is_a_gaussian_of_variance_one_half():
    """-log N(x; m, I/2) = |x - m|^2 + D/2 log pi, with I: half of it + D/2 log 2 pi."""
    data = ppca_data()
    rows = data.rows(slice(None))
    for variance, weight in ((0.5, 1.0), (1.0, 0.5)):
        torch.manual_seed(0)
        options = {"likelihood": "normal", "scale": math.sqrt(variance), "warmup": 0.0}
        model = build("vae", data.spec, latent=3, hidden=(), **options).double()
        z = model.posterior(rows).draw(star(3))
        error = (model.likelihood(z, rows).mean - rows.x).square().sum(-1).mean()
        rate = terms(model, rows, star(3)).rate.mean()
        constant = 4 * math.log(2 * math.pi * variance)
        loss = model.losses(rows, step_of(star(3)))["model"]
        # the fixed scale is held in single precision
        expected = (weight * error + rate).item() + constant
        assert loss.item() == pytest.approx(expected, rel=1e-6)
    # and where nothing is said, the variance is learned
    learned = build("vae", data.spec, latent=3).decoder.head.log_scale
    assert isinstance(learned, nn.Parameter)


@pytest.mark.parametrize(
    ("variance", "expected", "active"), [(1.0, -12.5032, 2), (0.5, -11.9676, 5)]
)
def test_a_fixed_variance_keeps_too_few_or_too_many_dimensions(variance, expected, active):
    """The best W for a given variance keeps the eigenvalues above it; three are real."""
    values, vectors = ppca_spectrum(ppca_rows())
    kept = np.maximum(values - variance, 0)
    by_hand = -0.5 * (
        8 * math.log(2 * math.pi)
        + np.log(np.maximum(values, variance)).sum()
        + (values / np.maximum(values, variance)).sum()
    )
    assert by_hand == pytest.approx(expected, abs=1e-4)
    weight, mean = torch.from_numpy(vectors * np.sqrt(kept)), torch.from_numpy(ppca_rows().mean(0))
    model, data = linear_vae(weight, mean, variance, "diagonal"), ppca_data()
    assert evidence(model, data, k=3).mean == pytest.approx(by_hand, abs=1e-6)
    assert bound(model, data).active_units == active
    model.losses(data.rows(slice(None)), step_of(star(8)))["model"].backward()
    assert model.decoder.last.weight.grad.abs().max() < 1e-6


def test_constants_are_in_the_density():
    """At its mean a Gaussian of variance 1 has -.919 nats a dimension, -720.4 in 784."""
    zero = torch.zeros(1, 784).double()
    for log_p in (
        NormalLikelihood(zero, zero[0, 0], 1).log_prob(zero),
        DiagonalNormal(zero, zero).log_prob(zero),
    ):
        assert log_p.item() == pytest.approx(-784 * 0.919, abs=0.1)
        assert log_p.item() == pytest.approx(-392 * math.log(2 * math.pi), abs=1e-9)


def test_densities_are_in_the_users_units():
    """x / 256 in place of x: log 256 = 5.545 nats an entry, 17,034.6 for 32 x 32 x 3."""
    spec = Spec((3, 32, 32), scale=(256.0,))
    model = build("vae", spec, latent=2, net="mlp", hidden=())
    found = log_jacobian(model, Batch(torch.zeros(2, 3, 32, 32).double())).item()
    assert found == pytest.approx(-3072 * math.log(256), abs=1e-6)
    assert -found / 3072 == pytest.approx(5.545, abs=5e-4)


def blind(size: int) -> Any:
    """Bits that the decoder holds for fair, and a code whose rate is 1/2 in its one dimension."""
    spec = Spec((size,), ("binary",), (2,))
    model = build("vae", spec, latent=1, hidden=(), warmup=0.0).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.encoder.last.bias[0] = 1.0
        model.encoder.last.bias[1:] = unclip(torch.zeros(1).double(), *LOG_SCALE)
    return model


@pytest.mark.parametrize("size", [2, 784])
def test_distortion_is_a_sum_over_entries(size):
    """784 fair bits cost 543.4 nats beside a rate of 1/2; their mean would be .693, beta = 784."""
    model, rows = blind(size), Batch(torch.ones(3, size).double())
    loss = model.losses(rows, step_of(star(1)))["model"].item()
    assert loss == pytest.approx(size * math.log(2) + 0.5, abs=1e-9)


def test_cross_entropy_of_grey_values_is_no_density():
    """x log p + (1 - x) log (1 - p) of x in [0, 1] integrates to (1 - 2 p) / (2 atanh(1 - 2 p)):
    .4328 at p = .2, so its "nats" are short of .837 per pixel. It is for bits alone here."""
    p = BernoulliLikelihood(f64([[0.2]]).logit(), 1)
    grid = (torch.arange(10_000).double() + 0.5).view(-1, 1) / 10_000
    total = p.log_prob(grid).exp().mean().item()
    assert total == pytest.approx(0.6 / (2 * math.atanh(0.6)), abs=1e-7)
    assert total == pytest.approx(1 / 2.3104906, abs=1e-7)
    assert -math.log(total) == pytest.approx(0.8375, abs=1e-4)
    for kind, levels in (("pixel", 256), ("real", 0)):
        with pytest.raises(UsageError, match="does not fit entries of kind"):
            build("vae", Spec((4,), (kind,), (levels,)), likelihood="bernoulli")


# --- rate -----------------------------------------------------------------------------------------
def test_a_kl_is_zero_only_at_the_prior():
    """KL(N(.5, .8^2) || N(0, 1)) = .1681; log q - log p of one draw is negative where .18 e^2 -
    .4 e > .3481, 25.4 % of the time. A dimension that is the prior costs 0, not almost 0."""
    model, n = grad_model(), 100_000
    zero = torch.zeros(1, 1).double()
    at_prior = DiagonalNormal(zero, zero)
    assert Elbo()(model, TWO, step_of(star(1))).item() == pytest.approx(2.5320820845, abs=1e-9)
    found = terms(model, TWO, star(1)).rate.item()
    assert found == pytest.approx(0.5 * (0.64 + 0.25 - 1 - math.log(0.64)), abs=1e-12)
    assert found == pytest.approx(0.1681, abs=1e-4)
    blank = blind(4)
    with torch.no_grad():
        blank.encoder.last.bias[0] = 0.0
    assert terms(blank, Batch(torch.ones(1, 4).double()), star(1)).rate.abs().item() < 1e-14
    q, noise = (
        model.posterior(TWO),
        torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(0)),
    )
    z = q.draw(noise.double())
    ratio = (q.log_prob(z) - at_prior.log_prob(z)).detach()
    root = math.sqrt(0.16 + 0.72 * (-math.log(0.8) + 0.125))
    share = norm.cdf((0.4 - root) / 0.36) + norm.sf((0.4 + root) / 0.36)
    assert share == pytest.approx(0.2536, abs=1e-4)
    assert abs((ratio < 0).double().mean().item() - share) < 4 * math.sqrt(share / n)
    assert abs(ratio.mean().item() - found) < 4 * ratio.std().item() / math.sqrt(n)


PI = f64([0.5, 0.3, 0.2])
MEANS = f64([[0, 0], [2, -1], [-1, 1.5]])
VARIANCES = f64([[1, 0.5], [0.3, 0.8], [0.6, 0.6]])


def test_classes_are_weighted_by_the_expected_log_density():
    """q(z) = N((.7, -.2), diag(.4, .2)) under three Gaussians: q(c) ~ pi_c exp E_q log N(z; c) has
    a KL of 1.25927, q(c) = E_q p(c|z) one of 1.4433, and without c it is 1.0021."""
    q_z = DiagonalNormal(f64([[0.7, -0.2]]), 0.5 * f64([[0.4, 0.2]]).log())
    nodes, weights = hermite(24)
    pairs = torch.cartesian_prod(nodes.flatten(), nodes.flatten()).unsqueeze(1)
    weight = torch.outer(weights, weights).flatten()
    z, classes = q_z.draw(pairs), torch.eye(3).double().view(3, 1, 1, 3)
    states = torch.cat([classes.expand(-1, len(z), -1, -1), z.expand(3, -1, -1, -1)], -1)
    prior = Chain(
        OneHot(PI.log().view(1, 3)),
        lambda c: DiagonalNormal(c @ MEANS, 0.5 * (c @ VARIANCES.log())),
        sizes=(3, 2),
    )
    log_p = prior.log_prob(states).squeeze(-1)  # (3, nodes)

    def kl(q_c: torch.Tensor) -> float:
        q = Chain(OneHot(q_c.log().view(1, 3)), lambda c: q_z, sizes=(3, 2))
        return (q_c @ ((q.log_prob(states).squeeze(-1) - log_p) @ weight)).item()

    best = (log_p @ weight).softmax(0)
    averaged = log_p.softmax(0) @ weight
    assert best.tolist() == pytest.approx([0.9654412, 0.0301267, 0.0044321], abs=1e-7)
    assert averaged.tolist() == pytest.approx([0.8098, 0.1745, 0.0156], abs=1e-4)
    assert kl(best) == pytest.approx(1.2592678343, abs=1e-9)
    assert kl(averaged) == pytest.approx(1.4433, abs=1e-4)
    marginal = (weight @ (q_z.log_prob(z).squeeze(-1) - log_p.logsumexp(0))).item()
    assert marginal == pytest.approx(1.0020961, abs=1e-6)


# --- several draws --------------------------------------------------------------------------------
def test_weights_are_averaged_over_draws_and_not_over_rows():
    """q is the posterior, so every weight of a row is p(x): the bound is the mean of log p(x), and
    the log-mean-exp over rows lies above it."""
    model = linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")
    rows = 3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).double()
    covariance = LG_W @ LG_W.T + LG_VAR * torch.eye(5).double()
    log_p = torch.distributions.MultivariateNormal(LG_MU, covariance).log_prob(rows)
    noise = torch.randn(7, 7, 2, generator=torch.Generator().manual_seed(2)).double()
    loss = Iwae(7)(model, Batch(rows), step_of(noise)).item()
    assert -loss == pytest.approx(log_p.mean().item(), abs=1e-9)
    found = evidence(model, Data(Spec((5,)), rows), k=7)
    assert found.per_row.tolist() == pytest.approx(log_p.tolist(), abs=1e-9)
    assert found.mean == pytest.approx(log_p.mean().item(), abs=1e-9)
    over_rows = (log_p.logsumexp(0) - math.log(7)).item()
    assert over_rows > log_p.mean().item() + 10


def test_unbiased_for_the_evidence_is_not_unbiased_for_its_logarithm():
    """q = N(.5, .8^2) with two draws: E of the mean weight is p(x), E of its log .1202 less."""
    nodes, weights = hermite(40)
    pairs = torch.cartesian_prod(nodes.flatten(), nodes.flatten()).T.unsqueeze(-1)
    weight = torch.outer(weights, weights).flatten()
    log_w = log_weight(grad_model(), Batch(GRAD_X.expand(len(weight), -1)), noise=pairs)
    estimate = log_w.logsumexp(0) - math.log(2)
    log_p = -0.25 * 4 - 0.5 * math.log(4 * math.pi)
    assert log_p - (weight @ log_w[0]).item() == pytest.approx(0.2666, abs=5e-5)
    # a weight grows as exp(.07 z^2): the tails of 40 nodes are enough
    assert (weight @ estimate.exp()).log().item() == pytest.approx(log_p, abs=1e-6)
    assert log_p - (weight @ estimate).item() == pytest.approx(
        2.3857187161 - 2.2655121235, abs=1e-6
    )


@pytest.mark.parametrize("net", ["mlp", "conv", "residual"])
def test_draws_share_no_statistics(net):
    """While training too: batch normalisation would mix the k draws of all rows."""
    torch.manual_seed(0)
    spec = Spec((1, 16, 16), ("pixel",), (17,))
    model = build("vae", spec, latent=3, net=net, hidden=(8, 8)).double().train()
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(17, (6, 1, 16, 16), generator=draw).double() / 16
    z = 3 * torch.randn(5, 6, 3, generator=draw).double()
    with torch.no_grad():
        together = model.likelihood(z, Batch(x)).log_prob(x)
        alone = model.likelihood(z[:1, :2], Batch(x[:2])).log_prob(x[:2])
        whole, part = model.posterior(Batch(x)).mean, model.posterior(Batch(x[:2])).mean
    assert torch.allclose(together[:1, :2], alone, rtol=1e-10)
    assert torch.allclose(whole[:2], part, rtol=1e-10)
    assert not torch.allclose(together[0], together[1])


def test_the_special_weight_of_a_batch_is_the_rows_own():
    """q(z) at z ~ q(z|x_0) from batches of 3 of 5 rows: with 1/5 for row 0 itself and 4/5 over 2
    for each other the mean is q(z); with the 1/5 in the first place, whoever stands there, row 0
    weighs 1/3 in place of 1/5."""
    rows, size = 5, 3
    centres = f64([[-1.0], [0.0], [0.4], [1.0], [3.0]])
    density = DiagonalNormal(centres, torch.zeros(rows, 1).double()).log_prob(centres[0]).exp()
    shares = log_shares(size, rows).exp()
    own, first, weight_of_own = [], [], []
    for batch in itertools.permutations(range(rows), size):
        if 0 in batch:
            place, found = batch.index(0), density[list(batch)]
            own.append((shares[place] @ found).item())
            first.append((shares[0] @ found).item())
            weight_of_own.append(shares[0, place].item())
    assert np.mean(own) == pytest.approx(density.mean().item(), abs=1e-12)
    assert np.mean(weight_of_own) == pytest.approx(1 / size, abs=1e-12)
    assert np.mean(first) > 1.2 * np.mean(own)


# --- what a test part is for ----------------------------------------------------------------------
def test_the_weights_do_not_know_the_test_part(tmp_path: Path):
    """The best step is an early one by held-out rows and the last one by the training rows; with
    those as test part, or with noise of another scale, the same weights are kept."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 6))
    options: dict[str, Any] = LENGTH | {"steps": 200, "recipe": "vae", "latent": 2, "lr": 5e-3}
    found = []
    for name, test in (("same", x), ("noise", 100 * draw.normal(size=(20, 6)))):
        np.savez(tmp_path / f"{name}.npz", x_train=x, x_test=test)
        run = train(tmp_path / f"{name}.npz", out=tmp_path / name, hidden=[64], **options)
        found.append(disk.sha256(run.path / "weights.safetensors"))
        assert run.info["trained"]["best_step"] < run.info["trained"]["steps"]
    assert found[0] == found[1]
