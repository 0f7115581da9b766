"""Pictures, pixel by pixel where they are drawn by hand, and by their limits where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vaes import plot, tiles
from vaes.errors import UsageError

LINE = tiles.BETWEEN


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def tile(sheet: np.ndarray, i: int, j: int, height: int, width: int) -> np.ndarray:
    y, x = tiles.GAP + i * (height + tiles.GAP), tiles.GAP + j * (width + tiles.GAP)
    return sheet[y : y + height, x : x + width]


def test_reading_a_grid_back_gives_the_tiles(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8), dtype=np.uint8)
    tiles.grid(images, tmp_path / "a.png", span=(0, 255))
    sheet = read(tmp_path / "a.png")
    assert sheet.shape == (2 + 3 * 50, 2 + 4 * 50, 3)  # tiles of 48, separators of 2
    for i in range(3):
        for j in range(4):
            shown = tile(sheet, i, j, 48, 48)
            assert (shown == images[i, j].repeat(6, 0).repeat(6, 1)[..., None]).all()


def test_separators_surround_every_tile(tmp_path):
    tiles.grid(np.zeros((2, 2, 60, 50)), tmp_path / "a.png", span=(0, 1))
    sheet = read(tmp_path / "a.png")
    assert sheet.shape == (2 + 2 * 62, 2 + 2 * 52, 3)  # large enough: not enlarged
    line = np.zeros(sheet.shape[:2], bool)
    line[[0, 1, 62, 63, 124, 125]] = True
    line[:, [0, 1, 52, 53, 104, 105]] = True
    assert (sheet[line] == LINE).all()
    assert (sheet[~line] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (28, 28), (48, 48), (49, 100)])
def test_tiles_are_visible_and_enlarged_by_a_whole_factor(tmp_path, size):
    tiles.grid(np.ones((1, 1, *size)), tmp_path / "a.png", span=(0, 1))
    height, width = read(tmp_path / "a.png").shape[:2]
    assert min(height, width) - 4 >= 48
    assert (height - 4) % size[0] == (width - 4) % size[1] == 0
    assert (height - 4) * size[1] == (width - 4) * size[0]


def test_colours_transparency_and_spans(tmp_path):
    colour = np.zeros((1, 1, 50, 50, 3), np.uint8)
    colour[..., 0] = 255
    tiles.grid(colour, tmp_path / "rgb.png")
    assert (tile(read(tmp_path / "rgb.png"), 0, 0, 50, 50) == (255, 0, 0)).all()
    clear = np.concatenate([colour, np.zeros((1, 1, 50, 50, 1), np.uint8)], -1)
    tiles.grid(clear, tmp_path / "rgba.png", span=(0, 255))
    assert (tile(read(tmp_path / "rgba.png"), 0, 0, 50, 50) == 255).all()
    real = np.broadcast_to(np.array([-3.0, 1.0, 5.0]).reshape(1, 3, 1, 1), (1, 3, 50, 50))
    tiles.grid(real, tmp_path / "real.png")
    sheet = read(tmp_path / "real.png")
    assert [int(tile(sheet, 0, j, 50, 50).mean()) for j in range(3)] == [0, 128, 255]
    tiles.grid(real[..., None], tmp_path / "one.png")
    assert (read(tmp_path / "one.png") == sheet).all()


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_constant_images_are_drawn(tmp_path, value):
    tiles.grid(np.full((1, 2, 4, 4), value), tmp_path / "a.png")
    assert len(np.unique(tile(read(tmp_path / "a.png"), 0, 0, 48, 48))) == 1


def test_labels_stand_beside_the_tiles(tmp_path):
    images = np.zeros((2, 3, 50, 50))
    tiles.grid(images, tmp_path / "bare.png", span=(0, 1))
    tiles.grid(
        images, tmp_path / "a.png", rows=["one", "three"], columns=["a", "b", "c"], span=(0, 1)
    )
    bare, sheet = read(tmp_path / "bare.png"), read(tmp_path / "a.png")
    left, top = sheet.shape[1] - bare.shape[1], sheet.shape[0] - bare.shape[0]
    assert left > 20
    assert top == tiles.LINE
    assert (sheet[top:, left:] == bare).all()
    assert sheet[:top, :left].min() == 255
    for j in range(3):  # ink above every column
        assert sheet[:top, left + 2 + 52 * j : left + 52 + 52 * j].min() < 128


def test_reconstructions_stand_below_their_originals(tmp_path):
    draw = np.random.default_rng(1)
    original = draw.integers(0, 17, (12, 6, 6)).astype(float)
    model = original.copy()
    model[0, 0, 0] = original[0, 0, 0] + 4
    model[1, 5, 5] = original[1, 5, 5] - 2
    tiles.reconstructions(original, model, tmp_path / "a.png", span=(0, 20))
    sheet = read(tmp_path / "a.png")
    left = sheet.shape[1] - (2 + 10 * 50)
    sheet = sheet[:, left:]
    assert sheet.shape[0] == 2 + 6 * 50  # two blocks of three rows, ten pairs beside each other
    for n in (0, 1, 11):
        i, j = 3 * (n // 10), n % 10
        grey = np.rint(255 * original[n] / 20).repeat(8, 0).repeat(8, 1)
        assert (tile(sheet, i, j, 48, 48)[..., 0] == grey).all()
    assert tuple(tile(sheet, 2, 0, 48, 48)[0, 0]) == (189, 31, 1)  # too bright: the largest error
    half = np.rint(255 + 0.5 * (np.array([20, 95, 180]) - 255))
    assert tuple(tile(sheet, 2, 1, 48, 48)[-1, -1]) == tuple(half)
    assert (tile(sheet, 2, 2, 48, 48) == 255).all()
    assert (tile(sheet, 3, 2, 48, 48) == 255).all()  # no thirteenth image


def test_bytes_do_not_wrap_around_in_differences(tmp_path):
    dark, bright = np.zeros((1, 48, 48, 3), np.uint8), np.full((1, 48, 48, 3), 200, np.uint8)
    tiles.reconstructions(bright, dark, tmp_path / "a.png")
    error = read(tmp_path / "a.png")[-30, -30]
    assert tuple(error) == (20, 95, 180)


def test_curves_ignore_the_steep_first_part(tmp_path, monkeypatch):
    shown = watch(monkeypatch)
    step = np.arange(1, 201) * 10
    elbo = -80 - 1e5 * np.exp(-step / 20)
    records = [
        {"step": int(s), "elbo": float(e), "distortion": float(-e) + 5, "rate": 5.0}
        for s, e in zip(step, elbo, strict=True)
    ]
    records[100] |= {"valid_elbo": -85.0, "active_units": 3, "valid_distortion": float("nan")}
    records[150] |= {"valid_elbo": -84.0, "rate": None}
    plot.curves(records, tmp_path / "a.png", {"near": -90.0, "far": -5000.0})
    low, high = shown[0].get_ylim()
    assert -100 < low < -90
    assert -80 < high < -75
    names = [text.get_text() for text in shown[0].get_legend().get_texts()]
    assert names == ["training", "validation", "near -90.0", "far -5000.0 (outside)"]
    assert [axes.get_title() for axes in shown] == [
        "ELBO",
        "distortion",
        "rate",
        "active latent dimensions",
    ]
    assert shown[0].get_ylabel() == "nats per row"
    assert read(tmp_path / "a.png").shape == (672, 1008, 3)


@pytest.mark.parametrize("records", [[], [{"step": 1}], [{"step": 5, "elbo": -3.0}]])
def test_curves_of_next_to_nothing(tmp_path, records):
    plot.curves(records, tmp_path / "a.png")
    assert read(tmp_path / "a.png").size


def test_smoothing_keeps_straight_lines_and_ends():
    line = np.linspace(3, 7, 401)
    np.testing.assert_allclose(plot._smooth(line), line)
    assert plot._smooth(np.array([1.0, 5.0, 1.0]))[1] == pytest.approx(7 / 3)


def test_ellipses_are_one_sigma_of_the_projected_posterior(tmp_path, monkeypatch):
    shown = watch(monkeypatch)
    draw = np.random.default_rng(0)
    mean = draw.normal(size=(40, 3)) * [0.1, 2.0, 1.0]
    std = np.tile([0.1, 0.2, 0.3], (40, 1))
    plot.latent(mean, std, tmp_path / "a.png", labels=np.arange(40) % 2, classes=("cat", "dog"))
    (axes,) = shown
    values, vectors = np.linalg.eigh(np.cov(mean.T))
    axis = vectors[:, [2, 1]]
    expected = np.linalg.eigvalsh(axis.T @ np.diag(std[0] ** 2) @ axis)
    clouds, _, _, _, rings = axes.collections
    np.testing.assert_allclose(clouds.get_widths()[0], 2 * expected[1] ** 0.5)
    np.testing.assert_allclose(clouds.get_heights()[0], 2 * expected[0] ** 0.5)
    long = np.linalg.eigh(axis.T @ np.diag(std[0] ** 2) @ axis)[1][:, 1]
    tilt = np.radians(clouds.get_angles()[0])
    assert abs(np.cos(tilt) * long[0] + np.sin(tilt) * long[1]) == pytest.approx(1)
    np.testing.assert_allclose(clouds.get_offsets(), (mean @ axis)[::2])
    np.testing.assert_allclose(rings.get_widths(), [2, 4])  # the prior's one and two sigma
    np.testing.assert_allclose(rings.get_heights(), [2, 4])
    share = 100 * values[2] / values.sum()
    assert axes.get_xlabel() == f"principal axis 1 of the means ({share:.0f} % of variance)"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["cat", "dog"]


def test_two_dimensions_are_shown_as_they_are(tmp_path, monkeypatch):
    shown = watch(monkeypatch)
    mean = np.random.default_rng(0).normal(size=(5001, 2))
    prior = (np.array([1.0, 0.0]), np.diag([4.0, 1.0]))
    labels = np.where(np.arange(5001) % 3 == 0, -1, 12)
    plot.latent(mean, mean * 0 + 0.1, tmp_path / "a.png", labels=labels, prior=prior)
    (axes,) = shown
    points = np.concatenate([c.get_offsets() for c in axes.collections[1:4:2]])
    assert 1000 < len(points) <= 2000
    assert {tuple(p) for p in points} <= {tuple(p) for p in mean}
    rings = axes.collections[-1]
    np.testing.assert_allclose(rings.get_widths(), [4, 8])
    np.testing.assert_allclose(rings.get_offsets(), [[1, 0], [1, 0]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z₁", "z₂")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["12", "unknown"]


def test_one_dimension_and_a_point_mass(tmp_path):
    mean = np.linspace(-1, 1, 9)[:, None]
    plot.latent(mean, mean * 0 + 0.2, tmp_path / "one.png")
    plot.latent(np.tile(mean, 3), np.zeros((9, 3)), tmp_path / "point.png")
    plot.latent(np.zeros((9, 1)), np.zeros((9, 1)), tmp_path / "none.png")
    plot.latent(np.zeros((1, 4)), np.ones((1, 4)), tmp_path / "row.png")


def test_marginals_are_shares(tmp_path, monkeypatch):
    shown = watch(monkeypatch)
    draw = np.random.default_rng(0)
    data = np.stack([draw.normal(size=400), draw.integers(0, 3, 400), np.full(400, np.nan)], 1)
    plot.marginals(data, data[:100], tmp_path / "a.png", names=["height", "kind", "empty"])
    height, kind, _ = shown
    assert [axes.get_title() for axes in shown] == ["height", "kind", "empty"]
    for part in height.patches:
        assert part.get_data().values.sum() == pytest.approx(1)
    bars = [patch.get_height() for patch in kind.patches]
    counts = [np.bincount(part[:, 1].astype(int)) / len(part) for part in (data, data[:100])]
    np.testing.assert_allclose(bars, np.concatenate(counts))


def test_agreement_tells_the_error(tmp_path, monkeypatch):
    shown = watch(monkeypatch)
    data = np.stack([np.linspace(0, 9.9, 100), np.arange(100) % 4], 1)
    model = data + np.stack([np.full(100, 0.5), np.arange(100) < 25], 1)
    plot.agreement(data, model, tmp_path / "a.png")
    said = [axes.get_title() for axes in shown]
    assert said == ["column 1: RMSE 0.5", "column 2: 75 % equal"]


@pytest.mark.parametrize("columns", [1, 2, 5, 40])
def test_tables_of_any_width(tmp_path, columns):
    rows = np.random.default_rng(0).normal(size=(30, columns))
    plot.marginals(rows, rows * 0, tmp_path / "a.png")
    plot.agreement(rows * 0, rows, tmp_path / "b.png")


def test_mistakes(tmp_path):
    with pytest.raises(UsageError, match="images"):
        tiles.grid(np.zeros((3, 8, 8)), tmp_path / "a.png")
    with pytest.raises(UsageError, match="2 channels"):
        tiles.grid(np.zeros((1, 1, 8, 8, 2)), tmp_path / "a.png")
    with pytest.raises(UsageError, match="reconstructions"):
        tiles.reconstructions(np.zeros((3, 8, 8)), np.zeros((2, 8, 8)), tmp_path / "a.png")


def test_nothing_global_is_touched(tmp_path):
    import sys

    before = "matplotlib.pyplot" in sys.modules
    plot.curves([{"step": 1, "elbo": -1.0}, {"step": 2, "elbo": -0.5}], tmp_path / "a.png")
    assert ("matplotlib.pyplot" in sys.modules) == before


def watch(monkeypatch) -> list:
    """The panels of the next figure, for looking at what was drawn."""
    shown: list = []
    make = plot._figure

    def figure(*size):
        made = make(*size)
        shown.extend(made[1])
        return made

    monkeypatch.setattr(plot, "_figure", figure)
    return shown


def test_bars_of_differences_reach_as_far_as_they_say(tmp_path):
    """Blue where the column surely differs, pale where not; the longest bar is to the right."""
    sizes, sure = np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.99, 0.3])
    plot.differences(
        ["x" * 60, "b", "c"],
        sizes,
        sizes - 0.1,
        sizes + 0.1,
        sure,
        tmp_path / "a.png",
        groups=("g=one", "g=two" * 20),
    )
    drawn = read(tmp_path / "a.png")
    bars = (drawn == (63, 144, 218)).all(-1)[: int(0.8 * len(drawn))]  # above the legend
    pale = (drawn == (208, 208, 208)).all(-1)[: int(0.8 * len(drawn))]
    wide = np.sort(bars.sum(1))[::-1]
    lengths = [wide[5], *(pale.sum(1).max(keepdims=True))]
    assert lengths[0] / lengths[1] == pytest.approx(4, rel=0.1)
    first, second = (np.flatnonzero(bars.any(1))[i] for i in (5, -5))
    zero = np.flatnonzero(bars[first])[0]
    assert abs(np.flatnonzero(bars[second])[-1] - zero) <= 5  # the axis lies between
    plot.difference_map(np.array([[1.0, -1.0]]), tmp_path / "m.png", groups=("a", "b"))
    colours = read(tmp_path / "m.png").reshape(-1, 3)
    blue, red = (5, 48, 97), (103, 0, 31)
    assert all((colours == colour).all(1).sum() > 1000 for colour in (blue, red))


def test_values_are_called_by_their_words():
    _, panels = plot._figure(1, 1, 3, 3)
    axis = panels[0].xaxis

    def labels() -> list[str]:
        return [text.get_text() for text in axis.get_ticklabels()]

    plot._name_values(axis, np.array([0.0, 1, 1, 2]), ["red", "green", "an unusual colour"])
    assert axis.get_ticklocs().tolist() == [0, 1, 2]
    assert labels() == ["red", "green", "an unus…"]
    plot._name_values(axis, np.array([3.0, 3, 7]), None)
    assert labels() == ["3", "7"]
    # no room for all: the six most frequent ones, in their order
    often = np.repeat(np.arange(10.0), [1, 9, 8, 1, 7, 6, 1, 5, 1, 4])
    plot._name_values(axis, often, [f"word {i}" for i in range(10)])
    assert labels() == [f"word {i}" for i in (1, 2, 4, 5, 7, 9)]


def test_a_column_of_words_has_bars_however_many(tmp_path):
    """Codes from 0 to 29 are words, not a density over numbers."""
    data = np.arange(30.0).repeat(2)[:, None]
    words = [[f"w{i}" for i in range(30)]]
    plot.marginals(data, data, tmp_path / "words.png", words=words)
    plot.marginals(data, data, tmp_path / "numbers.png")
    assert not np.array_equal(read(tmp_path / "words.png"), read(tmp_path / "numbers.png"))
