"""Pictures whose factors are known: a white shape on black, of a size, turned, at a place.

In kind the dSprites of Matthey et al. 2017 (three shapes, scales, turns and places, binary), drawn
here, half as wide so that training takes a quarter of the time. Turns stay within a quarter, which
a square looks the same after: every picture has one set of factors, so that a code of pictures can
know all of them, where that of dSprites cannot.
"""

from __future__ import annotations

import numpy as np

from vaes.errors import UsageError

SHAPES = ("square", "ellipse", "heart")
FACTORS = {"shape": 3, "scale": 4, "orientation": 10, "x": 16, "y": 16}  # how many values each has
SIZES = tuple(FACTORS.values())
SIDE, BOX = 32, 16  # pixels of a picture, and of the square within which a shape turns
FINE = 8  # points a pixel and direction: it is white where at least half of them are in the shape
HEART = (1.25, 0.25)  # radius and height of the middle of the circle around its curve
# Two thirds of all pictures, each once, so that held-out rows are new. A hundred are evaluated: at
# 1,000 draws a row more of them would take longer than a short training.
ROWS, PARTS = 20_000, {"train": 18_900, "valid": 1_000, "test": 100}


def grid() -> np.ndarray:
    """Factors (30720, 5) of all pictures, columns as in `FACTORS`, the last changing fastest."""
    return np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), 1)


def factors(n: int = ROWS, seed: int = 0) -> np.ndarray:
    """Factors (n, 5) of n different pictures, each as likely: rows of `grid` in an order that is a
    pure function of `seed`. By default those of the set `sprites`, row by row."""
    every = grid()
    if not 1 <= n <= len(every):
        raise UsageError(
            f"n={n}: there are {len(every):,} different pictures; ask for 1 to as many"
        )
    return every[np.random.default_rng(seed).permutation(len(every))[:n]]


def pictures(values: np.ndarray) -> np.ndarray:
    """The pictures (n, 32, 32) of factors (n, 5), uint8 0 and 1; a pure function of them."""
    v = np.asarray(values)
    if v.ndim != 2 or v.shape[1] != len(SIZES) or v.dtype.kind not in "iu" or not len(v):
        raise UsageError(
            f"factors of shape {v.shape} and dtype {v.dtype}: whole numbers (n, {len(SIZES)}) are "
            "needed"
        )
    for name, size, low, high in zip(FACTORS, SIZES, v.min(0), v.max(0), strict=True):
        if low < 0 or high >= size:
            raise UsageError(f"factor {name} goes from 0 to {size - 1}, not from {low} to {high}")
    kinds, which = np.unique(v[:, :3], axis=0, return_inverse=True)
    masks = np.stack([mask(*kind) for kind in kinds.tolist()])
    out, steps = np.zeros((len(v), SIDE, SIDE), np.uint8), np.arange(BOX)
    down, across = v[:, 4, None] + steps, v[:, 3, None] + steps
    out[np.arange(len(v))[:, None, None], down[:, :, None], across[:, None, :]] = masks[which]
    return out


def mask(shape: int, scale: int, orientation: int) -> np.ndarray:
    """The pixels (16, 16) of one shape in the middle of its square, bool."""
    middles = (np.arange(BOX * FINE) + 0.5) / FINE - BOX / 2
    # of the farthest point, pixels: such sizes that every turn changes at least two pixels
    reach = BOX / 2 * (0.6 + 0.4 * scale / (FACTORS["scale"] - 1))
    x, y = middles / reach, middles[:, None] / -reach  # rows of a picture go down
    angle = np.pi / 2 * orientation / FACTORS["orientation"]
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (_square, _ellipse, _heart)[shape](x, y)
    return inside.reshape(BOX, FINE, BOX, FINE).mean((1, 3)) >= 0.5


# shapes whose farthest point is 1 from the middle
def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) <= 0.5**0.5


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + (2 * y) ** 2 <= 1


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = HEART[0] * x, HEART[0] * y + HEART[1]
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3
