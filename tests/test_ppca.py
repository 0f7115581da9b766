"""Probabilistic PCA: closed form, EM, scikit-learn and the multivariate normal say the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from tests.fixtures import (
    PPCA_EVIDENCE,
    PPCA_VARIANCE,
    linear_vae,
    ppca_data,
    ppca_rows,
    ppca_solution,
    ppca_spectrum,
    star,
    step_of,
)
from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.objective import log_weight
from vaes.recipes import build
from vaes.recipes.ppca import PPCA

DATA = ppca_data()
ALL = DATA.rows(slice(None))


def evidence(model: PPCA, batch: Batch = ALL) -> float:
    """Mean of log p(x) over rows: log w is constant, so one draw at the mean does."""
    noise = torch.zeros(1, 1, model.latent, dtype=torch.float64)
    return log_weight(model, batch, noise=noise).mean().item()


def fitted(k: int, data: Data = DATA, **options) -> PPCA:
    model = build("ppca", data.spec, latent=k, **options).double()
    with torch.no_grad():
        model.begin("train", data)
    return model


@torch.no_grad()
def em_pass(model: PPCA, data: Data, size: int = 100) -> None:
    batches = [*data.batches(size)]
    for i, batch in enumerate(batches):
        last = i == len(batches) - 1
        model.closed_form(batch, step_of(torch.zeros(1, 1, model.latent), last_of_epoch=last))


@pytest.mark.parametrize("k", PPCA_EVIDENCE)
def test_closed_form(k):
    model = fitted(k)
    tolerance = 1e-9 if k == 3 else 1e-6  # the card gives six digits of the others
    assert evidence(model) == pytest.approx(PPCA_EVIDENCE[k], abs=tolerance)
    assert model.variance.item() == pytest.approx(PPCA_VARIANCE[k], abs=1e-6)
    values, _ = ppca_spectrum(ppca_rows())
    covariance = (model.weight @ model.weight.T).numpy() + model.variance.item() * np.eye(8)
    top, bottom = values[:k], np.full(8 - k, values[k:].mean())
    assert np.allclose(np.linalg.eigvalsh(covariance)[::-1], [*top, *bottom], atol=1e-9)


def test_weight_is_constant_over_draws():
    noise = 3 * torch.randn(30, 500, 3, generator=torch.Generator().manual_seed(0)).double()
    log_w = log_weight(fitted(3), ALL, noise=noise)
    assert (log_w - log_w[:1]).abs().max() < 1e-9
    covariance = fitted(3).weight @ fitted(3).weight.T + fitted(3).variance * torch.eye(8).double()
    expected = multivariate_normal(fitted(3).bias, covariance).logpdf(ppca_rows())
    assert np.abs(log_w[0].numpy() - expected).max() < 1e-9


def test_posterior_by_formula():
    """M^-1 W^T (x - mu) and s2 M^-1 with M = W^T W + s2 I; variances 1 - s2 / lambda_j."""
    model = fitted(3)
    m = model.weight.T @ model.weight + model.variance * torch.eye(3).double()
    q = model.posterior(ALL)
    expected = (ALL.x - model.bias) @ model.weight @ torch.linalg.inv(m)
    assert torch.allclose(q.mean, expected, atol=1e-10)
    assert torch.allclose(q.covariance_matrix, model.variance * torch.linalg.inv(m), atol=1e-10)
    assert q.mean.var(0, correction=0).tolist() == pytest.approx([0.9891, 0.8605, 0.4087], abs=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_scikit_learn_scores_the_same(k):
    """It divides the covariance by N - 1: fitted to rows shrunk by that, it is the maximum."""
    x = ppca_rows()
    mean, n = x.mean(0), len(x)
    shrunk = mean + (x - mean) * np.sqrt((n - 1) / n)
    theirs = PCA(k, svd_solver="full").fit(shrunk)
    assert evidence(fitted(k)) == pytest.approx(theirs.score(x), abs=1e-9)
    assert fitted(k).variance.item() == pytest.approx(theirs.noise_variance_, abs=1e-9)
    # the codes span the same subspace: all cosines between the bases are 1
    ours = np.linalg.qr(fitted(k).weight.numpy())[0]
    cosines = np.linalg.svd(theirs.components_ @ ours, compute_uv=False)
    assert np.abs(cosines - 1).max() < 1e-10


def test_em_climbs_to_the_closed_form():
    """Never down, to -11.976043048312958 within 1e-10, whatever the size of a batch."""
    model = fitted(3, method="em")
    found = [evidence(model)]
    while len(found) < 3 or found[-1] - found[-2] > 1e-14:
        em_pass(model, DATA)
        found.append(evidence(model))
        assert found[-1] >= found[-2] - 1e-11
        assert len(found) < 3000
    assert found[-1] == pytest.approx(PPCA_EVIDENCE[3], abs=1e-10)
    assert model.variance.item() == pytest.approx(fitted(3).variance.item(), abs=1e-5)
    one = fitted(3, method="em")
    em_pass(one, DATA, size=500)
    assert evidence(one) == pytest.approx(found[1], abs=1e-10)


def test_closed_form_is_a_fixed_point_of_em():
    model = fitted(3)
    before = {name: value.clone() for name, value in model.named_buffers()}
    em_pass(model, DATA)
    for name, value in model.named_buffers():
        assert torch.allclose(value, before[name], atol=1e-9), name


def gaps(share: float = 0.2) -> Data:
    mask = torch.rand(500, 8, generator=torch.Generator().manual_seed(0)) >= share
    return Data(Spec((8,), missing=True), DATA.x * mask, mask=mask)


def test_em_with_gaps():
    """The evidence of what was observed never falls and is each row's own marginal."""
    data = gaps()
    batch, model = data.rows(slice(None)), fitted(3, gaps())
    assert model.method == "em"
    found = [evidence(model, batch)]
    for _ in range(60):
        em_pass(model, data)
        found.append(evidence(model, batch))
        assert found[-1] >= found[-2] - 1e-11
    covariance = (model.weight @ model.weight.T + model.variance * torch.eye(8).double()).numpy()
    noise = torch.randn(5, 500, 3, generator=torch.Generator().manual_seed(1)).double()
    log_w = log_weight(model, batch, noise=noise)
    for i in range(500):
        seen = np.flatnonzero(data.mask[i])
        if not len(seen):
            assert log_w[:, i].abs().max() < 1e-9
            continue
        marginal = multivariate_normal(model.bias[seen], covariance[np.ix_(seen, seen)])
        expected = marginal.logpdf(data.x[i, seen])
        assert np.abs(log_w[:, i].numpy() - expected).max() < 1e-9
    # complete rows with a mask that is all True are the plain case
    whole = Data(Spec((8,), missing=True), DATA.x, mask=torch.ones(500, 8, dtype=torch.bool))
    plain, masked = fitted(3, method="em"), fitted(3, whole)
    em_pass(plain, DATA)
    em_pass(masked, whole)
    assert torch.allclose(plain.weight, masked.weight, atol=1e-12)


