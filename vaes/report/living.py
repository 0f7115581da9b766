"""What the page needs to decode by itself: the map of test rows, the decoder, rows beside it."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vaes import uses
from vaes.batch import Data
from vaes.dist.gaussian import DiagonalNormal
from vaes.model import Model
from vaes.pictures import span
from vaes.report import latent
from vaes.report.decoder import export
from vaes.report.markup import figure, paragraph, script_json, section
from vaes.report.program import Program, Store, Unsupported
from vaes.report.rows import Scored, Shower, spread
from vaes.tiles import _colours
from vaes.uses.common import blank, evaluating, moments

ROWS = 500  # on the map
SLIDERS = 12
DULL = 0.01  # nats: a dimension with a lower rate moves nothing
WEIGHTS = (1_700_000, 2_050_000)  # bytes of the decoder that fit beside images, beside tables
SPRITE = 250_000  # bytes of the pictures of the rows on the map
ACROSS = 25  # of the sprite
COLUMNS = 40  # of a decoded row that are listed
TITLE = "Posterior means of test rows"
ALONE = "How far each is spread, by its mean: the one latent dimension there is."
NOTE = "Shaded: one standard deviation of some of them; dashed: one and two of the prior."


@dataclass(frozen=True)
class Living:
    """`html`: the section · `data`: JSON for the script, "" for none · `weights`: float32 numbers
    in base64: those of the decoder, then the codes of the rows on the map."""

    html: str
    data: str = ""
    weights: str = ""


def living(
    model: Model, shower: Shower, scored: Scored, rates: np.ndarray | None, classes: list[str]
) -> Living:
    """The map, and the decoder where it can run in a page."""
    keep = spread(len(scored.data), ROWS)
    data = scored.data.part(keep.to(scored.data.x.device))
    codes = uses.encode(model, data)
    mean, std = (t.cpu().double().numpy() for t in (codes.mean, codes.std))
    if not np.isfinite(mean).all() or not np.isfinite(std).all():
        told = "There is no map: the codes of some rows are not finite."
        return Living(section("Latent map", paragraph(told), name="living"))
    with evaluating(model):
        prior = model.prior(blank(model, 1))
        centre, width = (t[0].cpu().double().numpy() for t in moments(prior))
    found = latent.plane(mean, std, centre, width)
    labels = None if data.y is None else data.y.cpu().numpy()
    chart = latent.chart(found, centre, width, labels, classes)
    drawn = figure(chart, TITLE, NOTE if mean.shape[1] > 1 else ALONE)
    program, reason = _program(model, WEIGHTS[0 if shower.images else 1])
    if program is None:
        return Living(section("Latent map", drawn, paragraph(reason, "small"), name="living"))
    store = Store()
    store.add(torch.from_numpy(program.weights))
    said: dict[str, Any] = {
        "program": program.to_json(),
        "map": _geometry(found, store),
        "codes": store.add(torch.from_numpy(mean)),
        "rows": [_row(scored, data, int(k), i, classes) for i, k in enumerate(keep)],
        "dims": _dims(mean, centre, width, rates),
        "prior": None,
        "show": _image(shower, data) if shower.images else _flat(shower, data),
    }
    if isinstance(prior, DiagonalNormal):  # independent dimensions: the page can draw codes
        said["prior"] = [store.add(torch.from_numpy(v)) for v in (centre, width)]
    given = "Counts are decoded for the median total of the training rows."
    note = paragraph(given, "small") if model.spec.totals else ""
    bench = _bench(drawn, shower.images, note)
    html = section("Latent map and decoder", bench, name="living")
    return Living(html, script_json(said), _base64(store))


def _base64(store: Store) -> str:
    """All numbers, little-endian float32."""
    return base64.b64encode(np.concatenate(store.parts).astype("<f4").tobytes()).decode()


def _program(model: Model, most: int) -> tuple[Program | None, str]:
    """The decoder, or a sentence that says why there is none."""
    try:
        found = export(model)
    except Unsupported as missing:
        return None, f"The map stands still: a page cannot run {missing}."
    size = 4 * len(found.weights)
    if size > most:
        told = f"{size / 1e6:.1f} MB of weights, and a page has room for {most / 1e6:.1f} MB"
        return None, f"The map stands still: the decoder has {told}."
    return found, ""


def _geometry(found: latent.Map, store: Store) -> dict[str, Any]:
    """The plane and how it lies in the picture: place = start + (value - low) * unit."""
    axes = [store.add(torch.from_numpy(found.axes[:, k].copy())) for k in (0, 1)]
    both = (found.across, found.up)
    return {
        "axes": axes,
        "points": store.add(torch.from_numpy(found.points)),
        "low": [a.low for a in both],
        "start": [a.start for a in both],
        "unit": [(a.end - a.start) / (a.high - a.low) for a in both],
    }


def _row(scored: Scored, data: Data, at: int, i: int, classes: list[str]) -> list[Any]:
    """[place in the test part, label, log p(x)] of a row on the map."""
    code = -1 if data.y is None else int(data.y[i])
    label = None if code < 0 else classes[code] if code < len(classes) else str(code)
    nats = math.nan if scored.nats is None else float(scored.nats[at])
    told = round(nats, 2) if math.isfinite(nats) else None
    return [int(scored.place[at]), label, told]


def _dims(
    mean: np.ndarray, centre: np.ndarray, width: np.ndarray, rates: np.ndarray | None
) -> list[list[Any]]:
    """[dimension, rate, low, high] of each slider, the liveliest dimension first."""
    lively = mean.var(0) if rates is None or len(rates) != mean.shape[1] else rates
    order = [int(j) for j in np.argsort(-lively, kind="stable")]
    order = [j for j in order if lively[j] >= DULL][:SLIDERS] or order[:1]
    low = np.minimum(mean.min(0), centre - 3 * width)
    high = np.maximum(mean.max(0), centre + 3 * width)
    told = None if lively is not rates else lively
    return [
        [j, None if told is None else round(float(told[j]), 3), *_rounded(low[j], high[j])]
        for j in order
    ]


def _rounded(low: float, high: float) -> tuple[float, float]:
    return float(np.floor(low * 10) / 10), float(np.ceil(high * 10) / 10)


# --- how rows are shown ---------------------------------------------------------------------------
def _scaling(shower: Shower) -> tuple[list[float], list[float]]:
    """shift and scale from model space to the user's units, one or one an entry; a category is its
    code and a count itself, and a numeric column has its pieces."""
    spec = shower.spec
    shift, scale = list(spec.shift), list(spec.scale)
    kinds = {kind for kind in spec.kinds if kind in ("category", "count", "numeric")}
    if kinds:
        pairs = spec.column_kinds() if len(spec.shape) == 1 else [(spec.kinds[0], 0)]
        plain = [kind in kinds for kind, _ in pairs]
        shift, scale = ((v * len(plain) if len(v) == 1 else v) for v in (shift, scale))
        shift = [0.0 if p else v for p, v in zip(plain, shift, strict=True)]
        scale = [1.0 if p else v for p, v in zip(plain, scale, strict=True)]
    return shift, scale


def _image(shower: Shower, data: Data) -> dict[str, Any]:
    """Size, the values of black and white, and the rows of the map as one PNG, pixel for pixel."""
    images = shower.user(data.rows(slice(None)).x)
    finite = images[np.isfinite(images)]
    low, high = span(shower.spec) or (float(finite.min()), float(finite.max()))
    shift, scale = _scaling(shower)
    channels, height, width = shower.spec.shape
    found: dict[str, Any] = {"channels": channels, "height": height, "width": width}
    found |= {"shift": shift, "scale": scale, "low": low, "high": max(high, low + 1e-12)}
    return found | {"across": ACROSS, "sprite": _sprite(images, (low, high))}


def _sprite(images: np.ndarray, limits: tuple[float, float]) -> str | None:
    from PIL import Image

    lines = -(-len(images) // ACROSS)
    pixels = _colours(images[None], limits)[0]
    room = np.zeros((lines * ACROSS, *pixels.shape[1:]), np.uint8)
    room[: len(pixels)] = pixels
    tiles = room.reshape(lines, ACROSS, *pixels.shape[1:]).swapaxes(1, 2)
    sheet = tiles.reshape(lines * pixels.shape[1], ACROSS * pixels.shape[2], 3)
    if (sheet == sheet[..., :1]).all():
        sheet = sheet[..., 0]
    memory = io.BytesIO()
    Image.fromarray(sheet).save(memory, format="PNG", optimize=True)
    told = memory.getvalue()
    return base64.b64encode(told).decode() if len(told) <= SPRITE else None


def _flat(shower: Shower, data: Data) -> dict[str, Any]:
    """Name, unit and usual range of each column that is listed, and the rows of the map."""
    x = data.rows(slice(None)).x
    words = shower.schema["layout"].get("categories") or [None] * len(shower.names)
    dtypes = shower.schema["layout"].get("dtypes") or [""] * len(shower.names)
    user = shower.user(x).reshape(len(x), -1).astype(np.float64)
    columns = [
        _column(shower, j, words[j], str(dtypes[j]), user[:, j])
        for j in range(min(COLUMNS, len(shower.names)))
    ]
    rows = [row[:COLUMNS] for row in shower.told(x, data.mask)]
    return {"columns": columns, "of": len(shower.names), "rows": rows}


def _column(shower: Shower, j: int, words: Any, dtype: str, user: np.ndarray) -> dict[str, Any]:
    """How the script tells entries of column j: `entry` is its place in a row of the model, `gate`
    the entry that says whether it has a value."""
    spec = shower.spec
    # a table's columns that say whether another has a value are none of the user's
    entry = spec.size - len(shower.names) + j
    kind = spec.column_kinds()[entry][0] if len(spec.shape) == 1 else spec.kinds[0]
    shift, scale = (v[entry] if len(v) > 1 else v[0] for v in _scaling(shower))
    gate = spec.shown_by[entry] if spec.shown_by else -1
    steps = shower.schema["layout"].get("steps")
    known = user[np.isfinite(user)]
    told = words if kind == "category" else ("False", "True") if dtype.startswith("bool") else None
    return {
        "name": shower.names[j],
        "entry": entry,
        "gate": gate if gate >= 0 else None,
        "shift": shift,
        "scale": scale,
        "pieces": list(spec.pieces[entry]) if kind == "numeric" else None,
        "step": steps[j] if steps else 0,
        "date": dtype.startswith(("date", "timestamp")),
        "words": list(told) if told else None,
        "range": [float(known.min()), float(known.max())] if len(known) else [0.0, 0.0],
    }


def _bench(drawn: str, images: bool, note: str) -> str:
    """The places that script fills; without it the map alone is there."""
    picture = (
        '<figure><canvas id="picture" role="img" aria-label="decoded picture"></canvas>'
        "<figcaption>decoded</figcaption></figure>"
        '<figure id="beside"><canvas id="original" role="img" aria-label="the row itself">'
        "</canvas><figcaption>the row itself</figcaption></figure>"
    )
    shown = f'<div class="pictures">{picture}</div>' if images else '<div id="values"></div>' + note
    strip = '<canvas id="frames" role="img" aria-label="nine steps from A to B"></canvas>'
    return (
        f'<div class="bench">{drawn}'
        f'<div class="live" hidden><p id="told" aria-live="polite"></p>{shown}'
        '<p class="buttons"><button id="back">back to the row</button>'
        '<button id="random">draw from the prior</button>'
        '<button id="set-a">use as A</button><button id="set-b">use as B</button></p>'
        '<label class="way">A<input id="t" type="range" min="0" max="1" step="0.01" value="0">'
        f"B</label>{strip if images else ''}</div>"
        '<div class="live" hidden><h3>Liveliest dimensions</h3><div id="sliders"></div></div></div>'
        "<noscript><p class=small>With script allowed, the decoder runs in this page: drag on the "
        "map, move a dimension, walk from row to row.</p></noscript>"
    )
