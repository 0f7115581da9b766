"""The aggregate posterior: information, its distance from the prior, holes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.fixtures import linear_vae, ppca_data, ppca_solution
from tests.uses.models import ThreeClasses, class_rows, seeded
from vaes.batch import Batch, Data, Spec
from vaes.dist.base import Latent
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, NormalLikelihood
from vaes.errors import DataError, UsageError
from vaes.evaluate import aggregate as module
from vaes.evaluate.aggregate import aggregate, collapsed, hole_rate, holes, log_shares
from vaes.evaluate.likelihood import bound
from vaes.model import Model, Step
from vaes.recipes import build

PPCA_RATE = 3.508739  # 1/2 sum log(eigenvalue / noise variance) of three dimensions


class Posteriors(Model):
    """q(z|x_i) is whatever stands in row i of `family`; x is the row's number."""

    def __init__(self, family: Latent, prior: Latent | None = None) -> None:
        super().__init__(Spec((1,)), family.event_shape[0])
        self.family, self.of = family, prior
        self.register_buffer("like", torch.zeros((), dtype=torch.float64))

    def prior(self, batch: Batch) -> Latent:
        zeros = batch.x.new_zeros(len(batch), self.latent)
        return DiagonalNormal(zeros, zeros) if self.of is None else self.of

    def posterior(self, batch: Batch) -> Latent:
        rows, q = batch.x[:, 0].long(), self.family
        if isinstance(q, DiagonalNormal):
            return DiagonalNormal(q.loc[rows], q.log_scale[rows])
        if isinstance(q, CholeskyNormal):
            return CholeskyNormal(q.loc[rows], q.tril[rows])
        assert isinstance(q, OneHot)
        return OneHot(q.logits[rows])

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        return NormalLikelihood(z[..., :1], torch.zeros(()), 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def numbered(n: int) -> Data:
    return Data(Spec((1,)), torch.arange(n).double().unsqueeze(1))


def spread(n: int, d: int, scale: float = 0.5, seed: int = 0) -> DiagonalNormal:
    loc = torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)
    return DiagonalNormal(loc, torch.full((n, d), math.log(scale)).double())


# --- the rate and its parts -----------------------------------------------------------------------
@pytest.mark.parametrize("posterior", ["diagonal", "cholesky"])
def test_information_of_probabilistic_pca(posterior):
    """By the mixture of the fixture's own 500 posteriors 3.405 nats of the rate's
    3.508739 are information, .1 are q(z) beside N(0, I)."""
    found = aggregate(linear_vae(*ppca_solution(3), posterior), ppca_data(), draws=8)
    assert found.rate == pytest.approx(PPCA_RATE, abs=1e-5)
    assert found.information == pytest.approx(3.405, abs=0.010)
    assert found.divergence == pytest.approx(0.1, abs=0.012)  # the sheet says .095
    assert found.information_se < 0.1


def test_information_does_not_depend_on_the_chunks(monkeypatch):
    model = linear_vae(*ppca_solution(3), "diagonal")
    whole = aggregate(model, ppca_data(), draws=1)
    monkeypatch.setattr(module, "BLOCK", 7_000)
    monkeypatch.setattr(module, "at_once", lambda *_: 137)
    parts = aggregate(model, ppca_data(), draws=1)
    assert parts.divergence == pytest.approx(whole.divergence, abs=1e-9)
    assert parts.rate == pytest.approx(whole.rate, abs=1e-9)


def test_rows_that_share_a_posterior_tell_nothing_and_apart_they_tell_which_one():
    """Equal posteriors: I = 0, q(z) is one of them. Far apart: I = log N, the cap."""
    same = DiagonalNormal(torch.ones(50, 2).double(), torch.full((50, 2), -1.0).double())
    found = aggregate(Posteriors(same), numbered(50))
    assert found.information == pytest.approx(0, abs=1e-9)
    assert found.divergence == pytest.approx(2 * (0.5 * (math.exp(-2) + 1 - 1) + 1), abs=1e-9)
    far = DiagonalNormal(
        100.0 * torch.arange(50.0).double().view(50, 1), torch.zeros(50, 1).double()
    )
    found = aggregate(Posteriors(far), numbered(50))
    assert found.information == pytest.approx(math.log(50), abs=1e-9)
    assert found.cap == pytest.approx(math.log(50))


