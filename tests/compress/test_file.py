"""Files of coded rows: written once, read back in the kind that came in, refused where anything is
wrong; and what their size is held against."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import math
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.compress.test_costs import classes, log_joint
from tests.uses.models import ThreeClasses
from vaes.batch import Data, Spec
from vaes.compress import encode, sizes
from vaes.compress.size import packed
from vaes.errors import DataError, RunError, UsageError, VaesError
from vaes.evaluate.likelihood import bound
from vaes.run import Run
from vaes.training import train
from vaes.verbs.compress import compress, decompress

SHORT = {"latent": 2, "hidden": [16], "steps": 40, "threads": 1, "compile": "no"}


@pytest.fixture(scope="module", autouse=True)
def plain_pictures():
    """Pictures and scores are another file's claim."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaes.training.draw_pictures", lambda *_: None)
        patch.setattr("vaes.training.report_page", lambda *_: None, raising=False)
        scores = {"elbo": None, "log_evidence": None}
        patch.setattr("vaes.training.summary", lambda *_, **__: scores)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return train("digits", "vae", out=tmp_path_factory.mktemp("digits") / "run", **SHORT)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("file") / "digits.bits"
    compress(str(run.path), None, str(path))
    return path


def test_digits_come_back(run, tmp_path):
    """All 1,797, as the whole numbers of 0 to 16 that they are; the file is as long as the bound
    says, 1 % aside, by whatever is told of it."""
    path = tmp_path / "new" / "all.bits"
    told = compress(str(run.path), "digits", str(path))
    size = path.stat().st_size
    assert told["bytes"] == size
    assert told["nats_per_row"] == pytest.approx(size * 8 * math.log(2) / 1797)
    assert told["bits_per_row"] == pytest.approx(size * 8 / 1797)
    assert told["bits_per_dim"] == pytest.approx(size * 8 / 1797 / 64)
    assert abs(told["difference"]) < 1
    pixels = load_digits().images.astype(np.uint8)
    model = run.load()
    given = Data(model.spec, torch.from_numpy(pixels).unsqueeze(1))
    assert told["negative_elbo"] == pytest.approx(-bound(model, given, k=10).elbo, rel=1e-3)
    folder = decompress(str(path), None, str(tmp_path / "out"))
    assert sorted(p.name for p in folder.iterdir()) == ["result.json", "rows.npy"]
    found = np.load(folder / "rows.npy")
    assert found.dtype == np.uint8
    assert (found == pixels).all()


