"""Folders of images: sizes, colour modes, orientation, and files that are broken on purpose."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.helpers import not_root, refused
from vaes.data import load
from vaes.data.images import read
from vaes.errors import DataError, UsageError


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> np.ndarray:
    """Write an image (its folder too) and return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return pixels


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_grey_images_of_one_size_are_kept_bit_by_bit(tmp_path: Path):
    pixels = [save(tmp_path / f"{i}.png", noise(9, 7, seed=i)) for i in range(3)]
    source = load(tmp_path)
    assert source.x.dtype == np.uint8
    assert (source.x[:, 0] == np.stack(pixels)).all()
    assert (source.layout["height"], source.layout["width"], source.layout["mode"]) == (9, 7, "L")
    assert source.layout["policy"] == "as they are"
    assert source.y is None


def test_subfolders_are_classes_in_order(tmp_path: Path):
    for i, name in enumerate(["dog", "cat", "dog"]):
        save(tmp_path / name / f"{i}.png", np.full((4, 4), i, np.uint8))
    save(tmp_path / ".hidden" / "x.png", noise(4, 4))
    (tmp_path / "cat" / "._1.png").write_bytes(b"junk of macOS")
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.y is not None
    assert source.y.tolist() == [0, 1, 1]
    assert source.x[:, 0, 0, 0].tolist() == [1, 0, 2]


def test_images_beside_subfolders_have_no_labels(tmp_path: Path):
    save(tmp_path / "a.png", noise(4, 4))
    save(tmp_path / "thumbs" / "b.png", noise(4, 4))
    source = load(tmp_path)
    assert len(source) == 1
    assert any("sub-folders" in note for note in source.notes)


def test_folders_named_after_parts_are_the_split(tmp_path: Path):
    for part, label, n in [("train", "a", 2), ("train", "b", 1), ("test", "b", 2)]:
        for i in range(n):
            save(tmp_path / part / label / f"{i}.png", noise(4, 4, seed=i))
    source = load(tmp_path)
    assert source.parts is not None
    assert {k: len(v) for k, v in source.parts.items()} == {"train": 3, "test": 2}
    assert source.y is not None
    assert source.y[source.parts["test"]].tolist() == [1, 1]


def test_mixed_sizes_are_scaled_to_cover_and_cropped(tmp_path: Path):
    # White, with black only where the centre crop of the longer side cuts it off (the crop is the
    # ten columns in the middle, and scaling looks three further).
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 6:24] = 255
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "tall.png", np.full((40, 20), 255, np.uint8))
    source = load(tmp_path)
    assert source.shape == (1, 64, 64)
    assert (source.x == 255).all()
    assert any("10 x 30 to 40 x 20" in note and "cropped" in note for note in source.notes)
    assert load(tmp_path, size=8).shape == (1, 8, 8)
    assert load(tmp_path, size=(8, 12)).shape == (1, 8, 12)
    with refused("size 0", error=UsageError):
        load(tmp_path, size=0)


def test_large_images_of_one_size_become_64(tmp_path: Path):
    save(tmp_path / "a.png", noise(200, 200))
    assert load(tmp_path).shape == (1, 64, 64)
    save(tmp_path / "a.png", noise(128, 100))
    assert load(tmp_path).shape == (1, 128, 100)


def test_colour_is_kept_only_where_there_is_colour(tmp_path: Path):
    grey = noise(6, 6)
    save(tmp_path / "grey.png", np.stack([grey] * 3, -1))
    source = load(tmp_path)
    assert source.layout["mode"] == "L"
    assert (source.x[0, 0] == grey).all()
    colour = save(tmp_path / "z.png", noise(6, 6, 3))
    source = load(tmp_path)
    assert source.layout["mode"] == "RGB"
    assert (source.x[1] == np.moveaxis(colour, -1, 0)).all()
    assert (source.x[0] == grey).all()
    assert load(tmp_path, mode="L").shape == (1, 6, 6)
    assert load(tmp_path, mode="RGBA").shape == (4, 6, 6)
    with refused("mode 'HSV'", error=UsageError):
        load(tmp_path, mode="HSV")


def test_modes_come_out_as_bytes(tmp_path: Path):
    deep = (np.arange(16, dtype=np.uint16).reshape(4, 4) * 17 * 257).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "16bit.png")
    assert (load(tmp_path).x[0, 0] == np.arange(16).reshape(4, 4) * 17).all()
    (tmp_path / "16bit.png").unlink()

    bits = np.eye(4, dtype=np.uint8) * 255
    save(tmp_path / "1.png", bits, "1")
    assert (load(tmp_path).x[0, 0] == bits).all()
    (tmp_path / "1.png").unlink()

    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0] = 255  # the first row opaque white, the rest transparent black
    save(tmp_path / "alpha.png", clear)
    source = load(tmp_path)
    assert source.layout["mode"] == "L"
    assert (source.x == 255).all()
    (tmp_path / "alpha.png").unlink()

    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    save(tmp_path / "palette.gif", red, "P")
    save(tmp_path / "cmyk.tif", red, "CMYK")
    save(tmp_path / "plain.ppm", red)
    assert (load(tmp_path).x == np.moveaxis(red, -1, 0)).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
