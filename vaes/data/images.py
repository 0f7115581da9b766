"""A folder of images as rows: one size, one colour mode, one uint8 array.

Two passes: headers first (sizes, modes and the limit on pixels are known before anything is
decoded), then each image is decoded straight into the one array that holds them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaes.data.arrays import stem
from vaes.data.pixels import MOST_PIXELS, decode, read_header
from vaes.data.source import Source, check_memory, only_names
from vaes.errors import DataError, UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MODES = {"L": 1, "RGB": 3, "RGBA": 4}
# Images of one common size keep it up to this side; others are brought to SIDE.
COMMON, SIDE = 128, 64
PARTS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}


@dataclass(frozen=True)
class Found:
    """An image file: its class (-1 = none) and the part of the split that its folder names."""

    path: Path
    label: int = -1
    part: str = ""


def read(
    path: Path,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    skip_bad: bool = False,
    most_pixels: int = MOST_PIXELS,
) -> Source:
    """Images of a folder (or one file) as uint8 rows (n, channels, height, width).

    Sub-folders are classes; sub-folders named train, valid and test are the set's own split. Images
    whose size differs are scaled until they cover (height, width) and cropped at the centre. mode
    "auto": grey where every image is grey, else RGB; transparent pixels are laid over white unless
    mode is "RGBA". Raises DataError naming the file that cannot be read, unless `skip_bad`.
    """
    if mode != "auto" and mode not in MODES:
        raise UsageError(f"mode '{mode}' is not known; known: auto, {', '.join(MODES)}")
    found, classes, notes = _find(path)
    reader = _Reader(skip_bad)
    headers = [reader.attempt(read_header, f.path, most_pixels) for f in found]
    kept = [(f, h) for f, h in zip(found, headers, strict=True) if h is not None]
    sizes = [h.size for _, h in kept] or [(1, 1)]
    height, width, policy = _choose_size(sizes, size)
    target = mode if mode != "auto" else "L" if all(h.grey for _, h in kept) else "RGB"
    check_memory(len(kept) * MODES[target] * height * width, f"{path} at {height} x {width}")
    x, rows = _decode_all([f for f, _ in kept], (height, width), target, reader)
    if not rows:
        raise DataError(f"none of the {len(found)} images in {path} can be read")
    if mode == "auto" and target == "RGB" and all((r == r[:1]).all() for r in x):
        x, target = np.ascontiguousarray(x[:, :1]), "L"
    animated = sum(h.animated for _, h in kept)
    if animated:
        notes.append(f"{animated} animated images: the first frame is used")
    notes += [f"{len(rows)} images as {target}, {height} x {width}: {policy}", *reader.notes()]
    return Source(
        x=x,
        y=np.array([f.label for f in rows]) if classes else None,
        classes=classes,
        name=stem(path),
        layout=_layout(height, width, target, policy),
        parts=_parts(rows),
        notes=notes,
        skipped=len(reader.bad),
        path=path,
    )


def _decode_all(
    found: list[Found], size: tuple[int, int], mode: str, reader: _Reader
) -> tuple[np.ndarray, list[Found]]:
    """Pixels (n, channels, height, width) of all images that can be decoded, and which they are."""
    x = np.empty((len(found), MODES[mode], *size), dtype=np.uint8)
    rows: list[Found] = []
    for f in found:
        pixels = reader.attempt(decode, f.path, size, mode)
        if pixels is not None:
            x[len(rows)] = pixels
            rows.append(f)
    return x[: len(rows)], rows


def _layout(height: int, width: int, mode: str, policy: str) -> dict[str, Any]:
    """How such rows are written back."""
    return {
        "kind": "images",
        "height": height,
        "width": width,
        "mode": mode,
        "policy": policy,
        "channels": "hw" if mode == "L" else "hwc",
        "dtype": "uint8",
    }


class _Reader:
    """Reads image by image and remembers those that could not be read."""

    def __init__(self, skip_bad: bool) -> None:
        self.skip_bad, self.bad = skip_bad, list[str]()

    def attempt(self, read: Any, path: Path, *args: Any) -> Any:
        """`read(path, ...)`; None where it fails and bad images are left out."""
        try:
            return read(path, *args)
        except DataError as error:
            if not self.skip_bad:
                raise DataError(f"{error}; --skip-bad leaves such files out") from error
            self.bad.append(path.name)
            return None

    def notes(self) -> list[str]:
        """A line that counts and names what was left out."""
        if not self.bad:
            return []
        return [f"{len(self.bad)} images could not be read, left out: {only_names(self.bad)}"]


def _find(path: Path) -> tuple[list[Found], tuple[str, ...], list[str]]:
    """All image files below `path` in a fixed order, class names, and what to say."""
    if path.is_file():
        return [Found(path)], (), []
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    by_part = {f: PARTS[f.name] for f in folders if f.name in PARTS}
    if by_part and len(by_part) == len(folders) and "train" in by_part.values():
        pairs = [(f, part, *_one_level(f)) for f, part in by_part.items()]
        found = [(p, label, part) for _, part, files, _ in pairs for p, label in files]
        notes = [line for *_, lines in pairs for line in lines]
    else:
        files, notes = _one_level(path)
        found = [(p, label, "") for p, label in files]
    if not found:
        raise DataError(f"the folder {path} holds no images ({', '.join(SUFFIXES)})")
    classes = tuple(sorted({label for _, label, _ in found if label}))
    code = {name: i for i, name in enumerate(classes)} | {"": -1}
    return [Found(p, code[label], part) for p, label, part in found], classes, notes


def _one_level(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The images of a folder, or else those of its sub-folders with the sub-folder as label."""
    direct = _images(folder)
    below = [f for f in sorted(folder.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    if direct:
        said = f"{len(below)} sub-folders of {folder.name} are left out: images lie beside them"
        return [(p, "") for p in direct], [said] if below else []
    return [(p, sub.name) for sub in below for p in _images(sub)], []


def _images(folder: Path) -> list[Path]:
    """Image files by suffix, sorted; hidden files (also ._ ones of macOS) are not images."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def _parts(rows: list[Found]) -> dict[str, np.ndarray] | None:
    """Row numbers of the parts that the folders name."""
    names = {f.part for f in rows} - {""}
    if not names:
        return None
    return {part: np.flatnonzero([f.part == part for f in rows]) for part in sorted(names)}


def _choose_size(
    sizes: list[tuple[int, int]], asked: int | tuple[int, int] | None
) -> tuple[int, int, str]:
    """(height, width) of all rows and a line that says how images come to it."""
    common = len(set(sizes)) == 1
    if asked is not None:
        height, width = (asked, asked) if isinstance(asked, int) else asked
        if min(height, width) < 1 or max(height, width) > 4096:
            raise UsageError(f"size {height} x {width} is not possible; give 1 to 4096 pixels")
    elif common and max(sizes[0]) <= COMMON:
        height, width = sizes[0]
    else:
        height = width = SIDE
    if common and sizes[0] == (height, width):
        return height, width, "as they are"
    smallest, largest = min(sizes), max(sizes)
    seen = f"{smallest[0]} x {smallest[1]}" + ("" if common else f" to {largest[0]} x {largest[1]}")
    return height, width, f"scaled from {seen} to cover the size, cropped at the centre"
