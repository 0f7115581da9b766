"""From what the user has to rows that a model can learn, and back.

`load` reads anything into a `Source`, `prepare` decides what its columns are, splits and scales it,
`encode` brings new rows into the same space, `decode` and `write` bring rows back. Everything heavy
is imported when it is first used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaes.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from vaes.data.output import table, write
    from vaes.data.schema import Prepared, decode, encode, prepare
    from vaes.data.source import Source

__all__ = [
    "Prepared",
    "Source",
    "decode",
    "encode",
    "load",
    "prepare",
    "table",
    "write",
]

_HOMES = {
    "Prepared": "schema",
    "Source": "source",
    "decode": "schema",
    "encode": "schema",
    "prepare": "schema",
    "table": "output",
    "write": "output",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaes.data' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"vaes.data.{_HOMES[name]}"), name)


def load(
    data: Any,
    *,
    label: Any = None,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    skip_bad: bool = False,
    drop: tuple[str, ...] | list[str] = (),
    kind: Mapping[str, str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> Source:
    """Raw rows from whatever the user has.

    data: a built-in name, the path of a folder of images or of one image, .npy, .npz, .csv,
    .csv.gz, .parquet or .h5ad file, an array, a tensor, a frame (pandas, polars, pyarrow), AnnData,
    a torch Dataset or DataLoader. label: the name of the label column of a table (of AnnData, a
    column of obs), or labels (n,) of an array. size:
    side of images in pixels, or (height, width). mode: "auto", "L", "RGB" or "RGBA". skip_bad:
    leave out and count images that cannot be read. drop: columns of a table to leave out. kind:
    what columns are, where that is known: of a table they are data, and a category holds words;
    `prepare` goes by it. schema: a file that says label, drop and kind in their place, as
    `vaes data FILE --schema` writes it. Raises DataError in one line for whatever cannot be read.
    """
    from vaes.data.source import Source

    if isinstance(data, Source):
        return data
    if schema is not None:
        from vaes.data import builtin
        from vaes.data.editable import spelled_out

        if isinstance(data, str) and data in builtin.SETS:
            raise UsageError(f"schema={schema} was given, but the set '{data}' has its own")
        told = {"label": label, "drop": drop, "kind": kind, "schema": schema}
        return load(data, size=size, mode=mode, skip_bad=skip_bad, **spelled_out(told))
    source = _read(data, label, size, mode, skip_bad, drop, kind)
    source.kinds = dict(kind or {})
    return source


def _read(
    data: Any, label: Any, size: Any, mode: str, skip_bad: bool, drop: Any, kind: Any
) -> Source:
    if isinstance(data, (str, os.PathLike)):
        from vaes.data import builtin

        if isinstance(data, str) and data in builtin.SETS:
            asked = ((label, "label"), (size, "size"), (drop, "drop"), (kind, "kind"))
            for given, what in asked:
                if given:
                    raise UsageError(f"{what}={given} was given, but the set '{data}' has its own")
            source = builtin.load(data)
            if os.path.exists(data):
                source.notes.append(f"the built-in set '{data}' is meant, not ./{data}")
            return source
        return from_path(Path(data), label, size, mode, skip_bad, drop, kind)
    return _from_object(data, label, drop, kind)


def from_path(
    path: Path,
    label: Any,
    size: Any,
    mode: str,
    skip_bad: bool,
    drop: Any,
    kind: Any = None,
    lenient: bool = False,
) -> Source:
    """The rows of a file or folder; `lenient`: label and drop may name columns that are absent."""
    from vaes.data import annotated, arrays, images, tables

    name = path.name.lower()
    try:
        if not path.exists():
            raise DataError(_unknown(path))
        if path.is_dir() or name.endswith(images.SUFFIXES):
            _only_tables(path.name, label=label, drop=drop, lenient=lenient)
            return images.read(path, size=size, mode=mode, skip_bad=skip_bad)
        if not path.is_file():
            raise DataError(f"{path} is neither a file nor a folder")
        if name.endswith((".npy", ".npz")):
            _only_tables(path.name, label=label, drop=drop, size=size, lenient=lenient)
            return arrays.read_npy(path) if name.endswith(".npy") else arrays.read_npz(path)
        if name.endswith(tables.SUFFIXES):
            return tables.read(path, label=label, drop=drop, kind=kind, lenient=lenient)
        if name.endswith(annotated.SUFFIX):
            return annotated.read(path, label=label, drop=drop, lenient=lenient)
    except PermissionError as error:
        raise DataError(f"{error.filename or path} may not be read: permission denied") from error
    except OSError as error:
        reason = error.strerror or arrays.brief(error)
        raise DataError(f"{path} cannot be read: {reason}") from error
    known = ", ".join((".npy", ".npz", *tables.SUFFIXES, annotated.SUFFIX))
    raise DataError(f"{path.name} is of no known kind: give a folder of images, an image, {known}")


def _only_tables(name: str, lenient: bool = False, **given: Any) -> None:
    """One line where an option was given that these rows have no place for."""
    for what, value in given.items():
        if value and not lenient:
            raise UsageError(f"{what}={value} was given, but {name} is no table with named columns")


def _unknown(path: Path) -> str:
    from vaes.data import builtin

    hint = did_you_mean(str(path), builtin.SETS)
    return f"'{path}' is neither a file or folder that exists nor a built-in set; {hint}"


def _from_object(data: Any, label: Any, drop: Any, kind: Any) -> Source:
    import sys

    import numpy as np

    from vaes.data import arrays

    torch = sys.modules.get("torch")
    of_torch = torch is not None and isinstance(
        data, (torch.Tensor, torch.utils.data.Dataset, torch.utils.data.DataLoader)
    )
    if of_torch or isinstance(data, (np.ndarray, list, tuple)):
        _only_tables("the array", label=label if isinstance(label, str) else None, drop=drop)
    if torch is not None:
        if isinstance(data, torch.Tensor):
            return arrays.from_tensor(data, label)
        if isinstance(data, (torch.utils.data.Dataset, torch.utils.data.DataLoader)):
            return arrays.from_dataset(data)
    if isinstance(data, np.ndarray):
        return arrays.from_array(data, label)
    if isinstance(data, (list, tuple)):
        try:
            return arrays.from_array(np.asarray(data), label)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"the list is not a table: {arrays.brief(error)}") from error
    from vaes.data import annotated, tables

    if annotated.is_annotated(data):
        return annotated.from_annotated(data, label=label, drop=drop)
    return tables.from_frame(data, label=label, drop=drop, kind=kind)
