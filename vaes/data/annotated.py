"""Rows of an AnnData object, known by what it has (`.X`, `.obs`, `.var_names`), and of .h5ad files.

The package anndata is imported where the path of a .h5ad file is given, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vaes.data.arrays import brief, check_array, stem
from vaes.data.source import Source, check_memory, codes, nearest, shown
from vaes.errors import DataError

SUFFIX = ".h5ad"


def is_annotated(data: Any) -> bool:
    """Whether `data` looks like AnnData: a matrix, a frame on its rows, names of its columns."""
    return all(hasattr(data, name) for name in ("X", "obs", "var_names"))


def read(
    path: Path, *, label: Any = None, drop: Sequence[str] = (), lenient: bool = False
) -> Source:
    """Rows of a .h5ad file; see `from_annotated`."""
    try:
        anndata = import_module("anndata")
    except ImportError as error:
        raise DataError(
            f"{path.name} is read by the package anndata, which is not installed: "
            "pip install anndata"
        ) from error
    try:
        found = anndata.read_h5ad(path)
    except (PermissionError, DataError):
        raise
    except Exception as error:  # HDF5 files can be broken in many ways
        raise DataError(f"{path.name} is not a readable .h5ad file: {brief(error)}") from error
    return from_annotated(found, name=stem(path), label=label, drop=drop, lenient=lenient)


def from_annotated(
    data: Any,
    *,
    name: str = "anndata",
    label: Any = None,
    drop: Sequence[str] = (),
    lenient: bool = False,
) -> Source:
    """Rows (n, columns) of `data.X`, dense, sparse or on disk, with the names `data.var_names`.

    label: a column of `data.obs`, or labels (n,). drop: columns to leave out. lenient: for a run
    that exists: `label` and `drop` may be of columns that are not there. The rows are a table: what
    is drawn comes back with these names, whole numbers as integers. Raises DataError for a matrix
    that is none, names that do not fit, and a label or column that does not exist.
    """
    names = [str(n) for n in data.var_names]
    x = _matrix(data, name)
    if x.shape[1] != len(names):
        raise DataError(f"X has {x.shape[1]} columns, but var_names has {len(names)} names")
    twice = {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else ()
    if twice:
        raise DataError(
            f"two columns are named '{shown(min(twice))}'; "
            "var_names_make_unique() gives each its own name"
        )
    for column in drop:
        if column not in names and not lenient:
            raise DataError(f"column '{shown(column)}' does not exist; {nearest(column, names)}")
    if set(drop) & set(names):
        x = x[:, [n not in drop for n in names]]
    left = tuple(n for n in names if n not in drop)
    if not left:
        raise DataError(f"{name} has no column of data left")
    whole = x.dtype.kind in "iub" or not (x != np.rint(x)).any()
    layout = {"kind": "table", "channels": "flat", "header": True}
    layout |= {"dtypes": ["int64" if whole else "float64"] * len(left), "order": names}
    layout |= {"categories": [None] * len(left), "gap": [""] * len(left)}
    layout |= {"label": label if isinstance(label, str) else None, "drop": [*drop], "aside": {}}
    source = Source(x=x, names=left, name=name, layout=layout)
    found = _labels(data, label, lenient)
    if found is not None:
        source.y, source.classes = codes(found)
        if len(source.y) != len(x):
            raise DataError(f"{len(x)} rows but {len(source.y)} labels were given")
    return source


def _matrix(data: Any, name: str) -> np.ndarray:
    """X as an array: what lies on disk is read, what is sparse becomes dense."""
    x: Any = data.X
    if x is None:
        raise DataError(f"{name} has no matrix X; put the counts there: data.X = data.layers[...]")
    shape, size = tuple(x.shape), np.dtype(getattr(x, "dtype", np.float64)).itemsize
    check_memory(size * int(np.prod(shape)), name)
    rows: Any = x if isinstance(x, np.ndarray) or hasattr(x, "toarray") else x[:]
    found = check_array(rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows))
    if found.ndim != 2:
        raise DataError(f"X has shape {found.shape}; rows x columns are needed")
    return found


def _labels(data: Any, label: Any, lenient: bool) -> Any:
    if label is None:
        return None
    if not isinstance(label, str):
        return np.asarray(label)
    known = [str(c) for c in data.obs.columns]
    if label in known:
        return np.asarray(data.obs[label])
    if lenient:
        return None
    raise DataError(f"label column '{shown(label)}' does not exist in obs; {nearest(label, known)}")
