"""The baselines against numbers that can be derived by hand, by another route or by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.fixtures import PPCA_EVIDENCE, ppca_data
from vaes.batch import Data, Spec
from vaes.errors import DataError, UsageError
from vaes.evaluate.baselines import independent, latent_class
from vaes.evaluate.gaussians import _fit, factor_analysis, gaussian_mixture, ppca
from vaes.evaluate.likelihood import evidence
from vaes.recipes import build

PIXELS = Spec((2,), kinds=("pixel",), levels=(3,), scale=(2.0,))


def pixels(rows: list[list[int]], spec: Spec = PIXELS, **kwargs) -> Data:
    return Data(spec, torch.tensor(rows, dtype=torch.uint8), **kwargs)


def digits() -> tuple[Data, Data]:
    sklearn = pytest.importorskip("sklearn.datasets")
    x = torch.tensor(sklearn.load_digits().images, dtype=torch.uint8).unsqueeze(1)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    spec = Spec((1, 8, 8), kinds=("pixel",), levels=(17,), scale=(16.0,))
    return Data(spec, x[:1437]), Data(spec, x[1437:])


def test_independent_pixels_by_hand():
    found = independent(
        pixels([[0, 2], [0, 2], [1, 2], [0, 2]]), pixels([[0, 2], [1, 2], [2, 0], [0, 2]])
    )
    # counts 3, 1, 0 and 0, 0, 4 of 4 rows, with a third of an observation more at each level
    first = [math.log((c + 1 / 3) / 5) for c in (3, 1, 0)]
    second = [math.log((c + 1 / 3) / 5) for c in (0, 0, 4)]
    rows = [first[0] + second[2], first[1] + second[2], first[2] + second[0], first[0] + second[2]]
    assert found.name == "independent"
    assert found.bound == "exact"
    assert found.mean == pytest.approx(np.mean(rows), abs=1e-12)
    assert found.se == pytest.approx(np.std(rows, ddof=1) / 2, abs=1e-12)


def test_independent_probabilities_sum_to_one():
    train = pixels([[0, 2], [1, 2], [1, 0]])
    every = [[a, b] for a in range(3) for b in range(3)]
    total = sum(math.exp(independent(train, pixels([row])).mean) for row in every)
    assert total == pytest.approx(1, abs=1e-12)


def test_independent_reals_in_the_users_units():
    x = np.array([[1.0, 100.0], [3.0, 300.0], [2.0, 500.0]])
    shift, scale = (10.0, -3.0), (4.0, 0.5)
    spec = Spec((2,), shift=shift, scale=scale)
    rows = Data(spec, torch.tensor((x - shift) / scale))
    mean, std = x.mean(0), x.std(0)
    expected = -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)
    assert independent(rows, rows).mean == pytest.approx(expected.sum(1).mean(), abs=1e-10)


def test_independent_mixed_columns_and_gaps():
    spec = Spec((3,), ("real", "category", "binary"), (0, 4, 2), (5.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    x = torch.tensor([[-1.0, 3, 1], [1.0, 0, 1], [0.0, 3, 0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1]]).bool()
    train = Data(spec, x, mask=mask)
    test = Data(spec, x[:2], mask=torch.tensor([[1, 1, 0], [0, 1, 1]]).bool())
    # two observed reals -1, 1 in units of 2: mean 5, standard deviation 2 for the user
    real = -0.5 - math.log(2) - 0.5 * math.log(2 * math.pi)
    expected = [real + math.log(2.25 / 3), math.log(0.25 / 3) + math.log(2.5 / 4)]
    assert independent(train, test).mean == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_ppca_reaches_the_maximum_of_the_likelihood(k):
    found = ppca(ppca_data(), ppca_data(), k)
    assert found is not None
    assert found.bound == "exact"
    assert found.mean == pytest.approx(PPCA_EVIDENCE[k], abs=1e-6)


def test_ppca_is_the_recipe_in_the_users_units():
    rows = ppca_data().x
    mean, std = rows.mean(0), rows.std(0, correction=0)
    spec = Spec((8,), shift=tuple(mean.tolist()), scale=tuple(std.tolist()))
    data = Data(spec, (rows - mean) / std)
    train, test = data.part(torch.arange(400)), data.part(torch.arange(400, 500))
    model = build("ppca", spec, latent=3).double()
    model.begin("train", train)
    found = ppca(train, test, 3)
    assert found is not None
    assert found.mean == pytest.approx(evidence(model, test).mean, abs=1e-9)


def test_dequantised_bound_is_the_mean_over_the_cell():
    train, test = digits()
    test = test.part(torch.arange(40))
    found = ppca(train, test, 5)
    assert found is not None
    assert found.bound == "lower"
    density = _fit(train, 5, 16.0, 1 / 12)
    covariance = (
        density.variance * torch.eye(64)
        + density.vectors @ torch.diag(density.values - density.variance) @ density.vectors.T
    )
    normal = torch.distributions.MultivariateNormal(density.mean, covariance)
    draw = torch.Generator().manual_seed(0)
    x = test.x.flatten(1).double()
    u = torch.rand(2000, len(x), 64, generator=draw, dtype=torch.float64) - 0.5
    drawn = normal.log_prob(x + u).mean(1)
    error = float(drawn.std() / math.sqrt(len(drawn)))
    assert abs(float(drawn.mean()) - found.mean) < 4 * error
    assert error < 0.02


def test_dequantised_ppca_is_fitted_to_dequantised_rows():
    train, _ = digits()
    density = _fit(train, 5, 16.0, 1 / 12)
    x = train.x.flatten(1).double()
    covariance = torch.cov(x.T, correction=0) + torch.eye(64, dtype=torch.float64) / 12
    values = torch.linalg.eigvalsh(covariance).flip(0)
    torch.testing.assert_close(density.values, values[:5])
    torch.testing.assert_close(density.variance, values[5:].mean())


def test_dequantised_bound_is_below_the_probability():
    # one dimension of four levels: the probability of a level is the mass of its cell
    spec = Spec((2,), kinds=("pixel",), levels=(4,), scale=(3.0,))
    train = pixels([[0, 1], [1, 3], [3, 2], [2, 2], [1, 0]], spec)
    density = _fit(train, 1, 3.0, 1 / 12)
    direction = density.vectors @ torch.diag(density.values - density.variance)
    covariance = direction @ density.vectors.T + density.variance * torch.eye(2)
    normal = torch.distributions.MultivariateNormal(density.mean, covariance)
    grid = (torch.arange(200, dtype=torch.float64) + 0.5) / 200 - 0.5
    u = torch.cartesian_prod(grid, grid)
    for row in ([0, 1], [3, 3], [2, 0]):
        found = ppca(train, pixels([row], spec), 1)
        assert found is not None
        log_p = normal.log_prob(torch.tensor(row) + u)
        assert found.mean == pytest.approx(float(log_p.mean()), abs=1e-4)
        assert found.mean < float(log_p.logsumexp(0) - math.log(len(u)))


def test_digits_stand_where_they_are_known_to_stand():
    train, test = digits()
    alone = independent(train, test)
    assert -110 < alone.mean < -105
    means = [b.mean for k in (2, 8, 16, 32) if (b := ppca(train, test, k))]
    assert means == sorted(means)
    assert means[0] > -180
    assert -150 < means[-1] < -140


def test_constant_entries_break_nothing():
    flat = pixels([[1, 0], [1, 2], [1, 2]])
    reals = Data(Spec((3,)), torch.tensor([[0.0, 1, 5], [0, 2, 5], [0, 4, 5]]))
    same = Data(Spec((3,)), torch.zeros(4, 3))
    for data in (flat, reals, same):
        for found in (independent(data, data), ppca(data, data, 1)):
            assert found is not None
            assert math.isfinite(found.mean)
            assert math.isfinite(found.se)


def test_where_ppca_does_not_apply():
    rows = torch.zeros(3, 2)
    gaps = Data(Spec((2,), missing=True), rows, mask=torch.ones(3, 2).bool())
    codes = Data(Spec((2,), ("category",), (3,)), rows)
    mixed = Data(Spec((2,), ("real", "binary"), (0, 2)), rows)
    wide = Data(Spec((5000,)), torch.zeros(3, 5000))
    assert [ppca(data, data, 1) for data in (gaps, codes, mixed, wide)] == [None] * 4


def test_more_latents_than_a_row_has_room_for():
    found = ppca(ppca_data(), ppca_data(), 50)
    assert found is not None
    assert found.name == "ppca-7"  # which is the Gaussian with the full covariance
    values = torch.linalg.eigvalsh(torch.cov(ppca_data().x.T, correction=0))
    expected = -0.5 * (8 * math.log(2 * math.pi) + values.log().sum() + 8)
    assert found.mean == pytest.approx(float(expected), abs=1e-9)


def test_mistakes():
    data = ppca_data()
    with pytest.raises(UsageError, match="latent=0"):
        ppca(data, data, 0)
    with pytest.raises(DataError, match="0 test rows"):
        independent(data, data.part(torch.arange(0)))


def unlike(n: int) -> Data:
    """A category that tells which piece a numeric column lies in, and a coin."""
    draw = torch.Generator().manual_seed(n)
    kind = torch.randint(3, (n,), generator=draw)
    place = torch.rand(n, generator=draw) * 0.99
    coin = torch.randint(2, (n,), generator=draw)
    pieces = (-1.0, 0.0, 0.0, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5, 3.0)
    spec = Spec((3,), ("category", "numeric", "binary"), (3, 5, 2), pieces=((), pieces, ()), rows=n)
    return Data(spec, torch.stack([kind, 1 + kind + place, coin], 1).float())


def test_baselines_of_unlike_columns():
    """Independent: log 1/3 + log 1/3 - E log width + log 1/2; the mixture knows the one from the
    other: log 1/3 - E log width + log 1/2. Widths 2, .5 and a single value."""
    train, test = unlike(6000), unlike(3000)
    widths = (math.log(2) + math.log(0.5)) / 3
    alone = independent(train, test)
    assert alone.mean == pytest.approx(-2 * math.log(3) - widths - math.log(2), abs=0.03)
    mixture = latent_class(train, test)
    assert mixture is not None
    assert mixture.mean == pytest.approx(-math.log(3) - widths - math.log(2), abs=0.06)
    assert (
        latent_class(Data(Spec((2,)), torch.randn(9, 2)), Data(Spec((2,)), torch.randn(9, 2)))
        is None
    )


# --- factor analysis and mixtures -----------------------------------------------------------------
def test_factor_analysis_is_that_of_scikit_learn():
    """On 500 rows of 8 columns; in the user's units the Jacobian is added."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    draw = np.random.default_rng(1)
    x = draw.standard_normal((500, 2)) @ draw.standard_normal((2, 8))
    x = x + draw.standard_normal((500, 8)) * np.linspace(0.3, 2.0, 8)
    known = decomposition.FactorAnalysis(2, tol=1e-6, max_iter=5000).fit(x[:400])
    data = Data(Spec((8,), scale=(2.0,)), torch.from_numpy(x))
    train, test = data.part(torch.arange(400)), data.part(torch.arange(400, 500))
    found = factor_analysis(train, test, 2)
    assert found is not None
    assert found.name == "factor-analysis-2"
    expected = known.score(x[400:]) - 8 * math.log(2)
    assert found.mean == pytest.approx(expected, abs=2e-3)
    assert found.per_row.mean() == pytest.approx(found.mean)
    # noise of its own for every column: more than one noise for all can say
    assert found.mean > ppca(train, test, 2).mean + 0.1


