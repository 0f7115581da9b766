"""Rows as a file as long as the model's bound says, and back to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vaes import console, disk
from vaes import data as sources
from vaes.batch import Data
from vaes.compress import decode, encode, sizes
from vaes.compress.file import fingerprint, header_of, of_bytes, to_bytes
from vaes.errors import DataError, RunError, UsageError
from vaes.run import versions
from vaes.verbs.opened import Opened, x_of


def compress(run: str, data: str | None, out: str) -> dict[str, Any]:
    """The rows of `data`, or the run's own test part, coded into the new file `out`; its size
    beside what the model claims, see `vaes.compress.sizes`."""
    opened, path = Opened(run), Path(out)
    _refuse_existing(path)
    # what the run never saw is marked, not made a gap, so that it can be refused
    rows = (
        opened.rows(None)
        if data is None
        else sources.encode(opened.schema, opened.spec, data, unseen=True)
    )
    coded = encode(opened.model, rows)
    if coded.mask is not None and "numeric" in opened.spec.kinds:
        raise DataError(
            "these rows have gaps that the run does not model in a table with columns of numbers, "
            "which could not be written back; train with --missing modelled"
        )
    content = to_bytes(coded, opened.run)
    found = sizes(opened.model, rows, len(content.whole), *content[1:])
    _refuse_existing(path)
    with disk.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(path, content.whole)
    return {"verb": "compress", "run": run, "file": str(path)} | found


def decompress(file: str, run: str | None = None, out: str | None = None) -> Path:
    """The rows of `file` in a new folder, in the kind that came in. run: where the run now is, if
    not where it was when the file was written."""
    disk.refuse_existing(out)
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror or error}") from error
    header = header_of(content, f"'{file}'")
    if run is None and not Path(header["run"]).is_dir():
        raise RunError(
            f"the run '{header['run']}' that '{file}' was coded with is not there; name it with "
            "--run"
        )
    opened = Opened(run or header["run"])
    if fingerprint(opened.run) != header["print"]:
        raise RunError(
            f"'{file}' was coded with another model than that of run '{opened.run.path}'; name the "
            "run that it was coded with by --run"
        )
    made = list(versions().values())[:3]
    if header["with"] != made:
        console.say(
            f"'{file}' was written with vaes {', torch '.join(header['with'][:2])}, here is vaes "
            f"{', torch '.join(made[:2])}: it may not decode, which is noticed"
        )
    rows = decode(opened.model, of_bytes(content, header, opened.spec))
    folder = opened.folder("decompress", out)
    said = {"verb": "decompress", "n": len(rows), "file": file, "run": str(opened.run.path)}
    x = _with_gaps(opened, rows)
    if _shown_otherwise(opened):
        name = sources.write(opened.schema, opened.spec, x, folder / "rows.npy").name
    else:
        name = opened.write(folder, "rows", x)
    disk.write_json(folder / "result.json", said | {"files": [name]})
    return folder


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} exists and is never written over; choose another name")


def _with_gaps(opened: Opened, rows: Data) -> torch.Tensor:
    """Rows in model space, NaN where nothing was; what columns tell to be a gap is one anyway."""
    x = x_of(rows)
    if rows.mask is None or opened.spec.gates:
        return x
    return torch.where(rows.mask, x, torch.nan)


def _shown_otherwise(opened: Opened) -> bool:
    """Whether PNGs would show the rows in other numbers: few levels are stretched over 0 to 255."""
    layout = opened.schema["layout"]
    bytes_ = layout.get("dtype") == "uint8" and opened.schema["range"][1] > 16
    return layout["kind"] == "images" and not (bytes_ and not opened.schema["binarize"])
