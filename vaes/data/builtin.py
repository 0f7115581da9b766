"""Named sets: from the folders that VAES_DATA names, from the cache, or from their public homes.

A file is looked for as <folder>/<set>/<file> in each folder of VAES_DATA, then in the cache
(VAES_CACHE, else ~/.cache/vaes); what is downloaded goes there. Files with a known sha256 are
checked wherever they come from.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaes.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from vaes.data.source import Source

# Seconds without an answer after which a home counts as unreachable; the largest file is 27 MB.
TIMEOUT, MOST_BYTES = 30.0, 64 * 2**20
DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat")
CLOTHES += ("sandal", "shirt", "sneaker", "bag", "boot")
IMAGES, LABELS = "{}-images-idx3-ubyte.gz", "{}-labels-idx1-ubyte.gz"
TRAIN, TEST = "train", "t10k"


@dataclass(frozen=True)
class Set:
    """A named set: what it is, how it is read, its homes, and sha256 of canonical files."""

    about: str
    read: Callable[[str], Source]
    homes: tuple[str, ...] = ()
    sha256: tuple[tuple[str, str], ...] = ()


def names() -> dict[str, str]:
    """Every named set with one line about it."""
    return {name: item.about for name, item in SETS.items()}


def load(name: str) -> Source:
    """The rows of a named set; DataError where the name is unknown or its files are nowhere."""
    if name not in SETS:
        raise DataError(f"no set is named '{name}'; {did_you_mean(name, SETS)}")
    source = SETS[name].read(name)
    source.name = name
    return source


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("VAES_CACHE") or Path.home() / ".cache" / "vaes")


def find(name: str, file: str) -> Path:
    """The path of a file of a set, downloaded if it has a home and is not here yet."""
    item = SETS[name]
    expected = dict(item.sha256).get(file)
    folders = [Path(f) for f in os.environ.get("VAES_DATA", "").split(os.pathsep) if f]
    for folder in (*folders, cache_folder()):
        path = folder / name / file
        if path.is_file():
            if expected and sha256(path) != expected:
                raise DataError(f"{path} is not the {file} of {name} (its sha256 differs)")
            return path
    if not item.homes or expected is None:
        raise DataError(
            f"the set '{name}' needs {file}, which has no public home: put it into "
            f"<folder>/{name}/ and set VAES_DATA=<folder>"
        )
    return download(file, item.homes, expected, cache_folder() / name)


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    file: str, homes: tuple[str, ...], expected: str, folder: Path, timeout: float = TIMEOUT
) -> Path:
    """`folder`/`file`, from the first of `homes` that has it with the `expected` sha256.

    It appears under its name only when it is whole. Raises DataError saying what was tried.
    """
    from http.client import HTTPException

    tried = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"no downloads can be kept in {folder}: {error.strerror}") from error
    for home in homes:
        handle, part = tempfile.mkstemp(prefix=f".{file}.", dir=folder)
        try:
            with os.fdopen(handle, "wb") as out:
                _copy(home + file, out, timeout)
            if sha256(Path(part)) != expected:
                raise ValueError("its sha256 is wrong")
            os.replace(part, folder / file)
            return folder / file
        except (OSError, ValueError, HTTPException) as error:
            tried.append(f"{home} ({' '.join(str(error).split())[:80]})")
        finally:
            Path(part).unlink(missing_ok=True)
    raise DataError(
        f"{file} cannot be downloaded; tried {' and '.join(tried)}: put it into "
        f"<folder>/{folder.name}/ and set VAES_DATA=<folder>"
    )


def _copy(url: str, out: Any, timeout: float) -> None:
    """Write what is found at `url`; ValueError where it would fill the disk."""
    from urllib.request import urlopen

    with urlopen(url, timeout=timeout) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        while size <= MOST_BYTES and (part := answer.read(2**16)):
            out.write(part)
            size = max(size, out.tell())
        if size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")


def _images(x: np.ndarray, y: Any = None, classes: tuple[str, ...] = ()) -> Source:
    """Grey images (n, H, W) as a Source; labels are codes into `classes`."""
    import numpy as np

    from vaes.data.source import Source

    layout = {"kind": "images", "height": x.shape[1], "width": x.shape[2], "mode": "L"}
    layout |= {"policy": "as they are", "channels": "hw", "dtype": "uint8"}
    labels = None if y is None else np.asarray(y, dtype=np.int64)
    return Source(
        x=x[:, None].astype(np.uint8, copy=False), y=labels, classes=classes, layout=layout
    )


def _digits(name: str) -> Source:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return _images(found.images, found.target, DIGITS)


def _idx_set(classes: tuple[str, ...]) -> Callable[[str], Source]:
    """The reader of a set in the four files of MNIST."""

    def read(name: str) -> Source:
        import numpy as np

        parts = [
            (_read_idx(find(name, IMAGES.format(part))), _read_idx(find(name, LABELS.format(part))))
            for part in (TRAIN, TEST)
        ]
        (train, _), (test, _) = parts
        source = _images(
            np.concatenate([train, test]), np.concatenate([y for _, y in parts]), classes
        )
        source.parts = _consecutive(train=len(train), test=len(test))
        return source

    return read


def _read_idx(path: Path) -> np.ndarray:
    """The array of bytes of an IDX file: 0 0 8 (bytes) ndim, sizes as big-endian int32, values."""
    import numpy as np

    raw = gzip.decompress(path.read_bytes())
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is not an IDX file of bytes")
    dims = raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw, ">i4", count=dims, offset=4))
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def _consecutive(**sizes: int) -> dict[str, np.ndarray]:
    """Row numbers of parts that follow one another."""
    import numpy as np

    parts, start = {}, 0
    for part, size in sizes.items():
        parts[part] = np.arange(start, start + size)
        start += size
    return parts


def _mnist_static(name: str) -> Source:
    import numpy as np

    from vaes.data.arrays import read_archive

    packed = read_archive(find(name, "binarized_mnist_larochelle.npz"))
    bits = {part: np.unpackbits(packed[part], axis=1) for part in ("train", "valid", "test")}
    source = _images(np.concatenate(list(bits.values())).reshape(-1, 28, 28))
    source.parts = _consecutive(**{part: len(rows) for part, rows in bits.items()})
    return source


def _omniglot(name: str) -> Source:
    import numpy as np

    from vaes.data.arrays import read_archive

    z = read_archive(find(name, "omniglot_28x28.npz"))
    classes = tuple(str(alphabet) for alphabet in z["alphabet_names"])
    source = _images(z["images"], z["alphabet"], classes)
    held_out = z["evaluation"].astype(bool)
    source.parts = {"train": np.flatnonzero(~held_out), "test": np.flatnonzero(held_out)}
    source.notes.append("the test part holds alphabets that the training part does not have")
    return source


def _frey_faces(name: str) -> Source:
    from vaes.data.arrays import read_archive

    return _images(read_archive(find(name, "frey_faces.npz"))["images"])


def _sprites(name: str) -> Source:
    from vaes.data import sprites

    values = sprites.factors()
    source = _images(sprites.pictures(values), values[:, 0], sprites.SHAPES)
    source.parts = _consecutive(**sprites.PARTS)
    return source


def _sums(*digests: str) -> tuple[tuple[str, str], ...]:
    files = [kind.format(part) for part in (TRAIN, TEST) for kind in (IMAGES, LABELS)]
    return tuple(zip(files, digests, strict=True))


SETS: dict[str, Set] = {
    "digits": Set("1,797 handwritten digits, 8 x 8, 17 grey levels; needs no download", _digits),
    "sprites": Set(
        "20,000 drawn squares, ellipses and hearts of known size, turn and place, 32 x 32, binary; "
        "needs no download",
        _sprites,
    ),
    "mnist": Set(
        "70,000 handwritten digits, 28 x 28, grey; test part of 10,000",
        _idx_set(DIGITS),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _sums(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion_mnist": Set(
        "70,000 pieces of clothing, 28 x 28, grey; test part of 10,000",
        _idx_set(CLOTHES),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        _sums(
            "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        ),
    ),
    "mnist_static": Set(
        "MNIST binarised once by Larochelle and Murray, 28 x 28, 50,000 / 10,000 / 10,000",
        _mnist_static,
    ),
    "omniglot": Set(
        "32,460 characters of 50 alphabets, 28 x 28, ink on grey levels; own test part", _omniglot
    ),
    "frey_faces": Set("1,965 video frames of one face, 28 x 20, grey", _frey_faces),
}