def test_a_factor_analysis_is_that_density():
    """E_u log N(x + u; mean, W W^T + diag(v)) by the matrices themselves."""
    train, test = digits()
    found = factor_analysis(train, test, 5)
    from vaes.evaluate.gaussians import _Factors

    draw = torch.Generator().manual_seed(0)
    mean, noise = torch.zeros(6).double(), torch.rand(6, generator=draw).double() + 0.1
    loadings = torch.randn(6, 2, generator=draw).double()
    x = torch.randn(9, 6, generator=draw).double()
    covariance = loadings @ loadings.T + noise.diag()
    normal = torch.distributions.MultivariateNormal(mean, covariance)
    expected = normal.log_prob(x) - 0.5 * covariance.inverse().trace() / 12
    torch.testing.assert_close(_Factors(mean, loadings, noise).score(x, 1 / 12), expected)
    assert found is not None
    assert found.bound == "lower"
    assert ppca(train, test, 5).mean < found.mean < independent(train, test).mean + 60


def test_a_mixture_finds_its_components():
    """Two far Gaussians of full covariance: within .1 nats of the density itself."""
    draw = torch.Generator().manual_seed(0)
    tril = torch.tensor([[1.0, 0.0], [0.9, 0.3]]).double()
    x = torch.randn(2000, 2, generator=draw).double() @ tril.T
    side = torch.rand(2000, generator=draw) < 0.3
    x[side] += 8
    normal = torch.distributions.MultivariateNormal
    parts = [normal(torch.full((2,), m).double(), scale_tril=tril) for m in (0.0, 8.0)]
    logs = torch.stack([p.log_prob(x) for p in parts]) + torch.tensor([[0.7], [0.3]]).log()
    data = Data(Spec((2,), scale=(3.0,)), x)
    train, test = data.part(torch.arange(1500)), data.part(torch.arange(1500, 2000))
    found = gaussian_mixture(train, test)
    assert found is not None
    assert found.name == "gaussian-mixture-5-full"
    truth = logs.logsumexp(0)[1500:].mean().item() - 2 * math.log(3)
    assert truth - 0.1 < found.mean < truth + 0.05


