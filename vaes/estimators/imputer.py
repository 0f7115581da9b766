"""`VAEImputer`: gaps filled."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from torch import Tensor

from vaes import uses
from vaes.batch import Batch
from vaes.data.alike import alike
from vaes.errors import UsageError
from vaes.estimators.base import Estimator, seed_of
from vaes.estimators.rows import Rows, is_frame, without_gaps
from vaes.uses.common import at_once
from vaes.uses.impute import BLOCK, COMPLETIONS

# Of `tabular`. To fill gaps any column is asked for given any others, so all rows learn in orders
# of their own and none from z alone. More dropout and more steps than for drawing rows were better
# on cells hidden from the training rows (benchmarks/LOG.md).
USUAL = {
    **{"fixed": 0.0, "alone": 0.0, "flow": 0, "beta": 1.0, "free_bits": 0.1},
    **{"dropout": 0.25, "smooth": True, "patience": 0, "presented": 400_000},
}


@dataclass(eq=False, repr=False)
class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Estimator):
    """Fills gaps (NaN) with what a variational autoencoder, trained on rows with gaps, expects.

    Parameters: k, codes of each row that the expectation is over; all others as `vaes.VAE` has
    them, but for `missing`, and for the recipe: `iwae` where that of `vaes.VAE` is `vae`, and
    `tabular` with options of its own (`USUAL`) where nothing else is said. Fitted: as `vaes.VAE`.
    The rows given to `fit` need have no gaps; a frame may hold words.
    """

    _: KW_ONLY
    k: int = 64
    missing: str | None = field(init=False, default="nan")

    def fit(self, X: Any, y: Any = None) -> VAEImputer:
        """Trains on rows X, gaps and all; y is ignored."""
        if self.k < 1:
            raise UsageError(f"k={self.k}: at least one is needed")
        self._fit(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Rows X with their gaps filled: reals and numbers of more than 20 pieces by their mean
        given what is observed, others by their median, categories by the most probable one. What is
        observed stays to the bit. float32 where X is, else float64; of a frame with words, Python
        objects."""
        return self._filled(X, 0.9)[0]

    def intervals(self, X: Any, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Rows X with each gap filled by the low and by the high end of an interval that holds what
        is missing with probability `level`, by the model."""
        _, low, high = self._filled(X, level)
        return low, high

    def multiple(self, X: Any, n: int = 5, *, random_state: Any = 0) -> list[np.ndarray]:
        """Rows X, n times, their gaps filled by draws that are independent over rows: multiple
        imputations, whose spread says how uncertain the model is of what is missing."""
        rows, seed = self._read(X), seed_of(random_state)
        data = self._encoded(rows.source)
        found = uses.impute(self.model_, data, k=self.k, draws=n, seed=seed).draws
        return [] if found is None else [self._whole(X, rows, x) for x in found]

    def _filled(self, X: Any, level: float) -> tuple[np.ndarray, ...]:
        """Best values, low ends, high ends."""
        rows = self._read(X)
        found = self._imputed(self._encoded(rows.source).rows(slice(None)), level)
        return tuple(self._whole(X, rows, x) for x in found)

    def _imputed(self, whole: Batch, level: float) -> Tensor:
        """Best values, low ends and high ends of all entries, (3, n, *shape), in model space.

        What `uses.impute` draws for a row belongs to the row's place. Here the place is a function
        of what the row holds, so that its values depend neither on its neighbours nor on its
        number; rows that hold the same are filled the same.
        """
        out = torch.stack([whole.x, whole.x, whole.x]).double()
        assert whole.mask is not None
        gaps = (~whole.mask).flatten(1).any(1).nonzero().squeeze(1)
        model = self._model()
        size = at_once(model, max(self.k, COMPLETIONS), BLOCK)
        same: dict[bytes, list[int]] = {}
        for row in gaps.tolist():
            held = whole.x[row].numpy().tobytes() + whole.mask[row].numpy().tobytes()
            same.setdefault(hashlib.blake2b(held, digest_size=16).digest(), []).append(row)
        waiting: list[list[list[int]]] = [[] for _ in range(size)]
        for key, alike_rows in same.items():
            waiting[int.from_bytes(key[:8], "big") % size].append(alike_rows)
        dtype = torch.float64 if self._double else None
        for turn in range(max(map(len, waiting), default=0)):
            placed = [place[turn] if turn < len(place) else [] for place in waiting]
            other = next(rows[0] for rows in placed if rows)
            batch = whole[torch.tensor([rows[0] if rows else other for rows in placed])]
            found = uses.impute(model, batch.to("cpu", dtype), k=self.k, level=level)
            values = torch.stack([found.mean, found.low, found.high]).double()
            for place, rows in enumerate(placed):
                out[:, rows] = values[:, place].unsqueeze(1)
        return out

    def _whole(self, X: Any, rows: Rows, x: Tensor) -> np.ndarray:
        """Rows X, their gaps taken from rows x of model space."""
        values = self._decoded(x)
        if rows.values is not None:
            gaps = np.isnan(rows.values)
            return np.where(gaps, values, rows.values).astype(rows.dtype, copy=False)
        if is_frame(X):
            return without_gaps(X, self.schema_, self.spec_, values)
        given = alike(self.schema_, self.spec_, X, False).x
        return np.where(np.isnan(given), values, given) if given.shape == values.shape else values

    def _default(self) -> str:
        # its bound does not press the decoder towards what one code of a row with gaps can say
        found = super()._default()
        return "iwae" if found == "vae" else found

    def _usual(self) -> dict[str, Any]:
        return dict(USUAL) if self.recipe_ == "tabular" else {}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
