"""What goes in and what comes out: dtypes, frames, names, words, images, files, tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from tests.data.helpers import refused
from tests.estimators.helpers import NAMES, ROWS, quick
from vaes import VAE

FRAMES = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}
DRAW = np.random.default_rng(2)
MIXED = {
    "age": DRAW.integers(18, 90, 200),
    "wage": np.exp(DRAW.normal(size=200)),
    "town": DRAW.choice(["Bern", "Genf", "Chur"], 200).tolist(),
    "member": DRAW.random(200) < 0.3,
}


def frame(kind: str, rows: np.ndarray = ROWS, names: list[str] = NAMES):
    return FRAMES[kind]({name: rows[:, i] for i, name in enumerate(names)})


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return quick(steps=50).fit(ROWS).transform(ROWS)


@pytest.mark.parametrize("given", [np.float32, np.float64, np.float16, np.int64, np.uint8])
def test_codes_have_the_precision_of_the_rows(given):
    rows = np.rint(10 * ROWS).clip(0, 255).astype(given)
    expected = np.float32 if given is np.float32 else np.float64
    model = quick(steps=5).fit(rows)
    assert model.transform(rows).dtype == expected
    assert model.score_samples(rows).dtype == np.float64
    assert model.inverse_transform(model.transform(rows)).dtype == given
    assert model.transform(rows.tolist()).dtype == np.float64


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_of_numbers_is_an_array_with_names(codes, kind):
    model = quick(steps=50).fit(frame(kind))
    assert np.array_equal(model.transform(frame(kind)), codes)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_features_in_ == 5
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert np.array_equal(model.transform(ROWS), codes)
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        model.transform(frame(kind, ROWS[:, ::-1], NAMES[::-1]))
    with pytest.raises(ValueError, match="unseen at fit time"):
        model.transform(frame(kind, ROWS, [*NAMES[:4], "z"]))


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_named_like_labels_are_columns(kind):
    """X is what is learnt from, whatever it is called; labels are y."""
    names = ["x", "y", "target", "label", "class"]
    whole = np.rint(ROWS)
    assert quick(steps=5).fit(frame(kind, whole, names)).model_.spec.size == 5


def test_kinds_by_name():
    model = quick(steps=5, kind={"c1": "numeric"}).fit(frame("pandas"))
    assert [kind for kind, _ in model.spec_.column_kinds()] == ["real", "numeric", *["real"] * 3]


def test_columns_without_names_have_none():
    model = quick(steps=5).fit(pd.DataFrame(ROWS))
    assert not hasattr(model, "feature_names_in_")
    assert model.transform(pd.DataFrame(ROWS)).shape == (300, 2)


def test_names_go_with_the_rows_that_had_them():
    model = quick(steps=5).fit(frame("pandas")).fit(ROWS)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_with_words(kind):
    """Every column counts, words come back as words, and a row's order stands for nothing."""
    model = quick(steps=50).fit(FRAMES[kind](MIXED))
    assert model.n_features_in_ == 4
    assert model.recipe_ == "tabular"
    assert model.feature_names_in_.tolist() == list(MIXED)
    codes = model.transform(FRAMES[kind](MIXED))
    part = FRAMES[kind]({k: list(v)[:7] for k, v in MIXED.items()})
    assert np.array_equal(model.transform(part), codes[:7])
    drawn = model.sample(50)
    assert drawn.shape == (50, 4)
    assert set(drawn[:, 2]) <= set(MIXED["town"])
    ages = drawn[:, 0].astype(float)
    assert (ages == np.rint(ages)).all()
    assert np.isfinite(model.score(FRAMES[kind](MIXED)))
    with pytest.raises(ValueError, match="unseen at fit time"):
        model.transform(FRAMES[kind]({"x": MIXED["age"], **MIXED}))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_codes_as_frames(kind, codes):
    model = quick(steps=50).set_output(transform=kind)
    given = frame(kind)
    found = model.fit_transform(given)
    assert isinstance(found, FRAMES[kind])
    assert list(found.columns) == ["vae0", "vae1"]
    assert np.array_equal(found.to_numpy(), codes)
    back = model.inverse_transform(found)
    assert np.array_equal(back, model.inverse_transform(codes))


def test_pandas_keeps_its_index():
    rows = pd.DataFrame(ROWS[:20], index=range(100, 120))
    found = quick(steps=5).set_output(transform="pandas").fit(ROWS).transform(rows)
    assert found.index.tolist() == list(range(100, 120))


