"""`VAESampler`: rows added to the rarer classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
from torch import Tensor

from vaes import uses
from vaes.data import Prepared
from vaes.errors import UsageError, did_you_mean
from vaes.estimators.base import Estimator, seed_of
from vaes.estimators.rows import labelled, stacked
from vaes.model import Model

STRATEGIES = ("auto", "minority", "not minority", "not majority", "all")


@dataclass(eq=False, repr=False)
class VAESampler(Estimator):
    """Evens out classes with rows that a variational autoencoder makes: `fit_resample`, as
    imbalanced-learn has it.

    One model learns all rows, and a new row of a class is a variation z ~ q(z|x), x ~ p(x|z) of one
    of the class's rows. With `per_class` each class has a model of its own, and its new rows come
    from the prior: for classes of many rows.

    Parameters: sampling_strategy, which classes get rows: "minority", "not minority", "not
    majority" (as "auto") or "all", up to the size of the largest; of two classes a number, the
    ratio of the smaller to the larger that is wanted; a mapping, class -> number of rows wanted; or
    a function that makes such a mapping of y · per_class · all others as `vaes.VAE` has them.
    Fitted: `classes_`, `sampling_strategy_` (class -> number of new rows), `model_`, or with
    per_class `models_` (class -> model), and what else `vaes.VAE` has.
    """

    _: KW_ONLY
    sampling_strategy: Any = "auto"
    per_class: bool = False

    def fit(self, X: Any, y: Any = None) -> VAESampler:
        """Trains on rows X with the classes y (n,)."""
        labels = self._labels(y)
        wanted = _wanted(self.sampling_strategy, labels)
        prepared, source = self._prepare(X)
        check_consistent_length(source.x, labels)
        self._data = self._encoded(source)
        self.sampling_strategy_ = wanted
        self.classes_, self._classes = np.unique(labels, return_inverse=True)
        self.history_: list[dict[str, Any]] = []
        for name in ("model_", "models_"):  # of an earlier fit
            vars(self).pop(name, None)
        if self.per_class:
            found = [self._of_class(prepared, i) for i in range(len(self.classes_))]
            self.models_ = dict(zip(self.classes_.tolist(), [m for m, _ in found], strict=True))
            self.n_iter_ = sum(steps for _, steps in found)
        else:
            self.model_, self.n_iter_ = self._train(prepared.train, prepared.valid)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Rows X and classes y with the new ones below them, as X and y came: arrays, or frames and
        series of their kind."""
        self.fit(X, y)
        label = list(self.sampling_strategy_)
        counts = list(self.sampling_strategy_.values())
        added = np.repeat(np.array(label, dtype=self.classes_.dtype), counts)
        both = np.concatenate([self._labels(y), added])
        rows, own = self._read(X), self._data.rows(slice(None)).x
        rows = rows._replace(values=self._worded(own)) if rows.values is None else rows
        new = self._decoded(self._made(added, self._seed)) if len(added) else self._decoded(own)[:0]
        return stacked(X, rows, new, self.schema_, self.spec_), labelled(y, both)

    def sample(
        self, n_samples: int = 1, y: Any = None, *, random_state: Any = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """New rows (n, ...) in the user's units and their classes (n,).

        y: the class, or one for each row; None draws classes as often as the training rows have
        them.
        """
        check_is_fitted(self, "classes_")
        if n_samples < 1:
            raise UsageError(f"n_samples={n_samples}: at least one row is drawn")
        seed = seed_of(random_state)
        if y is None:
            drawn = np.random.default_rng(seed).integers(len(self._classes), size=n_samples)
            labels = self.classes_[self._classes[drawn]]
        else:
            labels = np.broadcast_to(np.asarray(y), (n_samples,))
        for label in np.unique(labels):
            if label not in self.classes_:
                hint = did_you_mean(str(label), map(str, self.classes_))
                raise UsageError(f"no row of class '{label}' was given to fit; {hint}")
        return self._worded(self._made(labels, seed)), np.array(labels)

    def _made(self, labels: np.ndarray, seed: int) -> Tensor:
        """New rows of model space, (n, *shape), of the classes `labels` (n,)."""
        x = torch.empty(len(labels), *self.spec_.shape)
        for i, label in enumerate(self.classes_.tolist()):
            places = torch.from_numpy(np.flatnonzero(labels == label))
            if not len(places):
                continue
            if self.per_class:
                x[places] = uses.sample(self.models_[label], len(places), seed=seed + i)[0]
            else:
                own = self._data.part(torch.from_numpy(np.flatnonzero(self._classes == i)))
                x[places] = uses.augment(self.model_, own, len(places), seed=seed + i).x
        return x

    def _of_class(self, prepared: Prepared, i: int) -> tuple[Model, int]:
        """A model of one class alone, in the same units as the others, and the steps it took."""
        own = {p: np.flatnonzero(self._classes[prepared.split[p]] == i) for p in ("train", "valid")}
        train, valid = (torch.from_numpy(own[part]) for part in ("train", "valid"))
        if not len(train):
            raise UsageError(
                f"class '{self.classes_[i]}' has no row to train a model of its own on; "
                "per_class=False varies the rows of a class instead"
            )
        rows = prepared.train.part(train)
        return self._train(rows, prepared.valid.part(valid) if len(valid) else rows)

    def _labels(self, y: Any) -> np.ndarray:
        if y is None:
            raise UsageError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _wanted(strategy: Any, y: np.ndarray) -> dict[Any, int]:
    """How many new rows each class gets, in the order of the classes."""
    found, sizes = np.unique(y, return_counts=True)
    counts = dict(zip(found.tolist(), sizes.tolist(), strict=True))
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if callable(strategy):
        strategy = strategy(y)
    if isinstance(strategy, Mapping):
        return {**dict.fromkeys(counts, 0), **_up_to(strategy, counts)}
    if isinstance(strategy, Real) and not isinstance(strategy, bool):
        ratio = float(strategy)
        target = round(ratio * counts[most]) if 0 < ratio <= 1 else -1
        if len(counts) != 2 or target < counts[least]:
            raise UsageError(
                f"sampling_strategy={strategy}: a number is the ratio of the smaller of two "
                f"classes to the larger; there are {len(counts)}, of {sorted(counts.values())} rows"
            )
        return {**dict.fromkeys(counts, 0), **_up_to({least: target}, counts)}
    if strategy not in STRATEGIES:
        hint = did_you_mean(str(strategy), STRATEGIES)
        raise UsageError(f"sampling_strategy '{strategy}' is not known; {hint}")
    out = {"minority": set(counts) - {least}, "not minority": {least}, "all": set()}
    left = out.get(strategy, {most})
    return {c: 0 if c in left else counts[most] - n for c, n in counts.items()}


def _up_to(targets: Mapping[Any, int], counts: dict[Any, int]) -> dict[Any, int]:
    for label, target in targets.items():
        if label not in counts or target < counts[label]:
            raise UsageError(
                f"sampling_strategy wants {target} rows of class '{label}', of which "
                f"{counts.get(label, 0)} were given; rows are added, never taken away"
            )
    return {label: target - counts[label] for label, target in targets.items()}
