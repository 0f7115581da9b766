"""The arithmetic between the user's values and model space, for rows of a known `Spec`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaes.batch import Spec, generator
from vaes.data.grids import LARGEST_COUNT
from vaes.data.pieces import locate, value
from vaes.data.source import Source
from vaes.errors import DataError

# Spread below this share of the largest value is rounding noise: the column counts as constant.
NOISE = 1e-13
# How far from a level, in steps between levels, a value may lie through rounding.
NEAR = 1e-3
# Entries that are worked on at once in float64.
CHUNK = 2**22


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (columns,) of rows (n, columns) in float64, NaN left out.

    The spread is the standard deviation, 1 for constant columns so that one can divide by it.
    """
    means, spreads = [], []
    for j in range(x.shape[1]):
        column = x[:, j].astype(np.float64)
        column = column[~np.isnan(column)]
        # Numbers up to 1e308 get squared: in units of the largest one that cannot overflow.
        unit = float(np.abs(column).max(initial=0.0)) or 1.0
        scaled = column / unit
        mean, spread = (scaled.mean(), scaled.std()) if len(column) else (0.0, 0.0)
        means.append(mean * unit)
        spread = spread * unit if spread > NOISE else 0.0
        # Nothing can be divided by numbers so small that they have lost digits.
        spreads.append(spread if spread >= np.finfo(np.float64).tiny else 1.0)
    return np.array(means), np.array(spreads)


class Spaced(NamedTuple):
    """Rows (n, *shape) in model space; mask and unseen as `vaes.batch.Batch` has them."""

    x: Any
    mask: Tensor | None
    unseen: Tensor | None


