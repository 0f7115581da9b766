"""What the command does with a trained run: a new folder with rows, a picture and JSON per verb.

A verb's folder is `--out`, or <run>/<verb>-<n> with the first free n; nothing is written over.
Rows are written in the kind that came in.
"""

from vaes.verbs.answers import augment, cluster, detect, impute
from vaes.verbs.groups import differ
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
    "denoise",
    "detect",
    "differ",
    "encode",
    "impute",
    "interpolate",
    "reconstruct",
    "sample",
    "score",
    "traverse",
    "vary",
]
