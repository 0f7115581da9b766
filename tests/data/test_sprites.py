"""Pictures of known factors: what each factor does, areas and places by geometry, the named set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.helpers import needs_data, refused
from vaes.data import load, prepare, sprites
from vaes.errors import UsageError
from vaes.evaluate.disentangle import _gap, _information


def test_every_picture_has_factors_of_its_own():
    """3 x 4 x 10 masks at 16 x 16 places, which move them: it is enough that masks differ."""
    grid = sprites.grid()
    assert len(grid) == len(np.unique(grid, axis=0)) == 30_720
    kinds = np.unique(grid[:, :3], axis=0)
    masks = {sprites.mask(*kind).tobytes() for kind in kinds.tolist()}
    assert len(kinds) == len(masks) == 120
    some = sprites.pictures(grid[::7])
    assert len(np.unique(some.reshape(len(some), -1), axis=0)) == len(some)


@pytest.mark.parametrize(("shape", "unit"), [(0, 2.0), (1, np.pi / 2), (2, 3.6628 / 1.25**2)])
def test_areas_are_those_of_the_shapes(shape, unit):
    """A square of half-diagonal 1, an ellipse of axes 1 and 1/2, a heart in a circle of radius 1
    (its curve has the area 3.6628), times the squared reach 8 (.6 + .4 s / 3)."""
    for scale in range(4):
        reach = 8 * (0.6 + 0.4 * scale / 3)
        found = np.mean([sprites.mask(shape, scale, turn).sum() for turn in range(10)])
        assert found == pytest.approx(unit * reach**2, rel=0.04)


def test_no_shape_leaves_its_circle():
    middles = np.arange(16) + 0.5 - 8
    far = np.hypot(middles, middles[:, None])
    for shape in range(3):
        reached = max(far[sprites.mask(shape, 3, turn)].max() for turn in range(10))
        assert 6.5 < reached < 8


def test_places_shift_by_whole_pixels():
    a = np.array([[2, 3, 4, 0, 0], [2, 3, 4, 5, 0], [2, 3, 4, 0, 9], [2, 3, 4, 15, 15]])
    still, right, down, corner = sprites.pictures(a)
    assert (right == np.roll(still, 5, 1)).all()
    assert (down == np.roll(still, 9, 0)).all()
    assert (corner == np.roll(still, (15, 15), (0, 1))).all()
    assert still[:16, :16].sum() == still.sum() == corner.sum() == sprites.mask(2, 3, 4).sum()


def test_turns_go_on_where_a_quarter_ends():
    """Ten steps of nine degrees: the tenth would be a quarter, which is the picture turned."""
    for shape in range(3):
        quarter = sprites.mask(shape, 3, 10)
        assert (quarter == np.rot90(sprites.mask(shape, 3, 0))).all()
    assert (sprites.mask(0, 3, 10) == sprites.mask(0, 3, 0)).all()
    assert (sprites.mask(2, 3, 10) != sprites.mask(2, 3, 0)).any()


def test_the_heart_stands_upright():
    heart = sprites.mask(2, 3, 0)
    assert (heart == heart[:, ::-1]).all()
    rows = np.flatnonzero(heart.any(1))
    assert heart[rows[-1]].sum() < heart[rows[0]].sum()  # its tip is below


def test_rows_are_a_pure_function_of_the_seed():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a = sprites.factors(500, seed=1)
    assert (a == sprites.factors(800, seed=1)[:500]).all()
    assert (a != sprites.factors(500, seed=2)).any()
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002
    assert len(np.unique(a, axis=0)) == 500
    assert (sprites.pictures(a) == sprites.pictures(a)).all()


def test_factors_of_the_set_are_uniform_and_independent():
    v = sprites.factors()
    for column, size in zip(v.T, sprites.SIZES, strict=True):
        counts = np.bincount(column, minlength=size)
        # drawn without repeats, so closer to even than by chance
        assert abs(counts - len(v) / size).max() < 4 * (len(v) / size) ** 0.5
    correlation = np.corrcoef(v.T) - np.eye(5)
    assert np.abs(correlation).max() < 4 / len(v) ** 0.5


def test_no_factor_has_more_values_than_codes_have_bins():
    """So that of the factors themselves the gap of mutual information is 1, unlike in dSprites."""
    v = sprites.factors()
    # in 20,000 rows other factors seem to know 225 / 40,000 nats at most
    assert _gap(_information(v.astype(float), v), v) == pytest.approx(1, abs=0.005)


def test_the_named_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VAES_DATA", raising=False)
    source = load("sprites")
    v = sprites.factors()
    assert source.x.shape == (20_000, 1, 32, 32)
    assert source.y is not None
    assert (source.y == v[:, 0]).all()
    assert source.classes == ("square", "ellipse", "heart")
    assert (source.x[:, 0] == sprites.pictures(v)).all()
    prepared = prepare(source)
    assert prepared.spec.kinds == ("binary",)
    assert [len(p) for p in (prepared.train, prepared.valid, prepared.test)] == [18_900, 1_000, 100]


def test_mistakes():
    with refused("n=30721", "30,720", error=UsageError):
        sprites.factors(30_721)
    with refused("n=0", error=UsageError):
        sprites.factors(0)
    with refused("factor scale goes from 0 to 3, not from 0 to 4", error=UsageError):
        sprites.pictures(np.array([[0, 0, 0, 0, 0], [0, 4, 0, 0, 0]]))
    with refused("(2, 4)", error=UsageError):
        sprites.pictures(np.zeros((2, 4), int))
    with refused("float64", error=UsageError):
        sprites.pictures(np.zeros((2, 5)))


@needs_data
def test_in_kind_like_the_re_creation_of_dsprites():
    """The largest shapes at half the resolution: in the same proportions to one another."""
    path = Path(os.environ["VAES_DATA"]) / "dsprites_like" / "dsprites_like.npz"
    if not path.exists():
        pytest.skip("dsprites_like is not there")
    masks = np.unpackbits(np.load(path)["masks"], axis=-1).reshape(3, 6, 40, 64, 64)
    theirs = masks[:, -1].sum((-1, -2)).mean(1) / 4
    ours = np.array([np.mean([sprites.mask(s, 3, t).sum() for t in range(10)]) for s in range(3)])
    ratio = ours / theirs
    assert ratio == pytest.approx(np.full(3, ratio.mean()), rel=0.05)
