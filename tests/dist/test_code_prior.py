"""The prior over codes: a distribution over all their sequences, even until it is fitted."""

import itertools
import math

import pytest
import torch

from tests.fixtures import train
from vaes.batch import Batch, Data, Spec
from vaes.model import Model
from vaes.nets.causal import Causal
from vaes.recipes import build

CODES, PLACES = 5, 3
EVERY = torch.tensor([*itertools.product(range(CODES), repeat=PLACES)])


def model_of(fitted: bool = True) -> Model:
    """A model of 3 places and 5 codes; its prior has random weights, or is as it begins."""
    torch.manual_seed(0)
    model = build("vq_vae", Spec((6,)), codes=CODES, latent=PLACES, width=2, hidden=(8,)).double()
    if fitted:
        torch.nn.init.normal_(model.latent_prior.net.last.weight, std=1.0)
    return model.eval()


def codes_to_z(model: Model, codes: torch.Tensor) -> torch.Tensor:
    head = model.encoder.head
    return head.joined(head.quantiser.embed(codes))


def test_the_probabilities_of_all_sequences_sum_to_one():
    model = model_of()
    with torch.no_grad():
        p = model.prior(Batch(torch.zeros(1, 6)))
        log_p = p.log_prob(codes_to_z(model, EVERY).unsqueeze(1))
    assert log_p.shape == (125, 1)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-10)
    assert log_p.std() > 0.1


def test_even_until_it_is_fitted():
    """log p = -places log codes, for every sequence: the rate of van den Oord et al. 2017."""
    model = model_of(fitted=False)
    p = model.prior(Batch(torch.zeros(1, 6)))
    log_p = p.log_prob(codes_to_z(model, EVERY).unsqueeze(1))
    assert (log_p + PLACES * math.log(CODES)).abs().max() < 1e-12


def test_draws_follow_the_density():
    """100,000 draws against the 125 probabilities: chi-squared within 4 deviations."""
    model = model_of()
    with torch.no_grad():
        p = model.prior(Batch(torch.zeros(1, 6)))
        expected = p.log_prob(codes_to_z(model, EVERY).unsqueeze(1)).exp()[:, 0]
        draw = torch.Generator().manual_seed(0)
        z = p.draw(torch.randn(100_000, 1, p.noise_size, generator=draw, dtype=torch.float64))
        codes = model.encoder.head.quantiser.codes(model.encoder.head.split(z)).squeeze(1)
    place = CODES ** torch.arange(PLACES - 1, -1, -1)
    counts = (codes * place).sum(-1).bincount(minlength=125)
    statistic = ((counts - 1e5 * expected).square() / (1e5 * expected)).sum().item()
    assert abs(statistic - 124) < 4 * math.sqrt(2 * 124)


def test_a_vector_of_no_code_has_no_probability():
    model = model_of()
    z = codes_to_z(model, EVERY[:4]).unsqueeze(1)
    p = model.prior(Batch(torch.zeros(1, 6)))
    z[1, 0, 3] += 1e-6
    assert p.log_prob(z).isinf().flatten().tolist() == [False, True, False, False]
    assert p.log_prob(model.posterior(Batch(torch.randn(7, 6).double())).mean).isfinite().all()


def test_the_mean_is_the_likeliest_code_in_turn():
    model = model_of()
    with torch.no_grad():
        net, codes = model.latent_prior.net, torch.zeros(1, PLACES, dtype=torch.long)
        for i in range(PLACES):
            codes[0, i] = net(codes)[0, i].argmax()
        p = model.prior(Batch(torch.zeros(2, 6)))
        assert torch.equal(p.mean, codes_to_z(model, codes).expand(2, -1))


def test_one_place_at_a_time_is_the_whole_sequence():
    """Remembered keys and values give the logits of a pass over everything; none looks ahead."""
    torch.manual_seed(0)
    net = Causal(6, 7, width=8).double()
    torch.nn.init.normal_(net.last.weight)
    codes = torch.randint(7, (4, 6))
    whole = net(codes)
    logits, past = net.begin(4)
    assert torch.allclose(logits, whole[:, 0], atol=1e-12)
    for i in range(1, 6):
        logits, past = net.follow(codes[:, i - 1], i, past)
        assert torch.allclose(logits, whole[:, i], atol=1e-12)
    other = codes.clone()
    other[:, 3] = (other[:, 3] + 1) % 7
    moved = (net(other) - whole).abs().amax((0, 2)) > 1e-9
    assert moved.tolist() == [False] * 4 + [True] * 2


def test_chunks_change_nothing(monkeypatch):
    model = model_of()
    with torch.no_grad():
        p = model.prior(Batch(torch.zeros(1, 6)))
        noise = torch.randn(50, 2, p.noise_size, dtype=torch.float64)
        z = p.draw(noise)
        log_p = p.log_prob(z)
        monkeypatch.setattr("vaes.dist.code_prior.ENTRIES", 500)
        assert torch.equal(p.draw(noise), z)
        assert torch.allclose(p.log_prob(z), log_p, atol=1e-12)


def test_fitting_moves_the_prior_alone_and_finds_the_order_of_codes():
    """Rows of two places of which the second repeats the first, of four values: the rate falls
    from 2 log(codes) to log 4, not 2 log 4."""
    torch.manual_seed(0)
    value = torch.arange(80) % 4
    x = torch.nn.functional.one_hot(value, 4).double().repeat(1, 2) * 4 - 1
    spec = Spec((8,))
    model = build("vq_vae", spec, codes=6, latent=2, width=2, hidden=(16,), context=16).double()
    data = Data(spec, x)
    train(model, data, steps=200)
    few = data.rows(slice(None))
    with torch.no_grad():
        q = model.posterior(few)
        rate = -model.prior(few).log_prob(q.mean).mean().item()
    patterns = len(q.codes.unique(dim=0))
    assert patterns == 4
    assert rate == pytest.approx(math.log(4), abs=0.05)
