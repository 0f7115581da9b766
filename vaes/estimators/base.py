"""What the estimators share: parameters, one way to fit, numbers that a row has for itself."""

from __future__ import annotations

import copy
import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from vaes import data as sources
from vaes import recipes, uses
from vaes.batch import Data
from vaes.data import Prepared
from vaes.data.pieces import rounded, step
from vaes.data.source import Source
from vaes.errors import UsageError
from vaes.estimators.rows import Rows, bits, describe, kinds, read, worded
from vaes.evaluate.likelihood import evidence
from vaes.fit import Loop
from vaes.model import Model
from vaes.options import split_options
from vaes.plan import plan
from vaes.training import seeded_build
from vaes.uses.common import CHUNK, as_data, evaluating

NAMED = ("latent", "hidden", "epochs", "steps", "time", "batch", "lr", "patience", "device")
BODIES = ("encoder", "decoder")
NESTED = "options__"
SCORE_DRAWS = 64


@dataclass(eq=False, repr=False)  # the fields are the signature, which scikit-learn reads
class Estimator(BaseEstimator, ABC):
    """The parameters of every estimator; `vaes.VAE` says what they mean."""

    recipe: str | None = None
    _: KW_ONLY
    latent: int | None = None
    hidden: Sequence[int] | None = None
    epochs: int | None = None
    steps: int | None = None
    time: float | None = None
    batch: int | None = None
    lr: float | None = None
    patience: float | None = None
    device: str | None = None
    threads: int | None = None
    options: Mapping[str, Any] | None = None
    kind: Any = None
    binarize: str | None = None
    missing: str | None = None
    schema: Any = None
    validation: float = 0.1
    encoder: nn.Module | None = None
    decoder: nn.Module | None = None
    random_state: Any = 0

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Any:
        """Trains on rows X."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with `deep`, what `options` holds as `options__NAME` besides."""
        found = super().get_params(deep=deep)
        inner = self.options if deep and isinstance(self.options, Mapping) else {}
        return found | {NESTED + name: value for name, value in inner.items()}

    def set_params(self, **params: Any) -> Any:
        """Sets parameters by name, single entries of `options` as `options__NAME`."""
        inner = {k: v for k, v in params.items() if k.startswith(NESTED)}
        super().set_params(**{k: v for k, v in params.items() if k not in inner})
        if inner:
            own = {k.removeprefix(NESTED): v for k, v in inner.items()}
            self.options = {**(self.options or {}), **own}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing is not None
        tags.input_tags.three_d_array = True  # images
        return tags

    def _fit(self, X: Any) -> Source:
        """Trains on rows X and sets what every estimator has; the rows as they were read."""
        prepared, source = self._prepare(X)
        self.history_: list[dict[str, Any]] = []
        self.model_, self.n_iter_ = self._train(prepared.train, prepared.valid)
        self._n_features_out = self.model_.latent
        self._double = _takes_doubles(self.model_, prepared.valid)
        return source

    def _prepare(self, X: Any) -> tuple[Prepared, Source]:
        """Rows X split for training, and as they were read."""
        if not 0 < self.validation < 1:
            raise UsageError(f"validation={self.validation}: a share of the rows, above 0, below 1")
        self._seed = seed_of(self.random_state)
        if self.recipe is not None:  # before the rows are read, which may take long
            split_options(self.recipe, self._options())
        if self.schema is not None and self.kind is not None:
            raise UsageError(
                f"kind={self.kind} was given with schema={self.schema}, which says what every "
                "column is; give one of the two"
            )
        source = sources.load(read(self, X, reset=True).source, schema=self.schema)
        prepared = sources.prepare(
            source,
            split=(1 - self.validation, self.validation, 0.0),
            seed=self._seed,
            kind=self._kinds(source),
            binarize=self.binarize,
            missing=self.missing
            or (recipes.reads(self.recipe) if self.recipe else {}).get("missing"),
        )
        self.spec_, self.schema_, self.notes_ = prepared.spec, prepared.schema, prepared.notes
        self.recipe_ = self.recipe or self._default()
        self._steps = self._steps_of(source)
        describe(self, self.spec_)
        return prepared, source

    def _kinds(self, source: Source) -> Any:
        """What was asked for, and of arrays what their columns are where nothing was."""
        if self.kind is not None or self.binarize is not None:
            return self.kind
        return {**(kinds(source) or {}), **source.kinds} or None

    def _default(self) -> str:
        """The recipe where none is named."""
        own = self.encoder is not None or self.decoder is not None  # which `vae` has a place for
        return "vae" if own else recipes.default(self.spec_)

    def _usual(self) -> dict[str, Any]:
        """Options of the fitted recipe that serve this use better than its own defaults."""
        return {}

    def _train(self, train: Data, valid: Data) -> tuple[Model, int]:
        """A model trained on `train`, and the steps that were taken."""
        given = self._usual() | self._options() | {"seed": self._seed}
        ours, settings = split_options(self.recipe_, given)
        model = seeded_build(self.recipe_, self.spec_, self._seed, ours)
        keep = [lambda _, record: self.history_.append(record) if record else None]
        loop = Loop(model, train, valid, plan(settings, model, len(train)), keep)
        taken = loop.run().taken
        self.notes_ += loop.notes
        return model.cpu(), taken

    def _options(self) -> dict[str, Any]:
        """Options of the recipe and of training that were given, by either way."""
        given = {name: getattr(self, name) for name in (*NAMED, "threads")}
        # copies: fitting leaves parameters as they were, so that a second fit starts afresh
        given |= {name: copy.deepcopy(getattr(self, name)) for name in BODIES}
        return dict(self.options or {}) | {k: v for k, v in given.items() if v is not None}

    def _read(self, X: Any) -> Rows:
        """Rows X, checked against those of `fit`."""
        check_is_fitted(self, "schema_")
        return read(self, X, reset=False)

    def _encoded(self, source: Any, unseen: bool = False) -> Data:
        """Rows for the fitted model; `unseen` as `vaes.data.encode` has it."""
        data = sources.encode(self.schema_, self.spec_, source, unseen=unseen)
        if self.schema_["binarize"] not in ("static", "dynamic"):
            return data
        return replace(data, x=bits(self.schema_, self.spec_, source))

    def _model(self) -> Model:
        """`model_` in double precision, where its parts allow that.

        A product of matrices rounds a row differently beside other neighbours. What is computed in
        double and rounded to single precision after it (`settled`) knows nothing of that: numbers
        about a row do not depend on the rows that it came with.
        """
        return copy.deepcopy(self.model_).double() if self._double else self.model_

    def _chunks(self, data: Data) -> Iterator[Data]:
        """The rows in the model's precision, so many at a time that memory stays bounded."""
        dtype = torch.float64 if self._double else None
        for batch in data.batches(CHUNK):
            yield as_data(self.model_, batch.to("cpu", dtype))

    def _codes(self, data: Data) -> Tensor:
        """Posterior means (n, d)."""
        model = self._model()
        return torch.cat([settled(uses.encode(model, rows).mean) for rows in self._chunks(data)])

    def _log_evidence(self, data: Data) -> np.ndarray:
        """Log evidence (n,) of each row, float64: nats in the user's units, by 64 draws."""
        model = self._model()
        parts = [evidence(model, rows, k=SCORE_DRAWS).per_row for rows in self._chunks(data)]
        return settled(torch.cat(parts)).numpy()

    def _decoded(self, x: Tensor) -> np.ndarray:
        """Rows of model space in the user's units; whole numbers in columns of whole numbers."""
        out = sources.decode(self.schema_, self.spec_, settled(x))
        for j, grain in self._steps.items():
            out[:, j] = rounded(out[:, j], grain)
        return out

    def _worded(self, x: Tensor) -> np.ndarray:
        """The same, with words and dates as Python objects."""
        return worded(self.schema_, self.spec_, self._decoded(x))

    def _steps_of(self, source: Source) -> dict[int, float]:
        """Of the numeric columns of an array, the power of ten that their values are multiples of;
        those of a table are in its schema."""
        if source.layout.get("kind") != "array" or source.x.dtype.kind != "f":
            return {}
        kinds = [kind for kind, _ in self.spec_.column_kinds()] if len(source.shape) == 1 else []
        columns = {j: source.x[:, j] for j, kind in enumerate(kinds) if kind == "numeric"}
        grains = {j: step(c[~np.isnan(c)].astype(np.float64)) for j, c in columns.items()}
        return {j: grain for j, grain in grains.items() if grain}


def settled(x: Tensor) -> Tensor:
    """Numbers rounded to the 24 bits of single precision, float64; see `Estimator._model`."""
    bits, exponent = np.frexp(x.double().numpy())
    return torch.from_numpy(np.ldexp(np.rint(bits * 2**24) / 2**24, exponent))


def seed_of(random_state: Any) -> int:
    """A seed from what scikit-learn takes: a number, None (a fresh one) or a RandomState."""
    draw = check_random_state(random_state)
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(draw.randint(2**31 - 1))


def _takes_doubles(model: Model, data: Data) -> bool:
    """False where a part, such as a network of the user's, insists on single precision."""
    batch = data.rows(slice(0, 1)).to("cpu", torch.float64)
    try:
        double = copy.deepcopy(model).double()
        with evaluating(double):
            z = double.posterior(batch).mean
            double.likelihood(z, batch).log_prob(batch.x, batch.mask)
    except RuntimeError:
        return False
    return True
