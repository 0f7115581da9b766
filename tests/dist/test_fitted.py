"""Priors fitted to codes after training, on codes whose density is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tests.dist.test_priors import MEANS, VARIANCES, WEIGHTS, rand
from tests.fixtures import unclip
from vaes.after import taken
from vaes.batch import Batch, Data, Spec
from vaes.composed import Composed, compose
from vaes.dist.gaussian import LOG_SCALE, DiagonalNormal
from vaes.dist.mixture import Mixture
from vaes.dist.priors import codes
from vaes.errors import DataError, UsageError
from vaes.uses import sample

SCALE = 0.5


def told(x: Tensor, prior, posterior: str = "diagonal", **fields) -> tuple[Composed, Data]:
    """A model whose codes are x + .5 * noise, and x as its rows."""
    spec = Spec((x.shape[1],), rows=len(x), **fields.pop("of", {}))
    model = compose(spec, latent=x.shape[1], hidden=(), posterior=posterior).double()
    model, d = taken(model, prior), x.shape[1]
    with torch.no_grad():
        model.encoder.last.weight.zero_()
        model.encoder.last.weight[:d] = torch.eye(d)
        model.encoder.last.bias.zero_()
        model.encoder.last.bias[d:] = unclip(torch.tensor(math.log(SCALE)), *LOG_SCALE)
    return model, Data(spec, x, **fields)


def fit(model: Composed, data: Data) -> None:
    with torch.no_grad():
        model.begin("codes", data)


def test_codes_are_draws_and_not_means():
    x = rand(400, 2)
    model, data = told(x, "fitted")
    z = codes(model, data)
    assert z.shape == (4, 400, 2)
    assert (z - x).std().item() == pytest.approx(SCALE, rel=0.05)
    assert torch.equal(z, codes(model, data, rows=400))
    model.train()
    assert torch.equal(z, codes(model, data))
    assert model.encoder.training


def test_nothing_is_hidden_from_the_encoder_while_codes_are_drawn():
    """In training half of the rows hide some more of their entries."""
    mask = rand(50, 3) > 0
    data = Data(Spec((3,), missing=True), rand(50, 3, seed=1) * mask, mask=mask)
    torch.manual_seed(0)
    model = compose(data.spec, latent=2, hidden=(8,)).double()
    z = codes(model.eval(), data)
    assert torch.equal(codes(model.train(), data), z)


def test_the_fitted_normal_is_that_of_the_average_posterior():
    """N(mean of x, covariance of x + .25 I), to 4 s.e. of 4 x 3,000 draws."""
    draw = torch.tensor([[2.0, 0.0], [1.0, 0.5]]).double()
    x = rand(3000, 2) @ draw.T + 3
    model, data = told(x, "fitted")
    assert torch.equal(model.prior(Batch(x)).covariance_matrix[0], torch.eye(2).double())
    fit(model, data)
    p = model.prior(data.rows(slice(0, 1)))
    expected = torch.cov(x.T, correction=0) + SCALE**2 * torch.eye(2)
    torch.testing.assert_close(p.mean[0], x.mean(0), rtol=0, atol=4 * SCALE / math.sqrt(12_000))
    torch.testing.assert_close(p.covariance_matrix[0], expected, rtol=0, atol=0.06)


def apart(variance: float = 0.0) -> Mixture:
    """Three components far apart, each smeared by `variance`."""
    spread = 0.5 * (VARIANCES + variance).log()
    return Mixture(DiagonalNormal(2 * MEANS, spread), WEIGHTS.log(), 1)


@pytest.mark.parametrize(
    ("prior", "close"),
    [
        ({"name": "fitted_mixture", "components": 3}, 0.01),
        ({"name": "fitted_flow", "steps": 600}, 0.2),
    ],
)
def test_what_is_fitted_comes_near_the_density_of_codes(prior, close):
    """KL to the true density of new codes, in nats; of one normal it is above .28."""
    true = apart(SCALE**2)
    x, new = (apart().draw(rand(3000, 1, 3, seed=s)).squeeze(1) for s in (1, 2))
    new = new + SCALE * rand(3000, 2, seed=3)
    model, data = told(x, prior)
    fit(model, data)
    with torch.no_grad():
        found = model.prior(Batch(new)).log_prob(new)
        z = model.prior(Batch(new)).draw(rand(3000, model.prior(Batch(x[:1])).noise_size, seed=4))
    gap = true.log_prob(new) - found
    assert -0.01 < gap.mean().item() < close
    normal = MultivariateNormal(new.mean(0), torch.cov(new.T))
    assert (true.log_prob(new) - normal.log_prob(new)).mean() > 0.28
    # and its draws are such codes
    expected = true.log_prob(new).mean().item()
    assert true.log_prob(z).mean().item() == pytest.approx(expected, abs=3 * close + 0.05)


@pytest.mark.parametrize("prior", ["fitted", "fitted_mixture", "fitted_flow"])
def test_nothing_but_the_prior_moves(prior):
    x = rand(100, 2)
    options = {"name": prior, "steps": 20} if prior == "fitted_flow" else prior
    model, data = told(x, options)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grads = {k: p.requires_grad for k, p in model.named_parameters()}
    fit(model, data)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("latent_prior.") for k in moved)
    assert grads == {k: p.requires_grad for k, p in model.named_parameters()}
    assert not any(p.requires_grad for p in model.latent_prior.parameters())
    model.begin("train", data)


def classes(n: int = 600) -> tuple[Tensor, Tensor]:
    """Three classes around (0, 0), (8, 0) and (0, 8), of shares 1/2, 1/3 and 1/6."""
    y = torch.tensor([0, 0, 0, 1, 1, 2]).repeat(n // 6)
    centres = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]]).double()
    return centres[y] + rand(n, 2), y


@pytest.mark.parametrize("each", ["fitted", {"name": "fitted_mixture", "components": 2}])
def test_a_prior_for_each_class(each):
    """The mixture over classes by their shares scores rows, whatever their labels; a class's own
    component draws rows of it."""
    x, y = classes()
    model, data = told(x, {"name": "per_class", "each": each}, y=y, of={"classes": ("a", "b", "c")})
    fit(model, data)
    z = rand(50, 2, seed=5) * 4
    with torch.no_grad():
        batch = data.rows(slice(0, 50))
        p = model.prior(batch)
        parts = [model.latent_prior.of_class(model, k, batch).log_prob(z) for k in range(3)]
    shares = torch.tensor([1 / 2, 1 / 3, 1 / 6]).double()
    expected = (torch.stack(parts, -1) + shares.log()).logsumexp(-1)
    torch.testing.assert_close(p.log_prob(z), expected)
    torch.testing.assert_close(model.prior(data.rows(slice(50, 100))).log_prob(z), expected)
    for label, number, centre in (("a", 0, (0, 0)), ("b", 1, (8, 0)), ("c", 2, (0, 8))):
        _, z = sample(model, 500, label=label)
        assert z.mean(0).tolist() == pytest.approx(centre, abs=0.25)
        assert torch.equal(z, sample(model, 500, label=number)[1])
    _, z = sample(model, 3000)
    nearest = torch.cdist(z, torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]]).double()).argmin(1)
    found = torch.bincount(nearest, minlength=3) / 3000
    assert found.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=0.04)


def test_too_few_rows_are_one_line():
    x, y = classes(60)
    model, data = told(x, {"name": "fitted_mixture", "components": 31})
    with pytest.raises(DataError, match="60 rows are too few for a mixture of 31 components"):
        model.begin("codes", data)
    of = {"classes": ("a", "b", "c", "d")}
    model, data = told(x, "per_class", y=y, of=of)
    with pytest.raises(DataError, match="class 'd' has 0 training rows"):
        model.begin("codes", data)
    model, data = told(x, "per_class", of=of)
    with pytest.raises(DataError, match="needs labels"):
        model.begin("codes", data)
    with pytest.raises(UsageError, match="a prior for each class needs labels"):
        told(x, "per_class")
    with pytest.raises(UsageError, match="each=standard is not fitted"):
        told(x, {"name": "per_class", "each": "standard"}, of=of)
    with pytest.raises(UsageError, match="live in 'simplex'"):
        taken(compose(Spec((4,)), latent=2, posterior="dirichlet"), "fitted")
