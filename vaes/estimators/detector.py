"""`VAEDetector`: odd rows, by their evidence."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from vaes.errors import UsageError
from vaes.estimators.vae import VAE


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
        scores = self._log_evidence(self._encoded(self._fit(X)))
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`, (n,): below 0 of an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """-1 for an outlier, 1 for any other row, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
