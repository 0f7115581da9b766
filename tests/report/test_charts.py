"""Charts, by the places of what they draw; numbers and text as a reader gets them."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from vaes.report import charts, latent
from vaes.report.markup import number, script_json, table, text, with_error

HOSTILE = "</script><b>&\"'\u2028x"


def parsed(figure: str) -> ElementTree.Element:
    """A chart as XML: it is well formed or this raises."""
    return ElementTree.fromstring(figure.replace("class=title", 'class="title"'))


def drawn(figure: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in parsed(figure).iter() if kind in (e.get("class") or "").split()]


def numbers(path: str) -> list[float]:
    return [float(v) for v in re.findall(r"-?\d+\.?\d*", path)]


# --- numbers as text ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "se", "told"),
    [
        (-83.482, 0.987, "−83.48 ± 0.99"),
        (-86.66, 1.06, "−86.7 ± 1.1"),
        (12345.6, 123.0, "12,346 ± 123"),
        (0.0123456, 0.00045, "0.01235 ± 0.00045"),
        (2.5, None, "2.50"),
        (None, None, "–"),
        (math.nan, 1.0, "–"),
        (1.0, math.nan, "1.00"),
        (2e-6, None, "2.0e−06"),
    ],
)
def test_a_value_is_told_to_the_second_digit_of_its_error(value, se, told):
    assert with_error(value, se) == told


def test_numbers_have_signs_and_groups():
    assert [number(v) for v in (-1234567.0, 3.14159, 0.5, 0.0)] == [
        "−1,234,567",
        "3.14",
        "0.500",
        "0.0000",
    ]


def test_json_in_a_script_cannot_end_it():
    told = script_json({HOSTILE: [HOSTILE, 1.5, None]})
    assert not set("<>&\u2028") & set(told)
    assert json.loads(told) == {HOSTILE: [HOSTILE, 1.5, None]}
    with pytest.raises(ValueError):
        script_json(math.inf)


def test_text_stays_text():
    assert text(HOSTILE) == "&lt;/script&gt;&lt;b&gt;&amp;&quot;&#x27;\u2028x"
    cells = ElementTree.fromstring(table([HOSTILE], [[HOSTILE]]).replace("=col", '="col"'))
    assert [e.text for e in cells.iter() if e.tag in ("th", "td")] == [HOSTILE, HOSTILE]


# --- axes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-163, -77, [-160, -140, -120, -100, -80]),
        (-0.3, 0.3, [-0.2, 0, 0.2]),
        (3, 3, [3]),
        (0, 5000, [0, 1000, 2000, 3000, 4000, 5000]),
    ],
)
def test_ticks_are_round_and_inside(low, high, found):
    assert charts.ticks(low, high) == pytest.approx(found)


def test_ticks_are_short():
    told = [charts.tick_text(v) for v in (-160, 0.2, 20_000, 3e6, 5_000)]
    assert told == ["−160", "0.2", "20k", "3M", "5000"]


def test_whiskers_lie_at_their_values():
    """Values 0 and 10, errors 0 and 1: the axis runs from -.72 to 12.72, from the names to 346."""
    figure = charts.whiskers(
        [charts.Dot("a", 0.0, ours=True), charts.Dot(HOSTILE, 10.0, 1.0)], "t", "nats"
    )
    left = 20 + 6.2 * min(22, len(HOSTILE))
    unit = (346 - left) / 13.44
    ours, other = drawn(figure, "ours")[0], drawn(figure, "other")[0]
    centres = [float(group[1].get("cx")) for group in (ours, other)]
    assert centres == pytest.approx([left + 0.72 * unit, left + 10.72 * unit], abs=0.06)
    start, _, end = numbers(other[0].get("d"))
    assert [start, end] == pytest.approx([left + 8.72 * unit, left + 12.72 * unit], abs=0.06)
    assert HOSTILE in parsed(figure).find("svg").get("aria-label")


def test_what_is_not_finite_is_left_out():
    dots = [charts.Dot("a", -math.inf), charts.Dot("b", 1.0, math.nan), charts.Dot("c", 3.0)]
    figure = charts.whiskers(dots, "t", "nats")
    assert [e.get("r") for e in parsed(figure).iter("circle")] == ["4", "4"]
    assert "nan" not in figure
    assert charts.whiskers(dots[:1], "t", "nats") == ""
    assert charts.bars(np.array([1.0, math.nan]), ["0", "1"], "t", "nats") == ""


def test_curves_lie_at_their_values_and_levels_are_named():
    """x 0 ... 4 over 46 ... 350, y 1 ... 3 and 6 % more at either side over 184 ... 10."""
    line = charts.Line("a", np.arange(5.0), np.array([1.0, 2, math.nan, 2, 3]))
    figure = charts.lines([line], "t", "step", "nats", levels=[("floor", 2.5), ("far", 9.0)])
    path = numbers(drawn(figure, "line")[0].get("d"))
    assert path[::2] == pytest.approx([46, 122, 274, 350], abs=0.06)
    up = [184 - 174 * (v - 0.88) / 2.24 for v in (1, 2, 2, 3)]
    assert path[1::2] == pytest.approx(up, abs=0.06)
    levels = drawn(figure, "level")
    assert [numbers(e.get("d"))[1] for e in levels] == pytest.approx(
        [184 - 174 * (2.5 - 0.88) / 2.24], abs=0.06
    )
    assert charts.lines([charts.Line("a", np.zeros(1), np.zeros(1))], "t", "", "") == ""


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors():
    line = charts.Line("a", np.array([1.0, 10, 100]), np.zeros(3), se=np.ones(3), dots=True)
    figure = charts.lines([line], "t", "K", "nats", log_x=True)
    dots = drawn(figure, "dot")
    # two decades and 4 % of them at either side, so that dots lie within the axes
    edge = 304 * 0.08 / 2.16
    assert [float(e.get("cx")) for e in dots] == pytest.approx(
        [46 + edge, 198, 350 - edge], abs=0.06
    )
    lengths = [numbers(e.get("d")) for e in drawn(figure, "line")[1:]]
    # +- 1 on an axis of -1 ... 1 and 6 % more
    assert [abs(a - b) for _, a, b in lengths] == pytest.approx([174 / 1.12] * 3, abs=0.11)


def test_bars_are_as_high_as_their_values():
    found = drawn(charts.bars(np.array([2.0, 1.0, 0.5]), list("abc"), "t", "nats"), "bar")
    assert [float(e.get("height")) for e in found] == pytest.approx(
        [174 / 1.05 * share for share in (1, 0.5, 0.25)], abs=0.06
    )
    assert [float(e.get("y")) + float(e.get("height")) for e in found] == pytest.approx([184] * 3)


def test_long_curves_become_means_of_stretches():
    x, y = charts.thinned(np.arange(2400.0), np.arange(2400.0) ** 2)
    assert len(x) == 240
    assert x[:2].tolist() == [4.5, 14.5]
    assert y[0] == pytest.approx(28.5)  # mean of 0, 1, 4 ... 81
    assert charts.thinned(np.arange(3.0), np.arange(3.0))[0].tolist() == [0, 1, 2]


# --- the latent map -------------------------------------------------------------------------------
def ellipse(element: ElementTree.Element) -> tuple[float, ...]:
    return (float(element.get("rx")), float(element.get("ry")), *numbers(element.get("transform")))


def test_the_map_of_two_dimensions_is_what_they_are():
    """Rows at (3, 0) and (0, -1); the prior's two sigma reach to 2: the frame is -2.25 ... 3.25."""
    mean = np.array([[3.0, 0.0], [0.0, -1.0]])
    std = np.array([[0.5, 0.25], [0.1, 0.3]])
    centre, spread = np.zeros(2), np.ones(2)
    found = latent.plane(mean, std, centre, spread)
    assert found.names == ("z0", "z1")
    assert (found.across.low, found.across.high) == pytest.approx((-2.25, 3.25))
    assert (found.up.low, found.up.high) == pytest.approx((-2.75, 2.75))
    figure = f"<figure>{latent.chart(found, centre, spread, np.array([0, -1]), [HOSTILE])}</figure>"
    unit = 344 / 5.5
    first = ellipse(drawn(figure, "cloud")[0])
    assert first == pytest.approx((0.5 * unit, 0.25 * unit, 8 + 5.25 * unit, 180, 0), abs=0.06)
    second = ellipse(drawn(figure, "cloud")[1])
    # the longer half axis is turned upright
    assert second[:4] == pytest.approx(
        (0.3 * unit, 0.1 * unit, 8 + 2.25 * unit, 180 + unit), abs=0.06
    )
    assert abs(second[4]) == 90
    prior = [ellipse(e)[0] for e in drawn(figure, "prior")]
    assert prior == pytest.approx([unit, 2 * unit], abs=0.06)
    rows = {e.get("class"): numbers(e.get("d"))[:2] for e in drawn(figure, "row")[:2]}
    assert rows["row c0"] == pytest.approx([8 + 5.25 * unit, 180], abs=0.06)
    assert rows["row none"] == pytest.approx([8 + 2.25 * unit, 180 + unit], abs=0.06)
    legend = list(parsed(figure).iter("li"))
    assert ["".join(e.itertext()) for e in legend] == [HOSTILE, "unknown"]


