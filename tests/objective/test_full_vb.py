"""The posterior over weights: its rate by torch, its draws, what is scored, what it refuses."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.fixtures import step_of
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.objective import Elbo, log_weight, terms
from vaes.objective.full_vb import FullVb
from vaes.recipes import build

SPEC = Spec((6,), rows=50)
X = Batch(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)).double())
NOISE = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(1)).double()


def model(**extra):
    torch.manual_seed(0)
    return build("full_vb", SPEC, latent=2, hidden=(5,), samples=3, **extra).double()


def test_the_rate_of_the_weights():
    """Weight by weight KL(N(m, s^2) || N(0, t^2)), t = spread / sqrt(inputs), spread for biases and
    for the scale of the likelihood."""
    made = model(spread=0.7)
    scales = made.objective.log_scale.exp()
    with torch.no_grad():
        made.objective.log_scale.add_(
            torch.randn(len(scales), generator=torch.Generator().manual_seed(2))
        )
    scales, place, rate = made.objective.log_scale.exp(), 0, 0.0
    for weight in made.decoder.parameters():
        t = 0.7 / math.sqrt(weight.shape[1]) if weight.dim() == 2 else 0.7
        s = scales[place : place + weight.numel()].view_as(weight)
        rate += kl_divergence(Normal(weight, s), Normal(0.0, t)).sum().item()
        place += weight.numel()
    assert place == len(scales)
    assert made.objective.weights_rate(made.decoder).item() == pytest.approx(rate, rel=1e-9)


def test_inputs_of_a_convolution_are_its_patch():
    conv = torch.nn.Conv2d(3, 4, 5)
    found = FullVb(10).over(conv)
    assert found.prior_scale[0].item() == pytest.approx(1 / math.sqrt(75))
    assert found.prior_scale[-1].item() == 1.0


def test_a_draw_of_the_weights_is_the_decoder_with_those_weights():
    made = model()
    noise = torch.randn(
        made.objective.log_scale.shape, generator=torch.Generator().manual_seed(3)
    ).double()
    found = made.objective.at(made, X, NOISE, noise)
    other = model()
    with torch.no_grad():
        flat = torch.cat([w.flatten() for w in made.decoder.parameters()])
        flat = flat + made.objective.log_scale.exp() * noise
        torch.nn.utils.vector_to_parameters(flat, other.decoder.parameters())
    for mine, theirs in zip(found, terms(other, X, NOISE), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)


def test_the_loss_is_the_bound_of_one_draw():
    """ELBO given the weights, the rate of the weights over the rows; in the warm-up both rates are
    weighted down."""
    made = model(warmup=0.5)
    for fraction, weight in ((1.0, 1.0), (0.5, 1.0), (0.25, 0.5), (0.0, 0.0)):
        torch.manual_seed(7)
        loss = made.losses(X, step_of(NOISE, fraction=fraction))["model"]
        torch.manual_seed(7)
        found = made.objective.at(made, X, NOISE, torch.randn_like(made.objective.log_scale))
        rate = found.rate.mean() + made.objective.weights_rate(made.decoder) / 50
        assert loss.item() == pytest.approx((found.distortion.mean() + weight * rate).item())
    assert made.warmup == 0.5


def test_what_is_scored_is_the_model_at_the_mean_weights():
    made, plain = model(), None
    torch.manual_seed(0)
    plain = build("vae", SPEC, latent=2, hidden=(5,)).double()
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if k in plain.state_dict()})
    assert torch.equal(log_weight(made, X, noise=NOISE), log_weight(plain, X, noise=NOISE))
    judged = made.judged(X, step_of(NOISE)).item()
    elbo = Elbo()(plain, X, step_of(NOISE)).item()
    assert judged == pytest.approx(elbo + made.objective.weights_rate(made.decoder).item() / 50)


def test_rows_are_those_of_training():
    made = model()
    assert made.objective.rows == 50
    made.begin("train", Data(SPEC, X.x))
    assert made.objective.rows == 8


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: build("full_vb", SPEC, spread=0.0), "spread=0.0"),
        (lambda: build("full_vb", SPEC, warmup=2.0), "warmup=2.0"),
        (lambda: FullVb(5).over(torch.nn.Identity()), "no weights that may move"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_without_a_number_of_rows_there_is_no_bound():
    torch.manual_seed(0)
    made = build("full_vb", Spec((6,)), latent=2, hidden=(5,)).double()
    with pytest.raises(UsageError, match=r"give Spec\.rows"):
        made.losses(X, step_of(NOISE))
