"""Charts as inline SVG: no script, no font, no colour of their own but those of the page's style.

Every chart is drawn on 360 units of width, so that its writing can be read on a phone, and says in
its label what a reader who does not see it would miss. Values that are not finite are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vaes.report.markup import figure, number, text

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 36  # of the frame
SHORT, LETTER = 22, 6.2  # letters of a name beside a bar, and the width of one
POINTS = 240  # of a curve


@dataclass(frozen=True)
class Axis:
    """From values low ... high to places start ... end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


@dataclass(frozen=True)
class Line:
    """One curve: `kind` is its style, "a", "b" ...; `se` (n,) draws whiskers of one error."""

    name: str
    x: np.ndarray
    y: np.ndarray
    kind: str = "a"
    se: np.ndarray | None = None
    dots: bool = False


@dataclass(frozen=True)
class Dot:
    """One row of `whiskers`: a value with its standard error."""

    name: str
    value: float
    se: float | None = None
    ours: bool = False


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers within [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / most
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick as short as it can be said."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            size = 1e3 if letter == "k" else unit
            return f"{value / size:g}{letter}".replace("-", "−")
    return f"{value:.10g}".replace("-", "−")


def svg(inside: str, label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The frame of a chart; `label` is read where it cannot be seen."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(label)}">'
        f"{inside}</svg>"
    )


def lines(
    curves: Sequence[Line],
    title: str,
    x_name: str,
    y_name: str,
    *,
    log_x: bool = False,
    levels: Sequence[tuple[str, float]] = (),
    square: bool = False,
    limits: tuple[float, float] | None = None,
) -> str:
    """Curves over a shared axis; `levels` are named horizontal lines, drawn where they lie within
    the axis; nothing where no curve has two points."""
    curves = [c for c in map(_finite, curves) if len(c.x) > 1]
    if not curves:
        return ""
    height = WIDTH if square else HEIGHT
    xs = np.concatenate([c.x for c in curves])
    ys = np.concatenate([c.y if c.se is None else np.r_[c.y - c.se, c.y + c.se] for c in curves])
    low, high = limits if limits else _room(float(ys.min()), float(ys.max()))
    to_x: Callable[[float], float] = math.log10 if log_x else float
    first, last = to_x(float(xs.min())), to_x(float(xs.max()))
    edge = 0.04 * (last - first) if any(c.dots for c in curves) else 0.0
    across = Axis(first - edge, last + edge, LEFT, WIDTH - RIGHT)
    up = Axis(low, high, height - BOTTOM, TOP)
    parts = [_left(up, y_name, height), _below(across, x_name, height, log_x)]
    inner = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{height - TOP - BOTTOM}"'
    drawn = [_curve(c, across, up, to_x) for c in curves]
    for name, value in levels:
        if low <= value <= high:
            y = up(value)
            drawn.append(f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            drawn.append(f'<text class="end small" x="{WIDTH - RIGHT - 2}" y="{y - 3:.1f}">')
            drawn.append(f"{text(name)}</text>")
    # an inner svg cuts off what lies outside of the axes
    box = f"{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {height - TOP - BOTTOM}"
    parts.append(f'<svg {inner} viewBox="{box}">{"".join(drawn)}</svg>')
    ends = [f"{c.name}: {number(float(c.y[0]))} to {number(float(c.y[-1]))}" for c in curves]
    label = f"{title}. {'; '.join(ends)}"
    return figure(svg("".join(parts), label, height=height) + _legend(curves), title)


def whiskers(dots: Sequence[Dot], title: str, x_name: str, note: str = "") -> str:
    """Values side by side on one axis, each with a whisker of two standard errors."""
    dots = [d for d in dots if math.isfinite(d.value)]
    if not dots:
        return ""
    spread = [2 * d.se if d.se is not None and math.isfinite(d.se) else 0.0 for d in dots]
    pairs = list(zip(dots, spread, strict=True))
    low, high = _room(min(d.value - s for d, s in pairs), max(d.value + s for d, s in pairs))
    left, step = 20 + LETTER * max(len(_cut(d.name)) for d in dots), 24
    height = TOP + step * len(dots) + BOTTOM
    across = Axis(low, high, left, WIDTH - RIGHT - 4)
    parts = [_below(across, x_name, height, False, left)]
    for i, (dot, reach) in enumerate(pairs):
        y = TOP + step * (i + 0.5)
        kind = "ours" if dot.ours else "other"
        ends = across(dot.value - reach), across(dot.value + reach)
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 4:.1f}">{text(_cut(dot.name))}')
        parts.append(f'</text><g class="{kind}">')
        parts.append(f'<path d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}"/>')
        parts.append(f'<circle cx="{across(dot.value):.1f}" cy="{y:.1f}" r="4"/></g>')
    told = "; ".join(f"{d.name} {number(d.value)}" for d in dots)
    return figure(svg("".join(parts), f"{title}. {told}", height=height), title, note)


def bars(values: np.ndarray, names: Sequence[str], title: str, y_name: str) -> str:
    """Bars (n,) from 0 up, in the order given; at most a dozen are named."""
    if not len(values) or not np.isfinite(values).all():
        return ""
    high = max(float(values.max()), 1e-12)
    up = Axis(min(0.0, float(values.min())), 1.05 * high, HEIGHT - BOTTOM, TOP)
    wide = (WIDTH - LEFT - RIGHT) / len(values)
    parts = [_left(up, y_name, HEIGHT)]
    every = -(-len(values) // 12)
    for i, value in enumerate(values):
        x, y = LEFT + i * wide, up(float(value))
        base = up(0.0)
        parts.append(
            f'<rect class="bar" x="{x + 0.1 * wide:.1f}" y="{min(y, base):.1f}" '
            f'width="{0.8 * wide:.2f}" height="{abs(base - y):.1f}"/>'
        )
        if i % every == 0:
            parts.append(f'<text class="mid small" x="{x + wide / 2:.1f}" y="{HEIGHT - 22}">')
            parts.append(f"{text(names[i])}</text>")
    parts.append(f'<text class="mid" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}">dimension</text>')
    told = f"{title}. The largest is {number(high)}, the smallest {number(float(values.min()))}"
    return figure(svg("".join(parts), told), title)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points: means of as many stretches of equal length."""
    if len(x) <= POINTS:
        return x, y
    edges = np.linspace(0, len(x), POINTS + 1).astype(int)
    counts = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / counts, np.add.reduceat(y, edges[:-1]) / counts


def _finite(curve: Line) -> Line:
    keep = np.isfinite(curve.x) & np.isfinite(curve.y)
    se = None if curve.se is None else np.nan_to_num(curve.se[keep])
    return Line(curve.name, curve.x[keep], curve.y[keep], curve.kind, se, curve.dots)


def _room(low: float, high: float) -> tuple[float, float]:
    span = (high - low) or max(abs(high), 1.0)
    return low - 0.06 * span, high + 0.06 * span


def _cut(name: str) -> str:
    return name if len(name) <= SHORT else name[: SHORT - 1] + "…"


def _left(up: Axis, name: str, height: float) -> str:
    parts = []
    for value in ticks(up.low, up.high):
        y = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end small" x="{LEFT - 4}" y="{y + 3.5:.1f}">')
        parts.append(f"{tick_text(value)}</text>")
    middle = (height - BOTTOM + TOP) / 2
    parts.append(f'<text class="mid" transform="translate(11 {middle:g}) rotate(-90)">')
    parts.append(f"{text(name)}</text>")
    return "".join(parts)


def _below(across: Axis, name: str, height: float, log: bool, left: float = LEFT) -> str:
    parts = [f'<path class="axis" d="M{left} {height - BOTTOM}H{WIDTH - RIGHT}"/>']
    found = ticks(across.low, across.high)
    if log:
        found = [float(k) for k in range(math.ceil(across.low), math.floor(across.high) + 1)]
    for value in found:
        x = across(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {height - BOTTOM}v4"/>')
        parts.append(f'<text class="mid small" x="{x:.1f}" y="{height - BOTTOM + 15}">')
        parts.append(f"{tick_text(10**value if log else value)}</text>")
    middle = (left + WIDTH - RIGHT) / 2
    return "".join(parts) + f'<text class="mid" x="{middle:g}" y="{height - 6}">{text(name)}</text>'


def _curve(curve: Line, across: Axis, up: Axis, to_x: Callable[[float], float]) -> str:
    points = [(across(to_x(float(a))), up(float(b))) for a, b in zip(curve.x, curve.y, strict=True)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path class="line {curve.kind}" d="M{path}"/>']
    for i, (x, y) in enumerate(points) if curve.dots else ():
        if curve.se is not None:
            ends = up(float(curve.y[i] - curve.se[i])), up(float(curve.y[i] + curve.se[i]))
            parts.append(
                f'<path class="line {curve.kind}" d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>'
            )
        parts.append(f'<circle class="dot {curve.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return "".join(parts)


def _legend(curves: Sequence[Line]) -> str:
    if len(curves) < 2:
        return ""
    inside = "".join(f'<li class="{c.kind}">{text(c.name)}</li>' for c in curves)
    return f'<ul class="legend">{inside}</ul>'
