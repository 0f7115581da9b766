"""Counts: what is taken for them, AnnData by what it has, and whole numbers with names back."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from vaes import data as sources
from vaes.data.grids import LARGEST_COUNT
from vaes.data.infer import infer
from vaes.errors import DataError
from vaes.recipes import default


def counts(n: int = 60, columns: int = 20, most: int = 700, seed: int = 0) -> np.ndarray:
    """Counts with a 0 and a 1 in every column, beyond 255 in one."""
    x = np.random.default_rng(seed).poisson(np.linspace(0.2, 9, columns), (n, columns))
    x[0], x[1], x[2, 0] = 0, 1, most
    return x


def annotated(x, names: int | None = None, **obs) -> SimpleNamespace:
    """What AnnData has, and no more."""
    n, columns = x.shape
    words = [f"gene{j}" for j in range(names or columns)]
    return SimpleNamespace(X=x, obs=pd.DataFrame(obs, index=range(n)), var_names=pd.Index(words))


class OnDisk:
    """A matrix as h5py has it: a shape, a dtype, rows by slices."""

    def __init__(self, x):
        self._x, self.shape, self.dtype = x, x.shape, x.dtype

    def __getitem__(self, rows):
        return self._x[rows]


def kinds(x, **how) -> set[str]:
    return {grid.kind for grid in infer(sources.load(x), **how).grids}


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32"])
def test_many_columns_of_whole_numbers_beyond_255_are_counts(dtype):
    prepared = sources.prepare(sources.load(counts().astype(dtype)))
    assert prepared.spec.kinds == ("count",)
    assert prepared.spec.totals
    assert default(prepared.spec) == "counts"
    assert "every entry is count" in prepared.notes
    batch = prepared.train.rows(slice(None))
    assert np.array_equal(batch.total, counts()[prepared.split["train"]].sum(1))
    out = sources.decode(prepared.schema, prepared.spec, prepared.train.x)
    assert out.dtype == dtype
    assert np.array_equal(out, counts()[prepared.split["train"]])


def test_a_table_of_counts_is_no_table_of_unlike_columns():
    frame = pd.DataFrame(counts()).rename(columns="g{}".format)
    assert kinds(frame) == {"count"}
    frame["age"] = np.linspace(0.5, 80, len(frame))
    assert kinds(frame) == {"numeric"}
    assert kinds(frame, kind={"g3": "count"}) == {"numeric", "count"}


def test_what_is_not_counted_stays_as_it_was():
    x = counts()
    assert kinds(counts(most=255)) <= {"pixel", "binary"}
    assert "count" not in kinds(x[:, :15])  # too few columns to be of one sort
    assert kinds(x - 1) == {"pixel", "real"}
    assert kinds(x + 0.5) == {"real"}
    assert "count" not in kinds(x + 1)  # nothing reaches down to 0
    assert kinds(x.reshape(60, 4, 5)) == {"real"}  # images


def test_small_counts_are_asked_for():
    x = counts(most=30)
    assert kinds(x) <= {"pixel", "binary"}
    assert kinds(x, kind="count") == {"count"}
    assert kinds(x[:, :2], kind="count") == {"count"}
    prepared = sources.prepare(sources.load(x[:, :1]), kind="count")
    assert not prepared.spec.totals  # its total would be the row itself
    assert default(prepared.spec) == "vae"


def test_gaps_of_counts_are_left_out():
    x = counts().astype(float)
    x[5, :3] = np.nan
    with pytest.raises(DataError, match="--missing nan"):
        sources.prepare(sources.load(x))
    prepared = sources.prepare(sources.load(x), missing="nan", split=(1.0, 0, 0))
    assert prepared.spec.totals
    assert prepared.train.rows(slice(5, 6)).total == np.nansum(x[5])


@pytest.mark.parametrize("value", [-1, 0.5, LARGEST_COUNT + 1.0])
def test_what_cannot_be_counted_is_named(value):
    x = counts().astype(float)
    x[7, 3] = value
    with pytest.raises(DataError, match=re.escape(f"column 3 holds {value:g}; counts are")):
        infer(sources.load(x), "count")
    prepared = sources.prepare(sources.load(counts()))
    with pytest.raises(DataError, match=r"row 7 .*column 3 holds .*the run expects counts"):
        sources.encode(prepared.schema, prepared.spec, x)
    with pytest.raises(DataError, match="for columns, not for images"):
        infer(sources.load(counts().reshape(60, 4, 5)), "count")


@pytest.mark.parametrize(
    "store", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_array, OnDisk]
)
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_annotated_rows_however_they_are_stored(store, dtype):
    source = sources.load(annotated(store(counts().astype(dtype))))
    assert np.array_equal(source.x, counts())
    assert source.names == tuple(f"gene{j}" for j in range(20))
    assert source.layout["dtypes"] == ["int64"] * 20


def test_annotated_rows_come_back_as_whole_numbers_with_names(tmp_path):
    data = annotated(scipy.sparse.csr_matrix(counts().astype("float32")))
    prepared = sources.prepare(sources.load(data), split=(1.0, 0, 0))
    table = sources.table(prepared.schema, prepared.spec, prepared.train.x)
    assert table.column_names == [f"gene{j}" for j in range(20)]
    assert {str(field.type) for field in table.schema} == {"int64"}
    path = sources.write(prepared.schema, prepared.spec, prepared.train.x, tmp_path / "rows.csv")
    assert np.array_equal(pd.read_csv(path), counts())
    again = sources.encode(prepared.schema, prepared.spec, path)
    assert np.array_equal(again.x, prepared.train.x)
    turned = annotated(counts()[:, ::-1])
    turned.var_names = turned.var_names[::-1]
    assert np.array_equal(sources.encode(prepared.schema, prepared.spec, turned).x, again.x)


def test_labels_and_columns_of_annotated_rows():
    kind = pd.Categorical(np.repeat(["b", "a", None], 20))
    data = annotated(counts(), cell=kind)
    source = sources.load(data, label="cell", drop=["gene3"])
    assert source.classes == ("a", "b")
    assert source.y.tolist() == [1] * 20 + [0] * 20 + [-1] * 20
    assert source.shape == (19,)
    assert "gene3" not in source.names
    for how, message in (
        ({"label": "cel"}, "label column 'cel' does not exist in obs; did you mean 'cell'"),
        ({"drop": ["gene33"]}, "column 'gene33' does not exist"),
        ({"label": [1, 2]}, "60 rows but 2 labels"),
    ):
        with pytest.raises(DataError, match=message):
            sources.load(data, **how)
    with pytest.raises(DataError, match="20 columns, but var_names has 19"):
        sources.load(annotated(counts(), names=19))
    data.var_names = pd.Index(["twice"] * 20)
    with pytest.raises(DataError, match="two columns are named 'twice'"):
        sources.load(data)
    data.X = None
    with pytest.raises(DataError, match="no matrix X"):
        sources.load(data)


def test_the_package_anndata_is_asked_for_where_a_file_is_given(tmp_path, monkeypatch):
    path = tmp_path / "cells.h5ad"
    path.write_bytes(b"no HDF5")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(DataError, match=r"cells\.h5ad is read by the package anndata.*pip install"):
        sources.load(path)

    def read_h5ad(path):
        if path.name == "bad.h5ad":
            raise KeyError("no group 'obs'\nand more")
        return annotated(counts())

    monkeypatch.setitem(sys.modules, "anndata", SimpleNamespace(read_h5ad=read_h5ad))
    assert sources.load(path).name == "cells"
    (tmp_path / "bad.h5ad").touch()
    with pytest.raises(DataError, match=r"bad\.h5ad is not a readable \.h5ad file: .*no group"):
        sources.load(tmp_path / "bad.h5ad")


def test_nothing_else_imports_it():
    code = (
        "import sys, numpy as np, types, pandas as pd; from vaes import data; "
        "a = types.SimpleNamespace(X=np.eye(3), obs=pd.DataFrame(index=range(3)), "
        "var_names=pd.Index(list('abc'))); data.load(a); assert 'anndata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
