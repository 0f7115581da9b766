"""Coded rows as the bytes of a file.

magic · version · length of the header · header (JSON, deflated: n, the grid of z, versions, the run
and its fingerprint) · totals and mask (deflated) · the bits of the rows · sha256 of all before.
Nothing is unpickled. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from vaes.batch import Spec
from vaes.compress.ans import Stack
from vaes.compress.bitsback import Coded
from vaes.compress.coder import Grid
from vaes.errors import DataError, RunError
from vaes.run import Run, versions

MAGIC, VERSION = b"vaesbits", 1
HEAD = struct.Struct("<8sHI")
# what headers have in common: deflated against it, that of a small file is half as long. It belongs
# to the format: files that were written with another one cannot be read
COMMON = (
    b',"most":0,"apart":[0,0],"told":1,"with":["0.1.0","2.13.0+cpu","2.4.6"],"print":"",'
    b'"recipe":"vae","run":"runs/digits-vae-1","steps":[3,4,5,6,7],"reach":4,"n":1000'
)
SUM = hashlib.sha256().digest_size


class Content(NamedTuple):
    """A whole file; how many bytes of it hold totals and mask, which no bound speaks of; how many
    there are for any number of rows: header, checksums, the state of a stack."""

    whole: bytes
    apart: int
    fixed: int


def fingerprint(run: Run) -> str:
    """16 hexadecimal digits that tell the model of a run from any other: its weights and what was
    built to hold them."""
    told = [run.info.get(field) for field in ("weights", "recipe", "options", "spec")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def to_bytes(coded: Coded, run: Run) -> Content:
    """The file of rows that were coded with the model of `run`."""
    totals = b"" if coded.totals is None else zlib.compress(coded.totals.astype("<u4").tobytes(), 9)
    mask = b"" if coded.mask is None else zlib.compress(np.packbits(coded.mask).tobytes(), 9)
    made = versions()
    header = {
        "n": coded.n,
        "reach": coded.grid.reach,
        "steps": coded.grid.steps,
        "run": run.path.as_posix(),
        "recipe": run.info["recipe"],
        "print": fingerprint(run),
        "with": [made["vaes"], made["torch"], made["numpy"]],
        "most": coded.most,
        "told": int(coded.told),
        "apart": [len(totals), len(mask)],
    }
    deflate = zlib.compressobj(9, zdict=COMMON)
    packed = deflate.compress(json.dumps(header, separators=(",", ":")).encode()) + deflate.flush()
    body = HEAD.pack(MAGIC, VERSION, len(packed)) + packed + totals + mask + coded.payload
    fixed = HEAD.size + len(packed) + len(Stack(bytes(SUM)).to_bytes()) + SUM
    return Content(body + hashlib.sha256(body).digest(), len(totals) + len(mask), fixed)


def header_of(content: bytes, what: str) -> dict[str, Any]:
    """The header of a file that is whole; one line that calls it `what` where it is not."""
    if len(content) < HEAD.size + SUM or not content.startswith(MAGIC):
        raise DataError(f"{what} is no file of coded rows, or is cut; vaes compress writes them")
    _, version, length = HEAD.unpack_from(content)
    if version > VERSION:
        raise RunError(
            f"{what} is of format {version}, this vaes reads up to {VERSION}; upgrade vaes"
        )
    if hashlib.sha256(content[:-SUM]).digest() != content[-SUM:]:
        raise DataError(f"{what} is damaged: it has another checksum; take another copy of it")
    inflate = zlib.decompressobj(zdict=COMMON)
    header = json.loads(inflate.decompress(content[HEAD.size : HEAD.size + length]))
    header["start"] = HEAD.size + length
    return header


def of_bytes(content: bytes, header: dict[str, Any], spec: Spec) -> Coded:
    """The coded rows of a file whose header was read, for the model whose rows are `spec`."""
    n, (totals, mask), place = header["n"], header["apart"], header["start"]
    parts = [content[place : place + totals], content[place + totals : place + totals + mask]]
    seen = None
    if mask:
        bits = np.frombuffer(zlib.decompress(parts[1]), dtype=np.uint8)
        seen = np.unpackbits(bits, count=n * spec.size).view(bool).reshape(n, spec.size)
    return Coded(
        n,
        Grid(header["reach"], tuple(header["steps"])),
        content[place + totals + mask : -SUM],
        header["most"],
        np.frombuffer(zlib.decompress(parts[0]), dtype="<u4").astype(np.int64) if totals else None,
        seen,
        bool(header["told"]),
    )