@pytest.mark.parametrize("seed", range(3))
def test_information_correlation_and_dimensions_add_up_to_the_rate(seed):
    """Of any set of Gaussians, to the error of the draws."""
    loc = torch.randn(40, 3, generator=seeded(seed), dtype=torch.float64)
    log_scale = 0.5 * torch.randn(40, 3, generator=seeded(seed + 9), dtype=torch.float64) - 1
    loc[:, 1] += loc[:, 0]
    model, data = Posteriors(DiagonalNormal(loc, log_scale)), numbered(40)
    found = aggregate(model, data, draws=400, seed=seed)
    assert found.correlation is not None
    assert found.dimensions is not None
    total = found.information + found.correlation + float(found.dimensions.sum())
    assert found.rate == pytest.approx(bound_rate(model, data), abs=1e-9)
    assert total == pytest.approx(found.rate, abs=0.03)
    assert found.correlation > 0.1


def bound_rate(model: Model, data: Data) -> float:
    return bound(model, data).rate


def test_total_correlation_of_a_correlated_gaussian():
    """Every row has N(0, S): q(z) is it, I = 0, and TC = -1/2 log |corr|, by dimension KL of
    N(0, S_jj) from N(0, 1)."""
    covariance = torch.tensor([[1.0, 1.2, 0], [1.2, 2.0, 0.3], [0, 0.3, 0.5]]).double()
    tril = torch.linalg.cholesky(covariance)
    model = Posteriors(CholeskyNormal(torch.zeros(200, 3).double(), tril.expand(200, 3, 3)))
    found = aggregate(model, numbered(200), draws=200)
    variance = covariance.diagonal()
    corr = covariance / (variance.sqrt().unsqueeze(0) * variance.sqrt().unsqueeze(1))
    assert found.information == pytest.approx(0, abs=1e-9)
    assert found.correlation == pytest.approx(-0.5 * float(torch.logdet(corr)), abs=0.02)
    expected = 0.5 * (variance - 1 - variance.log())
    assert found.dimensions is not None
    assert found.dimensions.tolist() == pytest.approx(expected.tolist(), abs=0.02)


def test_classes_have_the_information_of_their_table():
    """One-hot codes, q(z|x) exact: I = H(mean of q) - mean of H(q), by summing over classes."""
    model = ThreeClasses(exact=True)
    data = Data(model.spec, class_rows(400, 0))
    q = model.posterior(data.rows(slice(None))).logits.exp().detach()
    p = torch.tensor([0.5, 0.3, 0.2]).double()
    mean = q.mean(0)
    entropy = torch.special.entr(q).sum(1).mean()
    found = aggregate(model, data, draws=200)
    assert found.information == pytest.approx(
        float(torch.special.entr(mean).sum() - entropy), abs=0.02
    )
    assert found.divergence == pytest.approx(float((mean * (mean / p).log()).sum()), abs=0.02)
    assert found.correlation is None
    assert found.dimensions is None


def test_a_chain_has_the_density_of_its_parts():
    """The same Gaussians as one link and as two: the same numbers, but for the marginals."""

    class Linked(Posteriors):
        def posterior(self, batch: Batch) -> Latent:
            q = super().posterior(batch)
            a, b = (DiagonalNormal(q.mean[:, i], q.stddev[:, i].log()) for i in ([0], [1, 2]))
            return Chain(a, lambda z: b, sizes=(1, 2))

    family = spread(60, 3)
    plain = aggregate(Posteriors(family), numbered(60), draws=50)
    linked = aggregate(Linked(family), numbered(60), draws=50)
    assert linked.information == pytest.approx(plain.information, abs=0.05)
    assert linked.rate == pytest.approx(plain.rate, abs=0.1)  # by draws, not closed
    assert linked.correlation is None


def test_a_part_of_the_rows_stands_for_all_without_bias():
    """N = 5, batches of M = 3 that hold row 0: the mean of the estimates of q(z) over all six of
    them is q(z), z drawn from the first row."""
    q = spread(5, 2)
    z = q.mean[0] + 0.3
    density = q.log_prob(z.expand(5, 2))
    estimates = []
    for others in itertools.combinations(range(1, 5), 2):
        for place in range(3):
            rows = list(others)
            rows.insert(place, 0)
            # the row that z is from has its own place, wherever in the batch it stands
            shares = log_shares(3, 5)[place]
            estimates.append((density[rows] + shares).logsumexp(0).exp())
    truth = density.exp().mean()
    for place in range(3):
        assert torch.stack(estimates[place::3]).mean() == pytest.approx(truth.item(), rel=1e-12)
    assert log_shares(5, 5).exp().tolist() == pytest.approx(0.2 * torch.ones(5, 5).double())


