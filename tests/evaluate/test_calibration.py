"""Calibration of encoders and likelihoods whose posteriors and errors are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.fixtures import lg
from tests.uses.models import ThreeClasses, class_rows, drawn, gapped, lg_ppca, loaded, seeded
from vaes.batch import Batch, Data, Spec
from vaes.dist.base import Latent
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal, NormalLikelihood
from vaes.errors import DataError, UsageError
from vaes.evaluate.calibration import intervals, of_ranks, scores, simulated
from vaes.model import Model, Step
from vaes.recipes import build
from vaes.recipes.ppca import PPCA


class Sabotaged(PPCA):
    """Probabilistic PCA of the LG problem whose posterior is shifted and stretched."""

    def __init__(self, stretch: float = 1.0, shift: float = 0.0) -> None:
        right = lg_ppca()
        super().__init__(right.spec, right.latent, "em")
        self.double().load_state_dict(right.state_dict())
        self.stretch, self.shift = stretch, shift

    def posterior(self, batch: Batch) -> CholeskyNormal:
        q = super().posterior(batch)
        # of the prior's unit
        return CholeskyNormal(q.loc + self.shift, q.tril * self.stretch)


# --- simulation-based calibration -----------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_an_exact_posterior_gives_no_alarm_and_covers(seed):
    """Errors of three seeds: 3,000 codes in two dimensions are within 90 +- 2 %."""
    found = simulated(Sabotaged(), simulations=3000, seed=seed)
    assert not found.alarm
    assert found.coverage.tolist() == pytest.approx([0.9] * 3, abs=0.02)
    assert float(torch.cat([found.mean, found.spread]).abs().max()) < 4


@pytest.mark.parametrize(
    ("stretch", "shift", "spread"), [(0.8, 0.0, 1), (1.2, 0.0, -1), (1.0, 0.1, 0)]
)
def test_a_wrong_posterior_gives_an_alarm(stretch, shift, spread):
    """At 5,000 simulations: the sign says what is wrong."""
    found = simulated(Sabotaged(stretch, shift), simulations=5000)
    assert found.alarm
    if spread:
        assert bool((found.spread[:2] * spread > 5).all())
    else:
        # codes lie lower than q says by .1 of its two standard deviations .433 and .302
        assert bool((found.mean[:2] < -5).all())


def test_coverage_of_an_interval_that_is_too_narrow():
    """The central 90 % of N(m, (.5 s)^2) hold P(|N(0,1)| < .5 * 1.645) = .589 of N(m, s^2)."""
    found = simulated(Sabotaged(0.5), simulations=5000, draws=399)
    assert found.coverage[:2].tolist() == pytest.approx([0.5892] * 2, abs=0.02)


def test_lost_correlation_is_seen_by_the_distance_from_a_point():
    """Marginals right, dependence dropped: per dimension nothing is wrong, the distance tells."""

    class Apart(Sabotaged):
        def posterior(self, batch: Batch) -> DiagonalNormal:  # type: ignore[override]
            q = super().posterior(batch)
            return DiagonalNormal(q.mean, q.stddev.log())

    weight = torch.tensor([[3.0, 2.9]]).double()
    model = Apart()
    model.weight, model.bias = weight, torch.zeros(1).double()
    model.spec = Spec((1,))
    found = simulated(model, simulations=5000)
    assert float(torch.cat([found.mean[:2], found.spread[:2]]).abs().max()) < 4
    assert abs(float(found.spread[2])) > 5
    assert found.alarm


def test_statistics_of_ranks_by_hand():
    """Ranks 0 ... 99 once each: even, of mean 49.5, of variance (100^2 - 1) / 12, 90 % inside."""
    every = torch.arange(100).unsqueeze(1)
    found = of_ranks(every, 99)
    assert float(found.chi2) == pytest.approx(1)
    assert float(found.mean) == pytest.approx(0, abs=1e-12)
    assert float(found.spread) == pytest.approx(0, abs=1e-12)
    assert float(found.coverage) == 0.9
    assert not found.alarm
    # all at 60: off by 10.5 in units of sqrt((100^2 - 1) / 12 / 100)
    high = of_ranks(torch.full((100, 1), 60), 99)
    assert float(high.mean) == pytest.approx(10.5 / math.sqrt(9999 / 12 / 100))
    assert float(high.chi2) == pytest.approx(0, abs=1e-12)
    assert high.alarm
    # the lowest rank of every bin: bins are even, the mean is low by 2, and that alone is an alarm
    low = of_ranks(torch.arange(0, 100, 5).repeat(1000).unsqueeze(1), 99)
    assert float(low.chi2) == pytest.approx(1)
    assert float(low.mean) == pytest.approx(-2 / math.sqrt(9999 / 12 / 20_000))
    assert abs(float(low.spread)) < 1
    assert low.alarm


def test_the_spread_of_uniform_ranks_is_a_standard_normal_number():
    """The variance of the squares is that of a uniform whole number: fourth moment included."""
    ranks = torch.randint(20, (500, 2000), generator=seeded(0))
    found = of_ranks(ranks, 19)
    for z in (found.mean, found.spread):
        assert float(z.mean()) == pytest.approx(0, abs=0.08)
        assert float(z.std()) == pytest.approx(1, abs=0.05)
    assert float((found.chi2 < 0.05).double().mean()) == pytest.approx(0.05, abs=0.015)


def test_what_has_no_ranks_is_refused_in_a_line():
    with pytest.raises(UsageError, match="codes are discrete"):
        simulated(ThreeClasses(exact=True))
    with pytest.raises(UsageError, match="no density over x"):
        simulated(build("autoencoder", Spec((5,)), latent=2))

    class Pair(Sabotaged):
        def posterior(self, batch: Batch) -> Latent:  # type: ignore[override]
            label = OneHot(torch.zeros(len(batch), 1).double())
            rest = DiagonalNormal(torch.zeros(len(batch), 1), torch.zeros(len(batch), 1))
            return Chain(label, lambda z: rest, sizes=(1, 1))

    with pytest.raises(UsageError, match="codes are discrete"):
        simulated(Pair())
    with pytest.raises(UsageError, match="simulations=50, draws=99"):
        simulated(Sabotaged(), simulations=50)
    with pytest.raises(UsageError, match="multiple of 20"):
        simulated(Sabotaged(), draws=50)
    gaps = build("not_miwae", Spec((5,), missing=True), latent=2)
    with pytest.raises(UsageError, match="of x,s"):
        simulated(gaps)
    with pytest.raises(UsageError, match="of values and gaps"):
        intervals(gaps, Data(gaps.spec, torch.zeros(3, 5)))


def test_the_same_seed_gives_the_same_ranks_and_moves_no_state():
    model, before = Sabotaged().train(), torch.get_rng_state()
    first, second = (simulated(model, simulations=200, seed=4) for _ in "ab")
    assert torch.equal(first.ranks, second.ranks)
    assert not torch.equal(first.ranks, simulated(model, simulations=200, seed=5).ranks)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


# --- predictive intervals -------------------------------------------------------------------------
class Told(Model):
    """x | z ~ N(0, s^2), whatever z is."""

    def __init__(self, size: int, scale: float) -> None:
        super().__init__(Spec((size,)), 1)
        self.size, self.scale = size, scale
        self.register_buffer("like", torch.zeros((), dtype=torch.float64))

    def prior(self, batch: Batch) -> DiagonalNormal:
        zeros = batch.x.new_zeros(len(batch), 1)
        return DiagonalNormal(zeros, zeros)

    def posterior(self, batch: Batch) -> DiagonalNormal:
        return self.prior(batch)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        zeros = z.new_zeros(*z.shape[:-1], self.size)
        return NormalLikelihood(zeros, torch.tensor(math.log(self.scale)), 1)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def inside(width: float, level: float) -> float:
    """Chance that x ~ N(0, 1) has a rank within the central `level` among 19 draws of N(0, w^2)."""
    x = torch.randn(200_000, generator=seeded(1), dtype=torch.float64)
    below = torch.special.ndtr(x / width)
    ks = torch.arange(20.0).double()
    log_pmf = (
        (torch.lgamma(torch.tensor(20.0)) - torch.lgamma(ks + 1) - torch.lgamma(20 - ks))
        + ks * below.log().unsqueeze(1)
        + (19 - ks) * (-below).log1p().unsqueeze(1)
    )
    edge = round((1 - level) / 2 * 20)
    return float(log_pmf.exp()[:, edge : 20 - edge].sum(1).mean())


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_intervals_of_a_known_width(width):
    x = torch.randn(2000, 4, generator=seeded(0), dtype=torch.float64)
    found = intervals(Told(4, width), Data(Spec((4,)), x))
    assert found.inside50 == pytest.approx(inside(width, 0.5), abs=0.02)
    assert found.inside90 == pytest.approx(inside(width, 0.9), abs=0.02)
    if width == 1:
        assert found.inside50 == pytest.approx(0.5, abs=0.02)
        assert found.inside90 == pytest.approx(0.9, abs=0.015)
        assert found.inside50_se == pytest.approx(math.sqrt(0.25 / 8000), rel=0.05)
    assert found.half.shape == found.most.shape == (4,)


def test_intervals_are_exact_where_the_model_is_right():
    """Rows of probabilistic PCA with its own posterior: the ranks of entries are uniform, since x
    and z are one draw of the joint; and so are they independent of each other."""
    model = loaded(6, 2, 0)
    data = Data(model.spec, drawn(model, 4000, 0))
    found = intervals(model, data)
    assert found.inside50 == pytest.approx(0.5, abs=0.01)
    assert found.inside90 == pytest.approx(0.9, abs=0.006)
    counts = torch.bincount(found.ranks.flatten(), minlength=20).double() / found.ranks.numel()
    assert counts.tolist() == pytest.approx([0.05] * 20, abs=0.006)
    normal = scores(found.ranks)
    assert float(normal.mean()) == pytest.approx(0, abs=0.02)
    assert torch.allclose(normal.T.cov(), torch.eye(6).double(), atol=0.06)


def test_importance_weights_mend_a_wrong_encoder():
    """q = prior for every row: entries lie too far off; of 200 draws weighted, nearly as they
    should."""
    right = lg_ppca()
    wrong = lg(torch.zeros(2).double(), torch.ones(2).double())
    data = Data(right.spec, drawn(right, 2000, 0))
    assert intervals(wrong, data).inside90 < 0.75
    assert intervals(wrong, data, k=200).inside90 == pytest.approx(0.9, abs=0.02)


def test_discrete_entries_have_uniform_ranks_too():
    model = ThreeClasses(exact=True)
    found = intervals(model, Data(model.spec, class_rows(4000, 1)))
    assert found.half.tolist() == pytest.approx([0.5] * 4, abs=0.03)
    assert found.most.tolist() == pytest.approx([0.9] * 4, abs=0.02)


def test_gaps_do_not_count():
    model = loaded(6, 2, 0)
    data = gapped(model, drawn(model, 3000, 0), 0.3, 0)
    found = intervals(model, data)
    assert torch.equal(found.ranks >= 0, data.mask)
    assert found.inside90 == pytest.approx(0.9, abs=0.01)
    assert float(scores(found.ranks)[~data.mask].abs().max()) == 0
    none = Data(model.spec, data.x[:3], mask=torch.zeros(3, 6, dtype=torch.bool))
    with pytest.raises(DataError, match="none of the entries of 3 rows is observed"):
        intervals(model, none)
    with pytest.raises(UsageError, match="k=0, 3000 rows"):
        intervals(model, data, k=0)
