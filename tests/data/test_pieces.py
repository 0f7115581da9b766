"""Numbers in pieces: there and back, in order, and a density that integrates to one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tests.data.helpers import refused
from vaes.data import decode, encode, load, prepare
from vaes.data.infer import infer
from vaes.data.pieces import DAY, Pieces, centres, cut, locate, rounded, step, value

random = np.random.default_rng(0)
normal = random.normal(size=5000)
inflated = np.where(random.random(4000) < 0.5, 0.0, np.exp(random.normal(size=4000)))
heaped = np.where(random.random(4000) < 0.3, 40, random.integers(-900, 2000, 4000)).astype(float)
cents = np.round(random.gamma(2, 50, 3000), 2)
COLUMNS = {
    "normal": normal,
    "many zeros": inflated,
    "zeros in the middle": np.where(random.random(5000) < 0.3, 0.0, normal),
    "heaped whole numbers": heaped,
    "cents": cents,
    "few values": random.integers(0, 9, 500) * 1.5,
    "small": normal * 1e-200,
    "large": normal * 1e290,
    "far from zero": 1.7e9 + random.random(2000),
    "five rows": np.array([1.0, 2.5, 7.25, 8.0, 9.0]),
    "constant": np.full(30, 7.0),
    "one row": np.zeros(1),
    "whole numbers beyond 2^53": random.integers(2**60, 2**61, 500).astype(float),
    "two neighbours": np.repeat([1.0, np.nextafter(1.0, 2)], 50),
}


def ends(pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    return np.array(pieces[::2]), np.array(pieces[1::2])


@pytest.fixture(params=COLUMNS)
def column(request) -> np.ndarray:
    return COLUMNS[request.param]


# --- there and back ------------------------------------------------------------------------------


def test_values_come_back_and_single_ones_exactly(column):
    pieces = cut(column, step(column))
    lows, highs = ends(pieces)
    x = locate(column, pieces)
    back = value(x.astype(np.float32).astype(np.float64), pieces)
    widths = (highs - lows)[np.floor(x).astype(int)]
    assert (back[widths == 0] == rounded(column, step(column))[widths == 0]).all()
    assert (np.abs(back - column) <= widths * 1e-3 + 1e-15 * np.abs(column)).all()


def test_whole_numbers_come_back_exactly_from_wide_intervals():
    column = random.integers(-(10**6), 10**6, 5000).astype(float)
    pieces = cut(column, 1.0)
    x = locate(column, pieces).astype(np.float32).astype(np.float64)
    assert len(pieces) == 2 * (2 + 100 + 2 * 2)
    assert (rounded(value(x, pieces), 1.0) == column).all()


def test_model_space_is_finite_in_order_and_within_the_pieces(column):
    pieces = cut(column, step(column))
    assert np.isfinite(pieces).all()
    lows, highs = ends(pieces)
    span = min(2 * max(highs[-2] - lows[1], lows[1] - lows[0]), 1e300)
    values = np.sort([*column, *np.linspace(lows[0] - span, highs[-1] + span, 2001), -1e308, 1e308])
    x = locate(values, pieces)
    assert x.min() >= 0
    assert x.astype(np.float32).max() < len(lows)
    assert (np.floor(x.astype(np.float32)) == np.floor(x)).all()
    assert (np.diff(x) >= 0).all()
    back = value(x, pieces)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= 0).all()


def test_pieces_are_in_order_and_apart(column):
    lows, highs = ends(cut(column, step(column)))
    assert (lows <= highs).all()
    assert (highs[:-1] <= lows[1:]).all()
    assert lows[0] < highs[0] <= column.min()
    assert column.max() <= lows[-1] < highs[-1]
    if not step(column) and (lows < highs)[1:-1].any():  # without a step there are no holes
        assert (highs[:-1] == lows[1:]).all()


def test_tails_are_exponential_and_continuous():
    pieces = cut(normal)
    lows, highs = ends(pieces)
    start, end, last = highs[0], lows[-1], len(lows) - 1
    below, above = start - lows[0], highs[-1] - end
    for widths in (1e-6, 0.5, 1.0, 3.0, 9.0):
        assert locate(np.array([start - widths * below]), pieces)[0] == pytest.approx(
            math.exp(-widths), rel=1e-9
        )
        high = locate(np.array([end + widths * above]), pieces)[0]
        assert high - last == pytest.approx(1 - math.exp(-widths), abs=1e-5)
        assert value(np.array([math.exp(-widths)]), pieces)[0] == pytest.approx(
            start - widths * below, rel=1e-9
        )
        assert value(np.array([last + 1 - math.exp(-widths)]), pieces)[0] == pytest.approx(
            end + widths * above, rel=1e-6
        )
    # Just inside the tail and just outside it are one place.
    near = locate(np.array([start - 1e-9, start, end, end + 1e-9]), pieces)
    assert near[0] == pytest.approx(1, abs=1e-6)
    assert near[1] == pytest.approx(1, abs=1e-6)
    assert near[2] == pytest.approx(last, abs=1e-4)
    assert near[3] == pytest.approx(last, abs=1e-6)
    # Each tail is as wide as a piece is on average.
    assert below == above == pytest.approx((end - start) / (last - 1))


# --- where a column is cut -----------------------------------------------------------------------


def test_values_that_recur_are_pieces_of_their_own():
    few = np.repeat([0.5, 2.0, 7.0], 20)
    assert cut(few)[2:-2] == (0.5, 0.5, 2.0, 2.0, 7.0, 7.0)
    lows, highs = ends(cut(inflated))
    assert lows[lows == highs].tolist() == [0.0]
    # half of the rows, half of the 100 intervals, the ends halved twice: 40, 20, 10 rows
    assert len(lows) == 2 + 1 + 50 + 2 * 2
    # 10 rows to each value make it a piece, and two values are pieces anyway.
    assert cut(np.array([1.0, 2.0, 4.0]))[2:-2] == (1, 1.5, 1.5, 2, 2, 3, 3, 4)
    assert cut(np.array([1.0, 2.0]))[2:-2] == (1, 1, 2, 2)


def test_edges_lie_half_way_between_steps():
    for column, grain in ((heaped, 1.0), (cents, 0.01), (np.arange(0, 9000, 3) * DAY, DAY)):
        lows, highs = ends(cut(column, grain))
        wide = lows < highs
        edges = np.concatenate([highs[:1], lows[1:-1][wide[1:-1]], highs[1:-1][wide[1:-1]]])
        assert np.allclose(edges / grain % 1, 0.5, atol=1e-6)
        assert (np.diff(np.unique(np.round(edges / grain, 3))) >= 0.999).all()
    lows, highs = ends(cut(heaped, 1.0))
    alone = lows[lows == highs]
    assert 40 in alone
    inside = (lows[:, None] < alone) & (alone < highs[:, None])
    assert not inside.any()


def test_intervals_hold_as_many_rows_each():
    pieces = cut(normal)
    counts = np.bincount(np.floor(locate(normal, pieces)).astype(int))
    assert counts[0] == 0
    ends = counts[1:4].tolist() + counts[-1:-4:-1].tolist()
    assert ends == pytest.approx([12.5, 12.5, 25] * 2, abs=0.6)
    inside = counts[4:-3]
    assert len(inside) == 98
    assert inside.min() >= 49
    assert inside.max() <= 51
    counts = np.bincount(np.floor(locate(cents, cut(cents, 0.01))).astype(int))
    assert np.median(counts[counts > 0]) == pytest.approx(30, abs=2)


def test_a_value_far_out_widens_an_interval_of_few_rows():
    column = np.append(normal, 1e4)
    lows, highs = ends(cut(column))
    wide = highs[1:-1] - lows[1:-1] > 100
    assert wide.sum() == 1
    held = ((column >= lows[1:-1][wide]) & (column <= highs[1:-1][wide])).sum()
    assert 10 <= held <= 20


def test_centres_are_means_of_the_values_within_a_piece():
    pieces = (-1.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 20.0, 20.0, 21.0)
    values = np.array([0.0, 0.0, 1.0, 2.0, 6.0])
    assert centres(values, pieces) == (-0.5, 0.0, 3.0, 15.0, 20.5)


def test_pieces_are_those_of_the_training_rows():
    frame = pd.DataFrame({"a": normal[:500], "b": heaped[:500]})
    prepared = prepare(load(frame))
    train = prepared.split["train"]
    other = frame.copy()
    held = np.setdiff1d(np.arange(500), train)
    other.loc[held, "a"] = random.normal(size=len(held)) * 100
    other.loc[held, "b"] = random.random(len(held)) * 1e5
    assert prepare(load(other)).spec.pieces == prepared.spec.pieces
    expected = tuple(cut(frame[c].to_numpy()[train], g) for c, g in (("a", 0.0), ("b", 1.0)))
    assert prepared.spec.pieces == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 700], 1.0),
        ([0.1, 0.2, 0.25], 0.01),
        ([0.1 + 0.2, 0.3], 0.0),  # nothing is left of what differs
        ([0.1 + 0.2, 0.7], 0.1),
        ([1e-9, 3e-9, 0], 0.0),
        ([1.0000001, 1.0, 2.0], 0.0),
        ([123456.78, 0.01], 0.01),
        ([1e15 + 0.5, 3.0], 0.0),
        ([2**53, 1], 0.0),
        ([1e308, -1e308], 0.0),
        ([math.pi, math.e], 0.0),
        ([7.0, 7.0], 1.0),
        ([], 0.0),
    ],
)
def test_steps(values, expected):
    assert step(np.array(values, dtype=np.float64)) == expected


def test_steps_of_other_dtypes():
    short = np.array([0.1, 0.2, 12345.67], np.float32).astype(np.float64)
    assert step(short) == 0.0
    assert step(short, "float32") == 0.01
    assert step(random.random(100).astype(np.float32).astype(np.float64), "float32") == 0.0
    assert step(np.arange(9) * DAY, "date32[day]") == DAY
    assert rounded(np.array([1.4 * DAY, -0.6 * DAY]), DAY).tolist() == [DAY, -DAY]
    assert rounded(np.array([0.123]), 0.01).tolist() == [0.12]
    assert rounded(np.array([0.123]), 0.0).tolist() == [0.123]


def test_decimals_of_a_column_are_those_it_is_written_with():
    frame = pd.DataFrame({"a": cents, "b": normal[:3000], "c": (normal[:3000] > 1) * 0.5})
    prepared = prepare(load(frame))
    train, held = prepared.split["train"], prepared.split["test"][0]
    assert prepared.schema["layout"]["steps"] == [0.01, 0.0, 0.1]
    back = decode(prepared.schema, prepared.spec, prepared.train.rows(slice(None)).x)
    assert (back[:, 0] == frame["a"].to_numpy()[train]).all()
    frame.loc[held, "a"] = 0.125  # a decimal that no training row has comes back as well
    prepared = prepare(load(frame))
    assert prepared.schema["layout"]["steps"] == [0.001, 0.0, 0.1]
    x = encode(prepared.schema, prepared.spec, frame).x
    assert decode(prepared.schema, prepared.spec, x)[held, 0] == 0.125
    drawn = decode(prepared.schema, prepared.spec, np.floor(x.numpy()) + 0.123456)
    assert (drawn[:, 0] == np.round(drawn[:, 0], 3)).all()
    assert (drawn[:, 1] != np.round(drawn[:, 1], 6)).any()


def test_numbers_that_cannot_be_cut_are_real():
    huge = pd.DataFrame({"a": normal[:50] * 1e307, "b": normal[:50]})
    assert [g.kind for g in infer(load(huge)).grids] == ["real", "numeric"]
    with refused("column 'a'", "1e+300", "--kind real"):
        infer(load(huge), kind={"a": "numeric"})
    with refused("not for images"):
        infer(load(normal[:480].reshape(10, 6, 8)), kind="numeric")
    assert [g.kind for g in infer(load(normal[:50, None]), kind="numeric").grids] == ["numeric"]


# --- the density ---------------------------------------------------------------------------------


def density(values: np.ndarray, pieces: Pieces, p: np.ndarray) -> np.ndarray:
    """p(value) where piece k has the probability p[k]: a mass at a single value."""
    lows, highs = ends(pieces)
    x = locate(values, pieces)
    code = np.floor(x).astype(int)
    u, width = x - code, (highs - lows)[code]
    within = np.where(width == 0, 1.0, 1 / np.where(width == 0, 1.0, width))
    within = np.where(code == 0, u / width.clip(1e-300), within)
    return p[code] * np.where(code == len(lows) - 1, (1 - u) / width.clip(1e-300), within)


def chances(pieces: Pieces) -> np.ndarray:
    return random.dirichlet(np.ones(len(pieces) // 2))


@pytest.mark.parametrize(
    "name", ["normal", "many zeros", "zeros in the middle", "five rows", "far from zero", "small"]
)
def test_the_density_of_reals_integrates_to_one(name):
    pieces = cut(COLUMNS[name], step(COLUMNS[name]))
    p, (lows, highs) = chances(pieces), ends(pieces)
    total = density(lows[lows == highs], pieces, p).sum()
    for k in range(len(lows)):
        if lows[k] == highs[k]:
            continue
        a, b = lows[k], highs[k]
        if k == 0:
            a = b - 16 * (b - a)
        if k == len(lows) - 1:
            b = a + 16 * (b - a)
        # Inside the piece: an edge belongs to one of its two neighbours.
        at = a + (b - a) * np.linspace(0, 1, 4001)[1:-1]
        found = np.trapezoid(density(at, pieces, p), at)
        assert found == pytest.approx(p[k], rel=5e-3, abs=1e-12)
        total += found
    assert total == pytest.approx(1, rel=5e-3)


@pytest.mark.parametrize(
    "column",
    [
        heaped,
        random.integers(0, 9, 500),
        random.poisson(30, 200),
        random.integers(0, 10**4, 3000),
        np.concatenate([np.repeat([3, 4, 9], 40), random.integers(0, 300, 100)]),
    ],
)
def test_the_masses_of_whole_numbers_sum_to_one(column):
    """Every whole number from the lowest to the highest has its share of one piece; none of the
    probability lies where no value can be."""
    pieces = cut(column.astype(float), 1.0)
    p, (lows, highs) = chances(pieces), ends(pieces)
    start, end = int(column.min()), int(column.max())
    every = np.arange(start, end + 1.0)
    code = np.floor(locate(every, pieces)).astype(int)
    masses = density(every, pieces, p)
    alone = lows == highs
    if not alone[1:-1].all():
        assert masses.sum() == pytest.approx(p[1:-1].sum(), rel=1e-9)
        for k in range(1, len(lows) - 1):
            assert masses[code == k].sum() == pytest.approx(p[k], rel=1e-9)
    else:  # numbers that no row had are taken for their neighbours
        assert density(lows[1:-1], pieces, p).sum() == pytest.approx(p[1:-1].sum(), rel=1e-9)
    beyond = np.arange(1, 20 * (highs[-1] - lows[-1]) + 20)
    assert 0.9 * p[0] <= density(start - beyond, pieces, p).sum() <= 1.01 * p[0]
    assert 0.9 * p[-1] <= density(end + beyond, pieces, p).sum() <= 1.01 * p[-1]
