"""Rows from arrays, tensors, torch Datasets and loaders, and from .npy and .npz files.

How the shape of an array is read: (n, d) are flat rows; (n, H, W) with H, W >= 4 are grey images;
(n, C, H, W) and (n, H, W, C) with C in 1, 3, 4 are images. Files are never unpickled, and what
they declare is checked before memory is taken for it.
"""

from __future__ import annotations

import math
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vaes.data.source import Source, check_memory, codes, only_names, shown
from vaes.errors import DataError

ROWS = ("x", "X", "data", "images", "features", "arr_0")
LABELS = ("y", "Y", "labels", "label", "targets", "target")
PARTS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
# A compressed archive beyond this size must not unfold by more than this factor.
SANE_BYTES, MOST_UNFOLDING = 64 * 2**20, 200


def from_array(x: Any, y: Any = None, *, name: str = "array") -> Source:
    """Rows (n, d), (n, H, W), (n, C, H, W) or (n, H, W, C) and, if known, their labels (n,)."""
    if isinstance(x, np.ma.MaskedArray):
        x = np.where(np.ma.getmaskarray(x), np.nan, np.ma.getdata(x))
    x = check_array(np.asarray(x))
    x, channels, said = _channels_first(x)
    source = Source(
        x=x,
        name=name,
        layout={"kind": "array", "channels": channels, "dtype": x.dtype.name},
        notes=[said] if said else [],
    )
    if y is not None:
        source.y, source.classes = codes(_to_numpy(y))
        if len(source.y) != len(x):
            raise DataError(f"{len(x)} rows but {len(source.y)} labels were given")
    return source


def check_array(x: np.ndarray) -> np.ndarray:
    """The same array in a dtype that can be computed with; DataError for all that is not rows."""
    if x.dtype.kind not in "biuf":
        what = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers"}
        raise DataError(
            f"an array of {what.get(x.dtype.kind, str(x.dtype))} (dtype {x.dtype}) was given; "
            "rows must be integers, booleans or floats"
        )
    if x.ndim < 2:
        raise DataError(
            f"an array of shape {x.shape} was given; rows lie along the first axis: one column "
            "of numbers is x.reshape(-1, 1), one row x.reshape(1, -1)"
        )
    if 0 in x.shape:
        raise DataError(f"an array of shape {x.shape} was given; it holds no numbers")
    native = x.dtype.newbyteorder("=")
    return x.astype(np.float64 if x.dtype.itemsize > 8 else native, copy=False)


def _channels_first(x: np.ndarray) -> tuple[np.ndarray, str, str]:
    """Rows in model shape, the name of the original layout, and what to say about it."""
    shape = x.shape[1:]
    if len(shape) == 1:
        return x, "flat", ""
    if len(shape) == 2 and min(shape) >= 4:
        return x[:, None], "hw", f"shape {x.shape} is read as {len(x)} grey images (n, H, W)"
    if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) >= 4:
        return x, "chw", f"shape {x.shape} is read as {len(x)} images (n, channels, H, W)"
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= 4:
        said = f"shape {x.shape} is read as {len(x)} images (n, H, W, channels)"
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)), "hwc", said
    raise DataError(
        f"rows of shape {shape} are neither flat (d,) nor images (H, W), (C, H, W) or (H, W, C) "
        "with at least 4 x 4 pixels and 1, 3 or 4 channels; x.reshape(len(x), -1) makes them flat"
    )


