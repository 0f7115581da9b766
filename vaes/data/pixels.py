"""One image file: its header, its pixels, and every way in which files are broken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from vaes.data.arrays import brief
from vaes.errors import DataError

# Pillow also knows formats that run other programs (EPS); only these are ever tried.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 64_000_000
# Beyond this size an image is converted and shrunk strip by strip: a second copy in another mode
# would double the memory that its pixels take.
LARGE = 2**22
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image tell: upright (height, width), grey or not, animated."""

    size: tuple[int, int]
    grey: bool
    animated: bool


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image, its header read; every way in which files are broken becomes one DataError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about large sizes and broken metadata; our own limit decides.
            warnings.simplefilter("ignore")
            # A stream, not a name: Pillow maps named raw TIFFs and then gets turned ones wrong.
            with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
                yield image
    except (DataError, PermissionError):
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image that can be read") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large to decode: {brief(error)}") from error
    except Exception as error:  # broken files raise nearly anything inside the decoders
        raise DataError(f"{path} is broken: {brief(error)}") from error


def read_header(path: Path, most_pixels: int = MOST_PIXELS) -> Header:
    """Size and mode of an image, without decoding it; DataError beyond `most_pixels`."""
    with _opened(path) as image:
        width, height = image.size
        if width * height > most_pixels:
            raise DataError(
                f"{path} has {width} x {height} pixels, more than {most_pixels / 1e6:g} million"
            )
        if _sideways(image):
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")
        return Header((height, width), grey, bool(getattr(image, "is_animated", False)))


def _sideways(image: Image.Image) -> bool:
    """True where the EXIF orientation swaps height and width (TIFF sizes are upright already)."""
    if image.format == "TIFF" or "exif" not in image.info:
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)


def decode(path: Path, size: tuple[int, int], mode: str) -> np.ndarray:
    """One image as uint8 (channels, height, width): scaled to cover `size`, cropped, in `mode`."""
    with _opened(path) as image:
        # JPEG can decode at a half, quarter or eighth: enough pixels stay for scaling down.
        image.draft(None, (2 * max(size), 2 * max(size)))
        image.load()
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
        height, width = size[::-1] if turn in (5, 6, 7, 8) else size
        scaled = _scaled(image, (width, height), path)
        if mode != "RGBA" and scaled.mode == "RGBA":
            white = Image.new("RGBA", scaled.size, "white")
            scaled = Image.alpha_composite(white, scaled)
        scaled = scaled.convert(mode)
        pixels = np.asarray(scaled.transpose(TURNS[turn]) if turn in TURNS else scaled)
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _scaled(image: Image.Image, size: tuple[int, int], path: Path) -> Image.Image:
    """The image scaled until it covers (width, height) and cropped at the centre, in 8 bits."""
    if image.width * image.height > LARGE and image.size != size:
        image = _shrunk(image, size, path)
    else:
        image = _eight_bits(image, path)
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _shrunk(image: Image.Image, size: tuple[int, int], path: Path) -> Image.Image:
    """What is visible of the image, averaged down to at least three times (width, height)."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = (min(n, int(np.ceil(scale * s))) for n, s in zip(image.size, size, strict=True))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    factor = max(1, int(scale / 3))
    step = factor * max(1, 2**18 // (factor * width))
    strips = []
    for y in range(top, top + height, step):
        strip = image.crop((left, y, left + width, min(y + step, top + height)))
        strips.append(_eight_bits(strip, path).reduce(factor))
    out = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for i, strip in enumerate(strips):
        out.paste(strip, (0, i * step // factor))
    return out


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """The image in mode L, RGB or RGBA: the modes in which Pillow scales well."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} holds values beyond 16 bits; save it with 8 or 16")
        # 65535 is 255 * 257: the nearest of 256 levels.
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise DataError(f"{path} holds floating-point pixels; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return (
        image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    )
