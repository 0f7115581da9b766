"""New rows for a run that exists, read as its training rows were: size, columns, words, labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vaes.batch import Spec
from vaes.data.source import Source, nearest, only_names, shown
from vaes.errors import DataError

MORE_GAPS = 0.2  # share of the rows by which a column's gaps exceed those of training, to be said


def alike(
    schema: dict[str, Any], spec: Spec, data: Any, skip_bad: bool = False, unseen: bool = False
) -> Source:
    """A Source of its own with the run's columns in the run's order, categories and labels as the
    run counts them; what is alike already stays so. A word that the run never saw is a gap where
    the run knows gaps, with `unseen` the code -1. Raises DataError saying what was given and what
    the run expects."""
    source = _in_order(schema, spec, _read(schema, spec, data, skip_bad))
    names, expected = spec.names[spec.gates :], spec.shape
    if spec.gates:
        expected = (spec.size - spec.gates,)
    if source.shape != expected:
        raise DataError(
            f"rows of shape {source.shape} were given; the run expects {expected}"
            + (f" ({only_names(names)})" if names else "")
        )
    if schema["layout"].get("kind") == "table":
        _same_dates(schema["layout"], source)
        _same_words(schema["layout"], spec, source, unseen)
        if spec.missing:
            _more_gaps(schema["layout"], source)
    source.y = _known_labels(spec, source)
    source.classes = spec.classes if source.y is not None else ()
    return source


def _read(schema: dict[str, Any], spec: Spec, data: Any, skip_bad: bool) -> Source:
    """The rows, read with the options that the training rows were read with."""
    from vaes.data import builtin, from_path, images, load, tables

    layout = schema["layout"]
    size = (spec.shape[1], spec.shape[2]) if spec.image else None
    modes = {channels: name for name, channels in images.MODES.items()}
    mode = modes.get(spec.shape[0], "auto") if spec.image else "auto"
    label, drop, kind = layout.get("label"), layout.get("drop", ()), _words_of(layout, spec)
    if isinstance(data, Source) and data.path is not None and data.shape != spec.shape:
        # The folder was read before the run's size was known.
        source = images.read(data.path, size=size, mode=mode, skip_bad=skip_bad or data.skipped > 0)
    elif isinstance(data, (str, os.PathLike)) and str(data) not in builtin.SETS:
        source = from_path(Path(data), label, size, mode, skip_bad, drop, kind, lenient=True)
    elif layout["kind"] == "table" and hasattr(data, "columns"):
        source = tables.from_frame(data, label=label, drop=drop, kind=kind, lenient=True)
    else:
        source = load(data)
    return Source(**{**source.__dict__, "notes": list(source.notes)})


def _words_of(layout: dict[str, Any], spec: Spec) -> dict[str, str]:
    """The columns that hold words in the run: new cells are words too, even if all are numbers."""
    words = layout.get("categories") or ()
    names = spec.names[spec.gates :]
    return {
        name: "category"
        for name, known in zip(names, words, strict=len(words) > 0)
        if known is not None
    }


def _in_order(schema: dict[str, Any], spec: Spec, source: Source) -> Source:
    """Columns in the run's order, by name where both sides have names."""
    names = spec.names[spec.gates :]
    if not names or not source.names:
        return source
    if not schema["layout"].get("header", True) and not set(names) <= set(source.names):
        return source  # names that the run never saw
    for name in names:
        if name not in source.names:
            raise DataError(
                f"the run expects a column '{shown(name)}', which was not given; "
                + nearest(name, source.names)
            )
    extra = [name for name in source.names if name not in names]
    if extra:
        what = "a column" if len(extra) == 1 else f"{len(extra)} columns"
        source.notes.append(f"left out {what} that the run does not have: {only_names(extra)}")
    order = [source.names.index(name) for name in names]
    if extra or order != sorted(order):
        source.x, source.names = source.x[:, order], names
        for key in ("dtypes", "categories"):
            if key in source.layout:
                listed = [source.layout[key][i] for i in order]
                source.layout = {**source.layout, key: listed}
    return source


