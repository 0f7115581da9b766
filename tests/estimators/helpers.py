"""Rows and quick estimators that the tests of this folder share."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaes import VAE

QUICK = {"hidden": [16], "steps": 300, "lr": 5e-3, "threads": 1}
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(300, 2)) @ DRAW.normal(size=(2, 5)) + 0.3 * DRAW.normal(size=(300, 5)) + 7
NAMES = [f"c{i}" for i in range(5)]


def quick(recipe: str | None = None, **given: Any) -> VAE:
    return VAE(recipe, **({"latent": 2} | QUICK | given))


def blobs(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows in 4 dimensions around one corner each, 8 standard deviations apart, and their group."""
    draw = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    return 8 * np.eye(4)[y] + draw.normal(size=(len(y), 4)), y
