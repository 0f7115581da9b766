"""Feature maps by their definitions, and what `quality` says of models that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vaes.batch import Data, Spec
from vaes.errors import DataError, UsageError
from vaes.evaluate import features
from vaes.evaluate.features import feature_map
from vaes.evaluate.quality import quality


def rows(x: np.ndarray | torch.Tensor, y: torch.Tensor | None = None, **spec) -> Data:
    x = torch.as_tensor(x)
    return Data(Spec(tuple(x.shape[1:]), **spec), x, y)


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def blobs(n: int, seed: int) -> Data:
    """Three classes of eight columns, means 3 apart in one of them each; every tenth is unknown."""
    y = torch.arange(n) % 3
    x = normal(n, 8, seed) + 3 * torch.nn.functional.one_hot(y, 8)
    return rows(x, torch.where(torch.arange(n) % 10 == 0, -1, y))


# --- maps -----------------------------------------------------------------------------------------
def test_pixels_are_standardised_rows():
    x = normal(300, 4, 0) * torch.tensor([1.0, 5, 0.1, 2]) + 3
    found = feature_map("pixels", rows(x))(rows(x[:50]))
    expected = (x - x.mean(0)) / x.std(0, correction=0)
    assert torch.allclose(found, expected[:50], atol=1e-9)


def test_images_have_one_scale():
    x = torch.rand(200, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    x[:, :, 0] *= 5
    mapped = feature_map("pixels", rows(x))
    found = mapped(rows(x))
    flat = x.flatten(1)
    ratio = (flat - flat.mean(0)) / found
    assert ratio.std() < 1e-9
    assert found.var(0, correction=0).mean().item() == pytest.approx(1, abs=1e-9)


def test_categories_are_indicators():
    x = torch.arange(90.0).reshape(90, 1) % 3
    found = feature_map("pixels", rows(x.repeat(1, 2), kinds=("category",), levels=(3,)))
    apart = torch.pdist(found(rows(x.repeat(1, 2), kinds=("category",), levels=(3,)))[:3])
    assert found.dimensions == 6
    assert apart == pytest.approx([float(apart[0])] * 3)  # codes have no order


@pytest.mark.parametrize("n", [400, 30])
def test_components_are_scikit_learns(n):
    """Of 40 columns: of the products of columns where rows are many, of rows where they are few."""
    x = normal(n, 40, 0) @ normal(40, 40, 1)
    mapped, fresh = feature_map("pca64", rows(x)), normal(20, 40, 2)
    scaled = x.std(0, correction=0)
    reference = PCA(svd_solver="full").fit((x / scaled).numpy())
    expected = np.abs(reference.transform((fresh / scaled).numpy()))[:, : min(n - 1, 40)]
    found = mapped(rows(fresh)).abs().numpy()
    assert mapped.name == f"pca{min(n - 1, 40)}"
    unit = np.sqrt(reference.explained_variance_[: min(n - 1, 40)].mean())
    assert found == pytest.approx(expected / unit, rel=1e-5, abs=1e-7)


def test_no_more_than_64_components_and_none_without_variance():
    assert feature_map("pca64", rows(normal(300, 100, 0))).dimensions == 64
    x = normal(300, 3, 0) @ normal(3, 10, 1)
    assert feature_map("pca64", rows(x)).name == "pca3"


def test_a_digest_is_of_the_map():
    x = normal(200, 5, 0)
    found = [feature_map(name, rows(x)).digest for name in ("pixels", "pca64")]
    assert found == [feature_map(name, rows(x.clone())).digest for name in ("pixels", "pca64")]
    assert len({*found, feature_map("pixels", rows(x + 1e-3 * x**2)).digest}) == 3


def test_a_classifier_learns_and_is_a_pure_function_of_the_seed(monkeypatch):
    monkeypatch.setattr(features, "STEPS", 100)
    train, test = blobs(600, 0), blobs(300, 1)
    state = torch.get_rng_state()
    mapped = feature_map("mlp", train, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    accuracy = mapped.accuracy(test)
    assert accuracy is not None
    assert accuracy > 0.9  # the best rule has .954
    assert mapped.dimensions == features.WIDTH
    again, other = (feature_map("mlp", train, seed=seed) for seed in (3, 4))
    assert again.digest == mapped.digest != other.digest
    assert mapped(train).var(0).mean().item() == pytest.approx(1, abs=0.01)


def test_a_classifier_of_images(monkeypatch):
    monkeypatch.setattr(features, "STEPS", 60)
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 2
    x = torch.rand(300, 1, 8, 8, generator=draw)
    x[y == 1, :, 2:6, 2:6] += 0.5
    mapped = feature_map("cnn", rows(x, y))
    accuracy = mapped.accuracy(rows(x, y))
    assert accuracy is not None
    assert accuracy > 0.95


def test_a_function_of_ones_own_is_taken_as_it_is():
    def squares(x):
        return x**2

    mapped = feature_map(squares, rows(normal(50, 3, 0)))
    assert (mapped.name, mapped.dimensions) == ("squares", 3)
    assert torch.equal(mapped(rows(normal(9, 3, 1))), normal(9, 3, 1) ** 2)
    assert mapped.accuracy(blobs(9, 0)) is None


# --- quality --------------------------------------------------------------------------------------
def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def test_a_gaussian_beside_another():
    """N(.5, 4 I) drawn of N(0, I) in 8 dimensions: 10; the floor is 0."""
    train, test = rows(normal(2000, 8, 0)), rows(normal(6000, 8, 1))
    found = quality(0.5 + 2 * normal(5000, 8, 2), test, train, identity)
    drawn, floor = found["drawn"], found["floor"]
    assert found["n"] == 3000
    assert drawn["frechet_limit"] == pytest.approx(10, abs=0.5)
    assert floor["frechet_limit"] == pytest.approx(0, abs=0.02)
    # of equal sources about (2 d + d (d + 1) / 2) / n
    assert floor["frechet"] == pytest.approx(52 / 3000, rel=0.4)
    assert drawn["mmd_p"] == pytest.approx(1 / 201)
    assert floor["mmd_p"] > 0.01
    assert drawn["kid"] > 10 * drawn["kid_se"]
    assert abs(floor["kid"]) < 4 * floor["kid_se"]
    assert drawn["precision"] < 0.7 < floor["precision"]
    assert floor["coverage"] == pytest.approx(found["equal_coverage"], abs=0.02)
    assert (found["features"], found["dimensions"], found["notes"]) == ("identity", 8, [])
    assert found["copies"]["share"] < 0.1


def test_a_perfect_model_has_the_floor():
    train, test = rows(normal(1000, 6, 0)), rows(normal(2000, 6, 1))
    found = quality(normal(1000, 6, 2), test, train)
    drawn, floor = found["drawn"], found["floor"]
    assert found["features"] == "pca6"
    assert drawn["mmd_p"] > 0.01
    for side in (drawn, floor):
        assert side["frechet"] == pytest.approx(33 / 1000, rel=0.6)
    for name in ("precision", "recall", "coverage"):
        assert drawn[name] == pytest.approx(floor[name], abs=0.05)
    assert found["copies"]["share"] == pytest.approx(0.5, abs=0.05)
    assert found["copies"]["p_leaning"] > 0.01


def test_only_the_audit_sees_a_model_that_repeats_its_rows():
    train, test = rows(normal(600, 6, 0)), rows(normal(1000, 6, 1))
    found = quality(train.x, test, train)
    assert found["drawn"]["mmd_p"] > 0.01
    assert found["drawn"]["precision"] > 0.85
    assert found["copies"]["identical"] == found["copies"]["leaning"] == 1
    assert found["copies"]["p_leaning"] < 1e-6


def test_a_mode_that_is_left_out_is_seen_by_recall():
    def two(n, seed):
        return normal(n, 4, seed) + 20 * (torch.arange(n) % 2).unsqueeze(1)

    found = quality(normal(500, 4, 3), rows(two(1000, 1)), rows(two(500, 0)))
    assert found["drawn"]["precision"] > 0.9
    assert found["drawn"]["recall"] == pytest.approx(0.5, abs=0.05)
    assert found["floor"]["recall"] > 0.9


def test_which_rows_are_compared_is_a_pure_function_of_the_seed():
    train, test, drawn = rows(normal(200, 3, 0)), rows(normal(200, 3, 1)), normal(150, 3, 2)
    state = torch.get_rng_state()
    a, b, c = (quality(drawn, test, train, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert a == b
    assert a["drawn"]["frechet"] != c["drawn"]["frechet"]


def test_the_map_is_the_same_for_all_seeds(monkeypatch):
    monkeypatch.setattr(features, "STEPS", 10)
    a, b = (quality(normal(99, 8, 0), blobs(99, 1), blobs(90, 2), "mlp", seed=s) for s in (0, 1))
    assert a["digest"] == b["digest"]
    assert a["accuracy"] == b["accuracy"] is not None


def test_too_few_rows_are_said():
    train, test = rows(normal(100, 30, 0)), rows(normal(50, 30, 1))
    found = quality(normal(100, 30, 2), test, train)
    assert found["drawn"]["frechet_limit"] is found["floor"]["frechet_limit"] is None
    assert "FD-pca30 of 25 rows is far too large" in found["notes"][0]
    assert "more than 30" in found["notes"][0]
    assert "155 rows of either kind, 25 were compared: 155 drawn and 310 test" in found["notes"][1]
    enough = quality(normal(155, 30, 2), rows(normal(310, 30, 1)), train)
    assert enough["notes"] == []
    assert enough["drawn"]["frechet_limit"] is not None
    with pytest.raises(
        UsageError, match=r"100 drawn and 18 test rows are too few: 10 drawn and 20"
    ):
        quality(normal(100, 30, 2), rows(normal(18, 30, 1)), train)
    with pytest.raises(UsageError, match="too few: 21 drawn"):
        quality(normal(100, 30, 2), test.part(torch.arange(40)), train, k=20)


# --- mistakes -------------------------------------------------------------------------------------
def test_maps_that_cannot_be():
    train = rows(normal(50, 3, 0))
    with pytest.raises(UsageError, match="'pca' are not known; did you mean 'pca64'"):
        feature_map("pca", train)
    with pytest.raises(UsageError, match="have 0 classes"):
        feature_map("mlp", train)
    with pytest.raises(UsageError, match="have 1 classes"):
        feature_map("mlp", rows(train.x, torch.zeros(50, dtype=torch.long)))
    said = r"are for images; rows of shape \(8,\) of kind real take mlp"
    with pytest.raises(UsageError, match=said):
        feature_map("cnn", blobs(50, 0))
    with pytest.raises(UsageError, match=r"of 50 rows are \(50,\): a tensor \(n, d\)"):
        feature_map(lambda x: x.sum(1), train)
    with pytest.raises(UsageError, match="of 50 rows are ndarray"):
        feature_map(lambda x: x.numpy(), train)
    with pytest.raises(DataError, match="all 50 training rows are the same"):
        feature_map("pixels", rows(torch.ones(50, 3)))


def test_features_that_are_no_numbers_are_named():
    def logs(x):
        return x.log()

    train, test = rows(normal(50, 3, 0).abs()), rows(normal(50, 3, 1).abs())
    drawn = normal(25, 3, 2).abs()  # as many as are compared
    drawn[7, 1] = -1
    said = r"features 'logs' of 1 of 25 drawn rows are no finite numbers, the first is row 7"
    with pytest.raises(UsageError, match=said):
        quality(drawn, test, train, logs)


def test_rows_that_cannot_be_compared():
    train, test = rows(normal(50, 3, 0)), rows(normal(50, 3, 1))
    gaps = Data(test.spec, test.x, mask=test.x > 0)
    with pytest.raises(DataError, match="the test rows have gaps"):
        quality(train.x, gaps, train)
    with pytest.raises(DataError, match=r"drawn rows of shape \(4,\) beside training rows"):
        quality(normal(50, 4, 0), test, train)
    with pytest.raises(DataError, match="no drawn rows"):
        quality(train.x[:0], test, train)
