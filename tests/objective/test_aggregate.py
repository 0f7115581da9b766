"""Parts of the rate and covariances of codes against integrals, enumeration and hand counting."""

import itertools
import math

import pytest
import torch
from torch.distributions import Independent, Normal

from tests.fixtures import star, step_of, unclip
from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.dist.gaussian import LOG_SCALE, CholeskyNormal, DiagonalNormal
from vaes.dist.location_scale import LaplaceHead
from vaes.errors import UsageError
from vaes.objective import Decomposed, Dip, aggregate, terms
from vaes.objective.aggregate import covariance, decomposed, log_aggregate

N, M = 5, 3


def rows(n: int, seed: int = 0, d: int = 2) -> DiagonalNormal:
    draw = torch.Generator().manual_seed(seed)
    loc = torch.randn(n, d, generator=draw, dtype=torch.float64)
    return DiagonalNormal(loc, 0.3 * torch.randn(n, d, generator=draw, dtype=torch.float64) - 0.7)


def part(q: DiagonalNormal, chosen: tuple[int, ...]) -> DiagonalNormal:
    index = list(chosen)
    return DiagonalNormal(q.loc[index], q.log_scale[index])


def table(q: DiagonalNormal, z: torch.Tensor) -> torch.Tensor:
    """q(z_i|x_j) of every dimension, (n, n, d), by torch's own normal."""
    return Normal(q.loc, q.stddev).log_prob(z.unsqueeze(1)).exp()


def estimates(q: DiagonalNormal, z: torch.Tensor, i: int, estimator: str):
    """Of q(z_i) and q(z_ij) from every batch of M of the N rows that has row i, at every place."""
    for chosen in itertools.permutations(range(N), M):
        if i in chosen:
            own = z[list(chosen)].unsqueeze(0)
            joint, single = log_aggregate(part(q, chosen), own, N, estimator)
            place = chosen.index(i)
            yield torch.cat([joint[0, place, None], single[0, place]]).exp()


def test_stratified_weights_have_no_bias():
    """The mean over all batches of 3 of 5 rows is q(z), and of every q(z_j), to the last digits."""
    q = rows(N)
    z = q.draw(torch.randn(N, 2, generator=torch.Generator().manual_seed(1)).double())
    dense = table(q, z)
    truth = torch.cat([dense.prod(-1).mean(1, keepdim=True), dense.mean(1)], -1)
    for i in range(N):
        mean = torch.stack([*estimates(q, z, i, "mss")]).mean(0)
        assert mean.tolist() == pytest.approx(truth[i].tolist(), rel=1e-12)


def test_minibatch_weights_are_as_low_as_counting_says():
    """1 / (N M) each: (q_ii + (M - 1) / (N - 1) sum of the others) / (N M) on average."""
    q = rows(N)
    z = q.draw(torch.randn(N, 2, generator=torch.Generator().manual_seed(1)).double())
    dense = table(q, z).prod(-1)
    own = dense.diagonal()
    for i in range(N):
        mean = torch.stack([*estimates(q, z, i, "mws")]).mean(0)[0]
        said = (own[i] + (M - 1) / (N - 1) * (dense[i].sum() - own[i])) / (N * M)
        assert mean.item() == pytest.approx(said.item(), rel=1e-12)


def test_the_special_weight_belongs_to_the_row_of_the_draw():
    """Weights of one column, as in a code that is widely copied, miss q(z) by more than a tenth."""
    q = rows(N)
    z = q.draw(torch.randn(N, 2, generator=torch.Generator().manual_seed(1)).double())
    dense = table(q, z).prod(-1)
    column = torch.full((M,), (N - 1) / (N * (M - 1)), dtype=torch.float64)
    column[0] = 1 / N
    batches = [c for c in itertools.permutations(range(N), M) if 0 in c]
    copied = torch.stack([(dense[0, list(c)] * column).sum() for c in batches]).mean()
    ours = torch.stack([*estimates(q, z, 0, "mss")]).mean(0)[0]
    assert ours.item() == pytest.approx(dense[0].mean().item(), rel=1e-12)
    assert abs(copied.item() / dense[0].mean().item() - 1) > 0.1


