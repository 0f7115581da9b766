"""The claim of recipe private_shared: exact where all is linear; one view tells of the other."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal

from tests.fixtures import star, train, unclip
from vaes.batch import Batch, Data, Spec
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE, LOG_SCALE
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import log_weight, terms
from vaes.recipes import build

VARIANCE = 0.5
WEIGHTS = [torch.tensor([[1.0], [0.5]]).double(), torch.tensor([[-2.0], [0.25], [1.0]]).double()]


@torch.no_grad()
def linear():
    """x_v = w_v s + noise: the posterior of s is the product of one expert per view and N(0, 1)."""
    spec = Spec((5,))
    model = build("private_shared", spec, views=[[0, 1], [2, 3, 4]], latent=1, private=1, hidden=(),
                  scale=math.sqrt(VARIANCE), warmup=0.0).double()  # fmt: skip
    for net, weight in zip(model.decoder.nets, WEIGHTS, strict=True):
        net[1].weight.copy_(torch.cat([weight, 0 * weight], 1))
        net[1].bias.zero_()
    for head in model.decoder.head.heads:
        head.log_scale.fill_(0.5 * math.log(VARIANCE))
    for net, weight in zip(model.encoder.nets, WEIGHTS, strict=True):
        precision = (weight.T @ weight / VARIANCE).item()
        net[1].weight.zero_()
        net[1].bias.zero_()
        net[1].weight[0] = weight[:, 0] / VARIANCE / precision
        scale = torch.tensor([-0.5 * math.log(precision), 0.0]).double()
        net[1].bias[2:] = unclip(scale, *LOG_SCALE)
    return model.eval()


X = torch.tensor([[1.0, 0.3, -1.5, 0.2, 0.4], [0.1, -0.7, 0.5, 0.0, 2.0]]).double()


@pytest.mark.parametrize("there", [(True, True), (True, False), (False, True)])
def test_the_product_of_experts_is_the_posterior_whatever_view_is_there(there):
    model, w = linear(), torch.cat(WEIGHTS)
    assert LIKELIHOOD_LOG_SCALE[0] < 0.5 * math.log(VARIANCE)
    seen = torch.tensor([there[0]] * 2 + [there[1]] * 3)
    cov = w @ w.T + VARIANCE * torch.eye(5).double()
    expected = MultivariateNormal(torch.zeros(int(seen.sum())).double(), cov[seen][:, seen])
    expected = expected.log_prob(X[:, seen])
    batch = Batch(torch.where(seen, X, 0.0), mask=seen.expand(2, -1))
    log_w = log_weight(model, batch, noise=torch.randn(9, 2, 3).double())
    torch.testing.assert_close(log_w, expected.expand(9, -1), atol=1e-6, rtol=0)


def test_the_loss_is_the_sum_over_the_product_and_each_expert():
    """Minus the mean log w of q(s|x), q(s|x_1) and q(s|x_2): bounds on log p(x), the first exact.
    All is quadratic in the noise, so the points of `star` have no error."""
    model, batch = linear(), Batch(X)
    step, h = Step.at(model, batch, 1), model.inputs(batch)
    noise = star(3).expand(-1, 2, -1)
    qs = [model.encoder(h), *(model.encoder(h, only=v) for v in (0, 1))]
    means = [log_weight(model, batch, noise=noise, q=q).mean().item() for q in qs]
    loss = model.losses(batch, replace(step, noise=noise, fraction=torch.ones(())))["model"]
    assert loss.item() == pytest.approx(-sum(means), abs=1e-9)
    # the mean of the first expert with the prior, by hand: w.x / v / (1 + w.w / v)
    w = WEIGHTS[0]
    expected = (X[:, :2] @ w / VARIANCE) / (1 + (w.T @ w) / VARIANCE)
    torch.testing.assert_close(qs[1].mean[:, :1], expected)
    assert means[0] > max(means[1:]) + 0.01


def two_views(n: int, seed: int) -> Data:
    """Two blocks of three columns: both hold s, and each its own factor; noise of 0.3."""
    draw = torch.Generator().manual_seed(seed)
    s, a, b = (torch.randn(n, 1, generator=draw).double() for _ in range(3))
    one = torch.cat([s, -s + a, 0.5 * s + a], 1)
    two = torch.cat([s + 0.5 * b, -s, b], 1)
    x = torch.cat([one, two], 1) + 0.3 * torch.randn(n, 6, generator=draw).double()
    return Data(Spec((6,), rows=n), x)


def test_one_view_is_drawn_from_the_other():
    """The fifth column is -s: what the first view tells of it, least squares says; without `alone`
    no expert ever has to speak of the other view, and does it worse."""
    rows, test = two_views(256, 0), two_views(2000, 1).rows(slice(None))
    given = torch.cat([test.x[:, :3], torch.ones(2000, 1).double()], 1)
    best = given @ torch.linalg.lstsq(given, test.x[:, 4:5]).solution - test.x[:, 4:5]
    mask, error = torch.tensor([True] * 3 + [False] * 3).expand_as(test.x), {}
    for alone in (1.0, 0.0):
        torch.manual_seed(0)
        model = build("private_shared", rows.spec, latent=1, private=1, hidden=(16,), alone=alone,
                      warmup=0.0).double()  # fmt: skip
        train(model, rows, steps=250)
        model.eval()
        with torch.no_grad():
            z = model.posterior(Batch(test.x * mask, mask=mask)).mean
            error[alone] = (model.likelihood(z, test).mean[:, 4] - test.x[:, 4]).square().mean()
    assert error[1.0] < 1.2 * best.square().mean()
    assert error[1.0] < error[0.0]


def test_own_codes_of_a_view_that_is_missing_are_those_of_the_prior():
    rows = two_views(8, 0).rows(slice(None))
    model = build("private_shared", Spec((6,)), latent=2, private=2, hidden=(8,)).double()
    mask = torch.tensor([True] * 3 + [False] * 3).expand_as(rows.x)
    rates = terms(model, Batch(rows.x * mask, mask=mask), torch.zeros(1, 8, 6).double()).rates
    assert (rates[:, 4:].abs() < 1e-12).all()
    assert (rates[:, 2:4] > 1e-6).all()


def test_own_codes_move_their_half_of_an_image_alone():
    spec = Spec((2, 4, 5), ("pixel",), (5,))
    for views, half in (
        ("left_right", (..., slice(0, 2))),
        ("top_bottom", (..., slice(0, 2), slice(None))),
    ):
        model = build("private_shared", spec, views=views, latent=1, private=1, hidden=(8,))
        few, z = Batch(torch.zeros(1, 2, 4, 5)), torch.zeros(1, 3)
        before = model.likelihood(z, few).mean
        z[:, 1] = 2.0  # of the first view
        moved = model.likelihood(z, few).mean != before
        expected = torch.zeros_like(moved)
        expected[half] = True
        assert torch.equal(moved, expected)


def test_views_by_name_and_mistakes():
    spec = Spec((3,), names=("a", "b", "c"))
    model = build("private_shared", spec, views=[["c", "a"], ["b"]])
    assert model.inputs.views == [[2, 0], [1]]
    for views, said in (
        ([["a"], ["b"]], "each column is in one"),
        ([["a", "x"], ["b", "c"]], "each column is in one"),
        (4, "3 columns make 2 to 3 views"),
        ("left_right", "take a number of views"),
    ):
        with pytest.raises(UsageError, match=said):
            build("private_shared", spec, views=views)
    with pytest.raises(UsageError, match="left_right or top_bottom"):
        build("private_shared", Spec((1, 4, 4)), views=[["a"]])
    with pytest.raises(UsageError, match="a weight is not negative"):
        build("private_shared", spec, alone=-1.0)
