"""Charts from numpy arrays in the user's units; every function writes one PNG.

Drawn with matplotlib on a figure of its own (no pyplot, no global state); images are in `tiles`.
Colours can be told apart by colour-blind readers: the ten of Petroff 2021 (arXiv:2107.02270).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | PathLike[str]
Words = Sequence[str] | None  # what the values 0, 1, ... of a column are called
INK, FAINT, PALE = "#333333", "#8c8c8c", "#d0d0d0"
BLUE, ORANGE, RED = "#3f90da", "#ffa90e", "#bd1f01"
CYCLE = (BLUE, ORANGE, RED, "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70")
CYCLE += ("#717581", "#92dadd")
NAMES = ("data", "model")
MARKERS = "os^Dv"  # so that a class is told by shape as well as by colour
MOST_POINTS, MOST_COLUMNS, MOST_VALUES = 2000, 16, 20
MOST_TICKS, MOST_LETTERS, LETTERS_BESIDE = 6, 9, 24  # named; in a name; in all before they lean
SURE = 0.95  # probability from which a column is said to differ
START = 0.1  # of training: its steep first part is left out of the axis limits


def curves(
    records: Sequence[Mapping[str, Any]], path: Path, baselines: Mapping[str, float] | None = None
) -> None:
    """Training and validation ELBO, distortion, rate and active units over steps.

    records: lines of metrics.jsonl: `step`, and where known `elbo`, `distortion`, `rate`,
    `active_units` of training and the same with `valid_` before them. baselines: log p(x) in nats
    per row by name, drawn where they lie near the curve, else named with their value.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = _figure(2, 2, 8.4, 5.6)
    told = {"elbo": "ELBO", "distortion": "distortion", "rate": "rate"}
    told["active_units"] = "active latent dimensions"
    for axes, (key, name) in zip(panels, told.items(), strict=True):
        shown = []
        for prefix, label, colour in (("", "training", BLUE), ("valid_", "validation", RED)):
            step, value = _series(records, prefix + key)
            if not len(step):
                continue
            many = len(step) > 50
            axes.plot(step, value, color=colour, lw=1, alpha=0.3 if many else 1.0, label=label)
            if many:
                axes.lines[-1].set_label("_")
                value = _smooth(value)
                axes.plot(step, value, color=colour, lw=1.8, label=label)
            shown.append(value[step >= START * step[-1]])
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        if key == "active_units":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylabel("nats per row")
            if shown:
                _limits(axes, np.concatenate(shown), (baselines or {}) if key == "elbo" else {})
        axes.set_xlim(left=0)
    if panels[0].lines:
        panels[0].legend(fontsize=8, framealpha=0.9)
    figure.savefig(path)


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric, where it was recorded and is finite."""
    pairs = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found[:, 1])]
    return found[:, 0], found[:, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a fortieth of the run, narrower towards the ends."""
    half, total = max(1, len(values) // 80), np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    reach = np.minimum(np.minimum(place, len(values) - 1 - place), half)
    return (total[place + reach + 1] - total[place - reach]) / (2 * reach + 1)


def _limits(axes: Axes, values: np.ndarray, baselines: Mapping[str, float]) -> None:
    """Limits from the bulk of the later values; baselines out of reach are named in the legend."""
    low, high = np.percentile(values, [1, 99])
    room = max(high - low, 1e-3 * max(abs(low), abs(high), 1.0))
    near = {k: v for k, v in baselines.items() if low - 2 * room < v < high + 2 * room}
    for i, (name, value) in enumerate(baselines.items()):
        line = axes.axhline(value, color=FAINT, lw=1.2, ls=("--", ":", "-.")[i % 3])
        line.set_label(f"{name} {value:.1f}{'' if name in near else ' (outside)'}")
    low, high = min([low, *near.values()]), max([high, *near.values()])
    axes.set_ylim(low - 0.08 * (high - low) - 0.1 * room, high + 0.08 * (high - low) + 0.1 * room)


def latent(
    mean: np.ndarray,
    std: np.ndarray,
    path: Path,
    *,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Posterior means (n, d) with their one-sigma ellipses from `std` (n, d), by label.

    Two dimensions are shown as they are, more through the two principal axes of the means (the
    ellipses are projected along). Dashed: one and two sigma of `prior`, its mean (d,) and
    covariance (d, d) (None: standard normal). At most 2,000 rows, evenly spaced. labels (n,):
    codes into `classes`, -1 = unknown.
    """
    keep = _spread(len(mean))
    mean, std = mean[keep], std[keep]
    codes = np.zeros(len(mean), int) if labels is None else np.asarray(labels)[keep]
    axis, names = _plane(mean)
    points = mean @ axis
    if mean.shape[1] == 1:
        points[:, 1] = std[:, 0]
    clouds = np.einsum("da,nd,db->nab", axis, std**2, axis)
    figure, (axes,) = _figure(1, 1, 6.4 if labels is None else 7.4, 6.0)
    for code in sorted(set(codes.tolist()), key=lambda c: (c < 0, c)):
        colour = PALE if code < 0 else CYCLE[code % len(CYCLE)]
        marker = "o" if code < 0 else MARKERS[(code + code // len(CYCLE)) % len(MARKERS)]
        name = "unknown" if code < 0 else classes[code] if code < len(classes) else str(code)
        mine = codes == code
        _ellipses(axes, points[mine], clouds[mine], facecolor=colour, alpha=0.13)
        x, y = points[mine].T
        order = 2 if code < 0 else 2.1
        axes.scatter(x, y, s=12, c=colour, marker=marker, lw=0, label=name, zorder=order)
    centre, cover = prior or (np.zeros(mean.shape[1]), np.eye(mean.shape[1]))
    _prior(axes, points, centre @ axis, axis.T @ cover @ axis, flat=mean.shape[1] == 1)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_title("posterior means and their σ; dashed: the prior's 1σ and 2σ", fontsize=10)
    if labels is not None:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=2, frameon=False, fontsize=9
        )
    figure.savefig(path)


def _prior(
    axes: Axes, points: np.ndarray, centre: np.ndarray, cover: np.ndarray, flat: bool
) -> None:
    """One and two sigma of the prior, dashed, and limits that show them and all points."""
    if flat:  # one latent dimension: its posterior's sigma upwards
        for k in (-2, -1, 1, 2):
            axes.axvline(centre[0] + k * cover[0, 0] ** 0.5, color=INK, ls="--", lw=1)
        axes.set_ylim(0, 1.2 * points[:, 1].max() or 1)
        return
    style = {"facecolor": "none", "edgecolor": INK, "linestyle": "--", "zorder": 3}
    _ellipses(axes, np.stack([centre, centre]), np.stack([cover, 4 * cover]), **style)
    reach = 1.05 * max(np.abs(points).max(), (np.abs(centre) + 2 * cover.diagonal() ** 0.5).max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _plane(mean: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Two orthonormal axes (d, 2) and what they are called."""
    if mean.shape[1] == 1:
        return np.array([[1.0, 0.0]]), ("z₁", "posterior σ")
    if mean.shape[1] == 2:
        return np.eye(2), ("z₁", "z₂")
    values, vectors = np.linalg.eigh(np.cov(mean.T, bias=True))
    share = 100 * values[::-1] / max(values.sum(), 1e-300)
    told = [f"principal axis {i + 1} of the means ({share[i]:.0f} % of variance)" for i in (0, 1)]
    return vectors[:, :-3:-1], (told[0], told[1])


def _ellipses(axes: Axes, centres: np.ndarray, covariance: np.ndarray, **style: Any) -> None:
    """One-sigma ellipses of covariances (n, 2, 2) around centres (n, 2)."""
    from matplotlib.collections import EllipseCollection

    values, vectors = np.linalg.eigh(covariance)
    size = 2 * np.sqrt(values.clip(min=0))
    angle = np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))
    place: dict[str, Any] = {"units": "xy", "offset_transform": axes.transData}
    axes.add_collection(
        EllipseCollection(size[:, 1], size[:, 0], angle, offsets=centres, **place, **style)
    )


