"""Wake-sleep on linear-Gaussian models: fixed points, gradients by quadrature, dreams."""

import math

import pytest
import torch

from tests.fixtures import LG_MU, LG_VAR, LG_W, linear_vae, step_of
from tests.objective.grad import Grid, M, S, X, by_hand, gradients
from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.objective import Iwae
from vaes.objective.wake import Reweighted, WakeSleep, asleep, dream

ROWS = Batch(torch.zeros(2000, 5, dtype=torch.float64))


def test_dreams_are_draws_of_the_model():
    """x ~ N(mu, W W^T + v I), cov(x, z) = W, 4 s.e."""
    torch.manual_seed(0)
    model = linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")
    n = 40_000
    dreamt, z = dream(model, Batch(torch.zeros(n, 5, dtype=torch.float64)))
    both = torch.cat([dreamt.x - LG_MU, z], 1)
    covariance = LG_W @ LG_W.T + LG_VAR * torch.eye(5).double()
    known = torch.cat([torch.cat([covariance, LG_W], 1), torch.cat([LG_W.T, torch.eye(2)], 1)])
    spread = (known.diagonal().outer(known.diagonal()) + known.square()).sqrt()
    assert ((both.T @ both / n - known).abs() < 4 * spread / math.sqrt(n)).all()
    assert (both.mean(0).abs() < 4 * known.diagonal().sqrt() / math.sqrt(n)).all()
    assert not dreamt.x.requires_grad
    assert not z.requires_grad


def test_the_posterior_is_where_sleep_rests():
    """Under the true decoder a linear q descends to the exact posterior: there the loss is the
    entropy of z given x, 1/2 log |2 pi e C|, and the mean gradient 0; elsewhere it is not."""
    model = linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")
    entropy = (
        1 + math.log(2 * math.pi) - 0.5 * torch.eye(2).double().add(LG_W.T @ LG_W / LG_VAR).logdet()
    )
    names = list(model.encoder.parameters())

    def slopes(seed):
        torch.manual_seed(seed)
        loss = asleep(model, ROWS)
        found = torch.autograd.grad(loss, names)
        return loss.item(), torch.cat([g.flatten() for g in found])

    losses, found = zip(*[slopes(seed) for seed in range(20)], strict=True)
    losses, found = torch.tensor(losses), torch.stack(found)
    assert abs(losses.mean() - entropy) < 4 * losses.std() / math.sqrt(20)
    error = found.std(0) / math.sqrt(20)
    # 20 means of 5 % each beyond 2.1 s.e. of Student's t; all within 5
    assert (found.mean(0).abs() <= 5 * error + 1e-12).all()
    with torch.no_grad():
        model.encoder.last.bias[:2] += 0.1
    moved = torch.stack([slopes(seed)[1] for seed in range(20)])
    assert (moved.mean(0).abs() > 10 * moved.std(0) / math.sqrt(20)).any()


def test_wake_descends_the_elbo_of_the_decoder():
    """d ELBO / d shift = E (x - z); nothing of it reaches q."""
    _, _, log_w, weight = by_hand(1)
    model = Grid(len(weight), WakeSleep())
    noise = by_hand(1)[0].unsqueeze(-1)
    x = Batch(torch.full((len(weight), 1), X).double())
    loss = model.losses(x, step_of(noise))["generator"]
    assert loss.item() == pytest.approx(-log_w.mean().item(), abs=1e-9)
    g, *others = torch.autograd.grad(
        loss, [model.shift, model.loc, model.scale], allow_unused=True, retain_graph=True
    )
    assert (weight @ -(len(weight) * g).squeeze(-1)).item() == pytest.approx(X - M, abs=1e-9)
    assert others == [None, None]


