"""The size of a file of coded rows beside what the model claims and what other programs reach."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from typing import Any

import numpy as np

from vaes.batch import Data
from vaes.compress.entries import Alphabet
from vaes.evaluate.likelihood import bound
from vaes.model import Model
from vaes.uses.common import at_once

DRAWS = 10  # of z per row for the bound that the size is held against
OTHERS = {
    "gzip": lambda rows: gzip.compress(rows, 9, mtime=0),
    "bz2": lambda rows: bz2.compress(rows, 9),
    "xz": lambda rows: lzma.compress(rows, preset=9 | lzma.PRESET_EXTREME),
}


def sizes(
    model: Model, data: Data, whole: int, apart: int = 0, fixed: int = 0, seed: int = 0
) -> dict[str, Any]:
    """What a file of `whole` bytes says of the model, `apart` of which hold totals and gaps, and
    `fixed` of which (header, checksums) a file has however many rows there are.

    n · bytes, bytes_apart, bytes_fixed · bits_per_row, bits_per_dim (per observed entry) and
    nats_per_row of the file without what is apart, but with what is fixed · negative_elbo: nats per
    row of the same rows, by `vaes.evaluate.likelihood.bound` with 10 draws, negative_elbo_se over
    rows · difference: of the file from that, per cent · packed: bytes of the same symbols, 8 bits
    to one where all are bits, else the fewest bytes each · others: what gzip, bz2 and xz make of
    these.
    """
    there = data.to(model.log_jacobian.device)
    found = bound(model, there, seed=seed, k=DRAWS, rows=at_once(model, DRAWS))
    n, bits = len(data), 8 * (whole - apart)
    entries = model.spec.size * n if data.mask is None else int(data.mask.sum())
    nats = bits * math.log(2) / n
    rows = packed(data)
    return {
        "n": n,
        "bytes": whole,
        "bytes_apart": apart,
        "bytes_fixed": fixed,
        "bits_per_row": bits / n,
        "bits_per_dim": bits / max(1, entries),
        "nats_per_row": nats,
        "negative_elbo": -found.elbo,
        "negative_elbo_se": found.elbo_se,
        "difference": 100 * (nats / -found.elbo - 1) if found.elbo else math.nan,
        "packed": len(rows),
        "others": {name: len(make(rows)) for name, make in OTHERS.items()},
    }


def packed(data: Data) -> bytes:
    """All symbols, row after row, and then the mask: what other programs are given."""
    alphabet, parts, masks = Alphabet(data.spec), [], []
    for batch in data.to("cpu").batches(1000):
        mask = None if batch.mask is None else batch.mask.flatten(1).numpy()
        codes = alphabet.codes(batch.x.flatten(1).numpy(), mask)
        largest = int(codes.max(initial=0))
        parts.append((codes, largest))
        masks.append(b"" if mask is None else np.packbits(mask).tobytes())
    if data.spec.uniform and data.spec.levels[0] == 2:
        rows = [np.packbits(codes).tobytes() for codes, _ in parts]
    else:
        kind = np.min_scalar_type(max(largest for _, largest in parts))
        rows = [codes.astype(kind).tobytes() for codes, _ in parts]
    return b"".join([*rows, *masks])
