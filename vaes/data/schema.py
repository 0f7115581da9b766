"""From raw rows to training parts and back: `prepare` once, `encode` and `decode` after it.

Two records describe the way: `Spec` (what networks see) and the schema (a JSON-able dict: how rows
are read, split and written). Both are stored with a run, so that new rows take the same way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaes.batch import Data, Spec
from vaes.data.infer import Decision, check_finite, infer
from vaes.data.source import Source, only_names
from vaes.data.space import drawn, from_space, moments, to_space
from vaes.data.split import PARTS, fingerprint, repeats, sizes_told, split_rows
from vaes.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Prepared:
    """Rows ready for training.

    train, valid, test: rows in model space (`train.index` numbers them, the others have -1).
    schema: how rows are read and written, for run.json. split: the row numbers of each part in
    the source. notes: lines to print. fingerprint: sha256 of the raw rows.
    """

    train: Data
    valid: Data
    test: Data
    spec: Spec
    schema: dict[str, Any]
    split: dict[str, np.ndarray]
    notes: list[str]
    fingerprint: str


def prepare(
    source: Source,
    *,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    kind: str | Mapping[str, str] | None = None,
    binarize: str | None = None,
    missing: str | None = None,
) -> Prepared:
    """Decide what the columns are, split, scale by the training rows, bring all to model space.

    split: shares that train, validate and test (a set's own parts go first). kind, binarize,
    missing: see `vaes.data.infer.infer`. Raises DataError in one line for rows that cannot be used.
    """
    rows = split_rows(source, split, seed)
    decision = infer(source, kind, binarize, missing)
    spec = _spec(source, decision, source.x[rows["train"]])
    printed = fingerprint(source)
    schema = {
        "name": source.name,
        "layout": dict(source.layout),
        "binarize": decision.binarize,
        "missing": decision.missing,
        "range": [float(np.nanmin(source.x)), float(np.nanmax(source.x))],
        "seed": seed,
        "split": {
            "fractions": list(split) if source.parts is None else None,
            "own": sorted(source.parts or ()),
            "rows": {part: len(rows[part]) for part in PARTS},
        },
        "fingerprint": printed,
    }
    parts = {part: _data(schema, spec, source, rows[part], part) for part in PARTS}
    notes = [*source.notes, decision.told(spec.size), *decision.notes]
    notes += [sizes_told(source, rows, seed), *repeats(source, rows)]
    return Prepared(**parts, spec=spec, schema=schema, split=rows, notes=notes, fingerprint=printed)


def _spec(source: Source, decision: Decision, train: np.ndarray) -> Spec:
    """The spec of a decision; reals are standardised by mean and spread of the training rows."""
    grids = decision.grids
    shift = np.array([grid.low for grid in grids])
    scale = np.array([grid.span for grid in grids])
    real = np.array([grid.kind == "real" for grid in grids])
    if real.any():
        by_column = len(source.shape) == 1
        mean, spread = moments(train.reshape(len(train), -1) if by_column else train.reshape(-1, 1))
        shift, scale = np.where(real, mean, shift), np.where(real, spread, scale)
    if len(set(zip(shift.tolist(), scale.tolist(), strict=True))) == 1:
        shift, scale = shift[:1], scale[:1]
    pairs = [(grid.kind, grid.levels) for grid in grids]
    pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
    return Spec(
        shape=source.shape,
        kinds=tuple(kind for kind, _ in pairs),
        levels=tuple(levels for _, levels in pairs),
        shift=tuple(shift.tolist()),
        scale=tuple(scale.tolist()),
        names=source.names,
        missing=decision.missing is not None,
        classes=source.classes if source.y is not None else (),
        rows=len(train),
    )


def _data(schema: dict[str, Any], spec: Spec, source: Source, rows: np.ndarray, part: str) -> Data:
    """The source's rows numbered by `rows`; `part` is "train", "valid", "test" or "new"."""
    how, train = schema["binarize"], part == "train"
    x, mask = to_space(spec, source, rows, how, train)
    if how == "static" or (how == "dynamic" and not train):
        x = drawn(x, ("bits", schema["seed"], part))
    y = None if source.y is None or not spec.classes else torch.from_numpy(source.y[rows])
    return Data(
        spec=spec,
        x=x,
        y=y,
        mask=mask,
        index=torch.arange(len(x)) if train else torch.full((len(x),), -1),
        binarize="dynamic" if how == "dynamic" and train else None,
    )


def encode(schema: dict[str, Any], spec: Spec, data: Any, *, skip_bad: bool = False) -> Data:
    """New rows for a trained model, by the way its training rows took; `index` is -1.

    data: a Source or whatever `vaes.data.load` takes. Images are brought to the run's size and
    colour mode, columns of a table to its order. skip_bad: leave out images that cannot be read.
    Raises DataError saying what was given and what the run expects.
    """
    source = _read_like(schema, spec, data, skip_bad)
    source = _in_order(schema, spec, source)
    if source.shape != spec.shape:
        raise DataError(
            f"rows of shape {source.shape} were given; the run expects {spec.shape}"
            + (f" ({only_names(spec.names)})" if spec.names else "")
        )
    if not spec.missing and np.issubdtype(source.x.dtype, np.floating):
        _refuse_gaps(source)
    check_finite(source, "nan" if spec.missing else None)
    source.y = _known_labels(spec, source)
    return _data(schema, spec, source, np.arange(len(source)), "new")


def _refuse_gaps(source: Source) -> None:
    bad = np.isnan(source.x.reshape(len(source), -1))
    if bad.any():
        row, entry = (int(i[0]) for i in np.nonzero(bad))
        raise DataError(
            f"{source.where(row, entry)} is missing (NaN); the run was trained without "
            "--missing nan and expects complete rows"
        )


def _read_like(schema: dict[str, Any], spec: Spec, data: Any, skip_bad: bool) -> Source:
    """A Source of its own, read with the options that the training rows were read with."""
    from vaes.data import builtin, from_path, images, load

    layout = schema["layout"]
    size = (spec.shape[1], spec.shape[2]) if spec.image else None
    modes = {channels: name for name, channels in images.MODES.items()}
    mode = modes.get(spec.shape[0], "auto") if spec.image else "auto"
    if isinstance(data, Source) and data.path is not None and data.shape != spec.shape:
        # The folder was read before the run's size was known.
        source = images.read(data.path, size=size, mode=mode, skip_bad=skip_bad or data.skipped > 0)
    elif isinstance(data, (str, os.PathLike)) and str(data) not in builtin.SETS:
        label, drop = layout.get("label"), layout.get("drop", ())
        source = from_path(Path(data), label, size, mode, skip_bad, drop, lenient=True)
    elif layout["kind"] == "table" and not isinstance(data, Source):
        source = _frame_like(layout, data)
    else:
        source = load(data)
    return Source(**{**source.__dict__, "notes": list(source.notes)})


def _frame_like(layout: dict[str, Any], data: Any) -> Source:
    """Rows of a frame whose label and left-out columns may be absent, or of a plain array."""
    from vaes.data import load

    columns = list(getattr(data, "columns", ()))
    names = list(getattr(data, "column_names", columns))
    label = layout.get("label") if layout.get("label") in names else None
    return load(data, label=label, drop=[n for n in layout.get("drop", ()) if n in names])


def _in_order(schema: dict[str, Any], spec: Spec, source: Source) -> Source:
    """Columns in the run's order, by name where both sides have names."""
    if not spec.names or not source.names or not schema["layout"].get("header", True):
        return source
    for name in spec.names:
        if name not in source.names:
            hint = did_you_mean(name, source.names)
            raise DataError(f"the run expects a column '{name}', which was not given; {hint}")
    extra = [name for name in source.names if name not in spec.names]
    if extra:
        raise DataError(
            f"column '{extra[0]}' was given; the run expects {only_names(spec.names)}: "
            f"--drop {extra[0]} leaves it out"
        )
    order = [source.names.index(name) for name in spec.names]
    if order != sorted(order):
        source.x, source.names = source.x[:, order], spec.names
    return source


def _known_labels(spec: Spec, source: Source) -> np.ndarray | None:
    """Labels as codes into the run's classes."""
    if source.y is None or not spec.classes:
        return None
    code = {name: i for i, name in enumerate(spec.classes)}
    present = {source.classes[i] for i in np.unique(source.y) if i >= 0}
    for name in sorted(present - code.keys()):
        raise DataError(f"label '{name}' is none of the run's classes: {only_names(spec.classes)}")
    table = np.array([code.get(name, -1) for name in source.classes] + [-1], dtype=np.int64)
    return table[source.y]


def decode(schema: dict[str, Any], spec: Spec, x: Any) -> np.ndarray:
    """Rows (n, *shape) of model space in the user's units, layout and dtype.

    Images come as (n, H, W) or (n, H, W, C) uint8, arrays in the layout they had, tables as float64
    (n, columns) in order, whole numbers in whole-number columns. Discrete values that were encoded
    come back exactly; means between two levels stay between them except in tables.
    """
    values = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    if values.shape[1:] != spec.shape:
        raise DataError(
            f"rows of shape {values.shape[1:]} were given; the run's rows have shape {spec.shape}"
        )
    layout = schema["layout"]
    table = layout["kind"] == "table"
    out = from_space(spec, values.reshape(len(values), spec.size), snap=table)
    if table:
        for j, dtype in enumerate(layout["dtypes"]):
            out[:, j] = cast(out[:, j], dtype)
        return out
    out = cast(out, layout["dtype"]).reshape(values.shape)
    if layout["channels"] == "hw":
        return out[:, 0]
    return np.moveaxis(out, 1, -1) if layout["channels"] == "hwc" else out


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """float64 values in `dtype`: rounded for integers, and never beyond what it can hold."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return values >= 0.5
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        # The largest int64 is no double: the next one below it is.
        top = np.nextafter(float(limits.max), 0) if kind.itemsize == 8 else limits.max
        return np.clip(np.rint(values), limits.min, top).astype(kind)
    return np.clip(values, np.finfo(kind).min, np.finfo(kind).max).astype(kind)
