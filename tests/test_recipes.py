"""Claims that hold for every recipe, run over the folder and over rows of eight kinds."""

import copy
import inspect
import math
from dataclasses import replace
from functools import cache

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from tests.fixtures import gradients, step_of, train
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.model import Model, Step, owned
from vaes.objective import log_likelihood, log_weight
from vaes.recipes import build, names, options, recipe, summary

SPECS = {
    "real": Spec((6,), shift=(1.0,) * 6, scale=(1.0, 2.0, 0.5, 3.0, 1.0, 10.0)),
    "gaps": Spec((6,), missing=True),
    "holes": Spec((4,), ("real", "binary", "category", "pixel"), (0, 2, 3, 5), missing=True),
    "binary": Spec((16,), ("binary",), (2,)),
    "pixel": Spec((1, 4, 4), ("pixel",), (5,)),
    "table": Spec(  # gaps are modelled: the first column tells whether the fourth is there
        (5,),
        ("binary", "binary", "category", "numeric", "pixel"),
        (2, 2, 3, 5, 4),
        missing=True,
        pieces=((), (), (), (-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 0.5, 3.0, 3.0, 4.0), ()),
        shown_by=(-1, -1, -1, 0, -1),
    ),
    "counts": Spec((5,), ("count",), (0,), missing=True, totals=True),
    "mixed": Spec(
        (5,),
        ("real", "binary", "category", "pixel", "count"),
        (0, 2, 3, 5, 0),
        scale=(2.0, 1.0, 1.0, 1.0, 1.0),
    ),
}
# as many rows as `data` has
SPECS = {name: replace(spec, rows=64) for name, spec in SPECS.items()}
SMALL = {"latent": 2, "hidden": (16,)}
over_specs = pytest.mark.parametrize("rows", SPECS)
over_recipes = pytest.mark.parametrize("name", names())


def draw(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(key) % 2**31)


@cache
def data(rows: str) -> Data:
    """64 rows that two hidden numbers explain in part, float64."""
    spec, hidden = SPECS[rows], torch.randn(64, 2, generator=draw(1), dtype=torch.float64)
    w = torch.randn(2, spec.size, generator=draw(2), dtype=torch.float64)
    x = hidden @ w + 0.5 * torch.randn(64, spec.size, generator=draw(3), dtype=torch.float64)
    for i, (kind, n) in enumerate(spec.column_kinds()):
        if kind == "count":
            x[:, i] = (3 * x[:, i].sigmoid()).exp().floor() - 1
        elif n:
            place = (x[:, i].sigmoid() * n).clamp(0, n - 1e-3)
            code = place.floor()
            x[:, i] = {"category": code, "numeric": place}.get(kind, code / max(1, n - 1))
    x = x.view(64, *spec.shape)
    mask = torch.rand(x.shape, generator=draw(4)) < 0.7 if spec.missing else None
    for i, gate in enumerate(spec.shown_by if mask is not None else ()):
        if gate >= 0:
            mask[:, gate], mask[:, i] = True, x[:, gate] == 1
    index = torch.arange(64)
    return Data(spec, x if mask is None else x * mask, mask=mask, index=index)


def batch(rows: str, n: int = 8) -> Batch:
    return data(rows).rows(slice(0, n))


def make(name: str, rows: str, seed: int = 0, **extra) -> Model:
    """A small model of recipe `name`, float64; skips where the recipe refuses such rows."""
    torch.manual_seed(seed)
    known = options(name)
    try:
        small = {k: v for k, v in SMALL.items() if k in known}
        return build(name, SPECS[rows], **small, **extra).double()
    except UsageError as refusal:
        pytest.skip(str(refusal))


@cache
def _trained(name: str, rows: str) -> Model:
    model = make(name, rows)
    train(model, data(rows), steps=40)
    return model


def trained(name: str, rows: str) -> Model:
    # in evaluation mode: in training some recipes hide entries or shuffle columns at random
    return copy.deepcopy(_trained(name, rows)).eval()


def bounded(name: str, rows: str) -> Model:
    model = trained(name, rows)
    if model.bound == "none":
        pytest.skip(f"{name} says that log w bounds nothing")
    return model


def log_weights(model: Model, rows: Batch, k: int, seed: int) -> Tensor:
    shape = (k, len(rows), model.noise_size)
    noise = torch.randn(shape, generator=draw(5, seed), dtype=torch.float64)
    with torch.no_grad():
        return log_weight(model, rows, noise=noise)


