"""All that can be measured of a run, in minutes: evaluation.json and report.html."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vaes import disk
from vaes.data import Prepared, sprites
from vaes.errors import DataError, UsageError
from vaes.evaluate.thorough import thorough
from vaes.machine import matmul, threads
from vaes.report import write as report_page
from vaes.verbs.opened import Opened


def evaluate(
    run: str,
    data: str | None,
    k: int,
    features: str | None,
    annealed: int,
    factors: str | None,
    out: str | None,
    seed: int,
    skip_bad: bool,
) -> Path:
    """Measures on `data`, or on the run's own test part; the folder that holds what was found."""
    disk.refuse_existing(out)
    opened = Opened(run, skip_bad)
    if opened.run.info["data"]["from"] is None:
        raise UsageError(
            f"run '{run}' was trained on rows in memory, which baselines and health go by; measure "
            "it in Python (vaes.evaluate.thorough), or score rows: vaes score"
        )
    prepared, plan = opened.prepared(), opened.run.info["plan"]
    if data is not None:
        prepared = replace(prepared, test=opened.rows(data))
    if not len(prepared.test):
        raise DataError(f"{data or run}: there are no rows to evaluate on")
    if annealed < 0:
        raise UsageError(f"annealed={annealed}: a number of rows, 0 or more")
    known = _factors(factors, prepared, data)
    with threads(plan["threads"]), matmul(plan["matmul"]):
        found = thorough(
            opened.model,
            prepared.train,
            prepared.test,
            seed,
            k,
            valid=prepared.valid,
            metrics=opened.run.metrics(),
            recipe=opened.run.info["recipe"],
            features=features,
            annealed=annealed,
            factors=known,
        )
    folder = opened.folder("evaluate", out)
    disk.write_json(folder / "evaluation.json", found | {"verb": "evaluate", "data": data})
    report_page(opened.run, opened.model, prepared, found, folder / "report.html")
    return folder


def _factors(path: str | None, prepared: Prepared, data: str | None) -> np.ndarray | None:
    """The factors (n, f) of the rows: those of a file, or of the generated set itself."""
    if path is None:
        ours = prepared.schema["name"] == "sprites" and data is None
        return sprites.factors()[prepared.split["test"]] if ours else None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"--factors {path}: no .npy file of factors ({error})") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "iuf":
        raise DataError(f"--factors {path}: a .npy file of numbers (rows, factors) is needed")
    return found
