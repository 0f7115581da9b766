"""The claim of recipe two_stage: the second stage fits the codes, and the first stands still."""

import pytest
import torch
from torch import Tensor

from tests.fixtures import PPCA_EVIDENCE, linear_vae, ppca_solution, train
from tests.papers.helpers import DATA
from vaes.batch import Batch, Spec, generator
from vaes.dist.gaussian import DiagonalNormal
from vaes.dist.second_stage import SECOND, SecondStage
from vaes.errors import UsageError
from vaes.evaluate.likelihood import evidence
from vaes.model import Step
from vaes.objective import log_likelihood, log_weight
from vaes.recipes import build


def test_until_the_second_stage_the_bound_is_that_of_the_first():
    """log p(x|z) + log N(z; 0, I) - log q(z|x), whatever u is; the noise is that of z = (u, z)."""
    torch.manual_seed(0)
    model = build("two_stage", Spec((8,)), latent=3, second=2, hidden=(16,)).double()
    model.begin("train", DATA)
    few, noise = DATA.rows(slice(0, 20)), torch.randn(5, 20, 5).double()
    q = model.encoder(model.inputs(few))
    z = q.draw(noise[..., 2:])
    standard = DiagonalNormal(0 * q.loc, 0 * q.loc)
    u = torch.zeros(5, 20, 2).double()
    plain = log_likelihood(model, torch.cat([u, z], -1), few)
    plain = plain + standard.log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(log_weight(model, few, noise=noise), plain)


def test_only_the_second_stage_moves_in_its_phase():
    torch.manual_seed(0)
    model = build("two_stage", Spec((8,)), latent=3, hidden=(16,)).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    few = DATA.rows(slice(0, 30))
    losses = model.losses(few, Step.at(model, few, 1, phase=SECOND))
    assert set(losses) == {SECOND}
    assert set(model.losses(few, Step.at(model, few, 1))) == {"model"}
    model.phases = model.phases[1:]
    train(model, DATA, steps=3)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("latent_prior.") for k in moved)


def banana(n: int, seed: int) -> Tensor:
    """(n, 2): N(0, 1.5^2) beside its square, with a little noise, standardised."""
    draw = torch.Generator().manual_seed(seed)
    a = 1.5 * torch.randn(n, generator=draw).double()
    b = 0.5 * a.square() + 0.2 * torch.randn(n, generator=draw).double()
    z = torch.stack([a, b], 1)
    return (z - z.mean(0)) / z.std(0)


def discrepancy(a: Tensor, b: Tensor) -> float:
    """Squared MMD with a Gaussian kernel of width 1."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (-0.5 * torch.cdist(x, y).square()).exp()

    same = kernel(a, a).mean() + kernel(b, b).mean()
    return float(same - 2 * kernel(a, b).mean())


def test_codes_on_a_banana_are_fitted_where_a_normal_cannot():
    """MMD to the truth falls by 80 % and more against the normal of the same moments."""
    torch.manual_seed(0)
    prior = SecondStage(2, width=64)
    prior.begin(None, SECOND, None)  # type: ignore[arg-type]
    z, draw = banana(4000, 1).float(), generator("banana")
    adam = torch.optim.Adam(prior.parameters(), 3e-3)
    for step in range(800):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / 800)
        rows = z[torch.randint(len(z), (256,), generator=draw)]
        q = prior.joined(DiagonalNormal(rows, torch.full_like(rows, -4.0)))
        codes, log_q = q.drawn(torch.randn(256, 4, generator=draw))
        loss = (log_q - prior(None, Batch(rows)).log_prob(codes)).mean()  # type: ignore[arg-type]
        adam.zero_grad()
        loss.backward()
        adam.step()
    n = 2000
    noise = torch.randn(n, 1, 4, generator=draw)
    drawn = prior(None, Batch(z[:1])).draw(noise)[:, 0, 2:].detach()  # type: ignore[arg-type]
    drawn = drawn.double()
    truth = banana(n, 2)
    floor = discrepancy(truth, banana(n, 3))
    plain = discrepancy(truth, torch.randn(n, 2, generator=draw, dtype=torch.float64)) - floor
    assert discrepancy(truth, drawn) - floor < 0.2 * plain


def test_codes_that_are_normal_stay_so():
    """Card 16 (ii): of a linear stage at its optimum the codes are N(0, I), and the second stage
    costs no more than a twentieth of a nat of its evidence."""
    first = linear_vae(*ppca_solution(3), "cholesky")
    torch.manual_seed(0)
    model = build("two_stage", Spec((8,)), latent=3, hidden=(), posterior="cholesky", scale=1.0,
                  width=32, objective="elbo").double()  # fmt: skip
    for ours, theirs in ((model.encoder, first.encoder), (model.decoder, first.decoder)):
        ours.load_state_dict(theirs.state_dict())
    model.begin("train", DATA)
    assert evidence(model, DATA, k=5).mean == pytest.approx(PPCA_EVIDENCE[3], abs=1e-6)
    model.phases = model.phases[1:]
    train(model, DATA, steps=250, rate=5e-3)
    model.eval()
    assert evidence(model, DATA, k=50).mean > PPCA_EVIDENCE[3] - 0.05


def test_any_model_may_have_a_second_stage():
    from vaes.composed import compose

    for objective in ("elbo", "iwae"):
        model = compose(
            Spec((6,), ("binary",), (2,)),
            objective,
            latent=2,
            hidden=(8,),
            prior={"name": "second_stage", "latent": 5, "width": 8},
        )
        assert model.latent == 7
        few = Batch(torch.ones(3, 6))
        drawn = model.likelihood(model.prior(few).draw(torch.randn(3, 7)), few).mean
        assert drawn.shape == (3, 6)


def test_mistakes():
    with pytest.raises(UsageError, match="a share of the budget above 0"):
        build("two_stage", Spec((8,)), share=0.0)
