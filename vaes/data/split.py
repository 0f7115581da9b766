"""Which rows train, which choose the weights and which are only for the final number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vaes.batch import generator
from vaes.data.source import Source
from vaes.errors import DataError, UsageError

PARTS = ("train", "valid", "test")
MOST_VALID, SHARE = 10_000, 0.1


def split_rows(
    source: Source, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> dict[str, np.ndarray]:
    """Row numbers (ascending int64) of "train", "valid" and "test".

    The set's own parts come first; a part that it lacks is a tenth of its training rows. Otherwise
    `fractions` of the rows, drawn by `seed`. At most 10,000 rows validate. A fraction of 0 makes an
    empty part, every other part has at least one row. Raises DataError for too few rows.
    """
    if source.parts is not None:
        return _own(source.parts, seed)
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"split {tuple(fractions)} is no split: give 3 shares that sum to 1")
    if not fractions[0]:
        raise UsageError("the training share of the split is 0; nothing would be learnt")
    rows, needed = len(source), sum(share > 0 for share in fractions)
    if rows < needed:
        raise DataError(
            f"{rows} row{'' if rows == 1 else 's'} given; at least {needed} are needed to train, "
            "validate and test"
        )
    valid, test = (max(1, round(share * rows)) if share else 0 for share in fractions[1:])
    valid = min(valid, MOST_VALID)
    # Rounding up to one row each must leave one to train on: 3 rows are 1 + 1 + 1.
    order = _shuffled(rows, seed)
    stops = (rows - valid - test, rows - test, rows)
    starts = (0, *stops[:2])
    return {p: np.sort(order[a:b]) for p, a, b in zip(PARTS, starts, stops, strict=True)}


def _shuffled(rows: int, seed: int) -> np.ndarray:
    return torch.randperm(rows, generator=generator("split", seed)).numpy()


def _own(parts: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The set's own parts, completed from its training rows."""
    rows = {part: np.asarray(parts.get(part, ()), dtype=np.int64) for part in PARTS}
    absent = [part for part in ("test", "valid") if part not in parts]
    if len(rows["train"]) < 1 + len(absent):
        raise DataError(
            f"the training part has {len(rows['train'])} rows; at least {1 + len(absent)} are "
            "needed to train, validate and test"
        )
    order = rows["train"][_shuffled(len(rows["train"]), seed)]
    share = min(MOST_VALID, max(1, round(SHARE * len(order))))
    for part in absent:
        rows[part], order = np.sort(order[:share]), order[share:]
    return rows | {"train": np.sort(order)}


def sizes_told(source: Source, rows: dict[str, np.ndarray], seed: int) -> str:
    """The sizes of the parts in words."""
    sizes = ", ".join(f"{len(rows[part]):,} {part}" for part in PARTS)
    own = source.parts
    how = f"drawn by seed {seed}"
    if own is not None:
        drawn = [part for part in PARTS if part not in own]
        how = "the set's own parts" + (f", {' and '.join(drawn)} drawn by seed" if drawn else "")
    return f"rows: {sizes} ({how})"


def repeats(source: Source, rows: dict[str, np.ndarray]) -> list[str]:
    """A line for each held-out part some of whose rows are exact copies of training rows."""
    seen = set(_digests(source.x, rows["train"]))
    notes = []
    for part in PARTS[1:]:
        found = sum(digest in seen for digest in _digests(source.x, rows[part]))
        if found:
            total = len(rows[part])
            notes.append(f"{found} of the {total} {part} rows also appear among the training rows")
    return notes


def _digests(x: np.ndarray, rows: np.ndarray) -> Iterator[bytes]:
    for row in rows:
        yield hashlib.blake2b(x[row].tobytes(), digest_size=16).digest()


def fingerprint(source: Source) -> str:
    """sha256 of shape, dtype, values and labels of the raw rows."""
    digest = hashlib.sha256(f"{source.x.shape} {source.x.dtype.str}".encode())
    for start in range(0, len(source), 4096):
        digest.update(np.ascontiguousarray(source.x[start : start + 4096]).data)
    if any(source.layout.get("categories") or ()):
        digest.update(repr(source.layout["categories"]).encode())
    if source.y is not None:
        digest.update(repr(source.classes).encode())
        digest.update(np.ascontiguousarray(source.y).data)
    return digest.hexdigest()
