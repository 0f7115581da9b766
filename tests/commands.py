"""The command in this process, and what it leaves in a folder."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from vaes import cli

TINY = ["--steps", "60", "--set", "hidden=[16]", "--set", "latent=2", "--set", "threads=1"]


class Told(NamedTuple):
    code: int
    out: str
    err: str


def vaes_(*args: str | Path) -> Told:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["vaes", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.main()
    code = left.value.code
    return Told(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def made(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below `folder` with its size and time of change."""
    return {
        str(p): (p.stat().st_size if p.is_file() else 0, p.stat().st_mtime_ns if p.is_file() else 0)
        for p in folder.rglob("*")
        if p.name != ".lock"
    }


def images(folder: Path, n: int = 30) -> Path:
    """Images, one of them cut short."""
    (folder / "images").mkdir()
    draw = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(draw.integers(0, 256, (6, 6), dtype=np.uint8)).save(
            folder / "images" / f"{i:02}.png"
        )
    whole = (folder / "images" / "00.png").read_bytes()
    (folder / "images" / "bad.png").write_bytes(whole[: len(whole) // 2])
    return folder / "images"