def differences(
    names: Sequence[str],
    sizes: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sure: np.ndarray,
    path: Path,
    *,
    groups: tuple[str, str],
) -> None:
    """How far two groups are apart in each column, in standard deviations, with intervals.

    All arrays (columns,), in the order of the bars, of which the first 16 are drawn; sure: the
    probability that a column differs, which colours the bar from .95 on. groups: what is to the
    right of 0 and what to the left.
    """
    from matplotlib.patches import Patch

    count = min(MOST_COLUMNS, len(names))
    figure, (axes,) = _figure(1, 1, 7.0, 1.6 + 0.3 * count)
    place, shown = np.arange(count), slice(0, count)
    certain = sure[shown] >= SURE
    colours = [BLUE if each else PALE for each in certain]
    axes.barh(place, sizes[shown], 0.66, color=colours)
    axes.hlines(place, low[shown], high[shown], color=INK, lw=1.2)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(place, [_short(name) for name in names[:count]])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    left, right = min(0.0, float(low[shown].min())), max(0.0, float(high[shown].max()))
    room = max(right - left, 0.5)
    axes.set_xlim(left - 0.06 * room, right + 0.06 * room)
    a, b = (_short(name) for name in groups)
    axes.set_title(f"← more in {b}", fontsize=9, loc="left", color=INK)
    axes.set_title(f"more in {a} →", fontsize=9, loc="right", color=INK)
    axes.set_xlabel("difference of the means, standard deviations of the column")
    keys = [Patch(color=BLUE, label=f"differs, probability ≥ {SURE:g}")]
    keys += [Patch(color=PALE, label="may not differ")] if not certain.all() else []
    figure.legend(handles=keys, loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path)


