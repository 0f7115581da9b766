"""Grids of images as one PNG, pixel for pixel, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np

from vaes.errors import UsageError

Path = str | PathLike[str]
TILE, GAP, LINE = 48, 2, 16  # pixels: least side of a tile, a separator, a line of writing
COLUMNS = 10  # pairs beside each other in a picture of reconstructions
BETWEEN, INK = (190, 190, 190), "#333333"
NAMES = ("data", "model")


def grid(
    images: np.ndarray,
    path: Path,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    span: tuple[float, float] | None = None,
) -> None:
    """Images (rows, columns, H, W[, C]) as tiles, enlarged by a whole factor, 2 pixels apart.

    C is 1, 3 or 4. `span`: the values of black and white (None: the least and the largest value
    there is). `rows`, `columns`: labels.
    """
    if images.ndim not in (4, 5) or 0 in images.shape:
        raise UsageError(f"a grid takes images (rows, columns, H, W[, C]), got {images.shape}")
    _tiles(_colours(images, span or _span(images)), path, rows, columns)


def reconstructions(
    original: np.ndarray,
    reconstruction: np.ndarray,
    path: Path,
    *,
    span: tuple[float, float] | None = None,
) -> None:
    """Images (n, H, W[, C]) above their reconstructions above the difference of the two.

    The difference is white where they agree, red where the reconstruction is too bright and blue
    where it is too dark, mean over channels; full colour is the largest difference in the picture.
    """
    if original.shape != reconstruction.shape or original.ndim not in (3, 4) or not len(original):
        raise UsageError(
            f"images {original.shape} were given with reconstructions {reconstruction.shape}; "
            "both are (n, H, W[, C])"
        )
    pairs = np.stack([original, reconstruction])
    difference = pairs[1].astype(np.float64) - pairs[0]
    difference = difference.mean(-1) if original.ndim == 4 else difference
    difference = np.nan_to_num(difference / max(float(np.nanmax(np.abs(difference))), 1e-12))
    full = np.where(difference[..., None] > 0, (189, 31, 1), (20, 95, 180))
    tinted = np.rint(255 + np.abs(difference)[..., None] * (full - 255.0)).astype(np.uint8)
    kinds = np.stack([*_colours(pairs, span or _span(original)), tinted])
    count = min(COLUMNS, len(original))
    blocks = -(-len(original) // count)
    room = np.full((3, blocks * count, *kinds.shape[2:]), 255, np.uint8)
    room[:, : len(original)] = kinds
    tiles = room.reshape(3, blocks, count, *kinds.shape[2:]).swapaxes(0, 1)
    _tiles(tiles.reshape(3 * blocks, *tiles.shape[2:]), path, (*NAMES, "error") * blocks)


def _span(images: np.ndarray) -> tuple[float, float]:
    """The least and the largest value there is."""
    finite = images[np.isfinite(images)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _colours(images: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Images (rows, columns, H, W[, C]) as uint8 (..., 3); what is transparent shows white."""
    low, high = span
    unit = (np.nan_to_num(images.astype(np.float64), nan=low) - low) / max(high - low, 1e-12)
    unit = np.clip(unit if images.ndim == 5 else unit[..., None], 0, 1)
    channels = unit.shape[-1]
    if channels not in (1, 3, 4):
        raise UsageError(f"images with {channels} channels cannot be shown; 1, 3 or 4 can")
    if channels == 4:
        unit = unit[..., :3] * unit[..., 3:] + 1 - unit[..., 3:]
    return np.rint(255 * np.broadcast_to(unit, (*unit.shape[:-1], 3))).astype(np.uint8)


def _tiles(
    tiles: np.ndarray, path: Path, rows: Sequence[str] = (), columns: Sequence[str] = ()
) -> None:
    """Tiles uint8 (rows, columns, H, W, 3) with separators around each, labels left and above."""
    from PIL import Image, ImageDraw, ImageFont

    down, across, height, width = tiles.shape[:4]
    factor = max(1, -(-TILE // min(height, width)))
    tiles = tiles.repeat(factor, 2).repeat(factor, 3)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=12)
    left = max((int(font.getlength(name)) + 8 for name in rows), default=0)
    top = LINE if columns else 0
    size = (left + across * (width + GAP) + GAP, top + down * (height + GAP) + GAP)
    sheet = np.full((size[1], size[0], 3), 255, np.uint8)
    sheet[top:, left:] = BETWEEN
    for i in range(down):
        for j in range(across):
            y, x = top + GAP + i * (height + GAP), left + GAP + j * (width + GAP)
            sheet[y : y + height, x : x + width] = tiles[i, j]
    picture = Image.fromarray(sheet)
    pen = ImageDraw.Draw(picture)
    for i, name in enumerate(rows[:down]):
        middle = top + GAP + i * (height + GAP) + height // 2
        pen.text((left - 4, middle), name, fill=INK, font=font, anchor="rm")
    for j, name in enumerate(columns[:across]):
        middle = left + GAP + j * (width + GAP) + width // 2
        pen.text((middle, top // 2 + 1), name, fill=INK, font=font, anchor="mm")
    picture.save(path, format="PNG")