def _same_dates(layout: dict[str, Any], source: Source) -> None:
    """Raise DataError where dates stand in a column of something else, or something else in one of
    dates: both are numbers here, and mean other things."""
    if source.layout.get("kind") != "table":
        return
    told = ("dates", "no dates")
    words = layout.get("categories") or [None] * len(layout["dtypes"])
    for j, (ours, given) in enumerate(zip(layout["dtypes"], source.layout["dtypes"], strict=True)):
        expected, found = (dtype.startswith(("date", "timestamp")) for dtype in (ours, given))
        if words[j] is not None:
            continue  # to a column of words a date is a word that it never saw
        if expected != found and not np.isnan(source.x[:, j]).all():
            raise DataError(
                f"{source.column(j)} holds {told[not found]}; the run expects {told[not expected]}"
            )


def _same_words(layout: dict[str, Any], spec: Spec, source: Source, unseen: bool) -> None:
    """Categories as the run counts them; a word that it never saw is a gap or -1, and said."""
    known = layout.get("categories") or ()
    given = source.layout.get("categories") or [None] * len(known)
    if not any(known) and not any(given):
        return
    source.x = source.x.astype(np.float64)
    for j, (words, here) in enumerate(zip(known, given, strict=True)):
        column = source.x[:, j]
        seen = np.flatnonzero(~np.isnan(column))
        if words is None and here and len(seen):
            where, word = source.where(int(seen[0]), j), here[int(column[seen[0]])]
            raise DataError(f"{where} holds '{shown(word)}'; the run expects numbers")
        if words is None or (here is None and source.layout.get("kind") != "table"):
            continue  # numbers, or an array of codes
        if here is None:
            found, codes = np.unique(column[seen], return_inverse=True)
            here = _as_words(found, source.layout["dtypes"][j])
        else:
            codes = column[seen].astype(np.int64)
        place = {word: float(code) for code, word in enumerate(words)}
        strange = -1.0 if unseen else np.nan
        # the last is for -1: rows that came through here before have it for a strange word
        column[seen] = np.array([*(place.get(word, strange) for word in here), strange])[codes]
        new = np.flatnonzero(~(column[seen] >= 0) & (codes >= 0))
        if len(new):
            where, word = source.where(int(seen[new[0]]), j), here[codes[new[0]]]
            what = f"{where} holds '{shown(word)}', which the run never saw"
            if not spec.missing and not unseen:
                raise DataError(f"{what}; it knows {only_names(words)}")
            how = "odd in itself" if unseen else "a gap"
            source.notes.append(f"{what}: {how}, as in {len(new):,} rows in all")
    source.layout = {**source.layout, "categories": list(known)}


def _more_gaps(layout: dict[str, Any], source: Source) -> None:
    """A line where columns have far more gaps than the training rows had."""
    if not layout.get("gap_shares") or source.layout.get("kind") != "table":
        return
    shares = np.isnan(source.x).mean(0)
    more = np.flatnonzero(shares > np.array(layout["gap_shares"]) + MORE_GAPS)
    if len(more):
        told = [f"{source.names[j]} {shares[j]:.0%} ({layout['gap_shares'][j]:.0%})" for j in more]
        source.notes.append(
            f"more gaps than the run was trained with (in brackets): {only_names(told)}"
        )


def _as_words(values: np.ndarray, dtype: str) -> list[str]:
    """Numbers as they are written, for a column of words that was read without knowing of it."""
    if dtype == "bool":
        return ["true" if v else "false" for v in values]
    return [str(int(v)) if v == np.rint(v) and abs(v) < 2**63 else repr(float(v)) for v in values]


def _known_labels(spec: Spec, source: Source) -> np.ndarray | None:
    """Labels as codes into the run's classes."""
    if source.y is None or not spec.classes:
        return None
    code = {name: i for i, name in enumerate(spec.classes)}
    present = {source.classes[i] for i in np.unique(source.y) if i >= 0}
    for name in sorted(present - code.keys()):
        classes = only_names(spec.classes)
        raise DataError(f"label '{shown(name)}' is none of the run's classes: {classes}")
    table = np.array([code.get(name, -1) for name in source.classes] + [-1], dtype=np.int64)
    return table[source.y]
