"""Arrays, tensors, Datasets, .npy and .npz: what is read, and what is refused before it costs."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.data.endure import one_line
from tests.data.helpers import needs_data, not_root, refused
from vaes.data import load
from vaes.data.source import codes
from vaes.errors import DataError


def header(shape: str, descr: str = "<f8") -> bytes:
    """A .npy file of that header and no data."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("shape", "row", "channels"),
    [
        ((5, 3), (3,), "flat"),
        ((5, 6, 7), (1, 6, 7), "hw"),
        ((5, 3, 6, 7), (3, 6, 7), "chw"),
        ((5, 6, 7, 3), (3, 6, 7), "hwc"),
        ((5, 6, 7, 1), (1, 6, 7), "hwc"),
        ((5, 4, 6, 7), (4, 6, 7), "chw"),
    ],
)
def test_the_shape_decides_what_rows_are(shape, row, channels):
    x = np.arange(np.prod(shape)).reshape(shape)
    source = load(x)
    assert source.shape == row
    assert source.layout == {"kind": "array", "channels": channels, "dtype": "int64"}
    expected = np.moveaxis(x, -1, 1) if channels == "hwc" else x.reshape(5, *row)
    assert (source.x == expected).all()
    assert bool(source.notes) == (channels != "flat")


@pytest.mark.parametrize("shape", [(5, 2, 9), (5, 6, 7, 2), (5, 2, 2, 2, 2)])
def test_rows_of_odd_shapes_are_refused_with_the_way_on(shape):
    with refused(str(shape[1:]), "x.reshape(len(x), -1)"):
        load(np.zeros(shape))


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (np.zeros(7), ["(7,)", "x.reshape(-1, 1)"]),
        (np.zeros((0, 3)), ["(0, 3)", "no numbers"]),
        (np.zeros((3, 0)), ["(3, 0)"]),
        (np.array([["a", "b"]]), ["text"]),
        (np.array([[None, 1]]), ["Python objects"]),
        (np.zeros((2, 2), complex), ["complex"]),
        (np.zeros((2, 2), "datetime64[s]"), ["datetime64"]),
    ],
)
def test_arrays_that_are_no_rows_are_refused(x, parts):
    with refused(*parts, error=DataError):
        load(x)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "bool", "float16", "float32", ">f8"])
def test_dtypes_of_numbers_are_kept(dtype):
    source = load(np.ones((3, 2), dtype))
    assert source.x.dtype == np.dtype(dtype).newbyteorder("=")


def test_masked_entries_are_missing_and_lists_are_arrays():
    masked = np.ma.MaskedArray([[1, 2], [3, 4]], [[False, True], [False, False]])
    assert np.isnan(load(masked).x).tolist() == [[False, True], [False, False]]
    assert load([[1, 2], [3, 4]]).x.tolist() == [[1, 2], [3, 4]]
    with refused("list"):
        load([[1, 2], [3]])


def test_tensors_and_labels():
    source = load(torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True), label=[3, -1, 5, 3])
    assert source.x.dtype == np.float32
    assert source.y is not None
    assert source.y.tolist() == [0, -1, 1, 0]
    assert source.classes == ("3", "5")
    with refused("4 rows", "3 labels"):
        load(torch.ones(4, 2), label=[0, 1, 2])


def test_labels_are_sorted_codes():
    assert codes(["b", None, "a", ""])[0].tolist() == [1, -1, 0, -1]
    assert codes([10.0, 2.0, float("nan")])[1] == ("2", "10")
    with refused("label 0.5"):
        codes([0.5])
    with refused("label -2"):
        codes([-2])


