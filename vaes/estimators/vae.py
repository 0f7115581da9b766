"""`VAE`: transformer and density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from vaes import uses
from vaes.estimators.base import Estimator, seed_of


@dataclass(eq=False, repr=False)
class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, Estimator):
    """A variational autoencoder as transformer and density.

    Parameters: recipe, by name (None: `vae`, for tables of unlike columns `tabular`, for rows of
    counts `counts`) · latent,
    dimensions of z (None: by the size of a row) · hidden, widths of the layers · epochs or steps,
    the length of training · time, seconds after which it ends · batch, lr, patience, device,
    threads, as `vaes.plan.Settings` has them (None: as the recipe has them) · options, a mapping of
    any other option of the recipe or of training, by name (`vaes recipes NAME` lists them):
    options={"beta": 4}; one of them is set, and searched over, as options__beta · kind, binarize,
    missing, as `vaes.data.prepare` takes them (columns of whole numbers of an array count as
    "numeric"; missing="nan" takes NaN as a gap) · schema, a file that says what the columns are, as
    `vaes data FILE --schema` writes it, in place of kind · validation, share of the rows that
    chooses the weights · encoder, decoder, network bodies of your own · random_state, a seed, None
    or a RandomState.

    `fit` takes arrays, lists and frames of numbers as scikit-learn does, and whatever else
    `vaes.data.load` reads: images (n, H, W), tensors, frames with words, AnnData, files, folders.
    Fitted: `model_`, `recipe_`, `spec_`, `schema_`, `notes_`, `history_` (a dict per log line),
    `n_iter_` (steps taken), `n_features_in_`, `feature_names_in_` (where the rows had names).
    """

    def fit(self, X: Any, y: Any = None) -> VAE:
        """Trains on rows X; y is ignored, as scikit-learn has it for what learns without labels."""
        self._fit(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means (n, d), float32 where X is, else float64; deterministic."""
        rows = self._read(X)
        return self._codes(self._encoded(rows.source)).numpy().astype(rows.dtype, copy=False)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Means of p(x|z) of codes (n, d), in the user's units."""
        check_is_fitted(self, "model_")
        model = self._model()
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        codes = torch.from_numpy(np.array(Z, dtype=np.float64)).to(dtype)
        return self._worded(uses.decode(model, codes))

    def sample(
        self, n_samples: int = 1, *, mean: bool = False, random_state: Any = 0
    ) -> np.ndarray:
        """New rows in the user's units: draws of p(x|z), or its means, at z from the prior."""
        check_is_fitted(self, "model_")
        x, _ = uses.sample(self.model_, n_samples, seed=seed_of(random_state), mean=mean)
        return self._worded(x)

    def reconstruct(self, X: Any) -> np.ndarray:
        """Means of p(x|z) at the posterior means of rows X, in the user's units."""
        data, model = self._encoded(self._read(X).source), self._model()
        parts = [uses.reconstruct(model, rows).mean for rows in self._chunks(data)]
        return self._worded(torch.cat(parts))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log evidence of each row (n,), nats in the user's units, by 64 importance samples."""
        return self._log_evidence(self._encoded(self._read(X).source))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log evidence of rows X, nats per row."""
        return float(np.mean(self.score_samples(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
