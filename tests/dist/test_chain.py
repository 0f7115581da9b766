"""Chains of latents: KL link by link, the other order, and numbers held fixed, by closed forms.

The model: z2 ~ N(0, 1), z1 | z2 ~ N(.8 z2, .5), x | z1 ~ N(1.5 z1, .3), x = 1; all is normal.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures import star
from vaes.batch import Batch, Spec
from vaes.dist.base import Latent
from vaes.dist.chain import Chain, Flipped, Given
from vaes.dist.gaussian import DiagonalNormal, NormalLikelihood
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective import draw, log_weight, terms

X = Batch(torch.ones(1, 1, dtype=torch.float64))
EVIDENCE = -1.6197427781


def normal(mean: Tensor | float, variance: float, like: Tensor | None = None) -> DiagonalNormal:
    shape = (1, 1) if like is None else like.shape
    loc = torch.zeros(shape, dtype=torch.float64) + mean
    return DiagonalNormal(loc, torch.tensor(0.5 * math.log(variance), dtype=torch.float64))


class TwoLayers(Model):
    """z = (z2, z1); the posterior is handed to it."""

    def __init__(self, q: Latent) -> None:
        super().__init__(Spec((1,)), 2)
        self.q = q

    def prior(self, batch: Batch) -> Chain:
        return Chain(normal(0.0, 1.0), lambda z: normal(0.8 * z, 0.5, z), sizes=(1, 1))

    def posterior(self, batch: Batch) -> Latent:
        return self.q

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        scale = torch.tensor(0.5 * math.log(0.3), dtype=torch.float64)
        return NormalLikelihood(1.5 * z[..., 1:], scale, 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def top_down() -> Chain:
    """q(z2|x) q(z1|x,z2), exact."""
    return Chain(
        normal(0.41884817, 0.49738220),
        lambda z: normal(0.52631579 + 0.16842105 * z, 0.10526316, z),
        sizes=(1, 1),
    )


def bottom_up() -> Flipped:
    """q(z1|x) q(z2|z1), exact too: z2 and x are independent given z1. var(z1) = 1.14."""
    variance = 1 / (1 / 1.14 + 2.25 / 0.3)
    first = normal(variance * 1.5 / 0.3, variance)
    gain = 0.8 / 1.14
    return Flipped(Chain(first, lambda z: normal(gain * z, 1 - 0.8 * gain, z), sizes=(1, 1)))


def test_the_evidence_from_the_top_down_and_from_the_bottom_up():
    noise = torch.randn(50, 1, 2).double()
    for q in (top_down(), bottom_up()):
        log_w = log_weight(TwoLayers(q), X, noise=noise)
        assert log_w.flatten().tolist() == pytest.approx([EVIDENCE] * 50, abs=1e-7)
    assert bottom_up().mean[0].tolist() == pytest.approx([0.41884817, 0.59685864], abs=1e-8)


def test_the_rate_of_every_link_in_closed_form():
    found = terms(TwoLayers(top_down()), X, star(2))  # all is quadratic in the noise
    assert found.distortion.item() == pytest.approx(0.7828704630, abs=1e-7)
    assert found.rates[0].tolist() == pytest.approx([0.1856062614, 0.6512660537], abs=1e-7)
    flipped = terms(TwoLayers(bottom_up()), X, star(2))
    assert (flipped.distortion + flipped.rate).item() == pytest.approx(-EVIDENCE, abs=1e-9)


def test_mean_field_pays_for_what_it_leaves_out():
    """The best product of normals: means of the posterior, variances 1 / precision."""
    q = Chain(
        normal(0.41884817, 1 / (1 + 0.64 / 0.5)),
        lambda z: normal(0.59685864, 1 / (1 / 0.5 + 2.25 / 0.3), z),
        sizes=(1, 1),
    )
    found = terms(TwoLayers(q), X, star(2))
    assert -(found.distortion + found.rate).item() == pytest.approx(-1.6826322314, abs=1e-7)


def test_rates_agree_with_draws():
    """Sum over links against the mean of log q - log p, 4 standard errors."""
    model, noise = TwoLayers(top_down()), torch.randn(100_000, 1, 2).double()
    drawn = draw(model, X, noise)
    rate = (drawn.log_posterior - drawn.log_prior)[:, 0]
    error = (rate.std() / len(rate) ** 0.5).item()
    assert rate.mean().item() == pytest.approx(0.8368723151, abs=4 * error)


def test_one_walk_is_draw_density_and_conditionals():
    noise = torch.randn(7, 1, 2).double()
    for q in (top_down(), bottom_up()):
        z, log_prob = q.drawn(noise)
        assert torch.equal(z, q.draw(noise))
        torch.testing.assert_close(log_prob, q.log_prob(z))
        again, found = q.walk(noise)
        assert torch.equal(again, z)
        for a, b in zip(found, q.conditionals(z), strict=True):
            torch.testing.assert_close(a.mean.expand(7, 1, 1), b.mean.expand(7, 1, 1))


def test_a_temperature_scales_every_layer():
    """Noise times t: standard deviations times t in every layer, at 0 the means."""
    p, noise = TwoLayers(top_down()).prior(X), torch.randn(200_000, 1, 2).double()
    assert torch.equal(p.draw(0 * noise)[0], p.mean)
    z = p.draw(0.5 * noise)[:, 0]
    expected = [0.25, 0.25 * (0.64 + 0.5)]
    assert z.var(0).tolist() == pytest.approx(expected, rel=0.02)


class Link(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.7).double())

    def forward(self, z: Tensor, shift: Tensor) -> DiagonalNormal:
        return normal(self.slope * z + shift, 0.5, z)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_stopped_chain_keeps_the_slope_in_z_and_no_other(flipped):
    link, shift = Link(), torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    q: Latent = Chain(normal(0.3, 1.0), Given(link, (shift,)), sizes=(1, 1))
    q = Flipped(q) if flipped else q
    z = torch.tensor([[0.4, -0.2]], dtype=torch.float64, requires_grad=True)
    through, fixed = (torch.autograd.grad(d.log_prob(z).sum(), z)[0] for d in (q, q.stopped()))
    assert torch.equal(through, fixed)
    log_prob = q.stopped().log_prob(z).sum()
    assert torch.autograd.grad(log_prob, [link.slope, shift], allow_unused=True) == (None, None)


def test_a_chain_of_functions_cannot_be_stopped():
    with pytest.raises(UsageError, match="take objective=elbo"):
        top_down().stopped()