class Squares(Dataset):
    """Ten rows (i, i^2) without an end: __getitem__ never raises."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return torch.tensor([float(i), float(i * i)]), i % 2


@pytest.mark.parametrize("batch", [0, 3, None])
def test_datasets_and_loaders_are_collected(batch):
    source = load(Squares() if batch == 0 else DataLoader(Squares(), batch_size=batch))
    assert source.x.tolist() == [[i, i * i] for i in range(10)]
    assert source.y is not None
    assert source.y.tolist() == [i % 2 for i in range(10)]


def test_tensor_datasets_and_shuffling_loaders():
    data = TensorDataset(torch.arange(6.0).view(3, 2))
    assert load(data).x.tolist() == [[0, 1], [2, 3], [4, 5]]
    notes = load(DataLoader(data, shuffle=True)).notes
    assert any("shuffles" in note for note in notes)
    with refused("3 parts"):
        load(TensorDataset(torch.ones(2, 2), torch.ones(2), torch.ones(2)))


def test_npy_files_come_back_exactly(tmp_path: Path):
    plain = np.random.default_rng(0).normal(size=(5, 3))
    for i, x in enumerate([plain, np.asfortranarray(plain)]):
        np.save(tmp_path / f"{i}.npy", x)
        source = load(tmp_path / f"{i}.npy")
        assert (source.x == x).all()
        assert source.name == str(i)


def test_a_lying_header_is_refused_before_memory_is_taken(tmp_path: Path):
    for shape in ("(1000000000, 1000)", "(9000000000000000000, 9)", "(-1, -8)"):
        (tmp_path / "lie.npy").write_bytes(header(shape) + bytes(64))
        tracemalloc.start()
        with refused("lie.npy", "64"):
            load(tmp_path / "lie.npy")
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()


@pytest.mark.parametrize(
    "junk", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff(", b"GIF89a", header("(2")]
)
def test_broken_npy_files_are_refused(tmp_path: Path, junk):
    (tmp_path / "junk.npy").write_bytes(junk)
    with refused("junk.npy", "header", error=DataError):
        load(tmp_path / "junk.npy")


def test_objects_are_never_unpickled(tmp_path: Path):
    np.save(tmp_path / "o.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=np.array([[{}]], dtype=object))
    for name in ("o.npy", "o.npz"):
        with refused("Python objects"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    "descr", ["|S0", "<U0", "|V0", "|S4", "<U4", "|V8", "<c16", "<M8[s]", "|O"]
)
def test_dtypes_that_are_no_numbers_are_refused(tmp_path: Path, descr):
    """Also those of nothing, whose rows cost nothing to declare."""
    size = np.dtype(descr).itemsize
    (tmp_path / "t.npy").write_bytes(header("(1000000000, 3)", descr))
    with refused("t.npy" if size else "dtype", error=DataError):
        load(tmp_path / "t.npy")
    (tmp_path / "t.npy").write_bytes(header("(2, 3)", descr) + bytes(6 * size))
    with refused("dtype", error=DataError):
        load(tmp_path / "t.npy")


def test_records_are_no_rows(tmp_path: Path):
    np.save(tmp_path / "r.npy", np.zeros(3, [("a", float), ("b", int)]))
    with refused("r.npy", "records"):
        load(tmp_path / "r.npy")


@pytest.mark.parametrize(
    "shape",
    [
        "(2.0, 3)",
        "(True, 3)",
        "(2, 'a')",
        "[2, 3]",
        "None",
        "(((((2,),),),),)",
        "(2, 3), **{}",
        "(" * 5000 + ")" * 5000,
        "(2, " + "9" * 5000 + ")",
        "__import__('os')",
    ],
)
def test_shapes_that_are_none_are_refused(tmp_path: Path, shape):
    (tmp_path / "s.npy").write_bytes(header(shape) + bytes(48))
    with refused("s.npy", error=DataError):
        load(tmp_path / "s.npy")


def test_a_header_that_declares_less_than_there_is_refused(tmp_path: Path):
    (tmp_path / "s.npy").write_bytes(header("(2, 3)") + bytes(64))
    with refused("s.npy", "48 bytes", "holds 64"):
        load(tmp_path / "s.npy")
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as out:
        out.writestr("x.npy", header("(1000000, 1000000)") + bytes(64))
    with refused("x.npy in s.npz", "8,000,000,000,000 bytes", "holds 64"):
        load(tmp_path / "s.npz")


def test_names_in_an_archive_are_no_paths(tmp_path: Path):
    """Nothing is unpacked to the disk, whatever a member is called."""
    inner = tmp_path / "inner"
    inner.mkdir()
    rows = io.BytesIO()
    np.save(rows, np.eye(3))
    for name in ("../../x.npy", "/tmp/../x.npy", "..\\x.npy", "a/b/x.npy", "\n.npy"):
        with zipfile.ZipFile(inner / "slip.npz", "w") as out:
            out.writestr(name, rows.getvalue())
            out.writestr("../evil.txt", "no array")
        assert load(inner / "slip.npz").x.tolist() == np.eye(3).tolist()
    assert [p.name for p in inner.iterdir()] == ["slip.npz"]
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_flipped_bytes_are_rows_or_one_line(tmp_path: Path):
    """300 archives and arrays with a byte changed somewhere."""
    draw = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(60).reshape(20, 3), y=np.arange(20) % 3)
    np.save(tmp_path / "a.npy", np.arange(60.0).reshape(20, 3))
    for name in ("a.npz", "a.npy"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(150):
            raw = bytearray(whole)
            raw[draw.integers(len(raw))] = draw.integers(256)
            (tmp_path / f"b{name}").write_bytes(bytes(raw))
            try:
                assert load(tmp_path / f"b{name}").x.ndim >= 2
            except DataError as error:
                one_line(str(error))


def test_npz_keys(tmp_path: Path):
    path, x, y = tmp_path / "a.npz", np.eye(3), np.array(["b", "a", "b"])
    np.savez(path, X=x, y=y)
    source = load(path)
    assert source.y is not None
    assert source.y.tolist() == [1, 0, 1]
    assert source.classes == ("a", "b")
    np.savez(path, anything=x)
    assert (load(path).x == x).all()
    np.savez(path, this=x, that=x)
    with refused("this, that", "'x'"):
        load(path)


def test_npz_with_parts_brings_its_own_split(tmp_path: Path):
    np.savez(
        tmp_path / "m.npz",
        x_test=np.full((2, 3), 7),
        x_train=np.zeros((5, 3)),
        y_test=[1, 1],
        y_train=[0, 0, 0, 1, 1],
    )
    source = load(tmp_path / "m.npz")
    assert source.parts is not None
    assert {k: v.tolist() for k, v in source.parts.items()} == {
        "train": [0, 1, 2, 3, 4],
        "test": [5, 6],
    }
    assert (source.x[source.parts["test"]] == 7).all()
    assert source.y is not None
    assert source.y.tolist() == [0, 0, 0, 1, 1, 1, 1]


def bomb(path: Path, size: int) -> None:
    """An .npz of zeros that unfolds about 1000 times to `size` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out, out.open("x.npy", "w") as member:
        member.write(header(f"({size}, 1)", "|u1"))
        for _ in range(size // 2**20):
            member.write(bytes(2**20))


def test_an_npz_bomb_is_refused_before_it_is_read(tmp_path: Path):
    bomb(tmp_path / "bomb.npz", 80 * 2**20)
    tracemalloc.start()
    with refused("bomb.npz", "times", "200"):
        load(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    # What is small is read whatever its ratio.
    bomb(tmp_path / "small.npz", 2**20)
    assert load(tmp_path / "small.npz").x.shape == (2**20, 1)


def test_an_archive_that_declares_less_than_it_holds_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(100.0).reshape(50, 2))
    raw = bytearray(buffer.getvalue())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "flip.npz").write_bytes(bytes(raw))
    (tmp_path / "cut.npz").write_bytes(buffer.getvalue()[:-30])
    (tmp_path / "text.npz").write_text("hello")
    for name in ("flip.npz", "cut.npz", "text.npz"):
        with refused(name, error=DataError):
            load(tmp_path / name)


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path: Path):
    with refused("neither a file", "did you mean 'digits'?"):
        load("digts")
    with refused("no/such/file.npy"):
        load("no/such/file.npy")
    (tmp_path / "a.doc").write_text("hello")
    with refused("a.doc", ".csv", ".npy"):
        load(tmp_path / "a.doc")
    with refused("object"):
        load(object())


@not_root
def test_files_that_may_not_be_read(tmp_path: Path):
    np.save(tmp_path / "secret.npy", np.eye(3))
    (tmp_path / "secret.npy").chmod(0)
    with refused("secret.npy", "permission"):
        load(tmp_path / "secret.npy")


@needs_data
def test_a_published_archive():
    import os

    source = load(Path(os.environ["VAES_DATA"].split(os.pathsep)[0]) / "adbench" / "45_wine.npz")
    assert source.x.shape == (129, 13)
    assert source.y is not None
    assert source.y.sum() == 10
