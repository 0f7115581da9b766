"""Pictures from numpy arrays in the user's units; every function writes one PNG.

Grids of images are drawn with Pillow alone, pixel for pixel; the rest with matplotlib on a figure
of its own (no pyplot, no global state). Colours can be told apart by colour-blind readers: the ten
of Petroff 2021 (arXiv:2107.02270).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from vaes.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | PathLike[str]
TILE, GAP, LINE = 48, 2, 16  # pixels: least side of a tile, a separator, a line of writing
COLUMNS = 10  # pairs beside each other in a picture of reconstructions
BETWEEN, INK, FAINT, PALE = (190, 190, 190), "#333333", "#8c8c8c", "#d0d0d0"
BLUE, ORANGE, RED = "#3f90da", "#ffa90e", "#bd1f01"
CYCLE = (BLUE, ORANGE, RED, "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70")
CYCLE += ("#717581", "#92dadd")
NAMES = ("data", "model")
MARKERS = "os^Dv"  # so that a class is told by shape as well as by colour
MOST_POINTS, MOST_COLUMNS, MOST_VALUES = 2000, 16, 20
START = 0.1  # of training: its steep first part is left out of the axis limits


def grid(
    images: np.ndarray,
    path: Path,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    span: tuple[float, float] | None = None,
) -> None:
    """Images (rows, columns, H, W[, C]) as tiles, enlarged by a whole factor, 2 pixels apart.

    C is 1, 3 or 4. `span`: the values of black and white (None: the least and the largest value
    there is). `rows`, `columns`: labels.
    """
    if images.ndim not in (4, 5) or 0 in images.shape:
        raise UsageError(f"a grid takes images (rows, columns, H, W[, C]), got {images.shape}")
    _tiles(_colours(images, span or _span(images)), path, rows, columns)


def reconstructions(
    original: np.ndarray,
    reconstruction: np.ndarray,
    path: Path,
    *,
    span: tuple[float, float] | None = None,
) -> None:
    """Images (n, H, W[, C]) above their reconstructions above the difference of the two.

    The difference is white where they agree, red where the reconstruction is too bright and blue
    where it is too dark, mean over channels; full colour is the largest difference in the picture.
    """
    if original.shape != reconstruction.shape or original.ndim not in (3, 4) or not len(original):
        raise UsageError(
            f"images {original.shape} were given with reconstructions {reconstruction.shape}; "
            "both are (n, H, W[, C])"
        )
    pairs = np.stack([original, reconstruction])
    difference = pairs[1].astype(np.float64) - pairs[0]
    difference = difference.mean(-1) if original.ndim == 4 else difference
    difference = np.nan_to_num(difference / max(float(np.nanmax(np.abs(difference))), 1e-12))
    full = np.where(difference[..., None] > 0, (189, 31, 1), (20, 95, 180))
    tinted = np.rint(255 + np.abs(difference)[..., None] * (full - 255.0)).astype(np.uint8)
    kinds = np.stack([*_colours(pairs, span or _span(original)), tinted])
    count = min(COLUMNS, len(original))
    blocks = -(-len(original) // count)
    room = np.full((3, blocks * count, *kinds.shape[2:]), 255, np.uint8)
    room[:, : len(original)] = kinds
    tiles = room.reshape(3, blocks, count, *kinds.shape[2:]).swapaxes(0, 1)
    _tiles(tiles.reshape(3 * blocks, *tiles.shape[2:]), path, (*NAMES, "error") * blocks)


def _span(images: np.ndarray) -> tuple[float, float]:
    """The least and the largest value there is."""
    finite = images[np.isfinite(images)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _colours(images: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Images (rows, columns, H, W[, C]) as uint8 (..., 3); what is transparent shows white."""
    low, high = span
    unit = (np.nan_to_num(images.astype(np.float64), nan=low) - low) / max(high - low, 1e-12)
    unit = np.clip(unit if images.ndim == 5 else unit[..., None], 0, 1)
    channels = unit.shape[-1]
    if channels not in (1, 3, 4):
        raise UsageError(f"images with {channels} channels cannot be shown; 1, 3 or 4 can")
    if channels == 4:
        unit = unit[..., :3] * unit[..., 3:] + 1 - unit[..., 3:]
    return np.rint(255 * np.broadcast_to(unit, (*unit.shape[:-1], 3))).astype(np.uint8)


