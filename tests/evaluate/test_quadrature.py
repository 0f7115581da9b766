"""Quadrature over the prior: evidence and conditionals with closed forms, and errors that hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures import LG_EVIDENCE, LG_X, lg
from tests.toys import TRAIN, small
from tests.uses.models import ThreeClasses, class_rows, gapped, lg_ppca, loaded, states
from vaes.batch import Data, Spec
from vaes.composed import compose
from vaes.dist.priors import FittedNormal
from vaes.errors import UsageError
from vaes.evaluate import quadrature as module
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.quadrature import conditional, quadrature
from vaes.objective import Elbo, log_likelihood
from vaes.recipes import build, names

FIRST, REST = -4.862598629, -2.833753893  # log p(x_0..2) and log p(x_3, x_4 | x_0..2) of F-LG
LOST = lg(torch.full((2,), 9.0).double(), torch.full((2,), 0.01).double())  # no encoder at all
ROW = Data(Spec((5,)), LG_X)


def test_the_evidence_without_an_encoder():
    found = quadrature(LOST, ROW, points=2**17, scrambles=8)
    assert found.mean == pytest.approx(LG_EVIDENCE, abs=5 * found.errors.item())
    assert found.errors.item() < 1e-4
    assert (found.points, found.scrambles, found.n) == (2**17, 8, 1)


def test_conditionals_multiply_to_the_joint():
    model = lg_ppca()
    first = conditional(model, ROW, [0, 1, 2])
    rest = conditional(model, ROW, [3, 4], [0, 1, 2])
    assert first.mean == pytest.approx(FIRST, abs=1e-3)
    assert rest.mean == pytest.approx(REST, abs=1e-3)
    whole = quadrature(model, ROW)
    assert first.mean + rest.mean == pytest.approx(whole.mean, abs=1e-9)
    chain = [conditional(model, ROW, [i], range(i)).mean for i in range(5)]
    assert sum(chain) == pytest.approx(whole.mean, abs=1e-9)
    back = [conditional(model, ROW, [i], range(i + 1, 5)).mean for i in range(5)]
    assert sum(back) == pytest.approx(whole.mean, abs=1e-9)
    assert abs(chain[0] - back[0]) > 0.1


def test_gaps_are_integrated_out():
    """Rows with gaps: the closed-form evidence of what is there; gaps count for no condition."""
    model = lg_ppca()
    x = LG_X + torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).double()
    data = gapped(model, x, 0.4, seed=1)
    exact = evidence(model, data).per_row
    found = quadrature(model, data)
    torch.testing.assert_close(found.per_row, exact, rtol=0, atol=3e-3)
    three = Data(model.spec, LG_X * 1.0, mask=torch.tensor([[True, True, True, False, False]]))
    assert conditional(model, three, [0, 1, 2], [3, 4]).mean == pytest.approx(FIRST, abs=1e-3)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_linear_models_of_every_size(d):
    """The exact log p(x) lies within 5 of the quoted errors, which are small."""
    model = loaded(6, d, seed=d, variance=0.5)
    data = Data(model.spec, torch.randn(40, 6, generator=torch.Generator().manual_seed(d)).double())
    found = quadrature(model, data, points=2**12)
    apart = (found.per_row - evidence(model, data).per_row) / found.errors
    assert apart.abs().max() < 5
    assert found.errors.median() < 0.02


def test_errors_are_the_spread_over_seeds():
    """Few points: the quoted error of a row, of the mean, and coverage."""
    model = loaded(6, 3, seed=0)
    data = Data(model.spec, torch.randn(20, 6, generator=torch.Generator().manual_seed(3)).double())
    exact = evidence(model, data)
    runs = [quadrature(model, data, points=256, seed=seed) for seed in range(40)]
    spread = torch.stack([r.per_row for r in runs]).var(0).mean().sqrt()
    quoted = torch.stack([r.errors for r in runs]).square().mean().sqrt()
    assert quoted.item() == pytest.approx(spread.item(), rel=0.3)
    means = torch.tensor([r.mean for r in runs])
    shared = torch.tensor([r.se_points for r in runs]).square().mean().sqrt()
    assert shared.item() == pytest.approx(means.std().item(), rel=0.4)
    rows = exact.per_row.std() / math.sqrt(20)
    assert runs[0].se == pytest.approx(math.hypot(rows, runs[0].se_points), rel=0.05)


def test_nets_beat_plain_draws():
    """Ten times nearer than as many independent draws would be, in root mean square."""
    found = quadrature(LOST, ROW, points=4096, scrambles=16)
    plain = math.sqrt(21.4844 / (4096 * 16))  # relative variance of one draw on F-LG: 21.4844
    assert found.errors.item() < plain / 10


def test_the_prior_and_not_the_standard_normal():
    """A prior with mean and covariance of its own, over which p(x) is known."""
    model = compose(Spec((3,)), Elbo(), latent=2, hidden=(), scale=0.5, prior=FittedNormal).double()
    tril = torch.tensor([[1.5, 0.0], [0.4, 0.3]]).double()
    with torch.no_grad():
        model.decoder.last.weight.copy_(torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.0, 0.7]]))
        model.decoder.last.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
        model.latent_prior.loc.copy_(torch.tensor([0.5, -1.0]))
        model.latent_prior.tril.copy_(tril)
    w, b = model.decoder.last.weight.detach(), model.decoder.last.bias.detach()
    mean = b + w @ model.latent_prior.loc
    covariance = w @ tril @ tril.T @ w.T + 0.25 * torch.eye(3)
    exact = torch.distributions.MultivariateNormal(mean, covariance)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    found = quadrature(model, Data(model.spec, x))
    torch.testing.assert_close(found.per_row, exact.log_prob(x), rtol=0, atol=3e-3)


def test_discrete_codes_by_enumeration():
    """Three classes: joint and conditional probabilities of mixed columns."""
    model, x = ThreeClasses(), class_rows(5, 0)
    data = Data(model.spec, x)
    known = dict(states())
    rows = [tuple((row * torch.tensor([1, 1, 1, 4])).int().tolist()) for row in x]
    exact = torch.stack([known[row].sum().log() for row in rows])
    found = quadrature(model, data, points=2**14)
    torch.testing.assert_close(found.per_row, exact, rtol=0, atol=5e-3)
    bit = torch.stack([sum(j.sum() for c, j in known.items() if c[0] == r[0]) for r in rows])
    rest = conditional(model, data, [1, 2, 3], [0], points=2**14)
    torch.testing.assert_close(rest.per_row, exact - bit.log(), rtol=0, atol=5e-3)


def test_the_units_of_the_user():
    """Columns in units of 1 / 2 and 1 / 10: log 20 nats fewer, and the conditional log 10."""
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    plain, scaled = loaded(2, 1, seed=3), loaded(2, 1, seed=3, scale=(2.0, 10.0))
    less = (
        quadrature(plain, Data(plain.spec, x)).mean - quadrature(scaled, Data(scaled.spec, x)).mean
    )
    assert less == pytest.approx(math.log(20), abs=1e-9)
    less = conditional(plain, Data(plain.spec, x), [1], [0]).per_row
    less = less - conditional(scaled, Data(scaled.spec, x), [1], [0]).per_row
    assert less.tolist() == pytest.approx([math.log(10)] * 4, abs=1e-9)


SPECS = {
    "tabular": Spec((3,), ("category", "binary", "pixel"), (3, 2, 5), (0.0,), (1.0,)),
    "latent_class": Spec((3,), ("category", "binary", "pixel"), (3, 2, 5), (0.0,), (1.0,)),
    "counts": Spec((3,), ("count",), (0,), totals=True),
    "prodlda": Spec((3,), ("count",), (0,), totals=True),
    "not_miwae": Spec((3,), missing=True),
}


@pytest.mark.parametrize("name", names())
def test_every_recipe_by_its_definition(name, monkeypatch):
    """log of the mean of p(x|z) over the points, one row at a time and all points at once, in
    chunks of a few points and rows too."""
    spec = replace(SPECS.get(name, Spec((3,))), rows=7)
    model = build(name, spec, latent=2) if name != "latent_class" else build(name, spec, latent=3)
    if model.bound == "none":
        return
    x = torch.randint(0, 2, (7, 3), generator=torch.Generator().manual_seed(1)).float()
    mask = torch.rand(7, 3, generator=torch.Generator().manual_seed(2)) > 0.3
    data = Data(spec, x * mask, mask=mask) if spec.missing else Data(spec, x + 1 * spec.totals)
    expected = []
    model.eval()
    with torch.no_grad():
        for i in range(7):
            batch, log_p = data.rows(slice(i, i + 1)), []
            for scramble in (0, 1):
                prior = model.prior(batch)
                noise = module._grid(prior, 64, 0, scramble, batch.x)
                log_p.append(log_likelihood(model, prior.draw(noise), batch).double())
            expected.append(torch.cat(log_p).logsumexp(0) - math.log(128))
    model.train()
    for entries in (2_000_000, 3000):
        monkeypatch.setattr(module, "ENTRIES", entries)
        found = quadrature(model, data, points=64, scrambles=2).per_row
        torch.testing.assert_close(found, torch.cat(expected), rtol=1e-5, atol=1e-5)
    assert model.training


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: quadrature(loaded(6, 5, 0), Data(Spec((6,)), torch.zeros(1, 6))), "has 5; use an"),
        (lambda: quadrature(LOST, ROW, points=1000), "points=1000"),
        (lambda: quadrature(LOST, ROW, scrambles=1), "scrambles=1"),
        (lambda: quadrature(small("autoencoder"), TRAIN), "no density"),
        (lambda: quadrature(LOST, ROW.part(torch.arange(0))), "no rows"),
        (lambda: conditional(LOST, ROW, []), "of=\\[\\]"),
        (lambda: conditional(LOST, ROW, [0, 5]), "0 to 4"),
        (lambda: conditional(LOST, ROW, [0, 1], [1]), "in both"),
    ],
)
def test_mistakes_end_in_one_line(call, said):
    with pytest.raises(UsageError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_models_of_gaps_have_no_conditionals():
    model = build("not_miwae", Spec((3,), missing=True), latent=2)
    with pytest.raises(UsageError, match="says something of its value"):
        conditional(model, Data(model.spec, torch.zeros(1, 3)), [0])


def test_nothing_else_moves():
    state = torch.get_rng_state()
    first = quadrature(LOST, ROW, points=64, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert quadrature(LOST, ROW, points=64, seed=1).mean == first.mean
    assert quadrature(LOST, ROW, points=64, seed=2).mean != first.mean
