"""Rows of a run to look at: drawn, rebuilt, and those that the model finds the likeliest and the
least likely; images as one PNG a grid, other rows as tables in the user's words."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaes import data as sources
from vaes import tiles, uses
from vaes.batch import Data, Spec
from vaes.evaluate.likelihood import evidence
from vaes.model import Model
from vaes.pictures import seen, shown, span
from vaes.plan import widest
from vaes.report.markup import number, paragraph, section, table, text

SCORED, DRAWS = (250, 1_000), (16, 64)  # rows, and draws for each: where they cost much, and else
WORK = 800_000_000  # numbers of the widest layer that scoring may make
ACROSS, DOWN = 10, 6  # of a grid of images
FEW = 8  # rows of a table
COLUMNS = 30  # of a table
USUAL = 32  # rows that say what blame is usual for a column
LEFT_OUT = 20  # columns up to which each is left out in turn to find what is to blame
BLAMED, BLAMES = 3, 32  # columns named in a row, draws for that


@dataclass(frozen=True)
class Scored:
    """Test rows evenly spaced over the test part: `place` (n,) of each in it, `data`, and `nats`
    (n,), log p(x) of each by `draws` draws; None for a model without a density."""

    place: Tensor
    data: Data
    nats: Tensor | None
    draws: int


def score(model: Model, test: Data, seed: int) -> Scored:
    """At most 1,000 rows by 64 draws each; fewer of both where a draw costs much."""
    width = widest(model)
    place = spread(len(test), _within(WORK // (DRAWS[0] * width), SCORED))
    draws = _within(WORK // (len(place) * width), DRAWS)
    data = test.part(place.to(test.x.device)).to(model.log_jacobian.device)
    if model.bound == "none":
        return Scored(place, data, None, draws)
    return Scored(place, data, evidence(model, data, k=draws, seed=seed).per_row.cpu(), draws)


def _within(value: int, ends: tuple[int, int]) -> int:
    return max(ends[0], min(ends[1], value))


def spread(n: int, most: int) -> Tensor:
    """At most `most` of the numbers 0 ... n - 1, evenly spaced."""
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most).round().long()


class Shower:
    """How rows of a run are shown: as images or as tables."""

    def __init__(self, schema: dict[str, Any], spec: Spec) -> None:
        self.schema, self.spec = schema, spec
        self.images = shown(spec)
        if self.images:  # means of grey levels lie between two of them
            self.schema = {**schema, "layout": {**schema["layout"], "dtype": "float64"}}
        self.table = schema["layout"].get("kind") == "table"
        gates = spec.gates if self.table else 0
        self.names = list(spec.names[gates:] or map(str, range(spec.size - gates)))

    def user(self, x: Tensor) -> np.ndarray:
        """Rows of model space in the user's units, colour channels last."""
        return seen(self.schema, self.spec, x.cpu())

    def told(self, x: Tensor, mask: Tensor | None = None) -> list[list[str]]:
        """The entries of flat rows in the user's words; a gap is a dash."""
        if self.table:
            found = sources.table(self.schema, self.spec, x.cpu()).to_pylist()
            rows = [list(row.values()) for row in found]
        else:
            rows = self.user(x).reshape(len(x), -1).tolist()
        # a table's numbers come rounded to the decimals of its columns
        digits = 6 if self.table else 4
        there = np.ones((len(rows), len(self.names)), bool)
        if mask is not None:
            there = mask.flatten(1)[:, -len(self.names) :].cpu().numpy()
        return [
            [word(v, digits) if here else "–" for v, here in zip(row, known, strict=True)]
            for row, known in zip(rows, there, strict=True)
        ]


def word(value: Any, digits: int) -> str:
    """A cell for a reader; None is a dash."""
    if isinstance(value, float):
        told = f"{value:.{digits}g}"
        told = f"{value:.0f}" if "e+" in told and abs(value) < 1e9 else told
        return told.replace("-", "−")
    return "–" if value is None else str(value)


def sprite(images: np.ndarray, limits: tuple[float, float] | None, words: str) -> str:
    """Images (down, across, H, W[, C]) as one PNG within the page; `words` say what is seen."""
    memory: Any = io.BytesIO()
    tiles.grid(images, memory, span=limits)
    told = base64.b64encode(memory.getvalue()).decode()
    return f'<img src="data:image/png;base64,{told}" alt="{text(words)}">'


# --- sections -------------------------------------------------------------------------------------
def drawn(model: Model, shower: Shower, seed: int) -> str:
    """New rows from the prior."""
    if shower.images:
        x, _ = uses.sample(model, ACROSS * DOWN, seed=seed, mean=True)
        what = "new rows: means of p(x|z) at codes z drawn from the prior"
        return section("Drawn from the model", _grid(shower, x.unflatten(0, (DOWN, ACROSS)), what))
    x, _ = uses.sample(model, FEW, seed=seed)
    head, keep = _columns(shower)
    rows = [[row[j] for j in keep] for row in shower.told(x)]
    return section("Drawn from the model", table(head, rows), *_cut(shower))


