"""One claim of its paper for every recipe: `test_<recipe>...`."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from tests.fixtures import (
    LG_EVIDENCE,
    LG_MEAN,
    LG_MU,
    LG_TRIL,
    LG_VAR,
    LG_W,
    LG_X,
    PPCA_EVIDENCE,
    descend,
    ppca_data,
    ppca_rows,
    ppca_spectrum,
    star,
    step_of,
    train,
)
from vaes.batch import Batch, Data, Spec
from vaes.evaluate.likelihood import evidence
from vaes.model import Model
from vaes.objective import log_weight, terms
from vaes.recipes import build, names
from vaes.uses import encode, impute

DATA = ppca_data()
ALL = DATA.rows(slice(None))
X = Batch(LG_X)


def test_every_recipe_has_a_claim():
    """Here, or in a file of its own: tests/papers/test_<recipe>.py."""
    own = {path.stem for path in (Path(__file__).parent / "papers").glob("test_*.py")}
    missing = [n for n in names() if not any(t.startswith(f"test_{n}") for t in {*globals(), *own})]
    assert not missing


def on_lg(name: str) -> Model:
    """The linear recipe with the generative part of LG held fixed; its encoder is to be learned."""
    torch.manual_seed(0)
    model = build(name, Spec((5,)), latent=2, hidden=(), scale=1.0, warmup=0.0).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    model.decoder.requires_grad_(False)
    return model


def rows_of_lg(n: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=draw, dtype=torch.float64)
    e = torch.randn(n, 5, generator=draw, dtype=torch.float64)
    return Batch(z @ LG_W.T + LG_MU + math.sqrt(LG_VAR) * e)


def test_vae_learns_the_best_diagonal_posterior():
    """Kingma & Welling 2014: amortised over 200 rows, the ELBO of LG's x is -7.723983861."""
    model = on_lg("vae")
    descend(model, rows_of_lg(200), star(2), steps=1500, rate=0.03)
    q = model.posterior(X)
    assert q.mean[0].tolist() == pytest.approx(LG_MEAN.tolist(), abs=1e-3)
    assert q.variance[0].tolist() == pytest.approx([0.17777778, 0.08602151], abs=1e-4)
    elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert elbo == pytest.approx(-7.723983861, abs=1e-4)


def test_full_covariance_closes_the_gap():
    """Rezende et al. 2014, sec. 4: a full Gaussian is exact here; a diagonal misses .027631339."""
    model = on_lg("full_covariance")
    descend(model, rows_of_lg(200), star(2), steps=1500, rate=0.03)
    elbo = log_weight(model, X, noise=star(2)).mean().item()
    assert elbo == pytest.approx(LG_EVIDENCE, abs=1e-4)
    assert elbo == pytest.approx(-7.723983861 + 0.027631339, abs=1e-4)
    assert torch.allclose(model.posterior(X).tril[0], LG_TRIL, atol=1e-3)


def test_iwae_bound_tightens_with_k():
    """Burda et al. 2016, theorem 1: on one and the same model K = 50 is above K = 1."""
    losses = {}
    for k in (1, 50):
        torch.manual_seed(0)  # the same weights
        model = build("iwae", DATA.spec, samples=k, latent=3, hidden=(8,)).double()
        draws = [model.noise(500, seed=0, step=i, like=ALL.x) for i in range(30)]
        with torch.no_grad():
            losses[k] = torch.stack([model.losses(ALL, step_of(n))["model"] for n in draws])
    error = math.hypot(*(v.std().item() / math.sqrt(30) for v in losses.values()))
    assert losses[1].mean() - losses[50].mean() > 4 * error
    # and it trains: the linear model ends at the evidence of PPCA, which bounds it from above
    torch.manual_seed(0)
    model = build("iwae", DATA.spec, samples=5, latent=3, hidden=()).double()
    descend(model, ALL, model.noise(500, seed=0, step=0, like=ALL.x), steps=400, rate=0.05)
    with torch.no_grad():
        fresh = torch.randn(400, 500, 3, generator=torch.Generator().manual_seed(1)).double()
        bound = log_weight(model, ALL, noise=fresh).logsumexp(0) - math.log(400)
    assert PPCA_EVIDENCE[3] - 0.3 < bound.mean().item() < PPCA_EVIDENCE[3]


