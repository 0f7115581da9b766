"""What must be true of any table: it is refused in one line, or it goes through and comes back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.data.frames import Case
from vaes.batch import Data, Spec
from vaes.data import Source, decode, encode, load, prepare, write
from vaes.data.delimited import MISSING, NUMBER
from vaes.errors import VaesError

Run = tuple[dict[str, Any], Spec]


def endure(case: Case, folder: Path) -> str:
    """The line that the case is refused with, '' where it goes through; AssertionError else."""
    try:
        source = load(case.data, **case.reading)
        prepared = prepare(source, **case.preparing)
    except VaesError as error:
        one_line(str(error))
        return str(error)
    for note in prepared.notes:
        one_line(note)
    for part in (prepared.train, prepared.valid, prepared.test):
        _is_model_space(part)
    run: Run = json.loads(json.dumps(prepared.schema)), _stored(prepared.spec)
    data = encode(*run, case.data)
    _is_model_space(data)
    _mask_is_right(run[1], data, source)
    x = data.rows(slice(None)).x
    train = prepared.split["train"]
    if case.preparing.get("binarize") is None:
        _comes_back(run, source, decode(*run, x), train)
    _in_domain(run, decode(*run, _anywhere(run[1])))
    _written(run, data, folder, source.layout["header"])
    return ""


def one_line(text: str) -> None:
    assert "\n" not in text
    assert text.isprintable(), ascii(text)
    assert len(text) < 500, text


def _stored(spec: Spec) -> Spec:
    found = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert found == spec
    return found


def _is_model_space(data: Data) -> None:
    x = data.rows(slice(None)).x
    assert torch.isfinite(x).all()
    for j, (kind, levels) in enumerate(data.spec.column_kinds()):
        if kind != "real" and len(x):
            most = {"category": levels - 1, "numeric": levels}.get(kind, 1)
            assert x[:, j].min() >= 0
            assert x[:, j].max() <= most
            assert kind != "numeric" or x[:, j].max() < most
    if data.mask is not None:
        assert (x[~data.mask] == 0).all()


def _mask_is_right(spec: Spec, data: Data, source: Source) -> None:
    seen = ~np.isnan(source.x)
    if not spec.missing:
        assert data.mask is None
        assert seen.all()
        return
    assert data.mask is not None
    assert data.mask[:, : spec.gates].all()
    assert (data.mask[:, spec.gates :].numpy() == seen).all()
    gated = [by >= 0 for by in spec.shown_by[spec.gates :]]
    x = data.rows(slice(None)).x
    assert (x[:, : spec.gates].numpy() == seen[:, gated]).all()


def _comes_back(run: Run, source: Source, back: np.ndarray, train: np.ndarray) -> None:
    """Decoded rows are the source's: exactly where they are discrete, else to float32."""
    schema, spec = run
    _in_domain(run, back)
    layout = schema["layout"]
    for j, (kind, _) in enumerate(spec.column_kinds()[spec.gates :]):
        given, found = source.x[train, j], back[train, j]
        if j in layout["gates"]:
            assert (np.isnan(given) == np.isnan(found)).all()
        seen = ~np.isnan(given)
        given, found = given[seen], found[seen]
        if kind == "category":
            assert (given == found).all()
            continue
        if kind in ("binary", "pixel"):  # levels of 255 may have been read as float32
            scale = spec.scale[-1] if len(spec.scale) == 1 else spec.scale[spec.gates + j]
            near = (1e-15 if kind == "binary" else 1e-7) * np.abs([scale, *given]).max()
        elif kind == "real":
            scale = spec.scale[-1] if len(spec.scale) == 1 else spec.scale[spec.gates + j]
            near = 1e-6 * np.maximum(scale, np.abs(given).max(initial=0.0))
        else:
            near = _widths(spec.pieces[spec.gates + j], given) * 2.0**-12
            near = near + 1e-6 * np.abs(given)
            near = np.where(near < layout["steps"][j] / 4, 1e-15 * np.abs(given), near)
        if layout["dtypes"][j] in ("float16", "float32"):
            near = near + np.abs(given) * 2.0**-10
        near = near + layout["steps"][j] / 2 * (kind not in ("binary", "pixel", "numeric"))
        assert (np.abs(given / 2 - found / 2) <= near).all(), (kind, layout["dtypes"][j])