def test_tensors_and_what_torch_reads(codes):
    x = torch.from_numpy(ROWS)
    model = quick(steps=50).fit(x)
    assert np.array_equal(model.transform(x), codes)
    assert model.transform(x.float()).dtype == np.float32
    data = torch.utils.data.TensorDataset(x)
    assert np.array_equal(quick(steps=50).fit(data).transform(data), codes)


def test_images():
    images = DRAW.integers(0, 256, (40, 8, 8)).astype(np.uint8)
    model = quick(steps=5).fit(images)
    assert model.n_features_in_ == 64
    assert model.reconstruct(images).shape == (40, 8, 8)
    assert model.sample(2).dtype == np.uint8
    with refused("(1, 7, 8)", "(1, 8, 8)"):
        model.transform(images[:, 1:])
    with refused("(64,)"):
        model.transform(images.reshape(40, 64))


@pytest.mark.parametrize("how", ["static", "dynamic", "threshold"])
def test_bits_of_a_row_belong_to_the_row(how):
    """Grey levels become bits by draws that know neither the row's place nor its neighbours."""
    grey = DRAW.integers(0, 256, (4, 6, 6)).repeat(30, axis=0).astype(np.uint8)
    grey[:, :3] = DRAW.integers(0, 2, (120, 3, 6)) * 255
    model = VAE(latent=2, steps=20, binarize=how).fit(grey)
    scores = model.score_samples(grey)
    assert np.array_equal(model.score_samples(grey[::-1])[::-1], scores)
    assert np.array_equal(model.score_samples(grey[50:51]), scores[50:51])
    # of flat grey, the share of ones is the level
    flat = np.full((400, 6, 6), 64, dtype=np.uint8)
    flat[:, 0] = DRAW.integers(0, 2, (400, 6)) * 255
    drawn = model._encoded(flat).x[:, 0, 1:].float().mean().item()
    assert drawn == (0 if how == "threshold" else pytest.approx(64 / 255, abs=0.02))


def test_files(tmp_path, codes):
    np.save(tmp_path / "rows.npy", ROWS)
    model = quick(steps=50).fit(tmp_path / "rows.npy")
    assert np.array_equal(model.transform(str(tmp_path / "rows.npy")), codes)
    assert np.array_equal(model.transform(ROWS), codes)
    assert model.n_features_in_ == 5
    pd.DataFrame(MIXED).to_csv(tmp_path / "rows.csv", index=False)
    model = quick(steps=5).fit(tmp_path / "rows.csv")
    assert model.feature_names_in_.tolist() == list(MIXED)
    assert model.transform(tmp_path / "rows.csv").shape == (200, 2)
    assert model.transform(pd.DataFrame(MIXED)).shape == (200, 2)


def test_a_folder_of_images(tmp_path):
    from PIL import Image

    for i in range(12):
        Image.fromarray(DRAW.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    model = VAE(latent=2, steps=5).fit(tmp_path)
    assert model.transform(tmp_path).shape == (12, 2)
    assert model.n_features_in_ == 64


def test_what_is_no_rows():
    for wrong, error, said in (
        (sparse.csr_array(ROWS), TypeError, "dense data is required"),
        (ROWS + 1j, ValueError, "Complex data not supported"),
        (ROWS[0], ValueError, "Reshape your data"),
        (ROWS[:1], ValueError, "minimum of 2 is required by VAE"),
        (ROWS[:, :0], ValueError, "minimum of 1 is required by VAE"),
        ([["a", "b"], ["c", "d"]], ValueError, "not compatible with arrays of bytes/strings"),
        (pd.Series(ROWS[:, 0]), ValueError, "2-dimensional container"),
        (np.where(ROWS > 9, np.inf, ROWS), ValueError, "infinite"),
    ):
        with pytest.raises(error, match=said):
            VAE(steps=5).fit(wrong)
    with refused("collect() it first"):
        VAE(steps=5).fit(frame("polars").lazy())


def test_one_column_and_a_constant_one():
    one = VAE(steps=20).fit(ROWS[:, :1])
    assert np.isfinite(one.score_samples(ROWS[:, :1])).all()
    rows = np.column_stack([ROWS, np.full(300, 3.0)])
    model = quick(steps=20).fit(rows)
    assert np.isfinite(model.transform(rows)).all()
    assert np.isfinite(model.score(rows))


def test_objects_that_are_numbers(codes):
    assert np.array_equal(quick(steps=50).fit(ROWS.astype(object)).transform(ROWS), codes)
    gaps = pd.DataFrame({"a": pd.array([1, None, 3, 9], dtype="Int64"), "b": [1.5, 2.0, 2.5, 3.0]})
    model = VAE(missing="nan", steps=5).fit(gaps)
    assert np.isfinite(model.transform(gaps)).all()
