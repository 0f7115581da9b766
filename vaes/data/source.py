"""Raw rows as the user has them, before anything was decided about them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vaes.errors import DataError, did_you_mean

LONGEST_LABEL = 1000  # characters


@dataclass
class Source:
    """Rows in the user's own units, and what is needed to write such rows back.

    x (n, *shape) numeric, images as channels x height x width; NaN stands for a missing entry and
    is refused later unless it was allowed. y (n,) int64 codes into `classes`, -1 = unknown.
    `layout` says how rows are written back: kind "array", "images" or "table", `channels` ("flat",
    "hw", "chw", "hwc": where the channels of the original array were), `dtype` or `dtypes`; images
    add height, width, mode and policy, tables header, label and drop. `parts` holds the row
    numbers of "train", "valid", "test" where the set brings its own split. `path` is the folder or
    file that images were read from, so that they can be read again at another size. `kinds` is what
    columns were said to be when they were read. `notes` are lines to print, `skipped` counts files
    that could not be read.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    name: str = "data"
    layout: dict[str, Any] = field(default_factory=lambda: {"kind": "array"})
    parts: dict[str, np.ndarray] | None = None
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    path: Path | None = None
    kinds: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The event of one row."""
        return self.x.shape[1:]

    def where(self, row: int, entry: int) -> str:
        """How a message names one entry: its row, and its column by name or number or place."""
        return f"row {row} (the first is 0), {self.column(entry)}"

    def column(self, entry: int) -> str:
        """How a message names the column (or the place in an image) of flat entry `entry`."""
        if self.names:
            return f"column '{shown(self.names[entry])}'"
        if len(self.shape) == 1:
            return f"column {entry}"
        return f"entry {tuple(int(i) for i in np.unravel_index(entry, self.shape))}"


def codes(labels: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) as int64 codes and the sorted names of the classes.

    Strings, whole numbers and booleans are labels; -1, NaN, None and '' mean unknown (code -1).
    """
    values = labels if isinstance(labels, np.ndarray) else np.asarray(labels, dtype=object)
    if values.ndim != 1:
        raise DataError(f"labels have shape {values.shape}; one label a row, shape (n,), is needed")
    if values.dtype == object:
        values = _tidy(values.tolist())
    if values.dtype.kind in "USO":
        return _word_codes(values.tolist())
    if values.dtype.kind in "biuf":
        values, unknown = _whole(values)
    else:
        raise DataError(f"labels of dtype {values.dtype} cannot be used; give strings or integers")
    found, inverse = np.unique(values[~unknown], return_inverse=True)
    y = np.full(len(values), -1, dtype=np.int64)
    y[~unknown] = inverse
    return y, tuple(str(v) for v in found.tolist())


def _tidy(values: list[Any]) -> np.ndarray:
    """Python objects as one numeric or string array."""
    if all(v is None or isinstance(v, (int, float, np.number, np.bool_)) for v in values):
        return np.array([np.nan if v is None else float(v) for v in values])
    words = ["" if v is None or v != v else str(v) for v in values]
    # Numbers that were read as text sort as numbers: 2 comes before 10.
    known = set(words) - {""}
    if all(len(w) < 16 and w.lstrip("-").isdecimal() and str(int(w)) == w for w in known):
        return np.array([float(w) if w else np.nan for w in words])
    return np.array(words, dtype=object)


def _word_codes(given: list[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """`codes` of text, whose longest word does not decide what the others take in memory."""
    words = [w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in given]
    names = sorted(set(words) - {""})
    if long := [name for name in names if len(name) > LONGEST_LABEL]:
        raise DataError(
            f"label '{shown(long[0])}' has {len(long[0]):,} characters, at most {LONGEST_LABEL:,} "
            "are read: free text is no class"
        )
    place = {name: i for i, name in enumerate(names)}
    return np.array([place.get(word, -1) for word in words], dtype=np.int64), tuple(names)


def _whole(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numeric labels as int64 and where they are unknown."""
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    known = values[~unknown].astype(np.float64)
    wrong = known[(known != np.rint(known)) | (known < -1) | (known > 2**53)]
    if len(wrong):
        raise DataError(
            f"label {wrong[0]:g} is not a class: labels are strings or whole numbers from 0 on, "
            "and -1 means unknown"
        )
    whole = np.where(unknown, -1, np.nan_to_num(values)).astype(np.int64)
    return whole, whole == -1


def check_memory(size: int, what: str) -> None:
    """Raise DataError where `what` would take more than the memory that is free (bytes)."""
    free = free_memory()
    if size > free:
        raise DataError(
            f"{what} needs {size / 1e9:,.1f} GB in memory and {free / 1e9:,.1f} GB are free; "
            "give fewer or smaller rows"
        )


def free_memory() -> int:
    """Bytes that can still be allocated, as far as the system tells (8 GB where it does not)."""
    found: list[int] = []
    try:
        with open("/proc/meminfo") as lines:
            found += [int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable")]
    except (OSError, ValueError):
        pass
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=8 * 10**9)


def shown(word: Any, most: int = 60) -> str:
    """A name or a word of the user's for a message: one line that a terminal can print."""
    text = " ".join(str(word)[: 2 * most].split())
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def only_names(known: Sequence[str], most: int = 8) -> str:
    """A list of names for a message, cut where it would no longer be one line."""
    listed = ", ".join(shown(name, 40) for name in list(known)[:most])
    return listed + (f", ... ({len(known)} in all)" if len(known) > most else "")


def nearest(given: Any, known: Sequence[str]) -> str:
    """`did_you_mean` for names that are the user's own: many, long or of odd characters."""
    hint = did_you_mean(shown(given), [shown(name) for name in known])
    return hint if hint.startswith("did") else f"known: {only_names(known)}"


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
