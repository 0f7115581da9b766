"""Named sets: what they hold, where they are looked for, and downloads that go wrong."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.data.helpers import needs_data, refused
from vaes.data import builtin, load
from vaes.errors import DataError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data folder, and an empty cache."""
    monkeypatch.delenv("VAES_DATA", raising=False)
    monkeypatch.setenv("VAES_CACHE", str(tmp_path / "cache"))
    return tmp_path


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format, *args):
        pass


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address where it is served."""
    folder = tmp_path / "home"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_digits_need_nothing(nowhere):
    source = load("digits")
    assert source.x.shape == (1797, 1, 8, 8)
    assert (source.x.min(), source.x.max(), source.x.dtype) == (0, 16, np.uint8)
    assert source.classes == tuple("0123456789")
    assert source.y is not None
    assert source.y[:4].tolist() == [0, 1, 2, 3]
    assert (source.name, source.parts) == ("digits", None)


def test_every_set_is_listed_in_one_line():
    assert set(builtin.names()) >= {"digits", "mnist", "fashion_mnist", "omniglot", "frey_faces"}
    assert all(about and "\n" not in about for about in builtin.names().values())
    with refused("'mnits'", "did you mean 'mnist'?", error=DataError):
        builtin.load("mnits")


def test_listing_the_sets_imports_nothing_heavy():
    code = "import sys; from vaes.data import builtin; builtin.names(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "pyarrow", "PIL"} & set(done.stdout.split())


def test_a_set_without_a_home_says_where_to_put_it(nowhere):
    with refused("omniglot", "omniglot_28x28.npz", "VAES_DATA", error=DataError):
        load("omniglot")


def test_a_built_in_name_goes_before_a_folder(nowhere, monkeypatch):
    (nowhere / "digits").mkdir()
    monkeypatch.chdir(nowhere)
    assert any("./digits" in note for note in load("digits").notes)


def test_folders_are_searched_in_order_and_then_the_cache(nowhere, monkeypatch):
    faces = np.arange(2 * 28 * 20, dtype=np.uint8).reshape(2, 28, 20)
    for folder, shift in (("cache", 3), ("second", 2), ("first", 1)):
        path = nowhere / folder / "frey_faces"
        path.mkdir(parents=True)
        np.savez(path / "frey_faces.npz", images=faces + np.uint8(shift))
        if folder != "cache":
            folders = [str(nowhere / f) for f in ("none", "first", "second")]
            monkeypatch.setenv("VAES_DATA", builtin.os.pathsep.join(folders))
        assert (load("frey_faces").x[:, 0] == faces + np.uint8(shift)).all()


def test_a_file_that_is_not_what_its_name_says_is_refused(nowhere, monkeypatch):
    (nowhere / "mnist").mkdir()
    (nowhere / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    monkeypatch.setenv("VAES_DATA", str(nowhere))
    with refused("train-images-idx3-ubyte.gz", "sha256"):
        load("mnist")


def idx(values: np.ndarray) -> bytes:
    head = b"\x00\x00\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    return gzip.compress(head + values.tobytes())


def test_a_set_is_downloaded_once_and_checked(nowhere, home, monkeypatch):
    folder, url = home
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4), dtype=np.uint8)
    files = {
        "train-images-idx3-ubyte.gz": idx(images[:3]),
        "train-labels-idx1-ubyte.gz": idx(np.array([2, 0, 1], np.uint8)),
        "t10k-images-idx3-ubyte.gz": idx(images[3:]),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([1, 9], np.uint8)),
    }
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    digests = tuple((name, hashlib.sha256(raw).hexdigest()) for name, raw in files.items())
    read = builtin.SETS["mnist"].read
    monkeypatch.setitem(builtin.SETS, "mnist", builtin.Set("", read, (url,), digests))
    source = load("mnist")
    assert (source.x[:, 0] == images).all()
    assert source.y is not None
    assert source.y.tolist() == [2, 0, 1, 1, 9]
    assert source.parts is not None
    assert source.parts["test"].tolist() == [3, 4]
    for name in files:
        (folder / name).unlink()
    assert len(load("mnist")) == 5
    assert sorted(p.name for p in (nowhere / "cache" / "mnist").iterdir()) == sorted(files)


def test_the_second_home_is_tried_and_a_wrong_file_never_kept(tmp_path, home):
    folder, url = home
    (folder / "wrong").mkdir()
    (folder / "wrong" / "a.gz").write_bytes(b"tampered")
    (folder / "a.gz").write_bytes(b"the file")
    digest = hashlib.sha256(b"the file").hexdigest()
    target = tmp_path / "target"
    with refused("a.gz", "sha256 is wrong", "VAES_DATA", url, error=DataError):
        builtin.download("a.gz", (url + "wrong/",), digest, target)
    assert list(target.iterdir()) == []
    path = builtin.download("a.gz", (url + "none/", url + "wrong/", url), digest, target)
    assert path.read_bytes() == b"the file"
    assert list(target.iterdir()) == [path]


def test_every_failure_of_the_network_is_one_line(tmp_path, home):
    _, url = home
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        homes = (nobody, url + "none/", "http://no.such.host.invalid/")
        with refused("a.gz", *homes, "404", "target", error=DataError):
            builtin.download("a.gz", homes, "0" * 64, tmp_path / "target")


def answer_once(reply: bytes) -> tuple[str, threading.Thread]:
    """A server that sends `reply` to the first who asks and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/", thread


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "sha256 is wrong"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 999999999999\r\n\r\n", "larger than"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\n", "http"),
        (b"no http at all\r\n\r\n", "http"),
        (b"", "http"),
    ],
)
def test_broken_transfers_are_one_line(tmp_path, reply, said):
    url, thread = answer_once(reply)
    with refused("a.gz", said, error=DataError):
        builtin.download("a.gz", (url,), "0" * 64, tmp_path / "target", timeout=5)
    thread.join(5)
    assert list((tmp_path / "target").iterdir()) == []


def test_what_is_slower_than_the_timeout_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with refused("a.gz", "timed out", error=DataError):
            builtin.download("a.gz", (url,), "0" * 64, tmp_path / "t", timeout=0.2)


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("file", error=DataError):
        builtin.download("a.gz", ("http://127.0.0.1:1/",), "0" * 64, tmp_path / "file" / "mnist")


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "shape", "parts"),
    [
        ("mnist", 70_000, (1, 28, 28), {"train": 60_000, "test": 10_000}),
        ("fashion_mnist", 70_000, (1, 28, 28), {"train": 60_000, "test": 10_000}),
        ("mnist_static", 70_000, (1, 28, 28), {"train": 50_000, "valid": 10_000, "test": 10_000}),
        ("omniglot", 32_460, (1, 28, 28), {"train": 19_280, "test": 13_180}),
        ("frey_faces", 1965, (1, 28, 20), None),
    ],
)
def test_published_sets(name, rows, shape, parts):
    source = load(name)
    assert (len(source), source.shape, source.x.dtype) == (rows, shape, np.uint8)
    assert (source.parts and {k: len(v) for k, v in source.parts.items()}) == parts
    if name == "mnist":  # the published counts of the classes and the mean of the training part
        assert source.y is not None
        counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(source.y[:60_000]).tolist() == counts
        assert source.x[:60_000].mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    if name == "mnist_static":
        assert source.x[:50_000].mean() == pytest.approx(0.130562, abs=1e-6)
    if name == "frey_faces":
        assert (source.x.min(), source.x.max()) == (8, 238)