def log_mean_exp(values: Tensor) -> tuple[Tensor, Tensor]:
    """Over the first axis, with its standard error by the delta method."""
    top = values.max(0).values
    w = (values - top).exp()
    return top + w.mean(0).log(), w.std(0) / w.mean(0) / math.sqrt(len(w))


@over_recipes
def test_every_recipe_is_documented_and_takes_some_rows(name):
    assert len(summary(name)) > 20
    for option in options(name):
        assert option in inspect.getdoc(recipe(name).build) or "see `compose`" in inspect.getdoc(
            recipe(name).build
        )
    taken = 0
    for rows in SPECS:
        try:
            make(name, rows)
            taken += 1
        except pytest.skip.Exception:
            continue
    assert taken
    with pytest.raises(UsageError, match="no option 'latnet'; did you mean 'latent'"):
        build(name, SPECS["real"], latnet=3)


@over_specs
@over_recipes
def test_evidence_from_q_agrees_with_the_prior(name, rows):
    """log-mean-exp of log w under q, and of log p(x|z) over 40,000 z of the prior: 4 s.e."""
    model, few = bounded(name, rows), batch(rows)
    ours, error = log_mean_exp(log_weights(model, few, 4000, seed=0))
    with torch.no_grad():
        p = model.prior(few)
        shape = (40_000, 1, p.noise_size)
        z = p.draw(torch.randn(shape, generator=draw(6), dtype=torch.float64))
        brute, noisy = log_mean_exp(log_likelihood(model, z, few))
    apart = 4 * torch.hypot(error, noisy) + 1e-9
    if not model.noise_size:  # a point posterior knows one z of all those that explain the row
        assert (ours <= brute + apart).all()
        assert torch.equal(error, torch.zeros_like(error))
        return
    assert ((ours - brute).abs() <= apart).all()


@over_specs
@over_recipes
def test_bounds_rise_with_the_draws(name, rows):
    """ELBO <= IWAE_5 <= IWAE_400, each from draws of its own."""
    model, few = bounded(name, rows), batch(rows)
    means, errors = [], []
    for k in (1, 5, 400):
        log_w = log_weights(model, few, 4000, seed=k).view(k, -1, len(few))
        bounds = (log_w.logsumexp(0) - math.log(k)).mean(1)
        means.append(bounds.mean().item())
        errors.append(bounds.std().item() / math.sqrt(len(bounds)))
    for i in (0, 1):
        assert means[i] <= means[i + 1] + 4 * math.hypot(errors[i], errors[i + 1]) + 1e-9
    if model.bound == "exact":
        log_w = log_weights(model, few, 50, seed=1)
        assert (log_w - log_w[:1]).abs().max() < 1e-8


@over_specs
@over_recipes
def test_every_parameter_gets_a_gradient_from_its_owner(name, rows):
    """And has exactly one owner; phases together reach all players."""
    model, all_rows = make(name, rows), data(rows)
    mine = owned(model)
    assert sorted(n for part in mine.values() for n in part) == sorted(
        n for n, _ in model.named_parameters()
    )
    reached: set[str] = set()
    few = all_rows.rows(slice(None))
    for phase in model.phases:
        with torch.no_grad():
            model.begin(phase.name, all_rows)
        step = Step.at(model, few, 1, total=1, phase=phase.name, last_of_epoch=True)
        with torch.no_grad():
            model.closed_form(few, step)  # as the loop does first
        for player, loss in model.losses(few, step).items():
            assert loss.shape == ()
            assert loss.isfinite()
            found = gradients(loss, mine[player])
            reached |= {n for n, g in found.items() if g is not None and g.any()}
            assert all(g.isfinite().all() for g in found.values() if g is not None)
    assert reached == {n for part in mine.values() for n in part}


@over_specs
@over_recipes
def test_prior_and_likelihood_never_read_x(name, rows):
    model, few = trained(name, rows), batch(rows)
    blind = Batch(**{**vars(few), "x": torch.full_like(few.x, torch.nan)})
    with torch.no_grad():
        shape = (3, 8, model.prior(few).noise_size)
        noise = torch.randn(shape, generator=draw(8), dtype=torch.float64)
        z = model.prior(few).draw(noise)
        seen, unseen = (model.likelihood(z, b).terms(few.x, few.mask) for b in (few, blind))
        assert torch.equal(seen, unseen)
        assert torch.equal(model.prior(few).draw(noise), model.prior(blind).draw(noise))