def test_a_part_of_the_rows_has_the_cap_of_all():
    far = DiagonalNormal(
        100.0 * torch.arange(90.0).double().view(90, 1), torch.zeros(90, 1).double()
    )
    found = aggregate(Posteriors(far), numbered(90), rows=30)
    assert found.n == 30
    assert found.information == pytest.approx(math.log(90), abs=1e-9)


def test_discrepancy_is_that_of_the_draws():
    """Posteriors that are the prior: about 0. All at 3: E k(z, z') is known for neither, but the
    discrepancy of two far sources is twice what is left of the kernel, below 2 and far from 0."""
    prior = DiagonalNormal(torch.zeros(900, 2).double(), torch.zeros(900, 2).double())
    assert aggregate(Posteriors(prior), numbered(900), draws=1).mmd == pytest.approx(0, abs=0.004)
    away = DiagonalNormal(prior.loc + 3, prior.log_scale)
    assert aggregate(Posteriors(away), numbered(900), draws=1).mmd > 0.5


# --- collapse -------------------------------------------------------------------------------------
def test_collapse_counts_dimensions_and_forgives_a_share_of_the_rows():
    """Rates are loc^2 / 2. Dimension 0: .005 for all; 1: .02 for all; 2: .02 for 1 row of 100;
    3: for 2 of 100."""
    loc = torch.zeros(100, 4).double()
    loc[:, 0], loc[:, 1] = 0.1, 0.2
    loc[:1, 2], loc[:2, 3] = 0.2, 0.2
    model = Posteriors(DiagonalNormal(loc, torch.zeros(100, 4).double()))
    assert collapsed(model, numbered(100)) == 2
    assert collapsed(model, numbered(100), eps=0.03) == 4
    assert collapsed(ThreeClasses(), Data(ThreeClasses().spec, class_rows(5, 0))) is None


# --- holes ----------------------------------------------------------------------------------------
def test_hole_rate_counts_draws_beyond_the_border():
    """Training code 0, held-out codes 1 ... 101: 99 % of them are within 100."""
    train, held = torch.zeros(1, 1), torch.arange(1.0, 102.0).view(-1, 1)
    drawn = torch.tensor([[0.0], [99.9], [-100.1], [100.5], [1e6]])
    assert hole_rate(train, held, drawn) == pytest.approx(3 / 5)


@pytest.mark.parametrize("d", [2, 10])
def test_hole_rate_is_nominal_where_aggregate_and_prior_are_one(d):
    """Posteriors of standard deviation .6 about means of .8: the aggregate is N(0, I)."""
    loc = 0.8 * torch.randn(9000, d, generator=seeded(0), dtype=torch.float64)
    model = Posteriors(DiagonalNormal(loc, torch.full_like(loc, math.log(0.6))))
    train, held = (numbered(9000).part(torch.arange(*span)) for span in ((5000,), (5000, 9000)))
    found = holes(model, train, held, draws=20_000)
    assert found.rate == pytest.approx(found.nominal, abs=0.004)
    # half the spread: the border is nearer, and a known share of draws beyond it is no nominal one
    narrow = Posteriors(DiagonalNormal(loc / 2, torch.full_like(loc, math.log(0.3))))
    assert holes(narrow, train, held).rate > 0.15


def test_an_autoencoder_has_holes_but_no_information():
    model = build("autoencoder", Spec((6,)), latent=2, hidden=(8,)).eval()
    data = Data(Spec((6,)), torch.randn(50, 6, generator=seeded(0)))
    assert 0 <= holes(model, data, data).rate <= 1
    with pytest.raises(UsageError, match="no density over x"):
        aggregate(model, data)


def test_the_same_seed_gives_the_same_numbers_and_moves_no_state():
    model = build("vae", Spec((6,)), latent=2, hidden=(8,)).train()
    data = Data(Spec((6,)), torch.randn(50, 6, generator=seeded(0)))
    before = torch.get_rng_state()
    first, second = (aggregate(model, data, seed=3) for _ in "ab")
    assert first.divergence == second.divergence
    assert first.mmd == second.mmd
    assert holes(model, data, data, seed=3) == holes(model, data, data, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def test_too_few_rows_are_refused():
    model = build("vae", Spec((6,)), latent=2, hidden=(8,)).eval()
    one, none = (Data(Spec((6,)), torch.zeros(n, 6)) for n in (1, 0))
    with pytest.raises(DataError, match="1 rows: a mixture of posteriors takes at least two"):
        aggregate(model, one)
    with pytest.raises(DataError, match="1 training and 0 held-out rows"):
        holes(model, one, none)