def _to_numpy(value: Any) -> np.ndarray:
    """A tensor, PIL image, scalar or array as numpy."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def from_tensor(x: Any, y: Any = None) -> Source:
    """Rows from a torch tensor on any device."""
    return from_array(_to_numpy(x), y, name="tensor")


def from_dataset(dataset: Any) -> Source:
    """All items of a torch Dataset or all batches of a DataLoader, collected into memory.

    Items (x, y) bring labels. Items must have one shape.
    """
    batched = getattr(dataset, "batch_sampler", None) is not None
    if hasattr(dataset, "tensors") and not batched:
        x, y = _pair(tuple(dataset.tensors))
        return _collected(_to_numpy(x), y if y is None else _to_numpy(y), dataset)
    rows, labels, size = [], [], 0
    for item in _items(dataset):
        x, y = _pair(item)
        rows.append(_to_numpy(x))
        labels.append(None if y is None else _to_numpy(y))
        size += rows[-1].nbytes
        check_memory(size, f"the {type(dataset).__name__}")
        if rows[-1].shape[batched:] != rows[0].shape[batched:]:
            raise DataError(
                f"item {len(rows) - 1} of the {type(dataset).__name__} has shape "
                f"{rows[-1].shape} and item 0 has {rows[0].shape}; bring them to one shape"
            )
    if not rows:
        raise DataError(f"the {type(dataset).__name__} holds no items")
    join = np.concatenate if batched else np.stack
    known = all(label is not None for label in labels)
    return _collected(join(rows), join(labels) if known else None, dataset)


def _items(dataset: Any) -> Any:
    """Items by number where there is a length: a map-style Dataset need not stop by itself."""
    torch = sys.modules.get("torch")
    loader = torch is not None and isinstance(dataset, torch.utils.data.DataLoader)
    if not loader and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[i] for i in range(len(dataset)))
    return dataset


def _pair(item: Any) -> tuple[Any, Any]:
    """(rows, labels or None) of an item of a Dataset."""
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) > 2 or not item:
        raise DataError(f"items with {len(item)} parts were given; x or (x, y) is needed")
    return item[0], item[1] if len(item) == 2 else None


def _collected(x: np.ndarray, y: np.ndarray | None, dataset: Any) -> Source:
    """The collected rows, with a word about what could surprise."""
    source = from_array(x, y, name=type(dataset).__name__.lower())
    source.notes.append(f"{len(x)} rows of the {type(dataset).__name__} were read into memory")
    if type(getattr(dataset, "sampler", None)).__name__ == "RandomSampler":
        source.notes.append("the loader shuffles: each run splits the rows differently")
    return source


def read_npy(path: Path) -> Source:
    """Rows of a .npy file."""
    with path.open("rb") as stream:
        return from_array(_read_array(stream, path.stat().st_size, path.name), name=path.stem)


def read_npz(path: Path) -> Source:
    """Rows of an .npz file: array x, X, data or images (or the only one); labels y or labels.

    Arrays train and test (or x_train, x_test; valid is optional) are the set's own split.
    """
    arrays = read_archive(path)
    for prefix in ("", "x_", "X_"):
        if prefix + "train" in arrays and prefix + "test" in arrays:
            return _own_split(arrays, prefix, path.stem)
    key = next((k for k in (*ROWS, "train") if k in arrays), None)
    others = [k for k in arrays if k not in LABELS]
    if key is None and len(others) == 1:
        key = others[0]
    if key is None:
        raise DataError(
            f"{path.name} holds the arrays {only_names(list(arrays))}; name the rows 'x' "
            "(and labels 'y')"
        )
    label = next((k for k in LABELS if k in arrays and k != key), None)
    source = from_array(arrays[key], None if label is None else arrays[label], name=path.stem)
    source.notes.append(
        f"rows are array '{key}'" + (f", labels are array '{label}'" if label else "")
    )
    return source


def _own_split(arrays: dict[str, np.ndarray], prefix: str, name: str) -> Source:
    """Arrays that are named after the parts of a split, joined in the order of PARTS."""
    found = [(part, prefix + k) for part, keys in PARTS.items() for k in keys]
    found = [(part, key) for part, key in found if key in arrays]
    rows = [arrays[key] for _, key in found]
    if len({r.shape[1:] for r in rows}) > 1:
        shapes = only_names([f"{key} {arrays[key].shape}" for _, key in found])
        raise DataError(f"the parts of {name} hold rows of different shapes: {shapes}")
    labels = [arrays.get("y_" + key.removeprefix(prefix)) for _, key in found]
    known = [label for label in labels if label is not None]
    y = np.concatenate(known) if len(known) == len(rows) else None
    source = from_array(np.concatenate(rows), y, name=name)
    stops = np.cumsum([len(r) for r in rows])
    source.parts = {
        part: np.arange(stop - len(r), stop)
        for (part, _), r, stop in zip(found, rows, stops, strict=True)
    }
    return source


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name; refused before reading where it unfolds too far."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            _check_archive(path, members)
            arrays: dict[str, np.ndarray] = {}
            for member in members:
                with archive.open(member) as stream:
                    where = f"{member.filename} in {path.name}"
                    array = _read_array(stream, member.file_size, where)
                    arrays[member.filename.removesuffix(".npy")] = array
    except (DataError, PermissionError):
        raise
    except Exception as error:  # zip files can be broken in more ways than zipfile has names for
        raise DataError(f"{path.name} is not a readable .npz file: {brief(error)}") from error
    if not arrays:
        raise DataError(f"{path.name} holds no arrays")
    return arrays


def _check_archive(path: Path, members: list[zipfile.ZipInfo]) -> None:
    declared = sum(member.file_size for member in members)
    unfolding = declared / max(1, path.stat().st_size)
    if declared > SANE_BYTES and unfolding > MOST_UNFOLDING:
        raise DataError(
            f"{path.name} would unfold {unfolding:,.0f} times to {declared / 1e9:,.2f} GB; at most "
            f"{MOST_UNFOLDING} times is read: save the rows as .npy"
        )
    check_memory(declared, path.name)


def _read_array(stream: Any, size: int, where: str) -> np.ndarray:
    """The array of a .npy stream of `size` bytes; its header is checked before memory is taken."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
        left = size - stream.tell()
    except Exception as error:  # a broken header can fail in the parser, in struct or in unicode
        raise DataError(f"{where} has no readable .npy header: {brief(error)}") from error
    if dtype.hasobject or dtype.names:
        raise DataError(f"{where} holds Python objects or records (dtype {dtype}); save numbers")
    if not dtype.itemsize:
        raise DataError(f"{where} holds entries of 0 bytes (dtype {dtype}); save numbers")
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != left:
        raise DataError(
            f"{where} declares shape {shape} of {dtype}, {declared:,} bytes, but holds {left:,}"
        )
    check_memory(declared, where)
    buffer = bytearray(declared)
    view, got = memoryview(buffer), 0
    while got < declared:  # straight into the buffer: no second copy of the rows in memory
        part = stream.readinto(view[got : got + 2**24])
        if not part:
            raise DataError(f"{where} ends after {got:,} of {declared:,} bytes")
        got += part
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if fortran else "C")


def brief(error: BaseException) -> str:
    """The first line of an error's message, cut to what fits a line."""
    return shown(error, 160) or type(error).__name__


def stem(path: str | os.PathLike[str]) -> str:
    """A short label for run folders: the file's name without its suffixes."""
    return Path(path).name.split(".")[0] or "data"