def _widths(pieces: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """The width of the widest piece that holds or touches each value."""
    lows, highs = np.array(pieces[::2]), np.array(pieces[1::2])
    at = np.clip(np.searchsorted(lows, values, "right") - 1, 0, len(lows) - 1)
    near = [np.clip(at + d, 0, len(lows) - 1) for d in (-1, 0, 1)]
    return np.max([(highs - lows)[k] for k in near], 0)


def _in_domain(run: Run, rows: np.ndarray) -> None:
    """Every value is one that its column can hold."""
    schema, spec = run
    layout = schema["layout"]
    assert rows.shape[1] == spec.size - spec.gates
    shifts, scales = (np.broadcast_to(np.array(s), spec.size) for s in (spec.shift, spec.scale))
    for j, (kind, levels) in enumerate(spec.column_kinds()[spec.gates :]):
        dtype, values = layout["dtypes"][j], rows[:, j]
        gaps = np.isnan(values)
        assert j in layout["gates"] or not gaps.any()
        values = values[~gaps]
        assert np.isfinite(values).all()
        if layout["categories"][j] is not None:
            assert np.isin(values, np.arange(levels)).all()
            continue
        if dtype == "bool":
            assert np.isin(values, (0, 1)).all()
        elif re.fullmatch(r"u?int\d+", dtype):
            assert (values == np.rint(values)).all()
            ends = np.iinfo(dtype)
            assert ((values >= ends.min) & (values <= ends.max)).all()
        elif dtype.startswith("float"):
            assert (np.abs(values) <= np.finfo(dtype).max).all()
        if kind == "binary" and dtype != "bool":
            low, span = shifts[spec.gates + j], scales[spec.gates + j]
            ends = np.array([low, low + span])
            nearest = np.abs(values[:, None] - ends).min(1)
            assert (nearest <= 1e-3 * np.abs(ends).max()).all()  # float16


def _anywhere(spec: Spec) -> torch.Tensor:
    """Points of model space that no row has, some of them outside it."""
    draw = torch.Generator().manual_seed(0)
    u = torch.rand(64, spec.size, generator=draw)
    levels = torch.tensor([max(n, 2) for _, n in spec.column_kinds()])
    u = u * (levels + 2) - 1
    u[0], u[1] = -3e38, 3e38
    return u


def _names_for_text(spec: Spec) -> bool:
    """Whether the names of the columns are names in a text file too."""
    names = spec.names[spec.gates :]
    odd = [n for n in names if n.strip() != n or n.lower() in MISSING or NUMBER.fullmatch(n)]
    return not odd and not any("\n" in name for name in names)


def _read_or_refused(run: Run, path: Path) -> None:
    try:
        _is_model_space(encode(*run, path))
    except VaesError as error:
        one_line(str(error))


def _written(run: Run, data: Data, folder: Path, header: bool) -> None:
    """What is written and read again is what it was."""
    schema, spec = run
    x = data.rows(slice(None)).x
    first = decode(*run, x)
    known = np.ones(first.shape, bool)
    if data.mask is not None:
        known = data.mask[:, spec.gates :].numpy()
    for suffix in (".parquet", ".csv"):
        path = write(*run, x, folder / f"out{suffix}")
        if suffix == ".csv" and not _names_for_text(spec):
            _read_or_refused(run, path)
            continue
        again = encode(*run, path)
        second = decode(*run, again.rows(slice(None)).x)
        if not header and len(again) < len(first):
            continue  # a first line without a number is taken for names
        gaps = np.isnan(first)
        assert (gaps == np.isnan(second))[:, schema["layout"]["gates"]].all()
        for j, (kind, _) in enumerate(spec.column_kinds()[spec.gates :]):
            seen = known[:, j] & ~gaps[:, j] & ~np.isnan(second[:, j])
            one, two = first[seen, j], second[seen, j]
            if kind == "numeric":
                near = _widths(spec.pieces[spec.gates + j], one) * 0.5
            else:
                near = 1e-3 * np.abs(one) if kind == "real" else 1e-15 * np.abs(one)
            off = np.abs(one / 2 - two / 2) > near + 1e-6 * np.abs(one) * (kind == "numeric")
            assert not off.any(), (suffix, kind, schema["layout"]["dtypes"][j])
