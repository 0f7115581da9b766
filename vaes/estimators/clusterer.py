"""`VAEClusterer`: rows in groups."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import ClusterMixin

from vaes import uses
from vaes.batch import Data
from vaes.estimators.base import settled
from vaes.estimators.vae import VAE


@dataclass(eq=False, repr=False)
class VAEClusterer(ClusterMixin, VAE):
    """A `vaes.VAE` that puts rows in groups, as `vaes.uses.cluster` does.

    Parameters: n_clusters, the number of groups (None: the classes of a model that has classes,
    else the number from 1 to 20 with the lowest BIC); all others as `vaes.VAE` has them. Fitted: as
    `vaes.VAE`, and `labels_` (n,) of the rows given to `fit`, numbered from 0 without a gap, and
    `representatives_` (k,), the row of each group that is most like it.
    """

    _: KW_ONLY
    n_clusters: int | None = None

    def fit(self, X: Any, y: Any = None) -> VAEClusterer:
        """Trains on rows X and groups them; y is ignored."""
        data = self._encoded(self._fit(X))
        with config_context(array_api_dispatch=False):  # the mixture's start does not know it
            found = uses.cluster(self.model_, data, self.n_clusters, seed=self._seed)
        self._clusters, self._present = found, torch.arange(found.probabilities.shape[1])
        # a group in which no row ends is none
        labels = self._probabilities(data).argmax(1)
        self._present = self._present[labels.bincount(minlength=len(self._present)) > 0]
        self.labels_ = self._probabilities(data).argmax(1).numpy()
        self.representatives_ = found.representatives[self._present].numpy()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The group of each row (n,)."""
        return self.predict_proba(X).argmax(1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probabilities (n, k) of the groups."""
        return self._probabilities(self._encoded(self._read(X).source)).numpy()

    def _probabilities(self, data: Data) -> torch.Tensor:
        model = self._model()
        with config_context(array_api_dispatch=False):
            parts = [self._clusters.assign(model, rows)[1] for rows in self._chunks(data)]
        found = settled(torch.cat(parts)[:, self._present]).double()
        return found / found.sum(1, keepdim=True)
