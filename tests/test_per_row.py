"""Posteriors that are found for each row: tables, new rows, both at once, what is refused."""

import copy

import pytest
import torch

from tests.fixtures import LG_X, ppca_rows, step_of, train
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.per_row import minus_elbo
from vaes.recipes import build

SPEC = Spec((8,), rows=40)
ROWS = torch.from_numpy(ppca_rows()[:60].copy()) / 3
INDEX = torch.arange(40)
TRAIN = Data(SPEC, ROWS[:40], index=INDEX)
MIXED = Batch(ROWS, index=torch.cat([INDEX, torch.full((20,), -1)]))
over_both = pytest.mark.parametrize("name", ["svi", "auto_decoder"])


def made(name, **options):
    torch.manual_seed(0)
    options = {"latent": 2, "hidden": (16,), "scale": 1.0, **options}
    return build(name, SPEC, **options).double()


def trained(name, steps=100, **options):
    model = made(name, **options)
    train(model, TRAIN, steps=steps)
    return model.eval()


@over_both
def test_training_moves_the_codes_of_its_rows_and_fits_the_decoder(name):
    start = made(name).eval()
    with torch.no_grad():
        start.begin("codes", TRAIN)
    model, noise = trained(name), torch.zeros(1, 1, 2).double()
    before, after = (
        m.objective(m, TRAIN.rows(slice(None)), step_of(noise)).item() for m in (start, model)
    )
    assert after < before - 1
    assert model.table.numbers.abs().amin(0).max() > 0
    assert (model.table.taken == 100 * model.inner.steps).all()


@over_both
def test_training_and_new_rows_in_one_batch_are_as_they_are_alone(name):
    model = trained(name)
    with torch.no_grad():
        together = model.posterior(MIXED).mean
        held = model.posterior(MIXED[:40]).mean
        assert torch.equal(together[:40], held)
        assert torch.equal(held, model.head(model.table.numbers).mean)
        order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
        shuffled = model.posterior(MIXED[order]).mean
        assert torch.allclose(shuffled, together[order], atol=1e-9)
        for size in (1, 7):
            parts = [model.posterior(MIXED[i : i + size]).mean for i in range(40, 60, size)]
            assert torch.allclose(torch.cat(parts)[:20], together[40:], atol=1e-9)
        # the same with gradients, and again: the global generator has no part in it
        torch.manual_seed(5)
        assert torch.equal(model.posterior(MIXED).mean, together)


@over_both
def test_of_new_rows_memory_does_not_change_what_is_found(name, monkeypatch):
    model = trained(name)
    new = Batch(ROWS[40:])
    with torch.no_grad():
        whole = model.posterior(new).mean
        monkeypatch.setattr("vaes.per_row.ENTRIES", 3 * 8 * 16)  # three rows at a time
        assert torch.allclose(model.posterior(new).mean, whole, atol=1e-9)


@over_both
def test_a_new_row_never_ends_below_where_it_began(name):
    """With a rate at which the descent goes astray too."""
    for rate in (0.2, 30.0):
        model = trained(name, steps=20, refine_rate=rate)
        new, noise = Batch(ROWS[40:]), torch.randn(4000, 1, 2).double()
        zeros = torch.zeros(20, model.table.numbers.shape[1]).double()
        with torch.no_grad():
            start = model.cost(model, new, model.head(zeros), noise)
            end = model.cost(model, new, model.posterior(new), noise)
        assert (end <= start + 0.1).all()
        assert rate > 1 or (end < start - 0.02).double().mean() > 0.8


@over_both
def test_a_copy_moves_its_own_table(name):
    model = trained(name)
    before = model.table.numbers.clone()
    other = copy.deepcopy(model)
    train(other, TRAIN, steps=2)
    assert torch.equal(model.table.numbers, before)
    assert not torch.equal(other.table.numbers, before)


@over_both
def test_a_step_of_few_rows_leaves_the_others(name):
    model = trained(name)
    before, some = model.table.numbers.clone(), TRAIN.rows(INDEX[5:9])
    model.closed_form(some, step_of(torch.zeros(1, 1, 2).double()))
    moved = (model.table.numbers != before).any(1)
    assert moved.tolist() == [5 <= i < 9 for i in range(40)]


def test_the_objective_and_the_family_are_any():
    for options in (
        {"posterior": "cholesky"},
        {"objective": {"name": "iwae", "samples": 3}},
        {"prior": "mixture"},
    ):
        model = trained("svi", steps=10, **options)
        assert model.posterior(MIXED).mean.isfinite().all()


@pytest.mark.parametrize("name", ["svi", "semi_amortized"])
def test_what_has_no_gradient_through_z_is_refused(name):
    with pytest.raises(UsageError, match="no gradient through z"):
        build(name, SPEC, latent=2, posterior="bernoulli", objective="reinforce")


def test_other_mistakes_are_one_line():
    with pytest.raises(UsageError, match="take prior=mixture"):
        build("svi", SPEC, latent=2, prior={"name": "vamp", "components": 2})
    for name in ("svi", "auto_decoder"):
        for option in ({"inner": 0}, {"refine": 0}, {"inner_rate": 0.0}, {"refine_rate": -1.0}):
            with pytest.raises(UsageError, match="at least one step each"):
                build(name, SPEC, latent=2, **option)
    for option in ({"inner": -1}, {"inner_rate": 0.0}, {"momentum": 1.0}, {"inner_clip": 0.0}):
        with pytest.raises(UsageError, match="a momentum from 0 to below 1"):
            build("semi_amortized", SPEC, latent=2, **option)
    with pytest.raises(UsageError, match="a table of codes"):
        build("svi", Spec((5,), rows=2_000_000), latent=2)


def test_semi_amortised_steps_never_lower_the_bound_of_a_row():
    """At a rate that makes the steps diverge a row keeps the encoder's numbers."""
    x = Batch(ROWS)
    for rate in (0.1, 50.0):
        torch.manual_seed(0)
        model = build("semi_amortized", SPEC, latent=2, hidden=(16,), inner_rate=rate, scale=1.0)
        model = model.double().eval()
        noise = torch.randn(1000, 1, 2).double()
        with torch.no_grad():
            start = model.encoder(model.inputs(x))

            before, after = (minus_elbo(model, x, q, noise) for q in (start, model.posterior(x)))
        assert (after <= before + 0.05).all()
        if rate == 0.1:
            assert (after < before - 0.02).double().mean() > 0.9


def test_rows_of_lg_need_no_index():
    """A model for rows that it never saw: the table is empty, everything is found."""
    model = build("svi", Spec((5,)), latent=2, hidden=()).double()
    assert len(model.table) == 0
    assert model.posterior(Batch(LG_X)).mean.shape == (1, 2)
