"""The latent map: posterior means of test rows on a plane, with their spread and the prior's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vaes.plot import _plane
from vaes.report.charts import WIDTH, Axis, svg, tick_text, ticks
from vaes.report.markup import text

EDGE, FOOT = 8, 34  # around the frame
NAMED = 20  # classes in the legend
CLOUDS = 60  # rows whose spread is drawn: more would cover one another
# of radius 2.6 around the place of a row: a class is told by its shape as well as by its colour
MARKERS = (
    "m-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0z",
    "m-2.3-2.3h4.6v4.6h-4.6z",
    "m0-3l3 5.4h-6z",
    "m0-3.3l3.3 3.3l-3.3 3.3l-3.3-3.3z",
    "m0 3l3-5.4h-6z",
)


@dataclass(frozen=True)
class Map:
    """Codes and spreads (n, d) seen along two orthonormal `axes` (d, 2); of one latent dimension
    the second axis is the posterior's spread and `axes[:, 1]` is 0. Places in the picture are
    `across` and `up` of the two coordinates."""

    mean: np.ndarray
    std: np.ndarray
    axes: np.ndarray
    names: tuple[str, str]
    points: np.ndarray
    across: Axis
    up: Axis


def plane(mean: np.ndarray, std: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> Map:
    """The map of codes `mean` with `std` (n, d) under a prior with `centre` and `spread` (d,)."""
    axes, names = _plane(mean)
    names = {1: ("z0", names[1]), 2: ("z0", "z1")}.get(mean.shape[1], names)  # as sliders count
    points = mean @ axes
    middle, reach = centre @ axes, 2 * np.sqrt(spread**2 @ axes**2)
    if mean.shape[1] == 1:
        points[:, 1] = std[:, 0]
        middle, reach = np.array([middle[0], points[:, 1].max() / 2]), np.r_[reach[0], 0.0]
    low = np.minimum(points.min(0), middle - reach)
    high = np.maximum(points.max(0), middle + reach)
    room = 0.05 * np.maximum(high - low, 1e-9)
    low, high = low - room, high + room
    if mean.shape[1] > 1:  # one unit is as long up as across
        half = (high - low).max() / 2
        low, high = (low + high) / 2 - half, (low + high) / 2 + half
    across = Axis(float(low[0]), float(high[0]), EDGE, WIDTH - EDGE)
    up = Axis(float(low[1]), float(high[1]), WIDTH - EDGE, EDGE)
    return Map(mean, std, axes, names, points, across, up)


def chart(
    found: Map,
    centre: np.ndarray,
    spread: np.ndarray,
    codes: np.ndarray | None,
    classes: Sequence[str],
) -> str:
    """The map as SVG: codes (n,) colours the rows by class, -1 = unknown."""
    parts = [_frame(found)]
    if found.mean.shape[1] > 1:
        inside = _clouds(found, codes) + _prior(found, centre, spread)
        # an inner svg cuts off what lies outside of the frame
        side = WIDTH - 2 * EDGE
        box = f'x="{EDGE}" y="{EDGE}" width="{side}" height="{side}"'
        parts += [f'<svg {box} viewBox="{EDGE} {EDGE} {side} {side}">{inside}</svg>']
    parts += [_markers(found, codes)]
    told = _classes_told(codes, classes)
    label = f"Latent map of {len(found.mean)} test rows: {found.names[0]}, {found.names[1]}{told}"
    # the place of what the page decodes; script moves it
    cursor = '<g id="cursor" visibility="hidden"><path d="M-9 0H9M0-9V9"/><circle r="6"/></g>'
    inside = "".join(parts) + '<path id="way" d=""/>' + cursor
    drawn = svg(inside, label, height=WIDTH - EDGE + FOOT).replace("<svg ", '<svg id="map" ', 1)
    return drawn + _legend(codes, classes)


def _classes_told(codes: np.ndarray | None, classes: Sequence[str]) -> str:
    return "" if codes is None else f", coloured by {len(set(codes[codes >= 0].tolist()))} classes"


def _frame(found: Map) -> str:
    low, high = EDGE, WIDTH - EDGE
    parts = [
        f'<rect class="frame" x="{low}" y="{low}" width="{high - low}" height="{high - low}"/>'
    ]
    for axis, flat in ((found.across, True), (found.up, False)):
        for value in ticks(axis.low, axis.high, 6):
            at = axis(value)
            path = f"M{at:.1f} {low}V{high}" if flat else f"M{low} {at:.1f}H{high}"
            parts.append(f'<path class="grid" d="{path}"/>')
            if flat:
                parts.append(f'<text class="mid small" x="{at:.1f}" y="{high + 13}">')
                parts.append(f"{tick_text(value)}</text>")
    parts.append(f'<text class="mid small" x="{WIDTH / 2}" y="{high + 28}">')
    parts.append(f"→ {text(found.names[0])}</text>")
    parts.append(
        f'<text class="small" x="{low + 5}" y="{low + 13}">↑ {text(found.names[1])}</text>'
    )
    return "".join(parts)


def _ellipse(found: Map, centre: np.ndarray, cover: np.ndarray, kind: str, reach: float = 1) -> str:
    """The ellipse of `reach` standard deviations of covariance `cover` (2, 2)."""
    unit = (found.across.end - found.across.start) / (found.across.high - found.across.low)
    values, vectors = np.linalg.eigh(cover)
    rx, ry = reach * unit * np.sqrt(values[::-1].clip(min=0))
    angle = -np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))  # the picture's y runs down
    place = f"translate({found.across(centre[0]):.1f} {found.up(centre[1]):.1f})"
    turn = f"{place} rotate({angle:.0f})"
    return f'<ellipse class="{kind}" rx="{rx:.1f}" ry="{ry:.1f}" transform="{turn}"/>'


def _clouds(found: Map, codes: np.ndarray | None) -> str:
    clouds = np.einsum("da,nd,db->nab", found.axes, found.std**2, found.axes)
    some = np.unique(np.linspace(0, len(clouds) - 1, CLOUDS).round().astype(int))
    kinds = _kinds(found, codes)
    return "".join(
        _ellipse(found, found.points[i], clouds[i], f"cloud {kinds[i]}") for i in some.tolist()
    )


def _prior(found: Map, centre: np.ndarray, spread: np.ndarray) -> str:
    cover = found.axes.T @ np.diag(spread**2) @ found.axes
    place = centre @ found.axes
    return "".join(_ellipse(found, place, cover, "prior", reach) for reach in (1, 2))


def _kinds(found: Map, codes: np.ndarray | None) -> list[str]:
    if codes is None:
        return ["c0"] * len(found.mean)
    return ["none" if c < 0 else f"c{c % 10}" for c in codes.tolist()]


def _markers(found: Map, codes: np.ndarray | None) -> str:
    """One path a class: all its rows."""
    groups: dict[int, list[str]] = {}
    for i, (x, y) in enumerate(found.points):
        code = 0 if codes is None else int(codes[i])
        place = f"M{found.across(x):.1f} {found.up(y):.1f}{_marker(code)}"
        groups.setdefault(code, []).append(place)
    order = sorted(groups, key=lambda c: (c >= 0, c))
    return "".join(
        f'<path class="row {_kind(code)}" d="{"".join(groups[code])}"/>' for code in order
    )


def _kind(code: int) -> str:
    return "none" if code < 0 else f"c{code % 10}"


def _marker(code: int) -> str:
    return MARKERS[0 if code < 0 else (code + code // 10) % len(MARKERS)]


def _legend(codes: np.ndarray | None, classes: Sequence[str]) -> str:
    if codes is None:
        return ""
    present = sorted(set(codes.tolist()), key=lambda c: (c < 0, c))
    items = []
    for code in present[:NAMED]:
        name = "unknown" if code < 0 else classes[code] if code < len(classes) else str(code)
        mark = f'<svg viewBox="-4 -4 8 8" aria-hidden="true"><path class="row {_kind(code)}" '
        items.append(f'<li>{mark}d="M0 0{_marker(code)}"/></svg>{text(name)}</li>')
    more = len(present) - NAMED
    items += [f"<li>and {more} more</li>"] if more > 0 else []
    return f'<ul class="classes">{"".join(items)}</ul>'