def test_beta_vae_capacity_sets_the_rate():
    """Burgess et al. 2018: gamma |rate - C| holds the rate at C nats, spent on the first axes."""
    torch.manual_seed(0)
    model = build(
        "beta_vae", DATA.spec, capacity=2.0, latent=3, hidden=(), likelihood="normal", scale=1.0
    ).double()
    descend(model, ALL, star(3), steps=1500, rate=0.02)
    with torch.no_grad():
        found = terms(model, ALL, star(3))
    assert found.rate.mean().item() == pytest.approx(2.0, abs=0.02)
    rates = found.rates.mean(0).sort(descending=True).values
    assert rates[0] > 1.5
    assert rates[2] < 0.1


def test_ppca_likelihood_is_that_of_the_eigenvalues():
    """Tipping & Bishop 1999, eq. 12: -1/2 (D log 2 pi + sum log l + (D - k) log s2 + D)."""
    values = ppca_spectrum(ppca_rows())[0]
    for k in range(1, 8):
        model = build("ppca", DATA.spec, latent=k).double()
        with torch.no_grad():
            model.begin("train", DATA)
        rest = values[k:].mean()
        expected = -0.5 * (
            8 * math.log(2 * math.pi) + np.log(values[:k]).sum() + (8 - k) * math.log(rest) + 8
        )
        found = log_weight(model, ALL, noise=star(k)).mean().item()
        assert found == pytest.approx(expected, abs=1e-9)


def test_autoencoder_is_pca_without_a_scale():
    """Baldi & Hornik 1989: linear, it leaves .303901 per dimension and spans the first axes.

    Its codes carry no scale: encoder times c and decoder over c are the same model.
    """
    torch.manual_seed(0)
    model = build(
        "autoencoder", DATA.spec, latent=3, hidden=(), likelihood="normal", scale=1.0
    ).double()
    noise = torch.zeros(1, 1, 3).double()
    descend(model, ALL, noise, steps=3000, rate=0.02)
    z = model.posterior(ALL).mean
    residual = (model.likelihood(z, ALL).mean - ALL.x).square().mean().item()
    assert residual == pytest.approx(0.303901, abs=0.0005)
    values, vectors = ppca_spectrum(ppca_rows())
    weight = model.decoder.last.weight.detach().numpy()
    cosines = np.linalg.svd(vectors[:, :3].T @ np.linalg.qr(weight)[0], compute_uv=False)
    assert np.arccos(cosines.clip(max=1)).max() < 1e-2
    # the Gaussian of the codes, decoded, has the mean of x and the covariance that PCA keeps
    with torch.no_grad():
        model.begin("codes", DATA)
        middle = model.likelihood(model.prior(ALL[:1]).mean, ALL[:1]).mean[0].numpy()
        covariance = weight @ model.prior(ALL[:1]).covariance_matrix[0].numpy() @ weight.T
    kept = (vectors[:, :3] * values[:3]) @ vectors[:, :3].T
    assert np.abs(covariance - kept).max() < 0.02
    assert np.abs(middle - ppca_rows().mean(0)).max() < 0.02
    before = model.losses(ALL, step_of(noise))["model"].item()
    with torch.no_grad():
        model.encoder.last.weight.mul_(8)
        model.encoder.last.bias.mul_(8)
        model.decoder.last.weight.div_(8)  # a power of two: to the bit
    assert model.losses(ALL, step_of(noise))["model"].item() == before


def parity(n: int, seed: int) -> Data:
    """Two fair coins and their parity: every two of the three columns are independent."""
    coins = torch.randint(2, (n, 2), generator=torch.Generator().manual_seed(seed))
    spec = Spec((3,), ("binary",), (2,), rows=n)
    return Data(spec, torch.cat([coins, coins.sum(1, keepdim=True) % 2], 1).float())