def difference_map(sizes: np.ndarray, path: Path, *, groups: tuple[str, str]) -> None:
    """How far two groups of images (H, W) are apart in each pixel, in standard deviations."""
    figure, (axes,) = _figure(1, 1, 4.6, 4.0)
    reach = max(float(np.abs(sizes).max()), 1e-9)
    drawn = axes.imshow(sizes, cmap="RdBu", vmin=-reach, vmax=reach)
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=INK)
    a, b = (_short(name) for name in groups)
    axes.set_title(f"blue: more in {a}\nred: more in {b}", fontsize=9, color=INK)
    bar.set_label("standard deviations of the pixel", fontsize=9)
    figure.savefig(path)


def marginals(
    data: np.ndarray,
    samples: np.ndarray,
    path: Path,
    *,
    names: Sequence[str] = (),
    words: Sequence[Words] = (),
) -> None:
    """Columns of data (n, D) and of samples (m, D) beside each other: densities, or shares where
    a column has words or at most 20 whole values. The first 16 columns; NaN is left out. words: of
    each column what its values 0, 1, ... are called, None of one of numbers."""
    figure, panels = _columns(data.shape[1])
    for j, axes in enumerate(panels):
        pair = [x[np.isfinite(x)] for x in (data[:, j].astype(float), samples[:, j].astype(float))]
        axes.set_title(_short(names[j]) if names else f"column {j + 1}", fontsize=9)
        axes.set_yticks([])
        if not all(len(x) for x in pair):
            continue
        edges, called = _edges(pair[0]), words[j] if words else None
        few = called is not None or _few(pair[0])
        for x, colour, side, label in zip(pair, (BLUE, ORANGE), (-1, 1), NAMES, strict=True):
            if few:
                value, count = np.unique(np.rint(x), return_counts=True)
                axes.bar(value + 0.2 * side, count / len(x), 0.4, color=colour, label=label)
            else:
                share = np.histogram(x, edges)[0] / len(x)
                solid = side < 0
                alpha, width = (0.45, 0) if solid else (1, 1.6)
                axes.stairs(
                    share, edges, color=colour, fill=solid, alpha=alpha, lw=width, label=label
                )
        if few:
            _name_values(axes.xaxis, np.concatenate(pair), called)
    panels[0].legend(fontsize=8, framealpha=0.9)
    figure.savefig(path)