def test_large_images_are_shrunk_in_strips_without_a_seam(tmp_path: Path, monkeypatch, mode):
    ramp = np.add.outer(np.arange(600), np.arange(900)) / 1500 * 255
    image = Image.fromarray(ramp.astype(np.uint8)).convert("RGB")
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.convert(mode).save(path)
    whole = load(path, size=(20, 25), mode="L").x.astype(float)
    monkeypatch.setattr("vaes.data.pixels.LARGE", 0)
    strips = load(path, size=(20, 25), mode="L").x.astype(float)
    assert np.abs(whole - strips).max() <= 2
    rows, columns = np.mgrid[:20, :25]
    # The crop is 600 x 750 at column 75, each pixel the mean of 30 x 30.
    expected = (rows * 30 + 14.5 + columns * 30 + 75 + 14.5) / 1500 * 255
    assert np.abs(strips[0, 0] - expected).max() < (6 if mode in ("P", "CMYK") else 3)


@pytest.mark.parametrize("kind", ["jpg", "tif", "png", "webp"])
def test_the_orientation_of_cameras_is_undone(tmp_path: Path, kind):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the left half comes to the top
    save(tmp_path / f"a.{kind}", pixels, exif=exif)
    x = load(tmp_path).x[0, 0]
    assert x.shape == (16, 8)
    assert x[:8].min() > 200
    assert x[8:].max() < 55


def test_of_animations_the_first_frame_is_used(tmp_path: Path):
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    source = load(tmp_path)
    assert (source.x == 10).all()
    assert any("1 animated" in note for note in source.notes)


def test_one_file_is_one_row(tmp_path: Path):
    pixels = save(tmp_path / "a.bmp", noise(5, 5))
    assert (load(tmp_path / "a.bmp").x[0, 0] == pixels).all()


def test_folders_without_images(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with refused(str(tmp_path), "no images", ".png", error=DataError):
        load(tmp_path)


def broken(path: Path) -> dict[str, bytes]:
    """Files that look like images by their name only."""
    save(path / "good.png", noise(40, 40))
    save(path / "good.jpg", noise(40, 40))
    png, jpg = (path / "good.png").read_bytes(), (path / "good.jpg").read_bytes()
    return {"cut.png": png[: len(png) // 2], "cut.jpg": jpg[: len(jpg) // 2], "text.png": b"hello"}


def test_broken_images_are_named(tmp_path: Path):
    for name, raw in broken(tmp_path).items():
        (tmp_path / name).write_bytes(raw)
        with refused(name, "--skip-bad", error=DataError):
            load(tmp_path)
        (tmp_path / name).unlink()


def test_broken_images_are_counted_where_they_are_left_out(tmp_path: Path):
    files = broken(tmp_path)
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    source = load(tmp_path, skip_bad=True)
    assert (len(source), source.skipped) == (2, 3)
    assert all(any(name in note for note in source.notes) for name in files)
    for name in ("good.png", "good.jpg"):
        (tmp_path / name).unlink()
    with refused("none of the 3 images"):
        load(tmp_path, skip_bad=True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def one_bit_png(side: int) -> bytes:
    """A black PNG of `side` x `side` pixels in a few kilobytes."""
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * side, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9000, 30_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side):
    raw = one_bit_png(9000)
    if side > 9000:  # the header alone: a lie about the size
        raw = (
            raw[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + raw[33:]
        )
    (tmp_path / "bomb.png").write_bytes(raw)
    with refused("bomb.png"):
        load(tmp_path)


def test_the_limit_on_pixels_is_an_option(tmp_path: Path):
    save(tmp_path / "a.png", noise(10, 10))
    assert len(read(tmp_path, most_pixels=100)) == 1
    with refused("10 x 10"):
        read(tmp_path, most_pixels=99)


def test_mutants_are_read_or_refused(tmp_path: Path):
    """Flipped bytes and truncations in six formats: rows or one line, nothing else."""
    random = np.random.default_rng(0)
    for kind in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        path = tmp_path / f"a.{kind}"
        save(path, noise(12, 12, 3))
        raw = path.read_bytes()
        for _ in range(40):
            mutant = bytearray(raw[: random.integers(1, len(raw) + 1)])
            for place in random.integers(0, len(mutant), random.integers(0, 4)):
                mutant[place] = random.integers(256)
            path.write_bytes(bytes(mutant))
            try:
                said = f"a.{kind}" if len(load(path)) == 1 else ""
            except DataError as error:
                said = str(error)
            assert f"a.{kind}" in said


@not_root
def test_images_that_may_not_be_read(tmp_path: Path):
    save(tmp_path / "a.png", noise(4, 4))
    (tmp_path / "a.png").chmod(0)
    with refused("a.png", "permission"):
        load(tmp_path)
