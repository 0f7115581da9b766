"""What of a run is drawn: samples, reconstructions, curves, latent map; rows of a verb.

`vaes.plot` knows how to draw arrays; this file knows which rows of a run they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaes import data as sources
from vaes import disk, plot, tiles, uses
from vaes.batch import Data, Spec
from vaes.data import Prepared
from vaes.model import Model
from vaes.run import Run

SIDE = 10  # of the grid of samples
PAIRS = 10  # reconstructions shown
DRAWS = 10_000  # of the prior, for its mean and covariance
ROWS = 2_000  # for marginals and the latent map


def draw_pictures(run: Run, model: Model, prepared: Prepared) -> None:
    """samples.png, reconstructions.png, curves.png and latent.png of a run."""

    def decode(x: Tensor) -> np.ndarray:
        return seen(prepared.schema, model.spec, x)

    test = prepared.test.part(torch.arange(min(ROWS, len(prepared.test))))
    x = test.rows(slice(None)).x
    seed = run.info["plan"]["seed"]
    with disk.writing(run.path):
        words = _words(prepared.schema["layout"])
        _samples(model, x, test.mask, decode, words, run.path / "samples.png", seed)
        _reconstructions(model, test, x, decode, words, run.path / "reconstructions.png")
        evaluation = disk.read_json(run.path / "evaluation.json", f"run '{run.path}'")
        lines = {k: v["log_evidence"] for k, v in evaluation["baselines"].items()}
        if run.metrics():
            plot.curves(run.metrics(), run.path / "curves.png", lines)
        _latent(model, test, run.path / "latent.png")


def _samples(
    model: Model,
    x: Tensor,
    mask: Tensor | None,
    decode: Callable[[Tensor], np.ndarray],
    words: Sequence[plot.Words],
    path: Path,
    seed: int,
) -> None:
    if shown(model.spec):
        drawn, _ = uses.sample(model, SIDE * SIDE, seed=seed, mean=True)
        show_rows(model.spec, decode, drawn.unflatten(0, (SIDE, SIDE)), path)
    else:
        drawn, _ = uses.sample(model, ROWS, seed=seed)
        gates = model.spec.gates
        seen = with_gaps(flat(decode(x)), None if mask is None else mask[:, gates:])
        plot.marginals(seen, flat(decode(drawn)), path, names=model.spec.names[gates:], words=words)


def _reconstructions(
    model: Model,
    test: Data,
    x: Tensor,
    decode: Callable[[Tensor], np.ndarray],
    words: Sequence[plot.Words],
    path: Path,
) -> None:
    found = uses.reconstruct(model, test).mean
    if shown(model.spec):
        tiles.reconstructions(decode(x[:PAIRS]), decode(found[:PAIRS]), path, span=span(model.spec))
    else:
        gates = model.spec.gates
        seen = with_gaps(flat(decode(x)), None if test.mask is None else test.mask[:, gates:])
        plot.agreement(seen, flat(decode(found)), path, names=model.spec.names[gates:], words=words)


def _latent(model: Model, test: Data, path: Path) -> None:
    codes = uses.encode(model, test)
    _, drawn = uses.sample(model, DRAWS, mean=True)
    plot.latent(
        codes.mean.numpy(),
        codes.std.numpy(),
        path,
        labels=None if test.y is None else test.y.numpy(),
        classes=model.spec.classes,
        prior=(drawn.mean(0).numpy(), torch.cov(drawn.T).view(2 * drawn.shape[1:]).numpy()),
    )


def _words(layout: dict[str, Any]) -> list[plot.Words]:
    """What the values 0, 1, ... of each column of a table are called; [] of other data."""
    if layout.get("kind") != "table":
        return []
    both = zip(layout["categories"], layout["dtypes"], strict=True)
    return [("False", "True") if dtype.startswith("bool") else words for words, dtype in both]


def seen(schema: dict[str, Any], spec: Spec, x: Tensor) -> np.ndarray:
    """Rows of model space in the user's units, colour channels last where they are images."""
    layout = dict(schema["layout"])
    if layout.get("channels") == "chw":
        layout["channels"] = "hwc"
    return sources.decode({**schema, "layout": layout}, spec, x)


def shown(spec: Spec) -> bool:
    """Whether rows can be shown as images."""
    return spec.image and spec.shape[0] in (1, 3, 4)


def show_rows(spec: Spec, decode: Callable[[Tensor], np.ndarray], rows: Tensor, path: Path) -> bool:
    """A grid of rows (down, across, *shape) where they are images; whether one was drawn."""
    if not shown(spec):
        return False
    flat = decode(rows.flatten(0, 1))
    with disk.writing(path):
        tiles.grid(flat.reshape(*rows.shape[:2], *flat.shape[1:]), path, span=span(spec))
    return True


def span(spec: Spec) -> tuple[float, float] | None:
    """The values of black and white: the ends of the grid of discrete images."""
    if not spec.discrete:
        return None
    return spec.shift[0], spec.shift[0] + spec.scale[0]


def flat(rows: np.ndarray) -> np.ndarray:
    """Rows (n, ...) as (n, entries)."""
    return rows.reshape(len(rows), -1)


def with_gaps(rows: np.ndarray, mask: Tensor | None) -> np.ndarray:
    """Rows (n, entries) with NaN where nothing was observed: a placeholder is no datum."""
    if mask is None:
        return rows
    return np.where(mask.flatten(1).numpy(), rows.astype(np.float64), np.nan)
