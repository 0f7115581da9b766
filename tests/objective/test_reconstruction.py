"""What autoencoders are asked for beside the reconstruction, against closed forms."""

import math

import pytest
import torch

from tests.fixtures import gradients, step_of
from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist.point import PointHead
from vaes.dist.points import BallHead, TopHead, UnitHead
from vaes.errors import UsageError
from vaes.objective import Elbo, log_likelihood
from vaes.objective.reconstruction import (
    Reconstruction,
    bernoulli_kl,
    bounded_slopes,
    squared_jacobian,
)
from vaes.recipes import build

X = torch.randn(7, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
STEP = step_of(torch.zeros(1, 1, 3).double())


def linear(objective=None, hidden=(), spec=None):
    torch.manual_seed(1)
    return compose(
        spec or Spec((5,)),
        objective or Reconstruction(),
        latent=3,
        hidden=hidden,
        posterior=PointHead(3),
        prior="fitted",
        scale=1.0,
        bound="none",
    ).double()


def loss(model, objective, batch=None):
    return objective(model, batch or Batch(X), STEP).item()


def extra(objective, hidden=()):
    """What it adds to the plain reconstruction of one and the same model."""
    model = linear(hidden=hidden)
    return loss(model, objective) - loss(model, Reconstruction()), model


def test_the_reconstruction_is_half_the_squares_and_its_constant():
    model = linear()
    squares = (model.likelihood(model.posterior(Batch(X)).mean, Batch(X)).mean - X).square()
    expected = 0.5 * squares.sum(1).mean().item() + 2.5 * math.log(2 * math.pi)
    assert loss(model, Reconstruction()) == pytest.approx(expected, abs=1e-12)


def test_size_of_codes_and_of_weights():
    for weight in (1.0, 0.3):
        added, model = extra(Reconstruction(l2=weight))
        z = model.posterior(Batch(X)).mean
        assert added == pytest.approx(weight / 2 * z.square().sum(1).mean().item(), abs=1e-12)
        added, _ = extra(Reconstruction(l1=weight))
        assert added == pytest.approx(weight * z.abs().sum(1).mean().item(), abs=1e-12)
        added, _ = extra(Reconstruction(decay=weight))
        squares = model.decoder.last.weight.square().sum().item()
        assert added == pytest.approx(weight / 2 * squares, abs=1e-12)


def test_jacobians_of_linear_maps_are_their_weights():
    added, model = extra(Reconstruction(contract=0.7, probes=0))
    assert added == pytest.approx(0.7 * model.encoder.last.weight.square().sum().item(), abs=1e-12)
    added, _ = extra(Reconstruction(slope=0.7, probes=0))
    assert added == pytest.approx(0.7 * model.decoder.last.weight.square().sum().item(), abs=1e-12)


def test_jacobian_of_any_encoder_is_that_of_autograd():
    model = linear(hidden=(6,))

    def encode(x):
        return model.posterior(Batch(x[None])).mean[0]

    jacobians = torch.func.vmap(torch.func.jacrev(encode))(X)
    expected = jacobians.square().sum((1, 2))
    exact = squared_jacobian(lambda x: model.posterior(Batch(x)).mean, X, 0)
    assert torch.allclose(exact, expected, atol=1e-12)
    # and by random directions, without bias
    torch.manual_seed(0)
    drawn = torch.stack(
        [squared_jacobian(lambda x: model.posterior(Batch(x)).mean, X, 2) for _ in range(2000)]
    ).detach()
    error = drawn.std(0) / math.sqrt(2000)
    assert ((drawn.mean(0) - expected).abs() < 4 * error).all()
    assert (error > 0).all()


def test_contraction_has_a_gradient_where_gradients_are_off_and_on():
    objective, model = Reconstruction(contract=1.0, probes=0), linear(hidden=(6,))
    with torch.no_grad():
        off = loss(model, objective)
    found = objective(model, Batch(X), STEP)
    assert found.item() == pytest.approx(off, abs=1e-12)
    weights = dict(model.encoder.named_parameters())
    with_it = gradients(found, weights)
    without = gradients(Reconstruction()(model, Batch(X), STEP), weights)
    apart = [not torch.allclose(with_it[n], without[n]) for n in weights if "weight" in n]
    assert all(apart)


def test_noise_adds_its_power_through_the_linear_map():
    """E over noise of 1/2 |x - D E (x + e)|^2 is the clean one + noise^2 / 2 |D E|_F^2."""
    added, model = [], linear()
    torch.manual_seed(0)
    clean = loss(model, Reconstruction())
    with torch.no_grad():
        added = [loss(model, Reconstruction(noise=0.5)) - clean for _ in range(4000)]
    both = model.decoder.last.weight @ model.encoder.last.weight
    expected = 0.125 * both.square().sum().item()
    drawn = torch.tensor(added)
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / 63)


