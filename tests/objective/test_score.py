"""Score-function objectives against every tuple of draws of F-DISC."""

import copy

import pytest
import torch

from tests.fixtures import grad_model, hermite, step_of
from tests.objective.disc import BOUNDS, EVIDENCE, NAMES, Disc, estimates, exact, rows, tuples
from vaes.batch import Batch, Spec
from vaes.errors import UsageError
from vaes.objective.score import Reinforce, Vimco


def moments(objective, k):
    """Exact mean and variance over all tuples of what the objective gives each parameter."""
    noise, weight = tuples(k)
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-12)
    found = {}
    for name, g in estimates(objective, noise).items():
        mean = (weight.unsqueeze(-1) * g).sum(0)
        found[name] = mean, (weight.unsqueeze(-1) * (g - mean).square()).sum(0)
    return found


def primed(mean, variance, samples=1):
    """A running baseline that has seen `mean` and `variance` and stays there."""
    objective = Reinforce(samples, "mean").double().eval()
    objective.mean.fill_(mean)
    objective.square.fill_(variance + mean**2)
    objective.seen.fill_(1.0)
    return objective


def test_the_fixture_is_the_published_one():
    for k, value in BOUNDS.items():
        assert exact(k)["value"].item() == pytest.approx(value, abs=1e-9)
        assert value < EVIDENCE
    assert exact(1)["logits"].tolist() == pytest.approx(
        [0.16384114, -0.40223042, -0.10380528], abs=1e-8
    )
    assert exact(3)["logits"].tolist() == pytest.approx(
        [0.00413459, -0.11283012, -0.09236202], abs=1e-8
    )


@pytest.mark.parametrize(
    ("objective", "k"),
    [
        (Reinforce(1, "none"), 1),
        (Reinforce(2, "none"), 2),
        (Reinforce(2, "others"), 2),
        (Reinforce(3, "others"), 3),
        (primed(-2.0, 0.5), 1),
    ],
)
def test_reinforce_is_unbiased(objective, k):
    """Encoder, decoder and prior: the mean over all 8^k tuples is the gradient of the ELBO."""
    found, truth = moments(objective, k), exact(1)
    for name in NAMES:
        assert (found[name][0] - truth[name]).abs().max() < 1e-10


@pytest.mark.parametrize("k", [2, 3])
def test_vimco_is_unbiased(k):
    found, truth = moments(Vimco(k), k), exact(k)
    for name in NAMES:
        assert (found[name][0] - truth[name]).abs().max() < 1e-10


def test_variances_are_the_known_ones():
    """One draw without a baseline; VIMCO's of three draws; the others about halve none's."""
    plain = moments(Reinforce(1, "none"), 1)["logits"][1]
    assert plain.tolist() == pytest.approx([1.3852, 1.5589, 0.9696], abs=1e-4)
    vimco = moments(Vimco(3), 3)["logits"][1]
    assert vimco.tolist() == pytest.approx([0.0828, 0.0903, 0.0681], abs=1e-4)
    others, none = (moments(Reinforce(3, b), 3)["logits"][1] for b in ("others", "none"))
    assert (others < 0.54 * none).all()


def test_a_large_spread_divides_the_signal():
    """Variance 4 of log w: the encoder's gradient, and that alone, is halved."""
    found, truth = moments(primed(-2.0, 4.0), 1), exact(1)
    assert torch.allclose(found["logits"][0], truth["logits"] / 2, atol=1e-10)
    assert torch.allclose(found["weight"][0], truth["weight"], atol=1e-10)


@pytest.mark.parametrize("make", [lambda: Reinforce(2, "others"), lambda: Vimco(2)])
def test_the_value_is_minus_the_bound(make):
    noise, _ = tuples(2)
    for i in (0, 17, 63):
        objective = make()
        model = Disc(1, objective)
        loss = model.losses(rows(1), step_of(noise[:, i : i + 1]))["model"].item()
        q = model.posterior(rows(1))
        z = q.draw(noise[:, i : i + 1])
        log_w = model.likelihood(z, rows(1)).log_prob(rows(1).x)
        log_w = log_w + model.prior(rows(1)).log_prob(z) - q.log_prob(z)
        bound = log_w.mean() if isinstance(objective, Reinforce) else log_w.exp().mean().log()
        assert loss == pytest.approx(-bound.item(), abs=1e-12)


def test_reinforce_follows_no_path_through_a_gaussian():
    """F-GRAD: the mean is the ELBO's gradient, the variance that of the score function, 14.5397
    for the mean of q and 40.613 for its deviation (2.56 and 6.12 along the path)."""
    nodes, weights = hermite(40)
    found = []
    for noise in nodes:
        model = grad_model(Reinforce(1, "none"))
        loss = model.losses(Batch(torch.full((1, 1), 2.0).double()), step_of(noise.view(1, 1, 1)))
        found.append(
            [-g.item() for g in torch.autograd.grad(loss["model"], [model.loc, model.scale])]
        )
    g = torch.tensor(found, dtype=torch.float64)
    mean = weights @ g
    assert mean.tolist() == pytest.approx([1.0, -0.35], abs=1e-8)
    assert (weights @ (g - mean).square()).tolist() == pytest.approx([14.5397, 40.613], rel=1e-4)


def test_the_running_baseline_follows_log_w_and_only_in_training():
    objective = Reinforce(1, "mean").double()
    model = Disc(8, objective)
    noise, _ = tuples(1)
    for _ in range(3000):
        model.losses(rows(8), step_of(noise))
    log_w = -model.losses(rows(8), step_of(noise))["model"].item()
    assert (objective.mean / objective.seen).item() == pytest.approx(log_w, abs=1e-9)
    before = copy.deepcopy(objective.state_dict())
    objective.eval()
    model.losses(rows(8), step_of(-noise))
    assert all(torch.equal(v, before[k]) for k, v in objective.state_dict().items())


def test_the_network_of_a_baseline_learns_log_w_of_each_row():
    """Two rows whose log w differ: fitted, its guess is each row's log w, its signal nearly 0; and
    its loss moves nothing but itself."""
    torch.manual_seed(0)
    objective = Reinforce(1, "net", Spec((1,))).double()
    model = Disc(2, objective)
    batch = Batch(torch.tensor([[1.1], [3.0]], dtype=torch.float64))
    noise = torch.full((1, 2, 3), 8.0, dtype=torch.float64)
    adam = torch.optim.Adam(objective.parameters(), 0.01)
    for _ in range(600):
        adam.zero_grad()
        model.losses(batch, step_of(noise))["model"].backward()
        adam.step()
    objective.eval()
    model.zero_grad()
    model.losses(batch, step_of(noise))["model"].backward()
    score = (1 - model.logits.sigmoid()).detach()  # grad of log q(111)
    signal = -2 * model.logits.grad / score
    q, z = model.posterior(batch), torch.ones(1, 2, 3).double()
    log_w = model.likelihood(z, batch).log_prob(batch.x) + model.prior(batch).log_prob(z)
    log_w = log_w - q.log_prob(z)
    assert (log_w[0, 0] - log_w[0, 1]).abs() > 1.0
    assert signal.abs().max() < 0.05


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Vimco(1), "samples=1.*VIMCO needs two"),
        (lambda: Reinforce(1, "others"), "samples=1.*two with baseline=others"),
        (lambda: Reinforce(0), "samples=0"),
        (lambda: Reinforce(1, "meen"), "did you mean 'mean'"),
        (lambda: Reinforce(1, "net"), "baseline=net needs"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()
