"""`VAEDetector`: odd rows, by their evidence."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import OutlierMixin

from vaes import uses
from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.estimators.vae import VAE
from vaes.uses.detect import unseen_nats

USUAL = 200  # drawn rows that say how improbable a usual entry is


@dataclass(eq=False, repr=False)
class VAEDetector(OutlierMixin, VAE):
    """A `vaes.VAE` that tells which rows are odd: those that it finds improbable.

    Parameters: contamination, the share of the rows given to `fit` that counts as outliers (above
    0, at most .5); all others as `vaes.VAE` has them. Fitted: as `vaes.VAE`, and `offset_`, the log
    evidence below which a row is an outlier.
    """

    _: KW_ONLY
    contamination: float = 0.1

    def fit(self, X: Any, y: Any = None) -> VAEDetector:
        """Trains on rows X, some of which may be odd; y is ignored."""
        if not isinstance(self.contamination, Real) or not 0 < self.contamination <= 0.5:
            raise UsageError(
                f"contamination={self.contamination}: a share of the rows, above 0, at most 0.5"
            )
        scores = self._scores(self._fit(X))
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Log evidence of each row (n,), nats, by 64 importance samples. What no training row could
        have held (a level between two, a word) costs log(n + 1) nats, n the rows trained on."""
        return self._scores(self._read(X).source)

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`, (n,): below 0 of an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """-1 for an outlier, 1 for any other row, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def blame(self, X: Any) -> np.ndarray:
        """How much odder each entry of rows X is than usual for its column, given the rest of its
        row: -log p(x_j | the others), nats, less the median of it over rows that the model draws.

        (n, *shape) float64, 0 in gaps; the entry with the most is the first to look at. Whether a
        column has a value at all, where that is modelled, counts as part of the column.
        """
        data = self._encoded(self._read(X).source, unseen=True)
        drawn, _ = uses.sample(self.model_, USUAL, seed=self._seed)
        usual = uses.blame(self.model_, Batch(drawn)).quantile(0.5, 0)
        given = data.rows(slice(None))
        seen = torch.ones_like(given.x) if given.mask is None else given.mask
        if given.unseen is not None:
            seen = seen | given.unseen
        nats = (uses.blame(self.model_, given) - usual) * seen
        found = nats[:, self.spec_.gates :]
        for column, gate in enumerate(self.spec_.shown_by[self.spec_.gates :]):
            if gate >= 0:
                found[:, column] += nats[:, gate]
        return found.numpy()

    def _scores(self, source: Any) -> np.ndarray:
        data = self._encoded(source, unseen=True)
        return self._log_evidence(data) - np.asarray(unseen_nats(self.model_, data))