def test_hidden_entries_are_zeros_to_the_encoder_alone():
    """E 1/2 |y - D E (m x)|^2 with m Bernoulli(1 - h): the mean's, and h (1 - h) sum x_j^2 |c_j|^2
    / 2 for the columns c_j of D E."""
    model, h = linear(), 0.3
    torch.manual_seed(0)
    with torch.no_grad():
        drawn = torch.tensor([loss(model, Reconstruction(hide=h)) for _ in range(4000)])
        middle = model.posterior(Batch((1 - h) * X)).mean
        expected = -log_likelihood(model, middle, Batch(X)).mean().item()
        both = model.decoder.last.weight @ model.encoder.last.weight
        columns = both.square().sum(0)
        expected += 0.5 * h * (1 - h) * (X.square() @ columns).mean().item()
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / 63)


def test_hidden_entries_are_gaps_where_rows_have_gaps():
    mask = torch.rand(X.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    batch = Batch(X * mask, mask=mask)
    seen = Reconstruction(hide=0.5).corrupted(batch)
    assert (seen.mask <= mask).all()
    assert seen.mask.sum() < mask.sum()
    assert not seen.x[~seen.mask].any()
    assert torch.equal(seen.x[seen.mask], X[seen.mask])


def test_share_is_the_kl_of_mean_activations():
    kl = torch.distributions.kl_divergence
    bernoulli, mean = torch.distributions.Bernoulli, torch.tensor([0.05, 0.3, 0.9]).double()
    rho = torch.tensor(0.05, dtype=torch.float64)
    assert torch.allclose(bernoulli_kl(0.05, mean), kl(bernoulli(rho), bernoulli(mean)))
    assert bernoulli_kl(0.05, mean)[0].item() == pytest.approx(0, abs=1e-12)
    model = build("autoencoder", Spec((5,)), latent=3, hidden=(), share=2.0, rho=0.2).double()
    z = model.posterior(Batch(X)).mean
    assert (z > 0).all()
    assert (z < 1).all()
    plain = -log_likelihood(model, z, Batch(X)).mean()
    expected = plain + 2 * kl(bernoulli(rho * 4), bernoulli(z.mean(0))).sum()
    assert model.losses(Batch(X), STEP)["model"].item() == pytest.approx(expected.item(), abs=1e-9)


def test_heads_of_points():
    h = torch.tensor([[3.0, -4.0, 1.0], [0.1, 0.2, -0.3]]).double().requires_grad_()
    top = TopHead(3, 2)(h).mean
    assert torch.equal(top, torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.2, -0.3]]).double())
    (slope,) = torch.autograd.grad(top.sum(), h)
    assert torch.equal(slope, (top != 0).double())
    ball = BallHead(3)(h).mean.detach()
    assert torch.allclose(ball[0], h[0] / math.sqrt(26))
    assert torch.equal(ball[1], h[1])
    assert torch.equal(UnitHead(3)(h).mean, torch.sigmoid(h))


def test_a_vae_without_noise_and_rate_is_an_autoencoder_to_the_bit():
    """Card 1 (iii): z is the mean and beta = 0: the same loss and gradients."""
    found = []
    for objective in (Reconstruction(), Elbo(beta=0.0)):
        model = linear(objective, hidden=(8,))
        value = model.losses(Batch(X), STEP)["model"]
        found.append((value, gradients(value, dict(model.named_parameters()))))
    (ours, slopes), (theirs, others) = found
    assert torch.equal(ours, theirs)
    assert all(torch.equal(g, others[n]) for n, g in slopes.items())
    assert all(g.any() for g in slopes.values())


def test_bounded_slopes_have_a_largest_singular_value_of_one():
    model = linear(hidden=(6,))
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(10)
    bounded_slopes(model.decoder)
    model.train()
    for _ in range(50):  # each pass takes a step of the power iteration
        model.decoder(X[:, :3])
    maps = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)]
    assert len(maps) == 2
    for module in maps:
        assert torch.linalg.matrix_norm(module.weight, 2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hide": 1.0}, "hide=1.0"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"contract": -0.1}, "contract"),
        ({"rho": 0.1}, "give the weight"),
        ({"probes": 2}, "give the weight"),
        ({"share": 1.0, "rho": 1.5}, "rho=1.5"),
        ({"keep": 9}, "1 to 3 can be kept"),
        ({"keep": 1, "share": 1.0}, "give one"),
    ],
)
def test_mistakes_are_one_line(options, said):
    with pytest.raises(UsageError, match=said):
        build("autoencoder", Spec((5,)), latent=3, hidden=(), **options)


def test_codes_of_categories_take_no_noise():
    spec = Spec((3,), ("category",), (4,))
    for options in ({"noise": 0.1}, {"hide": 0.1}):
        with pytest.raises(UsageError, match="'category' entries cannot be corrupted"):
            build("autoencoder", spec, latent=2, hidden=(), **options)
    gaps = Spec((3,), ("category",), (4,), missing=True)
    with pytest.raises(UsageError, match="take hide alone"):
        build("autoencoder", gaps, latent=2, hidden=(), noise=0.1)
