"""Runs to resume and to damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run.helpers import KINDS, LENGTH, ROWS, Die, dying
from vaes.run import Run
from vaes.training import train


@pytest.fixture(scope="module")
def plain_pictures() -> Any:
    """Pictures are another file's claim."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaes.training.draw_pictures", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, ROWS)
    return path


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory, plain_pictures) -> dict[str, Run]:
    """An uninterrupted run of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    return {k: train(rows, out=folder / k, **options, **LENGTH) for k, options in KINDS.items()}


@pytest.fixture
def run(whole, tmp_path) -> Run:
    """A copy of a finished run, to be damaged."""
    return Run(shutil.copytree(whole["vae"].path, tmp_path / "copy"))


@pytest.fixture
def halted(rows, tmp_path) -> Path:
    """A run that died at step 43: states at 40 and 35."""
    path = tmp_path / "run"
    with pytest.raises(Die):
        train(rows, out=path, callbacks=[dying(43)], **KINDS["vae"], **LENGTH)
    return path
