"""What the command does with a trained run: for most verbs a new folder with what they made and
`result.json`; `score` prints.

A verb reads and writes; what it asks of the model is the function of the same name in `vaes.uses`.
A verb's folder is `--out`, or <run>/<verb>-<n> with the first free n; nothing is written over.
Rows are written in the kind that came in.
"""

from vaes.verbs.augment import augment
from vaes.verbs.cluster import cluster
from vaes.verbs.compare import compare
from vaes.verbs.compress import compress, decompress
from vaes.verbs.detect import detect
from vaes.verbs.differ import differ
from vaes.verbs.evaluate import evaluate
from vaes.verbs.impute import impute
from vaes.verbs.rows import (
    denoise,
    encode,
    interpolate,
    reconstruct,
    sample,
    score,
    traverse,
    vary,
)

__all__ = [
    "augment",
    "cluster",
    "compare",
    "compress",
    "decompress",
    "denoise",
    "detect",
    "differ",
    "encode",
    "evaluate",
    "impute",
    "interpolate",
    "reconstruct",
    "sample",
    "score",
    "traverse",
    "vary",
]