def test_tabular_columns_depend_on_one_another_given_z():
    """Larochelle & Murray 2011: the product of conditionals holds what no product of independent
    columns can. The evidence of parity is -2 log 2; independent columns have -3 log 2."""
    torch.manual_seed(0)
    model = build("tabular", parity(512, 0).spec, hidden=(32,), warmup=0.0)
    train(model, parity(512, 0), steps=500)
    found = evidence(model, parity(256, 1), k=64)
    assert found.mean == pytest.approx(-2 * math.log(2), abs=0.03)


def test_latent_class_columns_are_independent_within_a_class():
    """Lazarsfeld & Henry 1968: the classes explain all dependence; a few of them hold parity, and
    one holds nothing of it."""
    for classes, expected in ((8, -2 * math.log(2)), (1, -3 * math.log(2))):
        data = parity(512, 0)
        model = build("latent_class", data.spec, latent=classes, smoothing=0.1)
        train(model, data, steps=60)
        assert evidence(model, parity(256, 1)).mean == pytest.approx(expected, abs=0.03)


def test_counts_leave_to_z_what_the_totals_do_not_say():
    """Lopez et al. 2018: rows of the same shares that were counted from 20 to 1,000 deep need no
    code; their evidence given the totals is that of Poissons with the means total * share."""
    draw, share = np.random.default_rng(0), np.array([0.05, 0.1, 0.15, 0.2, 0.5])
    spec = Spec((5,), ("count",), (0,), totals=True)
    depth = np.exp(draw.uniform(math.log(20), math.log(1000), (2, 1000, 1)))
    x = draw.poisson(depth * share)
    rows, held = (Data(spec, torch.from_numpy(part).float()) for part in x)
    torch.manual_seed(0)
    model = build("counts", spec, latent=2, hidden=(16,), samples=1)
    train(model, rows, steps=300)
    found = evidence(model, held, k=64)
    expected = poisson.logpmf(x[1], x[1].sum(1, keepdims=True) * share).sum(1).mean()
    assert found.mean == pytest.approx(expected, abs=0.1)
    assert found.mean - found.elbo < 0.05  # nothing that an encoder could have missed
    assert encode(model.eval(), held).mean.std(0).max() < 0.15


def test_not_miwae_fills_gaps_that_large_values_leave():
    """Ipsen et al. 2021, sec. 4: where large values are missing, a model that takes gaps for
    random fills in values that are too small; with the mechanism in the model the error falls."""
    draw = np.random.default_rng(0)
    weight = np.array([[1.5, 0.3], [1.0, -1.0], [0.5, 1.2], [1.0, 0.8], [-1.2, 0.5], [0.3, -1.5]])
    x = draw.normal(size=(400, 2)) @ weight.T + 0.4 * draw.normal(size=(400, 6))
    x = torch.from_numpy(x / x.std(0))
    gone = torch.from_numpy(draw.random(x.shape)) < torch.sigmoid(5 * x)
    gone[:, 3:] = False
    mean = torch.where(gone, 0, x).sum(0) / (~gone).sum(0)
    spread = x[:, 0].std()  # one scale, of a column's size: the units of a model are near 1
    spec = Spec((6,), missing=True)
    data = Data(spec, torch.where(gone, 0, (x - mean) / spread), mask=~gone)
    short, error = {}, {}
    for name in ("iwae", "not_miwae"):
        torch.manual_seed(0)
        model = build(name, spec, latent=2, hidden=(), samples=5).double()
        train(model, data, steps=400, rate=0.01)
        off = (impute(model, data).mean * spread + mean - x)[gone]
        short[name], error[name] = -off.mean().item(), off.square().mean().sqrt().item()
    assert short["iwae"] > 0.4  # spreads of a column
    assert abs(short["not_miwae"]) < 0.2
    assert error["not_miwae"] < 0.7 * error["iwae"]
    assert error["iwae"] < (mean - x)[gone].square().mean().sqrt().item()
