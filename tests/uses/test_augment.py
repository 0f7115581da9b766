"""New rows and the audit of copies: distances by brute force, tests by scipy and relabelling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics.pairwise import euclidean_distances

from tests.fixtures import LG_MEAN, LG_MU, LG_TRIL, LG_VAR, LG_W, LG_X, lg
from tests.uses.models import CLASSES, class_rows, covariance, drawn, gapped, loaded, seeded
from vaes import uses
from vaes.batch import Data, Spec
from vaes.errors import DataError, UsageError
from vaes.uses.augment import _labels, _ranks
from vaes.uses.nearest import Space

SOURCE = loaded(6, 2, seed=0)


def rows(n: int, seed: int, model=SOURCE) -> Data:
    return Data(model.spec, drawn(model, n, seed))


# --- augment ----------------------------------------------------------------------------------
def test_variations_are_those_of_their_rows():
    model = lg(LG_MEAN, LG_TRIL)
    data = Data(model.spec, torch.cat([LG_X, LG_X + 1]))
    found = uses.augment(model, data, 20_001, seed=1)
    counts = found.origin.bincount()
    assert sorted(counts.tolist()) == [10_000, 10_001]
    centre = LG_W @ LG_MEAN + LG_MU
    torch.testing.assert_close(found.x.mean(0), centre, rtol=0, atol=0.03)
    sigma = LG_W @ LG_TRIL @ LG_TRIL.T @ LG_W.T + LG_VAR * torch.eye(5).double()
    torch.testing.assert_close(torch.cov(found.x.T), sigma, rtol=0, atol=0.04)


def test_each_new_row_is_a_variation_of_its_origin():
    # columns far beyond their noise: what a row varies is the row that it is nearest to
    model = loaded(6, 2, seed=0, variance=0.001)
    data = rows(30, 0, model)
    found = uses.augment(model, data, 75, seed=2)
    distance = torch.cdist(found.x, data.x)
    assert float((distance.argmin(1) == found.origin).double().mean()) > 0.9
    assert set(found.origin.bincount(minlength=30).tolist()) == {2, 3}
    again, other = (uses.augment(model, data, 75, seed=s) for s in (2, 3))
    assert torch.equal(found.x, again.x)
    assert not torch.equal(found.origin, other.origin)


def test_samples_come_from_the_prior():
    found = uses.augment(SOURCE, rows(5, 0), 20_000, mode="sample")
    torch.testing.assert_close(torch.cov(found.x.T), covariance(SOURCE), rtol=0, atol=0.2)
    assert (found.origin == -1).all()


# --- distances --------------------------------------------------------------------------------
def test_distances_of_reals_are_scikit_learns():
    a, train = rows(70, 0), rows(90, 1)
    scale = train.x.std(0, correction=0)
    expected = euclidean_distances(a.x / scale, train.x / scale)
    distance, place = Space(train).nearest(a, train)
    np.testing.assert_allclose(distance, expected.min(1), atol=1e-7)
    np.testing.assert_array_equal(place, expected.argmin(1))


def test_what_is_missing_counts_as_usual():
    train = gapped(SOURCE, drawn(SOURCE, 90, 1), 0.3, 1)
    a = gapped(SOURCE, drawn(SOURCE, 20, 0), 0.3, 0)
    assert a.mask is not None
    assert train.mask is not None
    known = [train.x[train.mask[:, j], j] for j in range(6)]
    scale = torch.stack([column.std(correction=0) for column in known])
    distance, place = Space(train).nearest(a, train)
    for i in range(20):
        both = a.mask[i] & train.mask
        # two independent values of variance 1 differ by 2 in the mean of squares
        square = torch.where(both, ((a.x[i] - train.x) / scale).square(), 2.0).sum(1)
        assert int(place[i]) == int(square.argmin())
        assert float(distance[i]) == pytest.approx(float(square.min()) ** 0.5, abs=1e-9)
    # a row of which nothing is known is no copy of any
    nothing = Data(SOURCE.spec, torch.zeros(1, 6).double(), mask=torch.zeros(1, 6).bool())
    assert float(Space(train).nearest(nothing, train)[0]) == pytest.approx(12**0.5)


def test_missing_categories_count_as_usual():
    x = class_rows(200, 0)
    mask = torch.ones(200, 4).bool()
    mask[3, 1] = False
    train = Data(CLASSES, torch.where(mask, x, 0.0), mask=mask)
    only = train.part(torch.tensor([3]))
    p = train.x[mask[:, 1], 1].long().bincount() / 199
    distance, _ = Space(train).nearest(Data(CLASSES, x[3:4]), only)
    assert float(distance) == pytest.approx(float(1 - p.square().sum()) ** 0.5, abs=1e-6)


def test_distances_of_mixed_columns():
    train, new = (Data(CLASSES, class_rows(n, s)) for s, n in enumerate((8, 40)))
    std = train.x[:, 3].std(correction=0)
    distance, place = Space(train).nearest(new, train)
    for i, row in enumerate(new.x):
        # bits and categories that differ count 1, the grey by its standard deviation
        square = (row[:3] != train.x[:, :3]).sum(1) + ((row[3] - train.x[:, 3]) / std).square()
        assert float(distance[i]) == pytest.approx(float(square.min()) ** 0.5, abs=1e-9)
        assert float(square[place[i]]) == pytest.approx(float(square.min()))


def test_images_have_one_scale():
    spec = Spec((1, 2, 2), kinds=("pixel",), levels=(5,), scale=(4.0,))
    codes = torch.tensor([[0, 1, 2, 3], [0, 4, 4, 4], [0, 0, 0, 1]], dtype=torch.uint8)
    train = Data(spec, codes.view(3, 1, 2, 2))
    new = Data(spec, torch.tensor([[[[0.25, 1, 1, 1]]]]).view(1, 1, 2, 2))
    std = (codes / 4).double().std(correction=0)
    distance, place = Space(train).nearest(new, train)
    assert place.tolist() == [1]
    assert float(distance[0]) == pytest.approx(0.25 / float(std), abs=1e-9)


def test_blocks_do_not_matter(monkeypatch):
    a, train = rows(50, 0), rows(2300, 1)
    whole = Space(train).nearest(a, train)
    monkeypatch.setattr("vaes.uses.nearest.ENTRIES", 7000)
    split = Space(train).nearest(a, train)
    torch.testing.assert_close(whole, split)


# --- the audit --------------------------------------------------------------------------------
def test_ranks_are_scipys():
    draw = seeded(0)
    a, b = (torch.rand(n, generator=draw).mul(20).round() + s for n, s in ((80, 0), (50, 1)))
    share, p = _ranks(a.double(), b.double())
    other = mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
    assert p == pytest.approx(other.pvalue, rel=1e-9)
    assert share == pytest.approx(1 - other.statistic / 4000, abs=1e-12)


def test_labels_have_the_moments_of_all_relabellings():
    place = torch.randint(40, (100,), generator=seeded(0)).square() // 40
    leaning, expected, p = _labels(place, 25, 15)
    counts = place.bincount(minlength=40).double()
    keys = torch.rand(20_000, 40, generator=seeded(1)).argsort(1) < 25
    shares = (keys * counts).sum(1) / 100
    assert expected == 25 / 40
    assert leaning == pytest.approx(float(counts[:25].sum()) / 100)
    z = (leaning - expected) / float(shares.std())
    normal = 1 - float(torch.special.ndtr(torch.tensor(z).double()))
    assert p == pytest.approx(normal, rel=0.05)
    assert float(shares.mean()) == pytest.approx(expected, abs=0.003)


def audit(new: torch.Tensor, seed: int = 0) -> uses.Audit:
    return uses.copies(new, rows(400, 2 * seed), rows(200, 2 * seed + 1))


def test_rows_of_the_source_are_not_flagged():
    found = [audit(drawn(SOURCE, 300, 1000 + s), s) for s in range(60)]
    for values in ([f.p_value for f in found], [f.p_leaning for f in found]):
        p = torch.tensor(values)
        assert 0.35 < float(p.mean()) < 0.65
        assert int((p < 0.05).sum()) <= 9
    assert sum(f.flagged() for f in found) <= 3
    assert float(np.mean([f.share for f in found])) == pytest.approx(0.5, abs=0.02)
    assert float(np.mean([f.leaning for f in found])) == pytest.approx(2 / 3, abs=0.02)


def test_gaps_of_held_out_rows_do_not_make_new_rows_near():
    p = []
    for s in range(30):
        train, held = (
            gapped(SOURCE, drawn(SOURCE, n, 2 * s + i), 0.3, 2 * s + i)
            for i, n in enumerate((400, 200))
        )
        found = uses.copies(drawn(SOURCE, 300, 500 + s), train, held)
        p.append(found.p_value)
        assert not found.flagged(1e-4)
    assert 0.3 < float(np.mean(p)) < 0.7
    copied = uses.copies(train.x, train, held)
    assert copied.flagged()


def test_copies_are_flagged():
    train = drawn(SOURCE, 400, 0)
    noise = 0.02 * torch.randn(300, 6, generator=seeded(0)).double()
    near, same = audit(train[:300] + noise), audit(train[:300])
    for found in (near, same):
        assert found.flagged()
        assert found.share > 0.95
        assert found.leaning > 0.99
        assert max(found.p_value, found.p_leaning) < 1e-6
        assert torch.equal(found.nearest, torch.arange(300))
    assert same.identical == 1
    assert near.identical == near.held_identical == 0
    few = audit(torch.cat([train[:30], drawn(SOURCE, 270, 77)]))
    assert few.identical == pytest.approx(0.1)
    assert few.flagged()


def test_smooth_rows_are_near_but_do_not_lean():
    # without the noise of p(x|z): nearer to any row, of whichever part
    means = uses.sample(SOURCE, 300, mean=True, seed=5)[0]
    found = audit(means)
    assert found.p_value < 1e-3
    assert found.p_leaning > 0.01
    assert not found.flagged()


def test_rows_of_classes_repeat_without_blame():
    # 60 different rows: new and held-out ones are all identical to training rows
    parts = [Data(CLASSES, class_rows(n, s)) for n, s in ((600, 0), (300, 1), (300, 2))]
    found = uses.copies(parts[2], parts[0], parts[1])
    assert found.identical > 0.9
    assert not found.flagged()
    assert found.p_value > 0.01


def test_rows_of_both_parts_say_nothing():
    a, b, c = (drawn(SOURCE, n, s) for s, n in enumerate((1, 1, 4)))
    train, held = (Data(SOURCE.spec, torch.cat(x)) for x in ((a, b), (a, c)))
    found = uses.copies(a.expand(9, -1), train, held)
    assert found.leaning == found.expected == 2 / 7
    assert found.p_leaning == 1


def test_mistakes():
    with pytest.raises(UsageError, match="did you mean 'sample'"):
        uses.augment(SOURCE, rows(3, 0), 2, mode="samples")
    with pytest.raises(UsageError, match="n=0 from 3 rows"):
        uses.augment(SOURCE, rows(3, 0), 0)
    with pytest.raises(DataError, match="0 held-out rows"):
        uses.copies(drawn(SOURCE, 3, 0), rows(3, 0), rows(3, 0).part(torch.arange(0)))
    with pytest.raises(DataError, match="new rows of shape"):
        uses.copies(Data(Spec((2,)), torch.zeros(1, 2)), rows(3, 0), rows(3, 1))