def to_space(
    spec: Spec,
    source: Source,
    rows: np.ndarray,
    binarize: str | None,
    train: bool,
    unseen: bool = False,
) -> Spaced:
    """The source's rows numbered by `rows` in model space.

    uint8 level codes where one alphabet of at most 256 levels holds for all entries, else float32.
    Under `binarize` "threshold" bits; under "static" and "dynamic" the grey share of each entry in
    [0, 1], for training rows under "dynamic" as uint8 of 255. A value that has no place in the run
    raises DataError naming it; with `unseen` it is a gap of its own kind (no grey levels).
    """
    as_bytes = _as_bytes(spec, binarize, train)
    x = np.empty((len(rows), spec.size), dtype=np.uint8 if as_bytes else np.float32)
    mask = np.ones((len(rows), spec.size), dtype=bool) if spec.missing or unseen else None
    strange = np.zeros((len(rows), spec.size), dtype=bool)
    step = max(1, CHUNK // spec.size)
    for start in range(0, len(rows), step):
        numbers = rows[start : start + step]
        raw = source.x[numbers].reshape(len(numbers), -1)
        if raw.dtype == np.uint8 and not spec.missing and as_bytes and _same(spec, as_bytes, raw):
            x[start : start + step] = raw
            continue
        raw = raw.astype(np.float64)
        if binarize:
            part = _grey(spec, source, raw, numbers)
        else:
            part = _model(spec, source, raw, numbers, unseen)
        if binarize == "threshold":
            part = part >= 0.5
        elif as_bytes:
            part = np.rint(part * as_bytes)
        if mask is not None:
            mask[start : start + step] = ~np.isnan(part)
            strange[start : start + step] = np.isnan(part) & ~np.isnan(raw)
            part = np.where(np.isnan(part), 0, part)
        x[start : start + step] = part
    shape = (len(rows), *spec.shape)
    if mask is not None and not spec.missing and mask.all():
        mask = None
    found = (x, mask, strange if strange.any() else None)
    return Spaced(*(None if t is None else torch.from_numpy(t).view(shape) for t in found))


def _as_bytes(spec: Spec, binarize: str | None, train: bool) -> int:
    """The factor from model space to the bytes that are stored; 0 where floats are stored."""
    if binarize:
        return {"threshold": 1, "dynamic": 255 * train}.get(binarize, 0)
    if not spec.uniform or not spec.discrete or not 0 < spec.levels[0] <= 256:
        return 0
    return 1 if spec.kinds[0] == "category" else spec.levels[0] - 1


def _same(spec: Spec, as_bytes: int, raw: np.ndarray) -> bool:
    """True where the user's bytes are the bytes to store: no detour over float64."""
    category = spec.kinds[0] == "category"
    return (
        not category
        and spec.shift == (0.0,)
        and spec.scale == (float(as_bytes),)
        and bool(raw.max(initial=0) <= as_bytes)
    )


def _model(
    spec: Spec, source: Source, raw: np.ndarray, numbers: np.ndarray, unseen: bool = False
) -> np.ndarray:
    """Rows (k, size) in float64 model space; NaN stays NaN, and with `unseen` becomes what has no
    place in the alphabet of its entry."""
    out = np.empty_like(raw)
    for kind, levels, columns in _groups(spec):
        low, span = (values[columns] for values in scaling(spec))
        values = raw[:, columns]
        if kind == "numeric":
            for j in np.arange(spec.size)[columns]:
                seen = ~np.isnan(raw[:, j])
                out[:, j] = np.nan
                out[seen, j] = locate(raw[seen, j], spec.pieces[j])
            continue
        if kind == "real":
            # Halves are exact, and the difference of two numbers near 1e308 cannot overflow.
            with np.errstate(over="ignore"):
                place = (values * 0.5 - low * 0.5) / (span * 0.5)
            wrong = np.abs(place) > np.finfo(np.float32).max
            what = "it is too far from the training rows for float32"
        elif kind == "count":
            place = np.rint(values)
            wrong = (np.abs(values - place) > NEAR) | (place < 0) | (place > LARGEST_COUNT)
            what = f"the run expects counts, whole numbers from 0 to {LARGEST_COUNT:,}"
        else:
            code = values if kind == "category" else (values - low) / span * (levels - 1)
            level = np.rint(code)
            wrong = (np.abs(code - level) > NEAR) | (level < 0) | (level > levels - 1)
            place = level if kind == "category" else level / (levels - 1)
            what = f"the run expects one of {levels} levels"
        if unseen and kind != "real":
            place = np.where(wrong, np.nan, place)
        elif wrong.any():
            row, entry = (int(i[0]) for i in np.nonzero(wrong))
            entry = entry if isinstance(columns, slice) else int(columns[entry])
            if kind not in ("real", "count"):
                ends = (0, levels - 1) if kind == "category" else _ends(spec, entry)
                what += f" from {ends[0]:g} to {ends[1]:g}"
            where = source.where(int(numbers[row]), entry)
            raise DataError(f"{where} holds {raw[row, entry]:g}; {what}")
        out[:, columns] = place
    return out


def _grey(spec: Spec, source: Source, raw: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Grey levels (k, size) as their share of white in [0, 1]."""
    low, span = scaling(spec)
    share = (raw - low) / span
    wrong = (share < -1e-9) | (share > 1 + 1e-9)
    if wrong.any():
        row, entry = (int(i[0]) for i in np.nonzero(wrong))
        ends = _ends(spec, entry)
        raise DataError(
            f"{source.where(int(numbers[row]), entry)} holds {raw[row, entry]:g}; the run expects "
            f"grey levels from {ends[0]:g} to {ends[1]:g}"
        )
    return share


def _ends(spec: Spec, entry: int) -> tuple[float, float]:
    low, span = (values[entry] for values in scaling(spec))
    return low, low + span


def drawn(grey: Tensor, key: tuple[int | str, ...]) -> Tensor:
    """Bits (n, *shape) uint8, each 1 with the probability `grey`: one draw, a function of `key`."""
    draw, bits = generator(*key), torch.empty(grey.shape, dtype=torch.uint8)
    for start in range(0, len(grey), 4096):
        part = grey[start : start + 4096]
        bits[start : start + 4096] = torch.rand(part.shape, generator=draw) < part
    return bits


def from_space(spec: Spec, x: np.ndarray, snap: bool) -> np.ndarray:
    """Rows (n, size) of model space as the user's values in float64.

    Discrete values stay within their alphabet; `snap` brings those between two levels (means) to
    the nearest one, categories are always brought to a code.
    """
    out = np.empty(x.shape)
    for kind, levels, columns in _groups(spec):
        low, span = (values[columns] for values in scaling(spec))
        values = x[:, columns].astype(np.float64)
        if kind == "numeric":
            for j in np.arange(spec.size)[columns]:
                out[:, j] = value(x[:, j].astype(np.float64), spec.pieces[j])
        elif kind == "real":
            # In halves for the same reason as on the way in.
            with np.errstate(over="ignore"):
                out[:, columns] = (low * 0.5 + span * 0.5 * values) * 2
        elif kind == "count":
            count = values.clip(min=0)
            out[:, columns] = np.rint(count) if snap else count
        elif kind == "category":
            out[:, columns] = np.clip(np.rint(values), 0, levels - 1)
        else:
            code = np.clip(values * (levels - 1), 0, levels - 1)
            level = np.rint(code)
            # The product first: whole numbers stay whole, so the user's value comes back exactly.
            code = np.where(snap | (np.abs(code - level) < NEAR), level, code)
            out[:, columns] = low + code * span / (levels - 1)
    return out


def _groups(spec: Spec) -> Iterator[tuple[str, int, Any]]:
    """(kind, levels, columns) of entries that are treated alike."""
    if spec.uniform:
        yield spec.kinds[0], spec.levels[0], slice(None)
        return
    pairs = spec.column_kinds()
    for kind, levels in dict.fromkeys(pairs):
        yield kind, levels, np.flatnonzero([pair == (kind, levels) for pair in pairs])


def scaling(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale of every entry, each (size,)."""
    shift, scale = np.array(spec.shift), np.array(spec.scale)
    return np.broadcast_to(shift, spec.size), np.broadcast_to(scale, spec.size)