def _tiles(
    tiles: np.ndarray, path: Path, rows: Sequence[str] = (), columns: Sequence[str] = ()
) -> None:
    """Tiles uint8 (rows, columns, H, W, 3) with separators around each, labels left and above."""
    from PIL import Image, ImageDraw, ImageFont

    down, across, height, width = tiles.shape[:4]
    factor = max(1, -(-TILE // min(height, width)))
    tiles = tiles.repeat(factor, 2).repeat(factor, 3)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=12)
    left = max((int(font.getlength(name)) + 8 for name in rows), default=0)
    top = LINE if columns else 0
    size = (left + across * (width + GAP) + GAP, top + down * (height + GAP) + GAP)
    sheet = np.full((size[1], size[0], 3), 255, np.uint8)
    sheet[top:, left:] = BETWEEN
    for i in range(down):
        for j in range(across):
            y, x = top + GAP + i * (height + GAP), left + GAP + j * (width + GAP)
            sheet[y : y + height, x : x + width] = tiles[i, j]
    picture = Image.fromarray(sheet)
    pen = ImageDraw.Draw(picture)
    for i, name in enumerate(rows[:down]):
        middle = top + GAP + i * (height + GAP) + height // 2
        pen.text((left - 4, middle), name, fill=INK, font=font, anchor="rm")
    for j, name in enumerate(columns[:across]):
        middle = left + GAP + j * (width + GAP) + width // 2
        pen.text((middle, top // 2 + 1), name, fill=INK, font=font, anchor="mm")
    picture.save(path, format="PNG")


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
    every = max(1, -(-len(mean) // MOST_POINTS))
    mean, std = mean[::every], std[::every]
    codes = np.zeros(len(mean), int) if labels is None else np.asarray(labels)[::every]
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


def marginals(
    data: np.ndarray, samples: np.ndarray, path: Path, *, names: Sequence[str] = ()
) -> None:
    """Columns of data (n, D) and of samples (m, D) beside each other: densities, or shares where
    a column has at most 20 whole values. The first 16 columns; NaN is left out."""
    figure, panels = _columns(data.shape[1])
    for j, axes in enumerate(panels):
        pair = [x[np.isfinite(x)] for x in (data[:, j].astype(float), samples[:, j].astype(float))]
        axes.set_title(_short(names[j]) if names else f"column {j + 1}", fontsize=9)
        axes.set_yticks([])
        if not all(len(x) for x in pair):
            continue
        edges = _edges(pair[0])
        for x, colour, side, label in zip(pair, (BLUE, ORANGE), (-1, 1), NAMES, strict=True):
            if _few(pair[0]):
                value, count = np.unique(np.rint(x), return_counts=True)
                axes.bar(value + 0.2 * side, count / len(x), 0.4, color=colour, label=label)
            else:
                share = np.histogram(x, edges)[0] / len(x)
                solid = side < 0
                alpha, width = (0.45, 0) if solid else (1, 1.6)
                axes.stairs(
                    share, edges, color=colour, fill=solid, alpha=alpha, lw=width, label=label
                )
    panels[0].legend(fontsize=8, framealpha=0.9)
    figure.savefig(path)


def agreement(
    original: np.ndarray, reconstruction: np.ndarray, path: Path, *, names: Sequence[str] = ()
) -> None:
    """Each column of rows (n, D) against its reconstruction, with the root mean square error in
    the column's units, or the share that is equal where it has at most 20 whole values."""
    figure, panels = _columns(original.shape[1])
    for j, axes in enumerate(panels):
        x, y = original[:, j].astype(float), reconstruction[:, j].astype(float)
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known], y[known]
        axes.set_title(_short(names[j]) if names else f"column {j + 1}", fontsize=9)
        if not len(x):
            continue
        if _few(x):
            place, count = np.unique(np.stack([x, np.rint(y)], 1), axis=0, return_counts=True)
            area = 400 * count / count.max()
            axes.scatter(place[:, 0], place[:, 1], s=area, c=BLUE, alpha=0.7, linewidths=0)
            told = f"equal: {100 * np.mean(x == np.rint(y)):.0f} %"
        else:
            every = max(1, -(-len(x) // MOST_POINTS))
            axes.scatter(x[::every], y[::every], s=8, c=BLUE, alpha=0.4, linewidths=0)
            told = f"RMSE {np.sqrt(np.mean((x - y) ** 2)):.3g}"
        axes.axline((x[0], x[0]), slope=1, color=FAINT, lw=1, ls="--", zorder=0)
        axes.margins(0.12)
        axes.text(0.04, 0.95, told, transform=axes.transAxes, va="top", color=INK, fontsize=8)
    figure.supxlabel("data", fontsize=9)
    figure.supylabel("reconstruction", fontsize=9)
    figure.savefig(path)


def _edges(x: np.ndarray) -> np.ndarray:
    """Forty bins over the range of x and a tenth beyond."""
    room = 0.1 * (x.max() - x.min()) or 0.5
    return np.linspace(x.min() - room, x.max() + room, 41)


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
