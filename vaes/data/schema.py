"""From raw rows to training parts and back: `prepare` once, `encode` and `decode` after it.

Two records describe the way: `Spec` (what networks see) and the schema (a JSON-able dict: how rows
are read, split and written). Both are stored with a run, so that new rows take the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vaes.batch import Data, Spec
from vaes.data.alike import alike
from vaes.data.grids import Grid
from vaes.data.infer import Decision, check_finite, infer
from vaes.data.pieces import centres, rounded, step
from vaes.data.source import Source, cast, only_names
from vaes.data.space import drawn, from_space, moments, to_space
from vaes.data.split import PARTS, fingerprint, repeats, sizes_told, split_rows
from vaes.errors import DataError, UsageError


@dataclass(frozen=True)
class Prepared:
    """Rows ready for training.

    train, valid, test: rows in model space (`train.index` numbers them, the others have -1).
    schema: how rows are read and written, for run.json. split: the row numbers of each part in
    the source. notes: lines to print. fingerprint: sha256 of the raw rows. decision: what the
    columns of the source are.
    """

    train: Data
    valid: Data
    test: Data
    spec: Spec
    schema: dict[str, Any]
    split: dict[str, np.ndarray]
    notes: list[str]
    fingerprint: str
    decision: Decision


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
    missing: see `vaes.data.infer.infer`; columns whose kind `load` was told have that kind. Raises
    DataError in one line for rows that cannot be used.
    """
    kind = _kinds(source, kind)
    rows = split_rows(source, split, seed)
    decision = infer(source, kind, binarize, missing, rows["train"])
    printed, told = fingerprint(source), decision.told(source.x[0].size)
    gated = _gated(source, decision)
    whole = _with_gates(source, gated)
    spec = _spec(whole, _for_gates(decision, source, gated), whole.x[rows["train"]], gated)
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
    if source.layout.get("kind") == "table":
        # Of all rows: which decimals there are is no statistic, and held-out rows come back too.
        pairs = zip(source.x.T, source.layout["dtypes"], strict=True)
        schema["layout"]["steps"] = [step(x[~np.isnan(x)], dtype) for x, dtype in pairs]
        schema["layout"]["gates"] = gated
        shares = np.isnan(source.x[rows["train"]]).mean(0)
        schema["layout"]["gap_shares"] = [round(float(share), 4) for share in shares]
    parts = {part: _data(schema, spec, whole, rows[part], part) for part in PARTS}
    notes = [*source.notes, told, *decision.notes, *_gaps_told(source, gated)]
    notes += [sizes_told(source, rows, seed), *repeats(source, rows)]
    about = {"notes": notes, "fingerprint": printed, "decision": decision}
    return Prepared(**parts, spec=spec, schema=schema, split=rows, **about)


def _kinds(source: Source, kind: str | Mapping[str, str] | None) -> str | Mapping[str, str] | None:
    """What was asked for now, and of other columns when the rows were read."""
    if not source.kinds or kind is None:
        return source.kinds or kind
    if isinstance(kind, str):
        raise UsageError(
            f"kind={kind} was given for all columns, but {len(source.kinds)} of them were given "
            "kinds when they were read; give one of the two"
        )
    return {**source.kinds, **kind}


def _gated(source: Source, decision: Decision) -> list[int]:
    """The columns whose gaps are modelled."""
    if decision.missing != "modelled" or source.layout.get("kind") != "table":
        return []
    return np.flatnonzero(np.isnan(source.x).any(0)).tolist()


def _with_gates(source: Source, gated: Sequence[int]) -> Source:
    """The source with a column of 0 and 1 before the others for each of `gated`: 1 = has a value.

    They come first, so that a model that draws columns in order knows of a gap before the value.
    """
    if not gated:
        return source
    x = np.concatenate([~np.isnan(source.x[:, gated]), source.x], 1)
    names = [f"{source.names[j]} has a value" for j in gated]
    return replace(source, x=x, names=(*names, *source.names))


def _for_gates(decision: Decision, source: Source, gated: Sequence[int]) -> Decision:
    """The decision for the columns of `_with_gates`."""
    grids = decision.grids * (source.shape[0] if len(decision.grids) == 1 and gated else 1)
    return replace(decision, grids=(*(Grid("binary", 2, 0.0, 1.0) for _ in gated), *grids))