def agreement(
    original: np.ndarray,
    reconstruction: np.ndarray,
    path: Path,
    *,
    names: Sequence[str] = (),
    words: Sequence[Words] = (),
) -> None:
    """Each column of rows (n, D) against its reconstruction, with the root mean square error in
    the column's units, or the share that is equal where it has words or at most 20 whole values.
    words: as `marginals` has them."""
    figure, panels = _columns(original.shape[1])
    for j, axes in enumerate(panels):
        x, y = original[:, j].astype(float), reconstruction[:, j].astype(float)
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known], y[known]
        name = _short(names[j]) if names else f"column {j + 1}"
        axes.set_title(name, fontsize=9)
        if not len(x):
            continue
        called = words[j] if words else None
        if called is not None or _few(x):
            place, count = np.unique(np.stack([x, np.rint(y)], 1), axis=0, return_counts=True)
            area = 400 * count / count.max()
            axes.scatter(place[:, 0], place[:, 1], s=area, c=BLUE, alpha=0.7, linewidths=0)
            told = f"{100 * np.mean(x == np.rint(y)):.0f} % equal"
            for axis in (axes.xaxis, axes.yaxis):
                _name_values(axis, np.concatenate([x, y]), called)
        else:
            keep = _spread(len(x))
            axes.scatter(x[keep], y[keep], s=8, c=BLUE, alpha=0.4, linewidths=0)
            told = f"RMSE {np.sqrt(np.mean((x - y) ** 2)):.3g}"
        axes.axline((x[0], x[0]), slope=1, color=FAINT, lw=1, ls="--", zorder=0)
        axes.margins(0.12)
        axes.set_title(f"{name}: {told}", fontsize=9)
    figure.supxlabel("data", fontsize=9)
    figure.supylabel("reconstruction", fontsize=9)
    figure.savefig(path)


def _edges(x: np.ndarray) -> np.ndarray:
    """Forty bins over the range of x and a tenth beyond."""
    room = 0.1 * (x.max() - x.min()) or 0.5
    return np.linspace(x.min() - room, x.max() + room, 41)


def _name_values(axis: Any, x: np.ndarray, words: Words) -> None:
    """Ticks at the most frequent whole values of x, as many as there is room for, with their
    words."""
    value, count = np.unique(np.rint(x), return_counts=True)
    called = [f"{v:g}" if words is None else words[int(v)] for v in value]
    longest = max(map(len, called))
    room = MOST_TICKS if longest > 2 else 2 * MOST_TICKS
    some = np.sort(np.argsort(-count, kind="stable")[:room])
    labels = [called[i] if len(called[i]) <= MOST_LETTERS else f"{called[i][:7]}…" for i in some]
    steep = axis.axis_name == "x" and longest * len(some) > LETTERS_BESIDE
    axis.set_ticks(value[some], labels, **({"rotation": 35, "ha": "right"} if steep else {}))


def _spread(count: int) -> np.ndarray:
    """At most 2,000 of `count` places, evenly spaced."""
    return np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int)


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"


def _few(x: np.ndarray) -> bool:
    return bool((x == np.rint(x)).all()) and len(np.unique(x)) <= MOST_VALUES


def _columns(count: int) -> tuple[Any, list[Axes]]:
    """A figure with a panel for each of the first 16 columns, four beside each other."""
    count = min(count, MOST_COLUMNS)
    across = min(4, count)
    down = -(-count // across)
    figure, panels = _figure(down, across, max(3.4, 2.4 * across), max(3.0, 2.1 * down))
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _figure(down: int, across: int, width: float, height: float) -> tuple[Any, list[Axes]]:
    """A figure on the Agg canvas with its panels in reading order, in the house style."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=8, color=FAINT)
        axes.grid(color="#ececec", lw=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    return figure, panels