def test_images_come_back_as_images(tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "given").mkdir()
    rows = draw.integers(0, 256, (24, 5, 6), dtype=np.uint8)
    for i, pixels in enumerate(rows):
        Image.fromarray(pixels).save(tmp_path / "given" / f"{i:02}.png")
    run = train(tmp_path / "given", "vae", out=tmp_path / "run", **SHORT)
    compress(str(run.path), str(tmp_path / "given"), str(tmp_path / "bits"))
    folder = decompress(str(tmp_path / "bits"))
    assert folder == run.path / "decompress-1"
    for path, pixels in zip(sorted((folder / "rows").iterdir()), rows, strict=True):
        with Image.open(path) as image:
            assert (np.asarray(image) == pixels).all()


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Words, whole numbers and truth values, gaps in two columns."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("table") / "rooms.csv"
    lines = ["town,rooms,sold"]
    for _ in range(200):
        town = ["Bern", "Genf", "Zug", ""][draw.integers(4)]
        rooms = draw.integers(1, 7) if draw.random() < 0.9 else "NA"
        lines.append(f"{town},{rooms},{['true', 'false'][draw.integers(2)]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def cells(path: Path) -> list[list[str]]:
    with open(path, newline="") as lines:
        return [list(row) for row in csv.reader(lines)]


@pytest.mark.parametrize("recipe", ["tabular", "latent_class"])
def test_tables_come_back(table, tmp_path, recipe):
    """Word for word, gaps where they were, without a mask of their own where they are modelled."""
    small = {k: v for k, v in SHORT.items() if recipe == "tabular" or k != "hidden"}
    run = train(table, recipe, out=tmp_path / "run", **small)
    told = compress(str(run.path), str(table), str(tmp_path / "bits"))
    assert told["bytes_apart"] == 0
    assert told["n"] == 200
    folder = decompress(str(tmp_path / "bits"))
    assert cells(folder / "rows.csv") == cells(table)
    new = tmp_path / "new.csv"
    new.write_text("town,rooms,sold\nGenf,2,true\nBasel,3,false\n")
    with pytest.raises(DataError, match=r"row 1 .*'town' holds a value that no training row held"):
        compress(str(run.path), str(new), str(tmp_path / "other"))
    new.write_text("town,rooms,sold\nGenf,2,true\nZug,70,false\n")
    with pytest.raises(DataError, match=r"row 1 .*'rooms' holds a value that no training row held"):
        compress(str(run.path), str(new), str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_gaps_and_totals_lie_apart(tmp_path):
    """Bits with gaps and counts with totals come back; what no bound speaks of is told apart."""
    draw = np.random.default_rng(0)
    holed = (draw.random((60, 9)) < 0.3).astype(np.float32)
    holed[draw.random(holed.shape) < 0.2] = np.nan
    counts = draw.poisson(draw.gamma(2, 2, (60, 1)) * [0.1, 1, 3, 2]).astype(np.int64)
    for name, rows, recipe, how in (
        ("holed", holed, "vae", {"kind": "binary", "missing": "nan"}),
        ("counts", counts, "counts", {"kind": "count"}),
    ):
        np.save(tmp_path / f"{name}.npy", rows)
        given, bits = tmp_path / f"{name}.npy", tmp_path / f"{name}.bits"
        run = train(given, recipe, out=tmp_path / name, preparing=how, **SHORT)
        told = compress(str(run.path), str(given), str(bits))
        assert 20 < told["bytes_apart"] < 150
        assert told["bits_per_row"] == (told["bytes"] - told["bytes_apart"]) * 8 / 60
        found = np.load(decompress(str(bits)) / "rows.npy")
        assert found.dtype == rows.dtype
        assert np.array_equal(found, rows, equal_nan=name == "holed")


def test_every_damage_is_one_line_and_leaves_nothing(file, tmp_path):
    """A bit anywhere, a cut anywhere, another kind of file."""
    whole, bad = file.read_bytes(), tmp_path / "bad.bits"
    places = [*range(14), *np.linspace(14, len(whole) - 1, 40).astype(int).tolist()]
    wrong = [whole[:p] + bytes([whole[p] ^ 1]) + whole[p + 1 :] for p in places]
    wrong += [whole[:p] for p in (0, 7, 13, 20, 45, len(whole) // 2, len(whole) - 1)]
    wrong += [whole + b"\0", b"PK\3\4" + bytes(500), bytes(500)]
    for content in wrong:
        bad.write_bytes(content)
        with pytest.raises(VaesError, match=r"damaged|no file of coded rows|of format"):
            decompress(str(bad), None, str(tmp_path / "out"))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        decompress(str(tmp_path / "none"), None, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_newer_file_is_refused(file, tmp_path):
    whole = bytearray(file.read_bytes()[:-32])
    struct.pack_into("<H", whole, 8, 2)
    (tmp_path / "bits").write_bytes(whole + hashlib.sha256(whole).digest())
    with pytest.raises(RunError, match="of format 2, this vaes reads up to 1; upgrade vaes"):
        decompress(str(tmp_path / "bits"))


def test_runs_that_moved_and_others(run, file, tmp_path):
    """A run elsewhere is named by hand; another one, or other weights, are refused."""
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    hidden = run.path.with_name("hidden")
    run.path.rename(hidden)
    try:
        with pytest.raises(RunError, match="is not there; name it with --run"):
            decompress(str(file))
        folder = decompress(str(file), str(moved), str(tmp_path / "out"))
        assert len(np.load(folder / "rows.npy")) == 180
    finally:
        hidden.rename(run.path)
    other = train("digits", "vae", out=tmp_path / "other", seed=1, **SHORT)
    with pytest.raises(RunError, match="coded with another model than that of run"):
        decompress(str(file), str(other.path), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over(run, file, tmp_path):
    before = file.read_bytes()
    with pytest.raises(UsageError, match="exists and is never written over"):
        compress(str(run.path), None, str(file))
    assert file.read_bytes() == before
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists and is never written over"):
        decompress(str(file), None, str(tmp_path / "out"))
    np.save(tmp_path / "reals.npy", np.random.default_rng(0).normal(size=(40, 3)))
    reals = train(tmp_path / "reals.npy", "vae", out=tmp_path / "reals", **SHORT)
    with pytest.raises(UsageError, match="holds reals: a density has no code length; give it"):
        compress(str(reals.path), None, str(tmp_path / "bits"))
    assert not (tmp_path / "bits").exists()


def test_sizes_are_what_they_say():
    """500 rows of a known mixture: minus log p(x) by enumeration; 1,000 bytes, 100 apart."""
    given = classes(500, False)
    found = sizes(ThreeClasses(exact=True, spec=given.spec), given, 1000, 100, 60)
    due = -log_joint(given).logsumexp(1).mean().item()
    assert found["negative_elbo"] == pytest.approx(due, abs=0.15)  # of 10 draws of the class
    assert found["bits_per_row"] == 14.4
    assert found["bits_per_dim"] == 3.6
    assert found["nats_per_row"] == pytest.approx(14.4 * math.log(2))
    assert found["difference"] == pytest.approx(
        100 * (14.4 * math.log(2) / found["negative_elbo"] - 1)
    )
    codes = (given.x * torch.tensor([1, 1, 1, 4])).numpy().astype(np.uint8).tobytes()
    assert found["packed"] == 2000
    assert found["others"]["gzip"] == len(gzip.compress(codes, 9, mtime=0))
    assert found["others"]["bz2"] == len(bz2.compress(codes, 9))
    assert found["n"] == 500
    assert found["bytes"] == 1000
    assert found["bytes_apart"] == 100
    assert found["bytes_fixed"] == 60


def test_bits_are_packed_for_others():
    """Nine bits a row: 64 rows are 72 bytes; and the mask as many again."""
    spec = Spec((9,), ("binary",), (2,), missing=True)
    x = (torch.rand(64, 9, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8)
    assert packed(Data(spec, x)) == np.packbits(x.numpy()).tobytes()
    mask = torch.rand(64, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    seen = np.packbits(np.where(mask.numpy(), x.numpy(), 0)).tobytes()
    assert packed(Data(spec, x, mask=mask)) == seen + np.packbits(mask.numpy()).tobytes()


def test_one_row_is_a_file(run, tmp_path):
    """What a file has beside its rows: below 400 bytes."""
    model = run.load()
    row = Data(model.spec, torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    coded = encode(model, row)
    assert len(coded.payload) < 32 + 12 + 120
    np.save(tmp_path / "row.npy", np.zeros((1, 8, 8), dtype=np.uint8))
    told = compress(str(run.path), str(tmp_path / "row.npy"), str(tmp_path / "bits"))
    assert told["bytes"] - len(coded.payload) < 260
    assert told["bytes_fixed"] == told["bytes"] - len(coded.payload) + 32 + 12