def rebuilt(model: Model, shower: Shower, scored: Scored) -> str:
    """Test rows above what the model makes of their codes."""
    count = 2 * ACROSS if shower.images else FEW // 2
    few = scored.data.part(spread(len(scored.data), count).to(scored.data.x.device))
    name = "Rebuilt from codes"
    if shower.images:
        what = "test rows, and below each the mean of p(x|z) at its posterior mean"
        return section(name, _pairs(model, shower, few, what))
    x, mean = few.rows(slice(None)).x, uses.reconstruct(model, few).mean
    head, keep = _columns(shower)
    pairs = zip(shower.told(x, few.mask), shower.told(mean), strict=True)
    rows = [
        [whose, *(row[j] for j in keep)]
        for pair in pairs
        for whose, row in zip(("data", "model"), pair, strict=True)
    ]
    return section(name, table(["", *head], rows, "pairs"), *_cut(shower))


def extremes(model: Model, shower: Shower, scored: Scored, seed: int) -> str:
    """The rows that the model finds the least and the most likely."""
    if scored.nats is None:
        return ""
    order = scored.nats.argsort(stable=True)
    count = min(ACROSS if shower.images else FEW, len(order))
    of = f"of {number(len(order), 0)} rows, evenly spaced over those evaluated"
    note = f"By log p(x) from {scored.draws} draws, {of}; rows are counted from 0."
    parts = [paragraph(note, "small")]
    for name, chosen in (("least", order[:count]), ("most", order[-count:].flip(0))):
        nats = ", ".join(number(float(v), 1) for v in scored.nats[chosen])
        few = scored.data.part(chosen.to(scored.data.x.device))
        if shower.images:
            what = f"the {name} likely rows above their reconstructions; log p(x): {nats}"
            parts.append(_pairs(model, shower, few, what))
        else:
            blamed = _blamed(model, shower, scored, few, seed) if name == "least" else None
            parts.append(f"<h3>{name} likely</h3>")
            parts.append(_extreme(shower, scored, chosen, few, blamed))
    return section("Least and most likely rows", *parts, *_cut(shower))


def _extreme(
    shower: Shower, scored: Scored, chosen: Tensor, few: Data, blamed: list[str] | None
) -> str:
    assert scored.nats is not None
    head, keep = _columns(shower)
    told = shower.told(few.rows(slice(None)).x, few.mask)
    first = ["row", "log p(x)", *(["to blame"] if blamed else [])]
    rows = []
    for i, (at, row) in enumerate(zip(chosen.tolist(), told, strict=True)):
        line = [str(int(scored.place[at])), number(float(scored.nats[at]), 1)]
        rows.append([*line, *(blamed[i : i + 1] if blamed else []), *(row[j] for j in keep)])
    return table([*first, *head], rows, "blamed" if blamed else "")


def _blamed(model: Model, shower: Shower, scored: Scored, few: Data, seed: int) -> list[str]:
    """Of each row the columns that are the farthest above the blame that is usual for them."""
    method = "auto" if model.spec.size <= LEFT_OUT else "weights"
    some = scored.data.part(spread(len(scored.data), USUAL).to(scored.data.x.device))
    of: Callable[[Data], Tensor] = lambda rows: (  # noqa: E731
        uses.blame(model, rows, k=BLAMES, seed=seed, method=method).flatten(1).cpu()
    )
    above = of(few) - of(some).median(0).values
    names = list(shower.spec.names or map(str, range(shower.spec.size)))
    told = []
    for row in above:
        worst = [int(j) for j in row.argsort(descending=True, stable=True)[:BLAMED] if row[j] > 1]
        told.append(", ".join(f"{names[j]} +{number(float(row[j]), 1)}" for j in worst) or "–")
    return told


def _grid(shower: Shower, x: Tensor, what: str) -> str:
    images = shower.user(x.flatten(0, 1))
    images = images.reshape(*x.shape[:2], *images.shape[1:])
    inside = sprite(images, span(shower.spec), what)
    return f'<figure class="grid">{inside}<figcaption>{text(what)}</figcaption></figure>'


def _pairs(model: Model, shower: Shower, few: Data, what: str) -> str:
    """Rows above their reconstructions, 10 across; what is left over of a last line is left out."""
    across = min(ACROSS, len(few))
    blocks = len(few) // across
    both = torch.stack([few.rows(slice(None)).x, uses.reconstruct(model, few).mean])
    both = both[:, : blocks * across].unflatten(1, (blocks, across))
    return _grid(shower, both.transpose(0, 1).flatten(0, 1), what)


def _columns(shower: Shower) -> tuple[list[str], Sequence[int]]:
    keep = range(min(COLUMNS, len(shower.names)))
    return [shower.names[j] for j in keep], keep


def _cut(shower: Shower) -> list[str]:
    """A line where not all columns are shown."""
    if shower.images or len(shower.names) <= COLUMNS:
        return []
    told = f"The first {COLUMNS} of {number(len(shower.names), 0)} columns are shown."
    return [paragraph(told, "small")]