def test_parts_of_the_rate_are_their_integrals():
    """Of four Gaussians in the plane: I, TC and the KL of each dimension on a grid; 4 s.e."""
    q = rows(4, seed=3)
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    cell = (axis[1] - axis[0]) ** 2
    grid = torch.cartesian_prod(axis, axis).view(601, 601, 1, 2)
    each = Independent(Normal(q.loc, q.stddev), 1).log_prob(grid).exp()
    joint = each.mean(-1)
    one, two = joint.sum(1) * cell.sqrt(), joint.sum(0) * cell.sqrt()
    information = (each * (each / joint.unsqueeze(-1)).log()).nan_to_num().sum() * cell / 4
    correlation = (joint * (joint / (one[:, None] * two)).log()).nan_to_num().sum() * cell
    normal = Normal(0, 1).log_prob(axis)
    alone = sum((m * (m.log() - normal)).nan_to_num().sum() * cell.sqrt() for m in (one, two))
    zeros = torch.zeros(4, 2, dtype=torch.float64)
    p = DiagonalNormal(zeros, zeros)
    noise = torch.randn(20_000, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    z = q.draw(noise)
    parts = decomposed(q, p, z, rows=4)
    for found, said in zip(parts, (information, correlation, alone), strict=True):
        means = found.mean(1)
        assert abs(means.mean() - said) < 4 * means.std() / len(means) ** 0.5
    assert torch.allclose(sum(parts), q.log_prob(z) - p.log_prob(z), atol=1e-10)
    assert 0 < correlation < information < math.log(4)


def test_information_is_at_most_the_logarithm_of_the_rows():
    """Rows whose posteriors do not meet are told apart: I = log N."""
    loc = torch.arange(6.0).double().unsqueeze(1) * 100
    q, zeros = DiagonalNormal(loc, 0 * loc), torch.zeros(6, 1).double()
    parts = decomposed(q, DiagonalNormal(zeros, zeros), loc.unsqueeze(0), rows=6)
    assert parts.information.tolist()[0] == pytest.approx([math.log(6)] * 6, abs=1e-12)


def test_total_correlation_of_a_gaussian():
    """-1/2 log |corr|, of one row with a full covariance, by points that are exact for squares."""
    draw = torch.Generator().manual_seed(2)
    tril = torch.randn(3, 3, generator=draw, dtype=torch.float64).tril()
    tril.diagonal().abs_()
    q = CholeskyNormal(torch.randn(1, 3, generator=draw).double(), tril.unsqueeze(0))
    spread = q.covariance_matrix[0]
    corr = spread / (spread.diagonal().sqrt()[:, None] * spread.diagonal().sqrt())
    zeros = torch.zeros(1, 3).double()
    parts = decomposed(q, DiagonalNormal(zeros, zeros), q.draw(star(3)), rows=1)
    said = -0.5 * torch.logdet(corr).item()
    assert parts.correlation.mean().item() == pytest.approx(said, abs=1e-10)
    assert parts.information.abs().max().item() < 1e-10


def test_rows_in_pieces_give_the_same(monkeypatch):
    q = rows(7)
    z = q.draw(torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(1)).double())
    whole = log_aggregate(q, z, 20)
    monkeypatch.setattr(aggregate, "ENTRIES", 2 * 7 * 2 * 3)
    for a, b in zip(whole, log_aggregate(q, z, 20), strict=True):
        assert torch.allclose(a, b, atol=1e-13)


# --- what models descend --------------------------------------------------------------------------
def encoding(objective, scale: float = 0.5, **parts):
    """A linear model of two reals whose q is N(x, scale^2 I)."""
    torch.manual_seed(0)
    model = compose(Spec((2,), rows=9), objective, latent=2, hidden=(), **parts).double()
    last = model.encoder.last
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:2] = torch.eye(2)
        last.bias.zero_()
        last.bias[2:] = unclip(torch.tensor(scale).double().log(), *LOG_SCALE)
    return model


ROWS = Batch(torch.tensor([[0.3, -1.0], [1.0, 0.5], [-0.4, 0.2], [2.0, 1.5]]).double())
STEP = step_of(torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(5)).double())


def loss(objective, step=STEP) -> float:
    model = encoding(objective)
    return objective(model, ROWS, step).item()


def test_weights_of_the_parts():
    """All 1: minus the ELBO; one more of a weight adds its part once."""
    model = encoding(Decomposed())
    found = terms(model, ROWS, STEP.noise)
    elbo = (found.distortion + found.rate).mean().item()
    for estimator in ("mss", "mws"):
        assert loss(Decomposed(1, 1, 1, 1, estimator)) == pytest.approx(elbo, abs=1e-12)
        q, p = model.posterior(ROWS), model.prior(ROWS)
        parts = decomposed(q, p, q.draw(STEP.noise), 9, estimator)
        for weights, part in zip(((3, 1, 1), (1, 3, 1), (1, 1, 3)), parts, strict=True):
            more = loss(Decomposed(1, *weights, estimator)) - elbo
            assert more == pytest.approx(2 * part.mean().item(), abs=1e-10)
    start = step_of(STEP.noise, fraction=0.0)
    free = found.distortion.mean().item()
    assert loss(Decomposed(warmup=0.5), start) == pytest.approx(free, abs=1e-12)


