"""What columns are taken for, how rows are split and scaled, and the way back to the user."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image

from tests.data.helpers import needs_data, refused
from vaes.batch import Spec
from vaes.data import Prepared, decode, encode, load, prepare, write
from vaes.data.infer import infer
from vaes.data.source import Source
from vaes.data.split import fingerprint, split_rows
from vaes.errors import DataError, DiskError, UsageError

nan = float("nan")
random = np.random.default_rng(0)
real = random.normal(5, 3, (40, 2))


def grids(x, **options) -> list[tuple]:
    """(kind, levels, low, span) of each column of an array, which is not cut into pieces."""
    found = infer(load(np.asarray(x)), **options).grids
    assert not any(grid.pieces for grid in found)
    return [tuple(grid[:4]) for grid in found]


def whole(prepared: Prepared, x: Any) -> torch.Tensor:
    """Raw rows in model space."""
    data = encode(prepared.schema, prepared.spec, x)
    return data.rows(slice(None)).x


# --- what columns are ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 1, 1, 0], ("binary", 2, 0, 1)),
        ([3.5, -2, 3.5, -2], ("binary", 2, -2, 5.5)),
        ([False, True, True, True], ("binary", 2, 0, 1)),
        ([0, 5, 2, 1], ("pixel", 6, 0, 5)),
        ([-4, 4, 0, 4], ("pixel", 3, -4, 8)),
        ([1.0, 2.0, 3.0, 9.0], ("pixel", 9, 1, 8)),
        ([10, 0, 0, 255], ("pixel", 52, 0, 255)),  # multiples of 5
        ([1, 0, 0, 255], ("pixel", 256, 0, 255)),
        ([1, 0, 0, 256], ("real", 0, 0, 1)),
        ([0.2, 0.4, 0.6, 0.2], ("real", 0, 0, 1)),
        ([0.0, 1.0, 0.2, 0.4], ("real", 0, 0, 1)),  # all on k / 255, but too few to say so
        ([0.1, 2.5, 0.3, 1e308], ("real", 0, 0, 1)),
        ([1e308, -1e308, 1e308, 1e308], ("real", 0, 0, 1)),
        ([2**60, 0, 1, 2], ("real", 0, 0, 1)),
    ],
)
def test_what_a_column_is(column, expected):
    # A real column beside it keeps the decision from being about the whole array.
    x = np.column_stack([np.array(column, dtype=np.float64), [0.1, 0.7, 0.4, 0.15]])
    assert grids(x)[0] == expected if expected[0] != "real" else grids(x) == [expected]


def test_constant_columns_are_real_with_scale_one():
    x = np.column_stack([real, np.full(40, 7.0)])
    prepared = prepare(load(x))
    assert prepared.spec.kinds == ("real",)
    assert (prepared.spec.shift[2], prepared.spec.scale[2]) == (7.0, 1.0)
    with refused("4 rows", "7", "nothing to learn", error=DataError):
        infer(load(np.full((4, 3), 7.0)))


def test_rounding_noise_is_constant():
    x = np.column_stack([real, 1e9 + np.arange(40) % 3 * 2e-7])
    assert prepare(load(x)).spec.scale[2] == 1.0


def test_integers_of_every_width():
    for dtype in (np.int8, np.uint8, np.int64):
        top = min(127, np.iinfo(dtype).max)
        low = max(-100, np.iinfo(dtype).min)
        x = np.array([[low], [top], [3]], dtype)
        assert grids(x) == [("pixel", top - low + 1, low, top - low)]
        assert grids(x[:2], kind="pixel") == [("pixel", 2, low, top - low)]


def test_images_get_one_decision():
    x = random.integers(0, 200, (6, 5, 5), dtype=np.uint8)
    assert grids(x) == [("pixel", 256, 0, 255)]
    assert grids(x, kind="pixel") == [("pixel", 256, 0, 255)]
    assert grids(x % 17) == [("pixel", 17, 0, 16)]
    x[0, 0, :2] = 0, 199
    assert grids(x + 1.0) == [("pixel", 200, 1, 199)]
    assert grids(x / 255) == [("pixel", 256, 0, 1)]
    assert grids((x / 255).astype(np.float32)) == [("pixel", 256, 0, 1)]
    assert grids(x / 254) == [("real", 0, 0, 1)]
    assert grids((x > 99) * 255) == [("binary", 2, 0, 255)]


def test_flat_columns_that_are_alike_share_a_grid():
    digits = load("digits").x.reshape(1797, 64)  # some columns are always 0
    assert grids(digits) == [("pixel", 17, 0, 16)]
    assert grids(digits.astype(float) / 16) != [("pixel", 17, 0, 16)]
    bits = np.zeros((5, 3), int)
    bits[0, 0] = 1
    assert grids(bits) == [("binary", 2, 0, 1)]
    unlike = np.column_stack([np.arange(40)] + [np.arange(40) % 5] * 19)
    assert {g[1] for g in grids(unlike)} == {40, 5}


def test_kinds_can_be_given():
    x = np.column_stack([np.arange(6) % 3, np.arange(6) % 2, np.arange(6) * 0.5])
    assert grids(x, kind="real") == [("real", 0, 0, 1)]
    kinds = [g[0] for g in grids(x, kind={"0": "category", "1": "real"})]
    assert kinds == ["category", "real", "real"]
    assert grids(x[:, :1], kind="category") == [("category", 3, 0, 1)]
    assert grids(np.array([[0, 0], [1, 0], [1, 0]]), kind="binary") == [("binary", 2, 0, 1)]


@pytest.mark.parametrize(
    ("x", "options", "parts"),
    [
        (real, {"kind": "reel"}, ["'reel'", "did you mean 'real'?"]),
        (real, {"kind": {"7": "real"}}, ["column '7'"]),
        (real, {"kind": {"0": "pixel"}}, ["column 0", f"{real[0, 0]:g}"]),
        (real, {"kind": "category"}, ["category", f"{real[0, 0]:g}"]),
        ([[0], [-1], [5]], {"kind": "category"}, ["-1"]),
        ([[0], [3], [7]], {"kind": "binary"}, ["column 0", "3 beside 0 and 7", "--binarize"]),
        ([[0, 3], [1, 3], [0, 3]], {"kind": {"1": "binary"}}, ["column 1", "only 3"]),
        ([[0, 3], [1, 3], [0, 3]], {"kind": {"1": "pixel"}}, ["column 1", "only 3"]),
        ([[0], [3], [10**6]], {"kind": "pixel"}, ["0 to 1e+06", "too many"]),
        (np.arange(48).reshape(3, 4, 4), {"kind": {"0": "real"}}, ["images take one kind"]),
        (np.arange(48).reshape(3, 4, 4), {"kind": "binary"}, ["the images hold 1", "--binarize"]),
        (real, {"binarize": "static"}, ["grey levels"]),
        ([[0, 0.5], [3, 0.1], [7, 0.2]], {"binarize": "static"}, ["one scale"]),
        (real, {"binarize": "statik"}, ["did you mean 'static'?"]),
        (real, {"missing": "zero"}, ["'zero'", "nan"]),
    ],
)
def test_impossible_wishes_are_one_line(x, options, parts):
    with refused(*parts):
        infer(load(np.asarray(x)), **options)


# --- gaps --------------------------------------------------------------------------------------


def test_gaps_and_infinities_are_named(tmp_path: Path):
    x = real.copy()
    x[3, 1] = nan
    with refused("row 3", "column 1", "--missing nan", error=DataError):
        infer(load(x))
    x[2, 0] = -math.inf
    for missing in (None, "nan"):
        with refused("row 2", "column 0", "-inf"):
            infer(load(x), missing=missing)
    # A table of unlike columns may have gaps, one of bits may not.
    (tmp_path / "t.csv").write_text("a,b\n1,1\n0,\n")
    with refused("row 1", "column 'b'", "--missing nan"):
        infer(load(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,\n7,1\n")
    assert infer(load(tmp_path / "t.csv")).missing == "modelled"
    assert infer(load(tmp_path / "t.csv"), missing="nan").missing == "nan"
    with refused("row 1", "column 'b'", "--missing nan"):
        infer(load(tmp_path / "t.csv"), kind="real")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,inf\n7,1\n")
    with refused("row 1", "column 'b'", "infinite"):
        infer(load(tmp_path / "t.csv"))
    image = np.zeros((2, 5, 6), np.float32)
    image[1, 2, 3] = nan
    with refused("row 1", "entry (0, 2, 3)"):
        infer(load(image))
    x = real.copy()
    x[:, 1] = nan
    with refused("column 1", "no value"):
        infer(load(x), missing="nan")


def test_gaps_become_zeros_under_a_mask():
    x = np.column_stack([real, np.arange(40) % 2.0])
    x[::3, 0] = nan
    x[1, 2] = nan
    prepared = prepare(load(x), missing="nan")
    assert prepared.spec.missing
    assert prepared.spec.kinds == ("real", "real", "binary")
    for part in ("train", "valid", "test"):
        data, raw = getattr(prepared, part), x[prepared.split[part]]
        assert data.mask is not None
        assert (data.mask.numpy() == ~np.isnan(raw)).all()
        assert (data.x[~data.mask] == 0).all()
    # Statistics are those of what is there.
    seen = x[prepared.split["train"], 0]
    assert prepared.spec.shift[0] == pytest.approx(np.nanmean(seen), rel=1e-12)
    assert prepared.spec.scale[0] == pytest.approx(np.nanstd(seen), rel=1e-12)
    # A run that knows no gaps refuses them, and the other way round gaps come through.
    with refused("row 0", "column 0", "expects complete rows"):
        encode(prepare(load(real)).schema, prepare(load(real)).spec, np.full((1, 2), nan))
    new = encode(prepared.schema, prepared.spec, np.full((1, 3), nan))
    assert new.mask is not None
    assert not new.mask.any()


def test_gaps_in_bytes():
    x = random.integers(0, 3, (30, 4)).astype(float)
    x[5] = nan
    prepared = prepare(load(x), missing="nan")
    assert prepared.train.x.dtype == torch.uint8
    data = encode(prepared.schema, prepared.spec, x)
    assert (data.x[5] == 0).all()


# --- splits ------------------------------------------------------------------------------------


def test_splits_are_whole_and_a_function_of_the_seed():
    source = load(np.arange(200.0).reshape(100, 2))
    rows = split_rows(source)
    assert [len(rows[p]) for p in ("train", "valid", "test")] == [80, 10, 10]
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(100))
    again, other = split_rows(source), split_rows(source, seed=1)
    assert all((rows[p] == again[p]).all() for p in rows)
    assert any((rows[p] != other[p]).any() for p in rows)
    assert [len(r) for r in split_rows(source, (0.9, 0.1, 0.0)).values()] == [90, 10, 0]


def test_small_and_large_sets():
    for rows in range(3, 30):
        parts = split_rows(load(np.zeros((rows, 1))))
        assert min(len(r) for r in parts.values()) >= 1
    with refused("1 row given", "at least 3", error=DataError):
        prepare(load(np.zeros((1, 4))))
    with refused("2 rows given", "at least 3"):
        prepare(load(np.eye(2)))
    many = split_rows(load(np.zeros((200_000, 1), np.uint8)))
    assert [len(many[p]) for p in ("train", "valid", "test")] == [170_000, 10_000, 20_000]
    for split in ((0.5, 0.5), (0.9, 0.2, 0.1), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)):
        with refused("split", error=UsageError):
            split_rows(load(np.eye(5)), split)


def test_the_sets_own_parts_go_first():
    parts = {"train": np.arange(90), "test": np.arange(90, 100)}
    source = Source(np.arange(300).reshape(100, 3), parts=parts)
    rows = split_rows(source)
    assert rows["test"].tolist() == list(range(90, 100))
    assert len(rows["valid"]) == 9
    assert sorted([*rows["train"], *rows["valid"]]) == list(range(90))
    source.parts = {"train": np.array([4]), "test": np.array([5])}
    with refused("training part has 1 rows"):
        split_rows(source)


def test_copies_across_parts_are_counted():
    x = np.repeat(random.normal(size=(1, 3)), 20, 0)
    x[0] += 1  # one row is unlike the others
    prepared = prepare(load(x))
    expected = [f"{n} of the 2 {p} rows also appear" for p, n in copies(prepared).items() if n]
    said = [note for note in prepared.notes if "also" in note]
    assert said == [line + " among the training rows" for line in expected]
    assert not any("also" in note for note in prepare(load(real)).notes)


def copies(prepared: Prepared) -> dict[str, int]:
    return {p: int((prepared.split[p] != 0).sum()) for p in ("valid", "test")}


def test_statistics_are_those_of_the_training_rows():
    prepared = prepare(load(real))
    train = real[prepared.split["train"]]
    assert prepared.spec.shift == pytest.approx(train.mean(0), rel=1e-12)
    assert prepared.spec.scale == pytest.approx(train.std(0), rel=1e-12)
    assert prepared.spec.rows == len(prepared.train) == 32
    assert prepared.train.index is not None
    assert prepared.train.index.tolist() == list(range(32))
    assert prepared.test.index is not None
    assert set(prepared.test.index.tolist()) == {-1}
    assert prepared.train.x.dtype == torch.float32
    assert torch.equal(prepared.train.x, whole(prepared, train))


def test_alphabets_are_those_of_all_rows():
    x = np.zeros((50, 1), int)
    x[:, 0] = np.arange(50) % 2
    prepared = prepare(load(x))
    held_out = prepared.split["test"][0]
    x[held_out, 0] = 2  # a level that no training row has
    assert prepare(load(x)).spec.levels == (3,)


def test_the_fingerprint_is_of_every_byte():
    prints = {fingerprint(load(x)) for x in (real, real + 1e-12, real[::-1], real.T.copy())}
    prints |= {fingerprint(load(real, label=np.arange(40) % 2)), fingerprint(load(real))}
    assert len(prints) == 5


# --- there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        random.integers(0, 256, (20, 5, 6), dtype=np.uint8),
        random.integers(0, 256, (20, 5, 6, 3), dtype=np.uint8),
        random.integers(0, 256, (20, 4, 5, 6), dtype=np.uint8),
        random.integers(0, 256, (20, 5, 6)) / 255,
        (random.integers(0, 256, (20, 5, 6)) / 255).astype(np.float32),
        random.integers(0, 17, (20, 5, 6)).astype(np.float32),
        random.integers(-3, 40, (20, 3)) * 7,
        random.integers(0, 2, (20, 3)).astype(bool),
        random.integers(0, 2, (20, 3)) * 5.5 - 2,
        np.column_stack([np.arange(20) % 4, np.arange(20) % 2, np.arange(20) * 11]),
    ],
)
def test_discrete_rows_come_back_exactly(x):
    prepared = prepare(load(x))
    spec = Spec.from_json(json.loads(json.dumps(prepared.spec.to_json())))
    schema = json.loads(json.dumps(prepared.schema))
    assert spec == prepared.spec
    assert spec.discrete
    data = encode(schema, spec, x)
    batch = data.rows(slice(None))
    assert batch.x.min() >= 0
    assert batch.x.max() <= 1
    back = decode(schema, spec, batch.x)
    assert back.dtype == x.dtype
    assert back.shape == x.shape
    assert (back == x).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_reals_come_back_to_float32_precision(scale, dtype):
    x = (real * scale).astype(dtype)
    prepared = prepare(load(x))
    assert prepared.train.x.std() == pytest.approx(1, abs=0.02)
    back = decode(prepared.schema, prepared.spec, whole(prepared, x))
    assert back.dtype == dtype
    assert np.abs(back - x).max() <= 4e-7 * np.abs(x).max()


def test_numbers_near_the_largest_double():
    x = np.array([[1e308], [-1e308], [0.5e308], [-1.7e308], [0.1e308]] * 4)
    prepared = prepare(load(x))
    assert torch.isfinite(prepared.train.x).all()
    back = decode(prepared.schema, prepared.spec, whole(prepared, x))
    assert np.allclose(back, x, rtol=1e-5)
    tame = prepare(load(real))
    with refused("row 0", "1e+308", "float32"):
        encode(tame.schema, tame.spec, np.full((1, 2), 1e308))


def test_numbers_near_the_smallest_double():
    x = np.column_stack([real[:, 0], np.arange(40) % 3 * 5e-324])
    prepared = prepare(load(x))
    assert prepared.spec.scale[1] == 1.0
    back = decode(prepared.schema, prepared.spec, whole(prepared, x))
    assert np.abs(back[:, 1]).max() <= 1e-323


def test_columns_of_unlike_kinds():
    i = np.arange(40)
    frame = pd.DataFrame({"r": real[:, 0], "b": i % 2, "p": i % 5 * 10, "c": i % 3})
    assert infer(load(frame)).grids[0].kind == "numeric"
    prepared = prepare(load(frame), kind={"r": "real", "p": "pixel", "c": "category"})
    spec = prepared.spec
    assert spec.kinds == ("real", "binary", "pixel", "category")
    assert spec.levels == (0, 2, 5, 3)
    assert spec.names == ("r", "b", "p", "c")
    x = whole(prepared, frame)
    assert set(x[:, 2].tolist()) == {0, 0.25, 0.5, 0.75, 1}
    assert set(x[:, 3].tolist()) == {0, 1, 2}
    back = decode(prepared.schema, spec, x)
    assert (back[:, 1:] == frame.to_numpy()[:, 1:]).all()
    # Means are brought into the domain of the column; log |Jacobian| is that of the real column.
    between = torch.tensor([[0.0, 0.6, 0.3, 1.4], [0.0, -3.0, 9.0, 7.0]])
    assert decode(prepared.schema, spec, between)[:, 1:].tolist() == [[1, 10, 1], [0, 40, 2]]
    assert spec.log_jacobian.tolist() == [-math.log(spec.scale[0]), 0, 0, 0]


def test_means_of_images_stay_between_levels():
    x = (random.random((20, 5, 5)) < 0.5) * 1.0
    prepared = prepare(load(x))
    means = torch.full((1, 1, 5, 5), 0.25)
    assert (decode(prepared.schema, prepared.spec, means) == 0.25).all()
    prepared = prepare(load((x * 255).astype(np.uint8)))
    assert (decode(prepared.schema, prepared.spec, means) == 64).all()
    assert (decode(prepared.schema, prepared.spec, means * 100) == 255).all()


def test_whole_number_columns_stay_within_their_dtype():
    frame = pd.DataFrame({"i": (np.arange(40) ** 2).astype(np.int16), "r": real[:, 0]})
    prepared = prepare(load(frame), kind="real")
    far = torch.tensor([[1e6, 0.0], [-1e6, 0.0]])
    assert decode(prepared.schema, prepared.spec, far)[:, 0].tolist() == [32767, -32768]


# --- grey levels to bits -----------------------------------------------------------------------


def test_threshold_is_the_middle():
    x = random.integers(0, 256, (30, 5, 5), dtype=np.uint8)
    prepared = prepare(load(x), binarize="threshold", kind="binary")
    assert prepared.spec.kinds == ("binary",)
    bits = whole(prepared, x)
    assert (bits[:, 0].numpy() == (x > 127)).all()
    assert set(np.unique(decode(prepared.schema, prepared.spec, bits))) == {0, 255}


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x / 255, lambda x: x.astype(float)])
def test_static_bits_are_drawn_once(make):
    grey = np.full((4000, 4, 4), 64, np.uint8)
    grey[:, 0], grey[:, 1, :2] = 0, 255
    grey[:, 1, 2:] = np.arange(4000)[:, None] % 256  # so that every level occurs
    prepared = prepare(load(make(grey)), binarize="static")
    data = prepared.train
    assert data.binarize is None
    assert data.x.dtype == torch.uint8
    assert (data.x[:, 0, 0] == 0).all()
    assert (data.x[:, 0, 1, :2] == 1).all()
    # 3200 x 8 draws of probability 64 / 255: within five standard errors.
    share, p = data.x[:, 0, 2:].float().mean().item(), 64 / 255
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / (3200 * 8))
    again = prepare(load(make(grey)), binarize="static")
    assert torch.equal(again.train.x, data.x)
    other = prepare(load(make(grey)), binarize="static", seed=1)
    assert not torch.equal(other.train.x, data.x)


def test_dynamic_bits_are_drawn_at_each_pass():
    grey = random.integers(0, 256, (60, 5, 5), dtype=np.uint8)
    prepared = prepare(load(grey), binarize="dynamic")
    assert prepared.train.binarize == "dynamic"
    assert (prepared.train.x[:, 0].numpy() == grey[prepared.split["train"]]).all()
    batch = next(prepared.train.stream(8, 0))
    assert set(batch.x.unique().tolist()) == {0, 1}
    assert prepared.test.binarize is None
    assert prepared.test.x.max() == 1
    assert prepared.spec.levels == (2,)
    seventeen = prepare(load("digits"), binarize="dynamic").train
    assert seventeen.x.max() == 255
    with refused("row 0", "300", "0 to 255"):
        encode(prepared.schema, prepared.spec, np.full((1, 5, 5), 300))


def test_binarising_bits_changes_nothing():
    prepared = prepare(load(np.arange(40).reshape(20, 2) % 2), binarize="dynamic")
    assert prepared.train.binarize is None
    assert prepared.schema["binarize"] is None
    assert any("binary already" in note for note in prepared.notes)


# --- new rows for a run --------------------------------------------------------------------------


def test_new_rows_that_do_not_fit_are_named():
    prepared = prepare(load(random.integers(0, 5, (20, 3))))
    run = prepared.schema, prepared.spec
    with refused("(4,)", "(3,)", error=DataError):
        encode(*run, np.zeros((2, 4)))
    for value, place in ((9, [[0, 0, 0], [0, 9, 0]]), (0.5, [[0, 0, 0], [0, 0.5, 0]])):
        with refused("row 1", "column 1", f"{value:g}", "5 levels from 0 to 4"):
            encode(*run, np.array(place))
    with refused("row 0", "column 2", "inf"):
        encode(*run, np.array([[0, 0, np.inf]]))
    with refused("(3, 3)", "(3,)"):
        decode(*run, torch.zeros(2, 3, 3))


def test_columns_are_found_by_name():
    frame = pl.DataFrame({"a": real[:, 0], "b": real[:, 1] * 9})
    prepared = prepare(load(frame))
    run = prepared.schema, prepared.spec
    assert torch.equal(encode(*run, frame.select("b", "a")).x, encode(*run, frame).x)
    assert torch.equal(encode(*run, frame.to_numpy()).x, encode(*run, frame).x)
    with refused("column 'b'", "not given"):
        encode(*run, frame.select("a"))
    assert torch.equal(encode(*run, frame.with_columns(z=pl.lit(1))).x, encode(*run, frame).x)


def test_labels_follow_the_runs_classes(tmp_path: Path):
    text = "id,a,b,kind\n" + "".join(f"r{i},{i * 0.7},{i % 7},{'uvw'[i % 3]}\n" for i in range(30))
    (tmp_path / "t.csv").write_text(text)
    prepared = prepare(load(tmp_path / "t.csv", label="kind", drop=["id"]))
    run = prepared.schema, prepared.spec
    assert prepared.spec.classes == ("u", "v", "w")
    assert prepared.train.y is not None
    assert prepared.train.y.tolist() == [int(i) % 3 for i in prepared.split["train"]]
    (tmp_path / "new.csv").write_text("a,b,kind\n0.1,2,w\n0.2,3,\n")
    new = encode(*run, tmp_path / "new.csv")
    assert new.y is not None
    assert new.y.tolist() == [2, -1]
    assert new.index is not None
    assert new.index.tolist() == [-1, -1]
    (tmp_path / "new.csv").write_text("b,a\n2,0.1\n")
    assert encode(*run, tmp_path / "new.csv").y is None
    (tmp_path / "new.csv").write_text("a,b,kind\n0.1,2,x\n")
    with refused("label 'x'", "u, v, w", error=DataError):
        encode(*run, tmp_path / "new.csv")
    frame = pd.DataFrame({"a": [0.1], "b": [2], "kind": ["w"]})
    assert encode(*run, frame).y is not None


def test_new_images_are_brought_to_the_runs_size(tmp_path: Path):
    for i in range(4):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    prepared = prepare(load(tmp_path, mode="L"))
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(np.full((32, 20, 3), 100, np.uint8)).save(new / "a.png")
    (new / "b.png").write_text("broken")
    for data in (load(new, skip_bad=True), new, str(new / "a.png")):
        rows = encode(prepared.schema, prepared.spec, data, skip_bad=True)
        assert rows.x.shape == (1, 1, 8, 8)
        assert (rows.x == 100).all()
    with refused("b.png"):
        encode(prepared.schema, prepared.spec, new)


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_written_as_they_came(tmp_path: Path, suffix):
    frame = pd.DataFrame(
        {"r": real[:, 0].astype(np.float32), "i, j": np.arange(40), "b": np.arange(40) % 2 == 0}
    )
    prepared = prepare(load(frame))
    x = whole(prepared, frame)
    path = write(prepared.schema, prepared.spec, x, tmp_path / "sub" / f"t{suffix}")
    again = load(path)
    assert again.names == ("r", "i, j", "b")
    assert (again.x[:, 1:] == load(frame).x[:, 1:]).all()
    assert np.allclose(again.x[:, 0], frame["r"], rtol=1e-6)
    if suffix == ".parquet":
        assert again.layout["dtypes"] == ["float32", "int64", "bool"]
    with refused(path.name, "exists", error=DataError):
        write(prepared.schema, prepared.spec, x, path)
    with refused("t.doc", ".csv", ".parquet"):
        write(prepared.schema, prepared.spec, x, tmp_path / "t.doc")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_table_without_names_is_written_without(tmp_path: Path):
    (tmp_path / "t.csv").write_text("".join(f"{i},{i % 2}\n" for i in range(9)))
    source = load(tmp_path / "t.csv")
    prepared = prepare(source)
    x = encode(prepared.schema, prepared.spec, source).rows(slice(None)).x
    path = write(prepared.schema, prepared.spec, x, tmp_path / "out.csv")
    assert path.read_text() == (tmp_path / "t.csv").read_text()


def test_images_are_written_as_a_folder_and_come_back(tmp_path: Path):
    for mode, shape in (("L", (6, 5)), ("RGB", (6, 5, 3)), ("RGBA", (6, 5, 4))):
        folder = tmp_path / mode
        folder.mkdir()
        for i in range(4):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
        source = load(folder, mode=mode)
        prepared = prepare(source)
        x = encode(prepared.schema, prepared.spec, source).rows(slice(None)).x
        out = write(prepared.schema, prepared.spec, x, tmp_path / f"{mode}-out")
        assert (load(out, mode=mode).x == source.x).all()
        saved = np.load(write(prepared.schema, prepared.spec, x, tmp_path / f"{mode}.npy"))
        assert saved.shape == (4, *shape)
        with refused("x.csv", ".npy", "folder"):
            write(prepared.schema, prepared.spec, x, tmp_path / "x.csv")


def test_small_scales_and_reals_are_written_from_black_to_white(tmp_path: Path):
    source = load("digits")
    prepared = prepare(source)
    x = encode(prepared.schema, prepared.spec, source).rows(slice(0, 20)).x
    out = load(write(prepared.schema, prepared.spec, x, tmp_path / "digits-out"))
    assert (out.x == np.rint(source.x[:20] / 16 * 255)).all()
    values = random.normal(size=(20, 5, 5))
    prepared = prepare(load(values))
    x = whole(prepared, values)
    out = load(write(prepared.schema, prepared.spec, x, tmp_path / "real-out"))
    assert (out.x.min(), out.x.max()) == (0, 255)


def test_what_cannot_be_written(tmp_path: Path):
    prepared = prepare(load(real))
    (tmp_path / "file").write_text("")
    with refused("file", error=DiskError):
        write(prepared.schema, prepared.spec, torch.zeros(1, 2), tmp_path / "file" / "x.npy")


# --- real data -----------------------------------------------------------------------------------


@needs_data
def test_mnist_is_bytes_of_256_levels_with_its_own_test_part():
    prepared = prepare(load("mnist"))
    parts = prepared.train, prepared.valid, prepared.test
    assert [len(part) for part in parts] == [54_000, 6000, 10_000]
    assert (prepared.spec.kinds, prepared.spec.levels) == (("pixel",), (256,))
    assert prepared.train.x.dtype == torch.uint8
    assert prepared.train.rows(slice(0, 100)).x.max() == 1.0
    assert any("54,000 train" in note for note in prepared.notes)