def _gaps_told(source: Source, gated: Sequence[int]) -> list[str]:
    """A line on the gaps of a table."""
    if source.layout.get("kind") != "table":
        return []
    gaps = np.isnan(source.x).sum(0)
    told = [f"{gaps[j]:,} in '{source.names[j]}'" for j in np.flatnonzero(gaps)]
    where = only_names(told, 5)
    what = "where they are is modelled too (--missing nan leaves that out)"
    what = what if gated else "they are left out of every density"
    return [f"gaps: {where}, of {len(source):,} rows; {what}"] if told else []


def _spec(source: Source, decision: Decision, train: np.ndarray, gated: Sequence[int]) -> Spec:
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
    every = grids * (source.shape[0] if len(grids) == 1 else 1)
    cut = any(grid.pieces for grid in grids)
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
        pieces=tuple(grid.pieces for grid in every) if cut else (),
        centres=tuple(_centres(train[:, j], grid) for j, grid in enumerate(every)) if cut else (),
        shown_by=_shown_by(source.shape[0], gated),
        # a row of one count would be its own total
        totals={grid.kind for grid in grids} == {"count"} and source.shape[0] > 1,
    )


def _centres(column: np.ndarray, grid: Grid) -> tuple[float, ...]:
    return centres(column[~np.isnan(column)], grid.pieces) if grid.pieces else ()


def _shown_by(columns: int, gated: Sequence[int]) -> tuple[int, ...]:
    if not gated:
        return ()
    found = [-1] * columns
    for gate, j in enumerate(gated):
        found[len(gated) + j] = gate
    return tuple(found)


def _data(
    schema: dict[str, Any],
    spec: Spec,
    source: Source,
    rows: np.ndarray,
    part: str,
    lenient: bool = False,
) -> Data:
    """The source's rows numbered by `rows`; `part` is "train", "valid", "test" or "new"."""
    how, train = schema["binarize"], part == "train"
    x, mask, unseen = to_space(spec, source, rows, how, train, lenient)
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
        unseen=unseen,
    )


def encode(
    schema: dict[str, Any], spec: Spec, data: Any, *, skip_bad: bool = False, unseen: bool = False
) -> Data:
    """New rows for a trained model, by the way its training rows took; `index` is -1.

    data: a Source or whatever `vaes.data.load` takes. Images are brought to the run's size and
    colour mode, columns of a table to its order. skip_bad: leave out images that cannot be read.
    unseen: an entry that no training row could have held (a word, a level) is marked as that and is
    a gap to the model; without it such an entry is a mistake.
    Raises DataError saying what was given and what the run expects.
    """
    source = alike(schema, spec, data, skip_bad, unseen)
    if not spec.missing and np.issubdtype(source.x.dtype, np.floating):
        _refuse_gaps(source)
    check_finite(source, "nan" if spec.missing else None)
    source = _with_gates(source, schema["layout"].get("gates", ()))
    return _data(schema, spec, source, np.arange(len(source)), "new", unseen)


def _refuse_gaps(source: Source) -> None:
    bad = np.isnan(source.x.reshape(len(source), -1))
    if bad.any():
        row, entry = (int(i[0]) for i in np.nonzero(bad))
        raise DataError(
            f"{source.where(row, entry)} is missing (NaN); the run was trained without "
            "--missing nan and expects complete rows"
        )


def decode(schema: dict[str, Any], spec: Spec, x: Any) -> np.ndarray:
    """Rows (n, *shape) of model space in the user's units, layout and dtype.

    Images come as (n, H, W) or (n, H, W, C) uint8, arrays in the layout they had, tables as float64
    (n, columns) in order, whole numbers in whole-number columns, categories as codes, dates as
    seconds. Discrete values that were encoded come back exactly; means between two levels stay
    between them except in tables.
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
        gates, out = out[:, : spec.gates], out[:, spec.gates :]
        words = layout.get("categories") or [None] * spec.size
        steps = layout.get("steps") or [0.0] * spec.size
        for gate, j in enumerate(layout.get("gates", ())):
            out[gates[:, gate] < 0.5, j] = np.nan
        for j, dtype in enumerate(layout["dtypes"]):
            out[:, j] = rounded(out[:, j], steps[j])
            if words[j] is None and not dtype.startswith(("date", "timestamp")):
                seen = ~np.isnan(out[:, j])
                out[seen, j] = cast(out[seen, j], dtype)
        return out
    out = cast(out, layout["dtype"]).reshape(values.shape)
    if layout["channels"] == "hw":
        return out[:, 0]
    return np.moveaxis(out, 1, -1) if layout["channels"] == "hwc" else out