def test_covariance_penalty_by_hand():
    """Means (0, 0), (2, 2): C = 2 everywhere, and with variances of 1 beside it 3 on the
    diagonal."""
    few = Batch(torch.tensor([[0.0, 0.0], [2.0, 2.0]]).double())
    step = step_of(torch.zeros(1, 2, 2).double())
    for variant, said in ((1, 8 * 5 + 2 * 7), (2, 8 * 5 + 8 * 7)):
        objective = Dip(1, variant, 5.0, 7.0)
        model = encoding(objective, scale=1.0)
        found = terms(model, few, step.noise)
        more = objective(model, few, step) - (found.distortion + found.rate).mean()
        assert more.item() == pytest.approx(said, abs=1e-9)


@pytest.mark.parametrize("family", ["diagonal", "cholesky"])
def test_covariance_is_that_of_draws(family):
    """Of the mixture of five Gaussians, whose means spread (N - 1) / N as much as said."""
    q = rows(N, seed=4)
    if family == "cholesky":
        tril = torch.tensor([[0.6, 0.0], [0.5, 0.3]]).double().expand(N, 2, 2)
        q = CholeskyNormal(q.loc, tril)
    noise = torch.randn(80_000, N, 2, generator=torch.Generator().manual_seed(0)).double()
    empirical = torch.cov(q.draw(noise).flatten(0, 1).T)
    z = q.draw(noise[:1])
    said = covariance(q, 2, z) - covariance(q, 1, z) / N
    assert (empirical - said).abs().max() < 0.01
    assert torch.allclose(covariance(q, 1, z), torch.cov(q.loc.T))


def test_covariance_has_no_bias():
    q = rows(N)
    for variant in (1, 2):
        every = itertools.combinations(range(N), M)
        few = [covariance(part(q, c), variant, q.loc) for c in every]
        whole = covariance(q, variant, q.loc)
        assert torch.allclose(torch.stack(few).mean(0), whole, atol=1e-12)


def test_covariance_of_other_families_is_by_draws():
    """Of Laplace posteriors, over 40,000 draws of each row, that of the means and the variances."""
    numbers = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)).double()
    q = LaplaceHead(2)(numbers)
    noise = torch.randn(40_000, N, 2, generator=torch.Generator().manual_seed(1)).double()
    said = torch.cov(q.mean.T) + torch.diag(q.variance.mean(0))
    assert covariance(q, 2, q.draw(noise)).flatten().tolist() == pytest.approx(
        said.flatten().tolist(), rel=0.03, abs=0.03
    )
    assert torch.allclose(covariance(q, 1, q.draw(noise)), torch.cov(q.mean.T))


# --- mistakes -------------------------------------------------------------------------------------
def test_refusals_are_one_line():
    for bad, said in (
        (lambda: Decomposed(beta=-1), "weights are not negative"),
        (lambda: Decomposed(warmup=2), "warmup lies in 0"),
        (lambda: Decomposed(estimator="mis"), "mss or mws"),
        (lambda: Dip(variant=3), "variants 1 and 2"),
        (lambda: Dip(off=-1), "not negative"),
    ):
        with pytest.raises(UsageError, match=said):
            bad()
    one, step = ROWS[:1], step_of(STEP.noise[:, :1])
    for objective in (Decomposed(), Dip()):
        model = encoding(objective)
        with pytest.raises(UsageError, match="a batch of 1 row"):
            objective(model, one, step)
        # one row that is left over when rows are validated goes without
        found = terms(model, one, step.noise)
        held = objective(model.eval(), one, step).item()
        assert held == pytest.approx((found.distortion + found.rate).item(), abs=1e-12)
    with pytest.raises(UsageError, match="rows=N"):
        compose(Spec((2,)), Decomposed(), latent=2, hidden=(8,))
    with pytest.raises(UsageError, match="prior=standard, or gamma=1"):
        encoding(Decomposed(gamma=2), prior="flow")
    learnt = encoding(Decomposed(), prior="flow")
    assert Decomposed()(learnt, ROWS, STEP).isfinite()  # whose other parts need no prior


def test_other_posteriors_are_refused():
    q = DiagonalNormal(torch.zeros(2, 2), torch.zeros(2, 2))

    assert aggregate.independent(q) is q
    with pytest.raises(UsageError, match="take posterior=diagonal"):
        aggregate.independent(torch.distributions.Normal(0, 1))  # type: ignore[arg-type]