def test_rows_with_gaps_do_not_read_them():
    data = gaps()
    filled = replace(data, x=torch.where(data.mask, data.x, 1e3))
    one, other = fitted(3, data), fitted(3, filled)
    em_pass(one, data)
    em_pass(other, filled)
    for name, value in one.named_buffers():
        assert torch.allclose(value, other.get_buffer(name), atol=1e-9), name
    batch = filled.rows(slice(None))
    assert evidence(one, batch) == pytest.approx(evidence(one, data.rows(slice(None))), abs=1e-9)


def rotated(i: int, j: int) -> torch.Tensor:
    r, c = torch.eye(3, dtype=torch.float64), np.sqrt(0.5)
    r[i, i] = r[j, j] = r[j, i] = c
    r[i, j] = -c
    return r


@pytest.mark.parametrize(
    ("columns", "gap"), [((0, 1), 0.6580225388), ((0, 2), 1.3234055961), ((1, 2), 0.2408358810)]
)
def test_rotation_costs_only_the_diagonal_family(columns, gap):
    """W R has the same evidence; a diagonal q then misses it by the card's gap."""
    weight, bias, variance = ppca_solution(3)
    model = fitted(3)
    model.weight.copy_(weight @ rotated(*columns))
    assert evidence(model) == pytest.approx(PPCA_EVIDENCE[3], abs=1e-9)
    noise = star(3)
    for w, expected in ((weight, 0.0), (weight @ rotated(*columns), gap)):
        diagonal = linear_vae(w, bias, variance, "diagonal")
        elbo = log_weight(diagonal, ALL, noise=noise).mean().item()
        assert PPCA_EVIDENCE[3] - elbo == pytest.approx(expected, abs=1e-9)
        full = linear_vae(w, bias, variance, "cholesky")
        elbo = log_weight(full, ALL, noise=noise).mean().item()
        assert elbo == pytest.approx(PPCA_EVIDENCE[3], abs=1e-9)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (Spec((4,), ("binary",), (2,)), {}, "binary"),
        (Spec((4,)), {"latent": 4}, "latent=4"),
        (Spec((4,), missing=True), {"method": "closed"}, "method=em"),
        (Spec((4,)), {"method": "svd"}, "svd"),
    ],
)
def test_refusals(spec, options, said):
    with pytest.raises(UsageError, match=said):
        build("ppca", spec, **options)
