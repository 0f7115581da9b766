"""scikit-learn's faces over the same engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from vaes import data as sources
from vaes import uses
from vaes.batch import Data
from vaes.errors import UsageError
from vaes.evaluate.likelihood import evidence
from vaes.fit import Loop
from vaes.options import split_options
from vaes.plan import plan
from vaes.training import seeded_build

SCORE_DRAWS = 64


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder as transformer and density.

    Parameters: recipe, by name · latent, dimensions of z (None: by the size of a row) · options of
    the recipe and of training, by name (see `vaes recipes NAME` and `vaes.plan.Settings`) · kind,
    binarize, missing, as `vaes.data.prepare` takes them · validation, share of the rows that
    chooses the weights · encoder, decoder, network bodies of your own · random_state, a seed.

    `fit` takes whatever `vaes.data.load` reads: arrays, tensors, frames, files, folders. Fitted:
    `model_`, `spec_`, `schema_`, `notes_`, `history_` (a dict per log line), `n_features_in_`.
    """

    def __init__(
        self,
        recipe: str = "vae",
        *,
        latent: int | None = None,
        options: Mapping[str, Any] | None = None,
        kind: Any = None,
        binarize: str | None = None,
        missing: str | None = None,
        validation: float = 0.1,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        random_state: int = 0,
    ) -> None:
        self.recipe = recipe
        self.latent = latent
        self.options = options
        self.kind = kind
        self.binarize = binarize
        self.missing = missing
        self.validation = validation
        self.encoder = encoder
        self.decoder = decoder
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> VAE:
        """Trains on rows X; y is ignored, as scikit-learn has it for what learns without labels."""
        if not 0 < self.validation < 1:
            raise UsageError(f"validation={self.validation}: a share of the rows, above 0, below 1")
        prepared = sources.prepare(
            sources.load(X),
            split=(1 - self.validation, self.validation, 0.0),
            seed=self.random_state,
            kind=self.kind,
            binarize=self.binarize,
            missing=self.missing,
        )
        # copies: fitting leaves parameters as they were, so that a second fit starts afresh
        bodies = {"encoder": copy.deepcopy(self.encoder), "decoder": copy.deepcopy(self.decoder)}
        given = {"latent": self.latent, **bodies}
        options = dict(self.options or {}) | {k: v for k, v in given.items() if v is not None}
        ours, settings = split_options(self.recipe, options | {"seed": self.random_state})
        model = seeded_build(self.recipe, prepared.spec, settings.seed, ours)
        self.history_: list[dict[str, Any]] = []
        loop = Loop(
            model,
            prepared.train,
            prepared.valid,
            plan(settings, model, len(prepared.train)),
            [lambda _, record: self.history_.append(record) if record else None],
        )
        loop.run()
        self.model_, self.spec_, self.schema_ = model.cpu(), prepared.spec, prepared.schema
        self.notes_ = [*prepared.notes, *loop.notes]
        self.n_features_in_ = prepared.spec.size
        self._n_features_out = model.latent
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means (n, d), float64 where X is; deterministic."""
        rows = self._rows(X)
        codes = uses.encode(self.model_, rows).mean.numpy()
        return codes.astype(np.float64) if getattr(X, "dtype", None) == np.float64 else codes

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Means of p(x|z) of codes (n, d), in the user's units."""
        check_is_fitted(self, "model_")
        dtype = next((p.dtype for p in self.model_.parameters()), torch.float32)
        x = uses.decode(self.model_, torch.as_tensor(np.asarray(Z), dtype=dtype))
        return sources.decode(self.schema_, self.spec_, x)

    def sample(self, n_samples: int = 1, *, mean: bool = False, seed: int = 0) -> np.ndarray:
        """New rows in the user's units: draws of p(x|z), or its means, at z from the prior."""
        check_is_fitted(self, "model_")
        x, _ = uses.sample(self.model_, n_samples, seed=seed, mean=mean)
        return sources.decode(self.schema_, self.spec_, x)

    def reconstruct(self, X: Any) -> np.ndarray:
        """Means of p(x|z) at the posterior means of rows X, in the user's units."""
        rows = self._rows(X)
        x = uses.reconstruct(self.model_, rows).mean
        return sources.decode(self.schema_, self.spec_, x)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log evidence of each row (n,), nats in the user's units, by 64 importance samples."""
        rows = self._rows(X)
        return evidence(self.model_, rows, k=SCORE_DRAWS).per_row.numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log evidence of rows X, nats per row."""
        return float(np.mean(self.score_samples(X)))

    def _rows(self, X: Any) -> Data:
        check_is_fitted(self, "model_")
        return sources.encode(self.schema_, self.spec_, X)
