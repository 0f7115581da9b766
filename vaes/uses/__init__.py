"""What a fitted model is good for: codes, draws, variations, paths between rows, refinement.

Everything is in model space: rows come in as `Data` or `Batch` and go out as tensors, which
`vaes.data.decode` brings back to the user's units. No gradients, evaluation mode, bounded memory
(`chunk` rows of a network at a time), and randomness is a pure function of `seed` and the sizes.
"""

from vaes.uses.codes import Codes, Units, active_units, encode
from vaes.uses.paths import interpolate, traverse, traversed
from vaes.uses.refine import refine
from vaes.uses.rows import Reconstruction, decode, reconstruct, sample, vary

__all__ = [
    "Codes",
    "Reconstruction",
    "Units",
    "active_units",
    "decode",
    "encode",
    "interpolate",
    "reconstruct",
    "refine",
    "sample",
    "traverse",
    "traversed",
    "vary",
]
