"""Rows written in the kind that came in: .csv, .parquet, .npy or a folder of PNGs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vaes.batch import Spec
from vaes.data.schema import decode
from vaes.data.source import Source
from vaes.errors import DataError, DiskError


def write(
    schema: dict[str, Any],
    spec: Spec,
    rows: Any,
    path: str | os.PathLike[str],
    given: Source | None = None,
) -> Path:
    """Write rows (n, *shape) of model space to `path` and return it.

    Tables go to .csv, .parquet or .npy, images to .npy or (a path without suffix) a folder of PNGs,
    other arrays to .npy. given: the same rows as they were read; what they hold is written as it
    was, not as the run would round it (.csv and .parquet). Nothing that exists is overwritten, and
    the file appears when it is whole. Raises DataError for an existing or impossible path,
    DiskError where it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"{path} exists already; choose another name, nothing is overwritten")
    save = _writer(schema, spec, path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(schema, spec, rows, part, given)
        os.replace(part, path)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        _remove(part)
    return path


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _writer(schema: dict[str, Any], spec: Spec, path: Path) -> Callable[..., None]:
    """The function that writes what the suffix of `path` asks for."""
    table = schema["layout"]["kind"] == "table"
    known: dict[str, Callable[..., None]] = {".npy": _npy}
    if table:
        known |= {".csv": _csv, ".parquet": _parquet}
    elif spec.image and spec.shape[0] in (1, 3, 4):
        known |= {"": _folder}
    if path.suffix.lower() not in known:
        what = ", ".join(suffix or "a folder (no suffix)" for suffix in known)
        raise DataError(f"rows of this run cannot be written to '{path.name}'; known: {what}")
    return known[path.suffix.lower()]


def _npy(schema: dict[str, Any], spec: Spec, rows: Any, path: Path, given: Source | None) -> None:
    with path.open("wb") as out:
        np.save(out, decode(schema, spec, rows), allow_pickle=False)


def table(schema: dict[str, Any], spec: Spec, rows: Any, given: Source | None = None) -> Any:
    """Rows of model space as an Arrow table, each column in the dtype that it was read in.

    given: the same rows as they were read; what they hold is taken from there.
    """
    from vaes.data.tables import to_table

    values = decode(schema, spec, rows)
    if given is not None:
        values = np.where(np.isnan(given.x), values, given.x)
    return to_table(schema, spec.names[spec.gates :], values)


def _csv(schema: dict[str, Any], spec: Spec, rows: Any, path: Path, given: Source | None) -> None:
    from pyarrow import csv

    found, words = table(schema, spec, rows, given), schema["layout"].get("gap") or ()
    for j, word in enumerate(words):
        # A line with nothing in it would be no row.
        word = word or "NA" * (found.num_columns == 1)
        if word and found.column(j).null_count:
            text = found.column(j).cast("string").fill_null(word)
            found = found.set_column(j, found.column_names[j], text)
    # Without names, columns are known by their place: it is lost where some are left out.
    layout = schema["layout"]
    header = layout["header"] or len(layout.get("order", spec.names)) > found.num_columns
    csv.write_csv(found, path, csv.WriteOptions(include_header=header))


def _parquet(
    schema: dict[str, Any], spec: Spec, rows: Any, path: Path, given: Source | None
) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(schema, spec, rows, given), path)


def _folder(
    schema: dict[str, Any], spec: Spec, rows: Any, path: Path, given: Source | None
) -> None:
    """One PNG a row, black to white over the alphabet (over the range of the data for reals)."""
    from PIL import Image

    pixels = _visible(schema, spec, rows)
    path.mkdir()
    digits = max(5, len(str(len(pixels))))
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(path / f"{i:0{digits}d}.png", format="PNG")


def _visible(schema: dict[str, Any], spec: Spec, rows: Any) -> np.ndarray:
    """Images as uint8 (n, H, W) or (n, H, W, C) that can be looked at."""
    layout = schema["layout"]
    as_float = schema | {"layout": layout | {"dtype": "float64", "channels": "hwc"}}
    values = decode(as_float, spec, rows)
    low, high = schema["range"]
    if layout["dtype"] == "uint8" and high > 16:
        low, high = 0.0, 255.0  # bytes are shown as they are
    elif spec.discrete:
        low, high = spec.shift[0], spec.shift[0] + spec.scale[0]
    if spec.kinds[0] == "category":
        low, high = 0.0, float(max(1, spec.levels[0] - 1))
    grey = np.clip(np.rint((values - low) / ((high - low) or 1.0) * 255), 0, 255).astype(np.uint8)
    return grey[..., 0] if grey.shape[-1] == 1 else grey
