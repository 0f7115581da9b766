"""Multinomial counts against scipy, enumeration and frequencies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist import likelihood_head
from vaes.dist.multinomial import MultinomialLikelihood
from vaes.errors import UsageError

SPEC = Spec((4,), ("count",), (0,), totals=True)


def head(h: Tensor, rows: Tensor, mask: Tensor | None = None) -> MultinomialLikelihood:
    seen = rows if mask is None else rows * mask
    p = likelihood_head(SPEC, "multinomial").double()(h)
    return p.given(Batch(rows, mask=mask, total=seen.sum(-1)))


def rows(n: int = 6, words: int = 30) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(0)
    h = draw.normal(size=(n, 4))
    share = np.exp(h) / np.exp(h).sum(1, keepdims=True)
    x = np.stack([draw.multinomial(words, p) for p in share]).astype(float)
    return torch.from_numpy(h), torch.from_numpy(x)


def test_the_density_is_scipys():
    h, x = rows()
    share = h.softmax(-1).numpy()
    expected = [
        float(stats.multinomial(int(r.sum()), p).logpmf(r))
        for r, p in zip(x.numpy(), share, strict=True)
    ]
    assert head(h, x).log_prob(x).tolist() == pytest.approx(expected, abs=1e-10)
    assert head(h, x).terms(x).shape == (6, 4)


def test_it_sums_to_one_over_rows_of_a_total():
    h = torch.tensor([[0.3, -1.0, 2.0, 0.1]]).double()
    every = [c for c in itertools.product(range(6), repeat=4) if sum(c) == 5]
    x = torch.tensor(every).double()
    mass = head(h.expand(len(x), -1), x).log_prob(x).exp().sum().item()
    assert mass == pytest.approx(1.0, abs=1e-12)


def test_gaps_leave_a_multinomial_of_the_rest():
    """Its total and its shares are those of the columns that are seen."""
    h, x = rows()
    mask = torch.tensor([True, False, True, True]).expand(6, -1)
    found = head(h, x * mask, mask).log_prob(x * mask, mask)
    share = (h.exp() * mask / (h.exp() * mask).sum(-1, keepdim=True)).numpy()
    expected = [
        float(stats.multinomial(int((r * m).sum()), p).logpmf(r * m))
        for r, p, m in zip(x.numpy(), share, mask.numpy(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-10)
    other = head(h, torch.where(mask, x, 99.0), mask).log_prob(torch.where(mask, x, 99.0), mask)
    torch.testing.assert_close(other, found)


def test_draws_have_totals_means_and_covariances():
    h = torch.tensor([[0.3, -1.0, 1.0, 0.1]]).double().expand(20_000, -1)
    total = torch.full((20_000,), 12.0).double()
    p = likelihood_head(SPEC, "multinomial").double()(h).given(Batch(h, total=total))
    x = p.draw(torch.Generator().manual_seed(0))
    assert (x.sum(-1) == 12).all()
    few = torch.tensor([0.0, 3.0, 700.0]).double()
    other = likelihood_head(SPEC, "multinomial").double()(h[:3]).given(Batch(h[:3], total=few))
    assert torch.equal(other.draw(torch.Generator().manual_seed(0)).sum(-1), few)
    share = h[0].softmax(-1)
    error = (p.variance[0] / 20_000).sqrt()
    torch.testing.assert_close(p.mean[0], 12 * share)
    torch.testing.assert_close(p.variance[0], 12 * share * (1 - share))
    assert ((x.mean(0) - p.mean[0]).abs() < 4 * error).all()
    expected = 12 * (torch.diag(share) - torch.outer(share, share))
    torch.testing.assert_close(torch.cov(x.T), expected, rtol=0, atol=0.08)


def test_rows_of_nothing_and_missing_counts():
    h, x = rows(3)
    empty = torch.zeros_like(x)
    assert head(h, empty).log_prob(empty).tolist() == [0.0, 0.0, 0.0]
    assert head(h, empty).draw(torch.Generator().manual_seed(0)).sum() == 0
    mask = torch.tensor([True, True, False, True]).expand(3, -1)
    p = head(h, x * mask, mask)
    filled = p.complete(x * mask, mask, torch.Generator().manual_seed(0))
    assert torch.equal(filled * mask, x * mask)
    ratio = h.exp()[:, 2] / (h.exp() * mask).sum(-1)
    expected = (x * mask).sum(-1) * ratio
    torch.testing.assert_close(p.expected(x * mask, mask)[:, 2], expected)


def test_columns_without_a_total_are_refused():
    with pytest.raises(UsageError, match="whose total is given"):
        likelihood_head(Spec((4,), ("count",), (0,)), "multinomial")


def test_shares_of_the_corpus_need_not_be_learnt():
    """A decoder that says 0 gives every word its share of the training rows."""
    _, x = rows(200)
    part = likelihood_head(SPEC, "multinomial").double()
    part.fit(Data(SPEC, x))
    found = part(torch.zeros(1, 4).double()).log_mean.exp()[0]
    expected = (x.sum(0) + 0.5) / (x.sum() + 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
