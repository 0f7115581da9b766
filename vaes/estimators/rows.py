"""Rows as scikit-learn's users have them: checked as it checks them, and given back as they came.

Arrays, lists and frames of numbers pass scikit-learn's own validation, so that its messages and its
rules on feature names hold. What it does not know (files, folders, torch's data, AnnData, frames
with words or dates) goes to the reader of `vaes.data`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from vaes import data as sources
from vaes.batch import Spec, generator
from vaes.data.alike import alike
from vaes.data.annotated import is_annotated
from vaes.data.grids import natural
from vaes.data.infer import shared
from vaes.data.source import Source, cast
from vaes.data.space import to_space
from vaes.data.tables import to_table


class Rows(NamedTuple):
    """source: what `vaes.data.load` and `encode` take · dtype: of numbers about the rows, float32
    where the rows are float32, else float64 · values: the rows as the user laid them out, None
    where the reader of `vaes.data` is the first to see them."""

    source: Any
    dtype: type
    values: np.ndarray | None = None


def read(estimator: BaseEstimator, X: Any, *, reset: bool) -> Rows:
    """Rows X, checked.

    reset: rows to fit on, which set `n_features_in_` and `feature_names_in_`; else they must agree.
    """
    if reset:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
    torch_data = (torch.utils.data.Dataset, torch.utils.data.DataLoader)
    if isinstance(X, (str, os.PathLike, Source, *torch_data)):
        return Rows(X, np.float64)
    if hasattr(X, "collect") or is_annotated(X):
        return Rows(X, np.float64)
    if isinstance(X, torch.Tensor):
        X = (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()
    if isinstance(X, np.ma.MaskedArray):
        X = np.where(np.ma.getmaskarray(X), np.nan, np.ma.getdata(X))
    framed = is_frame(X)
    if framed:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        # a file that says what columns are speaks of a table
        if not of_numbers(X) or getattr(estimator, "schema", None) is not None:
            return Rows(X, np.float64)
    x = check_array(
        X,
        dtype="numeric",
        ensure_all_finite=False,  # the reader says which entry it is, and what can be done
        allow_nd=True,
        ensure_min_samples=2 if reset else 1,
        estimator=estimator,
        input_name="X",
    )
    if not framed and x.ndim == 2:
        validate_data(estimator, x, reset=reset, skip_check_array=True)
    x = x.astype(np.float64) if x.dtype == object else x
    source = sources.load(x, schema=getattr(estimator, "schema", None) if reset else None)
    if framed:
        source.names = tuple(getattr(estimator, "feature_names_in_", ()))
    return Rows(source, np.float32 if x.dtype == np.float32 else np.float64, x)


def is_frame(X: Any) -> bool:
    """Whether X is a pandas, polars or pyarrow frame."""
    return nw.dependencies.is_into_dataframe(X)


def of_numbers(frame: Any) -> bool:
    """Whether every column holds numbers or truth values: then the frame is an array with names."""
    columns = nw.from_native(frame, eager_only=True).schema.dtypes()
    return all(dtype.is_numeric() or dtype == nw.Boolean for dtype in columns)


def describe(estimator: Any, spec: Spec) -> None:
    """`n_features_in_` and `feature_names_in_` of rows that scikit-learn did not look at."""
    if not hasattr(estimator, "n_features_in_"):
        estimator.n_features_in_ = spec.size
        if spec.names:
            estimator.feature_names_in_ = np.array(spec.names, dtype=object)


def kinds(source: Source) -> dict[str, str] | None:
    """Columns of whole numbers of an array that is a table of unlike things: "numeric".

    A grid of levels has no place for a value beyond it, and a fold of a cross-validation may hold
    one; pieces of a numeric column do.
    """
    x = source.x
    if source.layout.get("kind") != "array" or len(source.shape) != 1 or shared(x):
        return None
    names = source.names or [str(j) for j in range(x.shape[1])]
    columns = [x[np.isfinite(x[:, j]), j] for j in range(x.shape[1])]
    whole = [bool(len(c)) and natural(c).kind == "pixel" for c in columns]
    return {name: "numeric" for name, found in zip(names, whole, strict=True) if found} or None


def bits(schema: dict[str, Any], spec: Spec, source: Any) -> torch.Tensor:
    """Grey levels as bits, each 1 with the probability that the level stands for.

    What is drawn for a row is a function of the row, not of its place among others.
    """
    rows = alike(schema, spec, source)
    grey = to_space(spec, rows, np.arange(len(rows)), "static", False).x
    keys = [hashlib.blake2b(row.numpy().tobytes(), digest_size=16).hexdigest() for row in grey]
    draws = [torch.rand(grey.shape[1:], generator=generator("bits", key)) for key in keys]
    return (torch.stack(draws) < grey).to(torch.uint8)


def without_gaps(frame: Any, schema: dict[str, Any], spec: Spec, values: np.ndarray) -> np.ndarray:
    """A frame (n, columns) as Python objects, its gaps taken from decoded rows `values`; those of
    columns that are set aside stay."""
    completed = to_table(schema, spec.names, values)
    given = nw.from_native(frame, eager_only=True)
    out = np.empty(given.shape, dtype=object)
    for j, name in enumerate(given.columns):
        column = given[name]
        gaps = column.is_null().to_numpy()
        if column.dtype.is_float():
            gaps = gaps | column.is_nan().fill_null(True).to_numpy()
        out[:, j] = column.to_list()
        out[gaps, j] = np.nan
        if name in spec.names and gaps.any():
            out[gaps, j] = np.array(completed[name].to_pylist(), dtype=object)[gaps]
    return out


def worded(schema: dict[str, Any], spec: Spec, values: np.ndarray) -> np.ndarray:
    """Decoded rows, as Python objects where some columns hold words or dates; a table of counts as
    integers."""
    layout = schema["layout"]
    if spec.totals and layout["kind"] == "table":
        return cast(values, layout["dtypes"][0])
    dates = any(dtype.startswith(("date", "timestamp")) for dtype in layout.get("dtypes", ()))
    if not dates and not any(layout.get("categories") or ()):
        return values
    columns = to_table(schema, spec.names[spec.gates :], values).columns
    out = np.array([column.to_pylist() for column in columns], dtype=object).T
    out[out == None] = np.nan  # noqa: E711 - entry by entry
    return out


def stacked(X: Any, rows: Rows, values: np.ndarray, schema: dict[str, Any], spec: Spec) -> Any:
    """Rows X with decoded rows `values` below them, as X came: an array, or a frame of its kind.

    Columns that are set aside are missing in the new rows.
    """
    if not is_frame(X):
        given = rows.values
        assert given is not None
        return np.concatenate([given, worded(schema, spec, values)])
    given = nw.from_native(X, eager_only=True)
    if schema["layout"]["kind"] == "table":
        table = to_table(schema, spec.names[spec.gates :], values)
        made = nw.from_arrow(table, backend=given.implementation)
    else:
        whole = [dtype.is_integer() or dtype == nw.Boolean for dtype in given.schema.dtypes()]
        columns = [np.rint(v) if w else v for v, w in zip(values.T, whole, strict=True)]
        made = nw.from_dict(
            dict(zip(given.columns, columns, strict=True)), backend=given.implementation
        )
    found = [
        nw.col(name).cast(dtype) if name in made.columns else nw.lit(None, dtype).alias(name)
        for name, dtype in given.schema.items()
    ]
    whole = nw.concat([given, made.select(*found)])
    whole = whole.select(*[nw.col(name).cast(dtype) for name, dtype in given.schema.items()])
    return nw.maybe_reset_index(whole).to_native()


def labelled(y: Any, labels: np.ndarray) -> Any:
    """Labels `labels` as y came: a series of its kind and name, or an array."""
    given = nw.from_native(y, series_only=True, pass_through=True)
    if not isinstance(given, nw.Series):
        return labels
    made = nw.new_series(given.name, labels.tolist(), given.dtype, backend=given.implementation)
    return made.to_native()