def test_reweighted_gradients_of_two_draws():
    """Decoder: that of the importance-weighted bound. Encoder: sum v_k grad log q(z_k), with
    d log q / d m = noise / s and d / d s = (noise^2 - 1) / s."""
    noise, _, log_w, weight = by_hand(2)
    v = log_w.softmax(0)
    found = gradients(Reweighted(2, "wake"), 2)
    assert found["shift"] == pytest.approx(gradients(Iwae(2), 2)["shift"], abs=1e-9)
    for name, slope in (("loc", noise / S), ("scale", (noise.square() - 1) / S)):
        expected = (weight @ (v * slope).sum(0)).item()
        assert found[name][0] == pytest.approx(expected, abs=1e-9)


def test_many_draws_pull_q_to_the_posterior():
    """The limit is the mean over the posterior N(1, 1/2): (1 - m) / s^2 for the mean of q,
    (1/2 + (1 - m)^2) / s^3 - 1/s for its deviation."""
    k, n = 20_000, 20
    noise = torch.randn(k, n, 1, generator=torch.Generator().manual_seed(3)).double()
    model = Grid(n, Reweighted(k, "wake"))
    loss = model.losses(Batch(torch.full((n, 1), X).double()), step_of(noise))["recogniser"]
    m, s = (-g.sum().item() for g in torch.autograd.grad(loss, [model.loc, model.scale]))
    assert m == pytest.approx(0.5 / S**2, abs=0.02)
    assert s == pytest.approx(0.75 / S**3 - 1 / S, abs=0.02)


def test_both_is_the_mean_of_wake_and_sleep():
    found = {}
    for phi in ("wake", "sleep", "both"):
        objective = Reweighted(3, phi)
        model = linear_vae(LG_W, LG_MU, LG_VAR, "diagonal")
        noise = torch.randn(3, 2000, 2, generator=torch.Generator().manual_seed(0)).double()
        torch.manual_seed(0)
        found[phi] = objective.losses(model, ROWS, step_of(noise))
    assert found["both"]["recogniser"].item() == pytest.approx(
        0.5 * (found["wake"]["recogniser"] + found["sleep"]["recogniser"]).item(), abs=1e-12
    )
    assert len({f["generator"].item() for f in found.values()}) == 1
    torch.manual_seed(0)
    alone = WakeSleep().losses(model, ROWS, step_of(noise))["recogniser"]
    assert alone.item() == found["sleep"]["recogniser"].item()


def test_held_out_rows_are_judged_by_the_bound():
    model = linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")
    noise = torch.randn(4, 2000, 2, generator=torch.Generator().manual_seed(0)).double()
    marginal = torch.distributions.MultivariateNormal(LG_MU, LG_W @ LG_W.T + LG_VAR * torch.eye(5))
    evidence = marginal.log_prob(ROWS.x[0]).item()
    for objective in (WakeSleep(4), Reweighted(4), Reweighted(4, "sleep")):
        judged = objective.judged(model, ROWS, step_of(noise))
        assert judged.item() == pytest.approx(-evidence, abs=1e-9)


def test_dreams_keep_gaps_and_obey_gates():
    spec = Spec((3,), ("binary", "binary", "pixel"), (2, 2, 4), missing=True, shown_by=(-1, -1, 0))
    torch.manual_seed(0)
    model = compose(spec, WakeSleep(), latent=2, hidden=(8,)).double()
    mask = torch.ones(200, 3, dtype=torch.bool)
    mask[::2, 1] = False  # a gap that no gate tells of
    mask[:, 2] = False
    dreamt, _ = dream(model, Batch(torch.zeros(200, 3).double(), mask=mask))
    assert dreamt.mask is not None
    assert torch.equal(dreamt.mask[:, 1], mask[:, 1])
    assert torch.equal(dreamt.mask[:, 2], dreamt.x[:, 0] == 1)
    assert 0 < dreamt.mask[:, 2].sum() < 200
    assert not dreamt.x[~dreamt.mask].any()
    assert dreamt.x[:, 1].any()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Reweighted(5, "sleeep"), "did you mean 'sleep'"),
        (lambda: Reweighted(1, "wake"), "samples=1: one draw always has weight 1"),
        (lambda: WakeSleep(0), "samples=0"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()