def test_a_tilted_cloud_is_turned_against_the_picture():
    """Along the plane's axes (1, 1) and (-1, 1) a spread in z0 alone lies at 45 degrees."""
    axes = np.array([[1.0, -1.0], [1.0, 1.0]]) / math.sqrt(2)
    mean, std = np.zeros((1, 2)), np.array([[1.0, 1e-9]])
    found = latent.Map(
        mean, std, axes, ("a", "b"), mean, charts.Axis(-1, 1, 8, 352), charts.Axis(-1, 1, 352, 8)
    )
    figure = f"<figure>{latent.chart(found, np.zeros(2), np.ones(2), None, [])}</figure>"
    rx, ry, _, _, angle = ellipse(drawn(figure, "cloud")[0])
    assert (rx, ry) == pytest.approx((172, 0), abs=0.06)
    # z0 is at (1, -1) / sqrt 2 of the plane: down to the right, clockwise in a picture
    assert angle % 180 == 45


def test_more_dimensions_are_seen_along_principal_axes():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(500, 3)) * [0.1, 3.0, 1.0]
    found = latent.plane(mean, np.ones_like(mean), np.zeros(3), np.ones(3))
    assert np.abs(found.axes.T @ found.axes - np.eye(2)).max() < 1e-12
    assert abs(found.axes[1, 0]) > 0.99
    assert abs(found.axes[2, 1]) > 0.99
    assert found.points == pytest.approx(mean @ found.axes)
