"""The claim of recipe spike_slab: exact evidence, best mean field, and their EM."""

from itertools import pairwise

import pytest
import torch

from vaes.batch import Batch, Data, Spec
from vaes.dist.spikes import Spikes, coordinate_ascent
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import log_weight, terms
from vaes.recipes import build


def exactly(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


V = exactly([[1.2, -0.7, 0.4]])
W = exactly([[1, 0, 0.5, -1], [0, 1, -0.5, 0.5], [0.5, 0.5, 1, 0]])
NUMBERS = Spikes(
    W,
    exactly([-1, -0.5, 0, -1.5]),
    exactly([1, -1, 0.5, 2]),
    exactly([2, 1, 4, 1]),
)
VARIANCE = exactly(0.2)


def fixture(numbers: Spikes = NUMBERS, missing: bool = False, sweeps: int = 200):
    units = len(numbers.logits)
    model = build("spike_slab", Spec((3,), missing=missing), latent=units, sweeps=sweeps).double()
    for name, value in zip(("weight", "logits", "slab", "precision"), numbers, strict=True):
        getattr(model, name).copy_(value)
    model.variance.copy_(VARIANCE)
    return model


def bound(model, batch: Batch) -> torch.Tensor:
    """The ELBO in closed form, written out by the expectations of h, s and (h s)^2."""
    logits, mean, variance = model._spikes(batch)
    x, seen = model._rows(batch)
    h, q = logits.sigmoid(), torch.distributions
    code, square = h * mean, h * (mean**2 + variance)
    error = (x - seen * (code @ model.weight.T)).square().sum(-1)
    error = error + ((square - code**2).unsqueeze(1) * model.weight**2 * seen.unsqueeze(2)).sum(
        (1, 2)
    )
    n = seen.sum(-1)
    fit = -0.5 * (n * (2 * torch.pi * model.variance).log() + error / model.variance)
    spikes = q.kl_divergence(
        q.Bernoulli(logits=logits), q.Bernoulli(logits=model.logits.expand_as(logits))
    )
    slabs = q.kl_divergence(
        q.Normal(mean, variance.sqrt()), q.Normal(model.slab, model.precision.rsqrt())
    )
    return fit - (spikes + h * slabs).sum(-1)


def test_evidence_by_all_patterns_and_the_best_mean_field():
    model = fixture()
    assert model.exact(Batch(V)).item() == pytest.approx(-3.4919757814, abs=1e-9)
    assert bound(model, Batch(V)).item() == pytest.approx(-3.8947560743, abs=1e-9)
    h = model.posterior(Batch(V)).first.probs[0].tolist()
    assert h == pytest.approx([0.814666, 0.359278, 0.477332, 0.011190], abs=1e-6)


def test_draws_agree_with_both():
    """E log w is the bound, log E w the evidence; the rates' sum is what the closed form says."""
    model, draw = fixture(), torch.Generator().manual_seed(0)
    noise = torch.randn(200_000, 1, 8, generator=draw).double()
    log_w = log_weight(model, Batch(V), noise=noise)[:, 0]
    error = (log_w.std() / len(log_w) ** 0.5).item()
    assert log_w.mean().item() == pytest.approx(-3.8947560743, abs=4 * error)
    w = log_w.exp()
    error = (w.std() / w.mean() / len(w) ** 0.5).item()
    assert w.mean().log().item() == pytest.approx(-3.4919757814, abs=4 * error)
    found = terms(model, Batch(V), noise)
    total = -(found.distortion + found.rate).item()
    assert total == pytest.approx(-3.8947560743, abs=0.02)
    assert found.rates.shape == (1, 5)  # the spikes in one column, the slabs in one each


def test_the_bound_never_falls_at_any_update():
    model, found = fixture(sweeps=6), []

    def told(*q):
        model._spikes = lambda batch: q
        found.append(bound(model, Batch(V)).item())

    coordinate_ascent(NUMBERS, VARIANCE, V, None, 6, told)
    assert len(found) == 24
    assert all(b >= a - 1e-12 for a, b in pairwise(found))
    assert found[-1] > found[0] + 1e-3


def test_one_unit_is_exact():
    one = Spikes(W[:, :1], *(n[:1] for n in NUMBERS[1:]))
    model, noise = fixture(one), torch.randn(20, 1, 2).double()
    expected = model.exact(Batch(V)).expand(20, 1)
    torch.testing.assert_close(log_weight(model, Batch(V), noise=noise), expected)


def test_what_is_missing_is_left_out():
    """Evidence of two columns as the integral over the third; its q as of a model without it."""
    mask = torch.tensor([[True, False, True]])
    model, grid = fixture(missing=True), torch.linspace(-15, 15, 4001, dtype=torch.float64)
    rows = V.repeat(4001, 1)
    rows[:, 1] = grid
    total = model.exact(Batch(rows)).exp().sum().log() + (grid[1] - grid[0]).log()
    found = model.exact(Batch(V * mask, mask=mask))
    assert found.item() == pytest.approx(total.item(), abs=1e-9)
    narrow = build("spike_slab", Spec((2,)), latent=4, sweeps=200).double()
    for name, value in zip(("logits", "slab", "precision"), NUMBERS[1:], strict=True):
        getattr(narrow, name).copy_(value)
    narrow.weight.copy_(W[[0, 2]])
    narrow.variance.copy_(VARIANCE)
    few = bound(narrow, Batch(V[:, [0, 2]]))
    torch.testing.assert_close(bound(model, Batch(V * mask, mask=mask)), few)


def planted(n: int = 400, gaps: bool = False) -> tuple[Data, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    directions = torch.linalg.qr(torch.randn(6, 4, generator=draw).double())[0]
    h = (torch.rand(n, 4, generator=draw) < 0.25).double()
    s = 2 + 0.3 * torch.randn(n, 4, generator=draw).double()
    x = (h * s) @ directions.T + 0.1 * torch.randn(n, 6, generator=draw).double()
    mask = torch.rand(n, 6, generator=draw) < 0.9 if gaps else None
    x = x if mask is None else x * mask
    return Data(Spec((6,), missing=gaps, rows=n), x, mask=mask), directions


@pytest.mark.parametrize("gaps", [False, True])
def test_no_m_step_goes_down(gaps):
    """The bound at one and the same q, before and after the new numbers."""
    data, _ = planted(gaps=gaps)
    model = build("spike_slab", data.spec, latent=4).double()
    model.begin("train", data)
    whole, first = data.rows(slice(None)), None
    for _ in range(12):
        before, q = bound(model, whole).sum().item(), model._spikes(whole)
        first = before if first is None else first
        model.closed_form(whole, Step.at(model, whole, 0, last_of_epoch=True))
        model._spikes = lambda batch, q=q: q
        assert bound(model, whole).sum().item() >= before - 1e-9
        del model._spikes
    assert bound(model, whole).sum().item() > first + 10


def test_the_dictionary_is_found():
    """Card 4c: matched |cos| above .95; a quarter of the units is on, as the rows were made."""
    data, directions = planted()
    model = build("spike_slab", data.spec, latent=4).double()
    model.begin("train", data)
    whole = data.rows(slice(None))
    for _ in range(150):
        model.closed_form(whole, Step.at(model, whole, 0, last_of_epoch=True))
    found = torch.nn.functional.normalize(model.weight, dim=0)
    cos = (found.T @ directions).abs().max(0).values
    assert cos.min() > 0.95
    on = model.posterior(whole).first.probs.mean(0)
    assert on.tolist() == pytest.approx([0.25] * 4, abs=0.08)


def test_mistakes():
    with pytest.raises(UsageError, match="at least one of each"):
        build("spike_slab", Spec((3,)), sweeps=0)
    with pytest.raises(UsageError, match="too many patterns"):
        build("spike_slab", Spec((30,)), latent=13).exact(Batch(torch.zeros(1, 30)))
