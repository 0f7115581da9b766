"""What a fitted model is good for: codes, draws, variations, paths, refinement; gaps filled, odd
rows found and explained, noise taken out, rows added, grouped and compared.

Everything is in model space: rows come in as `Data` or `Batch` and go out as tensors, which
`vaes.data.decode` brings back to the user's units. No gradients, evaluation mode, bounded memory
(`chunk` rows of a network at a time), and randomness is a pure function of `seed` and the sizes.
"""

from vaes.uses.augment import Audit, Augmented, augment, copies
from vaes.uses.blame import blame
from vaes.uses.chain_impute import Chained, chain_impute
from vaes.uses.cluster import Clusters, cluster
from vaes.uses.codes import Codes, Units, active_units, encode
from vaes.uses.denoise import denoise
from vaes.uses.detect import Conformal, anomaly_scores, discoveries
from vaes.uses.differ import Differences, differ
from vaes.uses.impute import Imputation, impute
from vaes.uses.paths import interpolate, traverse, traversed
from vaes.uses.refine import refine
from vaes.uses.rows import Reconstruction, decode, reconstruct, sample, vary

__all__ = [
    "Audit",
    "Augmented",
    "Chained",
    "Clusters",
    "Codes",
    "Conformal",
    "Differences",
    "Imputation",
    "Reconstruction",
    "Units",
    "active_units",
    "anomaly_scores",
    "augment",
    "blame",
    "chain_impute",
    "cluster",
    "copies",
    "decode",
    "denoise",
    "differ",
    "discoveries",
    "encode",
    "impute",
    "interpolate",
    "reconstruct",
    "refine",
    "sample",
    "traverse",
    "traversed",
    "vary",
]