def test_a_mixture_of_levels_bounds_the_probability():
    """One Gaussian on three levels: below log P(k) of the best table, and by its formula."""
    train = pixels([[0, 3], [1, 2], [2, 1], [3, 0]] * 50)
    found = gaussian_mixture(train, train)
    assert found is not None
    assert found.bound == "lower"
    assert found.mean < math.log(1 / 4)  # four rows, equally often
    # one Gaussian with the covariance of the rows and of the noise, scored where the noise is
    assert found.name == "gaussian-mixture-1-full"
    x = torch.tensor([[0, 3], [1, 2], [2, 1], [3, 0]]).double()
    covariance = torch.cov(x.T, correction=0) + torch.eye(2).double() / 12
    normal = torch.distributions.MultivariateNormal(x.mean(0), covariance)
    expected = normal.log_prob(x).mean() - covariance.inverse().trace() / 24
    assert found.mean == pytest.approx(expected.item(), abs=0.1)


def test_a_latent_class_of_images_is_that_of_their_entries():
    spec = Spec((1, 2, 3), ("binary",), (2,), rows=200)
    x = (torch.rand(200, 1, 2, 3, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8)
    image = latent_class(Data(spec, x), Data(spec, x))
    row = Spec((6,), ("binary",), (2,), rows=200)
    assert image is not None
    assert image.mean == latent_class(*[Data(row, x.flatten(1))] * 2).mean
