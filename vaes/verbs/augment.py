"""New rows, and an audit of whether they are copies."""

from __future__ import annotations

from pathlib import Path

import torch

from vaes import uses
from vaes.verbs.opened import Opened, conclude

AUDITED = 5_000  # rows of each kind that an audit looks at


def augment(run: str, data: str | None, n: int, mode: str, out: str | None, seed: int) -> Path:
    """n new rows, and an audit of whether they are copies of training rows."""
    opened = Opened(run)
    prepared = opened.prepared()
    given = prepared.train if data is None else opened.rows(data)
    found = uses.augment(opened.model, given, n, seed=seed, mode=mode)
    some = torch.arange(AUDITED)
    audit = uses.copies(
        found.x[:AUDITED],
        prepared.train.part(some[: len(prepared.train)]),
        prepared.test.part(some[: len(prepared.test)]),
    )
    told = {
        "identical": audit.identical,
        "held_out_identical": audit.held_identical,
        "leaning": audit.leaning,
        "expected": audit.expected,
        "p": audit.p_leaning,
        "copies": audit.flagged(),
    }
    folder = opened.folder("augment", out)
    said = {"verb": "augment", "n": n, "mode": mode, "seed": seed, "audit": told}
    if mode == "vary":
        said["origin"] = found.origin.tolist()
    return conclude(opened, folder, said, {"rows": found.x})
