"""Bits and one-hot codes: exact draws, densities that sum and integrate to 1, closed KL."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, OneHotCategorical, kl_divergence

from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist.latent_codes import Bits, BitsHead, OneHots, OneHotsHead
from vaes.errors import UsageError
from vaes.objective import log_likelihood, log_weight

LOGITS = torch.tensor([[0.2, -0.5, 1.0], [2.0, 0.0, -3.0]], dtype=torch.float64)
CLASSES = torch.tensor(
    [[[0.1, 0.5, -1.0], [2.0, 0.3, 0.0]], [[0.0, 0.0, 0.0], [-1.0, 4.0, 0.0]]], dtype=torch.float64
)
ALPHA = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)


def quantiles(n: int) -> torch.Tensor:
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)


def states(q) -> torch.Tensor:
    """Every z of a batch of two, (states, 1, d)."""
    if isinstance(q, Bits):
        every = [*itertools.product((0.0, 1.0), repeat=q.event_shape[0])]
    else:
        eye = torch.eye(q.classes).tolist()
        variables = q.event_shape[0] // q.classes
        every = [[*itertools.chain(*z)] for z in itertools.product(eye, repeat=variables)]
    return torch.tensor(every, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize("q", [Bits(LOGITS), OneHots(CLASSES)])
def test_probabilities_sum_to_one_and_give_moments_and_entropy(q):
    z = states(q)
    log_p = q.log_prob(z)
    p = log_p.exp()
    assert torch.allclose(p.sum(0), torch.ones(2).double(), atol=1e-12)
    mean = (p.unsqueeze(-1) * z).sum(0)
    assert torch.allclose((p.unsqueeze(-1) * (z - mean).square()).sum(0), q.variance, atol=1e-12)
    assert torch.allclose(-(p * log_p).sum(0), q.entropy(), atol=1e-12)
    mode = z.squeeze(1)[p.argmax(0)]
    assert torch.equal(q.log_prob(mode), q.log_prob(q.mean))


def test_densities_and_kl_are_those_of_torch():
    q, p = Bits(LOGITS), Bits(torch.tensor([0.3, 0.0, -1.0], dtype=torch.float64).expand(2, -1))
    z = states(q)
    ours, theirs = Bernoulli(logits=LOGITS), Bernoulli(logits=p.logits)
    assert torch.allclose(q.log_prob(z), ours.log_prob(z).sum(-1), atol=1e-12)
    assert torch.allclose(kl_divergence(q, p), kl_divergence(ours, theirs).sum(-1), atol=1e-12)
    q, p = OneHots(CLASSES), OneHots(CLASSES.flip(0) * 0.5)
    ours, theirs = (OneHotCategorical(logits=each.logits) for each in (q, p))
    z = states(q)
    assert torch.allclose(q.log_prob(z), ours.log_prob(z.unflatten(-1, (2, 3))).sum(-1), atol=1e-12)
    assert torch.allclose(kl_divergence(q, p), kl_divergence(ours, theirs).sum(-1), atol=1e-12)
    # card 7: against fair bits, log 2 - H; against even classes, log C - H
    even = OneHots(torch.zeros(2, 2, 3, dtype=torch.float64))
    assert torch.allclose(kl_divergence(q, even), 2 * math.log(3) - q.entropy(), atol=1e-12)


def test_bits_are_drawn_exactly():
    """A grid over the quantiles of the noise: the share of ones is p to the grid's spacing."""
    z = Bits(LOGITS).draw(quantiles(20_001).view(-1, 1, 1).expand(-1, 2, 3))
    assert (z.mean(0) - LOGITS.sigmoid()).abs().max() <= 1 / 20_001
    assert set(z.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_the_largest_share_of_a_relaxed_draw_is_the_exact_draw(temperature):
    """For every temperature, and it follows Cat(alpha / sum alpha): 4 standard errors."""
    q = OneHots(ALPHA.log().view(1, 1, 3))
    noise = torch.randn(40_000, 1, 3, generator=torch.Generator().manual_seed(0)).double()
    y = q.opened(q.relaxed(noise, temperature))
    assert torch.allclose(y.sum(-1), torch.ones(1).double())
    hard = torch.nn.functional.one_hot(y.argmax(-1), 3).double()
    assert torch.equal(hard, q.draw(noise))
    p = ALPHA / ALPHA.sum()
    error = (p * (1 - p) / 40_000).sqrt()
    assert ((hard.mean((0, 1)) - p).abs() < 4 * error).all()
    bits = Bits(LOGITS)
    y = bits.opened(bits.relaxed(noise, temperature))
    assert torch.equal((y > 0.5).double(), bits.draw(noise))


@pytest.mark.parametrize(("temperature", "near"), [(1.0, 3e-4), (2.0, 1e-6)])
def test_the_concrete_density_integrates_to_one(temperature, near):
    """Card 7: over a grid of 1,500^2 midpoints of the simplex, alpha = (.5, 1, 2)."""
    n = 1500
    side = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    a, b = side.view(-1, 1), side.view(1, -1)
    inside = a + b < 1
    y = torch.stack(torch.broadcast_tensors(a, b, (1 - a - b).clamp(min=1e-300)), -1)[inside]
    q = OneHots(ALPHA.log().view(1, 1, 3))
    # of log y; 1 / (y1 y2 y3) carries it over to y
    density = (q.relaxed_log_prob(y.log(), temperature) - y.log().sum(-1)).exp()
    written = 2 * temperature**2 * (ALPHA * y ** (-temperature - 1)).prod(-1)
    written = written / (ALPHA * y**-temperature).sum(-1) ** 3
    assert torch.allclose(density, written, rtol=1e-9)
    assert density.sum().item() / n**2 == pytest.approx(1.0, abs=near)


def test_the_binary_concrete_density_integrates_to_one_and_to_p():
    q, t = Bits(torch.tensor([0.7], dtype=torch.float64)), 0.6
    u = torch.linspace(-80, 80, 200_001, dtype=torch.float64).unsqueeze(-1)
    density = q.relaxed_log_prob(u, t).exp()
    assert torch.trapezoid(density, u[:, 0]).item() == pytest.approx(1.0, abs=1e-6)
    positive = torch.trapezoid(density[100_000:], u[100_000:, 0])
    assert positive.item() == pytest.approx(1 / (1 + math.exp(-0.7)), abs=1e-6)


def test_two_classes_are_a_bit():
    """The log-odds of two classes are the difference of their log-shares: the densities agree."""
    logit = torch.tensor([0.7], dtype=torch.float64)
    pair = OneHots(torch.stack([logit, torch.zeros(1).double()], -1))
    u = torch.tensor([[-1.3], [0.4], [6.0]], dtype=torch.float64)
    log_y = torch.cat([torch.nn.functional.logsigmoid(u), torch.nn.functional.logsigmoid(-u)], -1)
    assert torch.allclose(
        pair.relaxed_log_prob(log_y, 0.6), Bits(logit).relaxed_log_prob(u, 0.6), atol=1e-12
    )


@pytest.mark.parametrize(
    ("posterior", "latent"), [("bernoulli", 12), ({"name": "categorical", "classes": 4}, 8)]
)
@pytest.mark.parametrize("learnt", [False, True])
def test_evidence_by_enumeration_is_above_every_bound(posterior, latent, learnt):
    """All states of z: log p(x) exactly; the bounds of 1, 10 and 1,000 draws rise towards it."""
    torch.manual_seed(0)
    family = posterior if isinstance(posterior, str) else posterior["name"]
    model = compose(
        Spec((6,), ("binary",), (2,)),
        "vimco",
        latent=latent,
        hidden=(8,),
        posterior=posterior,
        prior={"name": family, "learnt": learnt},
    ).double()
    if learnt:
        torch.nn.init.normal_(model.latent_prior.logits)
    assert sum(p is model.latent_prior for p in model.modules()) == 1
    few = Batch((torch.rand(5, 6) < 0.5).double())
    with torch.no_grad():
        z = states(model.posterior(few))
        p = model.prior(few)
        assert torch.allclose(p.log_prob(z).logsumexp(0), torch.zeros(5).double(), atol=1e-10)
        exact = (log_likelihood(model, z, few) + p.log_prob(z)).logsumexp(0)
        q = model.posterior(few)
        elbo = (
            q.log_prob(z).exp() * (log_likelihood(model, z, few) + p.log_prob(z) - q.log_prob(z))
        ).sum(0)
        noise = torch.randn(40_000, 5, latent, dtype=torch.float64)
        log_w = log_weight(model, few, noise=noise)
    assert (elbo < exact).all()
    assert (log_w.mean(0) - elbo).abs().max() < 4 * log_w.std(0).max() / 200
    means = [(log_w.view(k, -1, 5).logsumexp(0) - math.log(k)).mean(0) for k in (1, 10, 1000)]
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    spread = log_w.view(1000, -1, 5).logsumexp(0).std(0) / math.sqrt(40)
    assert (means[2] < exact + 4 * spread).all()
    error = log_w.exp().std(0) / log_w.exp().mean(0) / 200
    assert ((log_w.logsumexp(0) - math.log(40_000) - exact).abs() < 4 * error).all()


def test_a_learnt_prior_of_bits_comes_to_their_shares():
    """For a q that stays, the best prior has the mean of q's probabilities (each column's)."""
    model = compose(
        Spec((4,)),
        "vimco",
        latent=3,
        posterior="bernoulli",
        prior={"name": "bernoulli", "learnt": True},
    ).double()
    q = Bits(LOGITS)
    adam = torch.optim.Adam(model.latent_prior.parameters(), 0.05)
    for _ in range(600):
        adam.zero_grad()
        kl_divergence(q, model.prior(Batch(torch.zeros(2, 4)))).mean().backward()
        adam.step()
    found = model.prior(Batch(torch.zeros(1, 4))).probs[0]
    assert torch.allclose(found, LOGITS.sigmoid().mean(0), atol=1e-4)


def test_a_family_that_does_not_fit_is_one_line():
    with pytest.raises(UsageError, match="latent=7 and classes=3"):
        OneHotsHead(7, 3)
    with pytest.raises(UsageError, match="classes=1"):
        OneHotsHead(6, 1)
    for options in ({"objective": "elbo"}, {"objective": "iwae"}):
        with pytest.raises(UsageError, match="follows gradients through z"):
            compose(Spec((4,)), **options, latent=3, posterior="bernoulli")
    with pytest.raises(UsageError, match="live in 'binary'"):
        compose(Spec((4,)), "vimco", latent=3, posterior="bernoulli", prior="standard")


def test_heads_take_half_precision_numbers_as_float32():
    for head in (BitsHead(6), OneHotsHead(6, 3)):
        q = head(torch.zeros(2, 6, dtype=torch.bfloat16))
        assert q.log_prob(q.mean).dtype == torch.float32