@over_specs
@over_recipes
def test_rows_do_not_know_their_neighbours(name, rows):
    model, few = trained(name, rows).eval(), batch(rows)
    noise = torch.randn(3, 8, model.noise_size, generator=draw(9), dtype=torch.float64)
    with torch.no_grad():
        q = model.posterior(few).mean
        together = log_likelihood(model, model.posterior(few).draw(noise), few)
        for i in range(8):
            own, row = few[i : i + 1], noise[:, i : i + 1]
            alone = log_likelihood(model, model.posterior(own).draw(row), own)
            assert torch.allclose(alone[:, 0], together[:, i], atol=1e-9)
            assert torch.allclose(model.posterior(own).mean[0], q[i], atol=1e-9)


def numbers(model: Model) -> dict[str, Tensor]:
    """Parameters and buffers, those that are not stored too."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@over_specs
@over_recipes
def test_a_deep_copy_stands_alone(name, rows):
    """Training the copy leaves every number of the original as it was, to the bit."""
    model, few = trained(name, rows), batch(rows)
    before = {k: v.clone() for k, v in numbers(model).items()}
    out = log_weights(model, few, 3, seed=0)
    other = copy.deepcopy(model)
    assert torch.equal(log_weights(other, few, 3, seed=0), out)
    shifted = data(rows).part(torch.arange(32))
    train(other, shifted, steps=3)
    model.eval()
    assert all(torch.equal(v, before[k]) for k, v in numbers(model).items())
    assert torch.equal(log_weights(model, few, 3, seed=0), out)
    assert any(not torch.equal(v, before[k]) for k, v in numbers(other).items())


@over_specs
@over_recipes
def test_weights_come_back_to_the_bit(name, rows):
    """Through the bytes of a file, into a model of another seed."""
    model, few = trained(name, rows), batch(rows)
    stored = safetensors.torch.save(model.state_dict())
    other = make(name, rows, seed=1).eval()
    other.load_state_dict(safetensors.torch.load(stored))
    assert torch.equal(log_weights(other, few, 3, seed=0), log_weights(model, few, 3, seed=0))
    with torch.no_grad():
        shape = (2, 8, model.prior(few).noise_size)
        noise = torch.randn(shape, generator=draw(3), dtype=torch.float64)
        assert torch.equal(other.prior(few).draw(noise), model.prior(few).draw(noise))


def own_bound(model: Model, few: Batch, noise: Tensor) -> Tensor:
    """The ELBO written out with torch.distributions: E log p(x|z) - KL(q || N(0, I))."""
    q = model.posterior(few)
    normal = Independent(Normal(q.mean, q.stddev), 1)
    rate = kl_divergence(normal, Independent(Normal(0 * q.mean, 1 + 0 * q.mean), 1))
    z = q.mean + q.stddev * noise
    return (log_likelihood(model, z, few) - rate).mean()


@over_specs
def test_losses_are_minus_the_bound(rows):
    few = batch(rows)
    noise = torch.randn(6, 8, 2, generator=draw(10), dtype=torch.float64)
    for name, extra in (("vae", {}), ("beta_vae", {"beta": 1.0})):
        model = make(name, rows, **extra).eval()
        loss = model.losses(few, step_of(noise))["model"]
        assert loss.item() == pytest.approx(-own_bound(model, few, noise).item(), abs=1e-9)
        # before the warm-up only the distortion counts
        start = model.losses(few, step_of(noise, fraction=0.0))["model"]
        free = -log_likelihood(model, model.posterior(few).draw(noise), few).mean()
        assert start.item() == pytest.approx(free.item(), abs=1e-9)
    model = make("full_covariance", rows).eval()
    q = model.posterior(few)
    normal = torch.distributions.MultivariateNormal(q.mean, scale_tril=q.tril)
    standard = torch.distributions.MultivariateNormal(0 * q.mean, torch.eye(2).double())
    rate = kl_divergence(normal, standard)
    bound = (log_likelihood(model, q.draw(noise), few) - rate).mean().item()
    loss = model.losses(few, step_of(noise))["model"]
    assert loss.item() == pytest.approx(-bound, abs=1e-9)
    model = make("iwae", rows).eval()
    q = model.posterior(few)
    z = q.mean + q.stddev * noise
    log_w = log_likelihood(model, z, few) + Normal(0, 1).log_prob(z).sum(-1)
    log_w = log_w - Normal(q.mean, q.stddev).log_prob(z).sum(-1)
    bound = log_w.exp().mean(0).log().mean().item()
    loss = model.losses(few, step_of(noise))["model"]
    assert loss.item() == pytest.approx(-bound, abs=1e-9)
