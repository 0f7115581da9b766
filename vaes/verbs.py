"""What the command does with a trained run: a new folder with rows, a picture and JSON per verb.

A verb's folder is `--out`, or <run>/<verb>-<n> with the first free n; nothing is written over.
Rows are written in the kind that came in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaes import data as sources
from vaes import disk, uses
from vaes.batch import Data
from vaes.errors import RunError, UsageError
from vaes.evaluate.likelihood import evidence
from vaes.pictures import seen, show_rows
from vaes.run import Run

if TYPE_CHECKING:
    from vaes.model import Model

FEW = 8  # rows that a verb takes of the test part where none are given


class Opened:
    """A finished run, its model, and the rows that a verb works on."""

    def __init__(self, run: str, skip_bad: bool = False) -> None:
        self.run, self.skip_bad = Run(run), skip_bad
        self.model: Model = self.run.load()
        self.spec, self.schema = self.model.spec, self.run.info["schema"]

    def rows(self, data: str | None, most: int | None = None) -> Data:
        """The rows of `data`, or the run's own test part; the first `most` of them."""
        if most is not None and most < 1:
            raise UsageError(f"{most} rows were asked for; at least one is needed")
        if data is not None:
            found = sources.encode(self.schema, self.spec, data, skip_bad=self.skip_bad)
        else:
            origin = self.run.info["data"]
            if origin["from"] is None:
                raise UsageError("this run was trained on rows in memory; name the rows to use")
            source = sources.load(origin["from"], **origin["reading"])
            seed = self.run.info["plan"]["seed"]
            prepared = sources.prepare(source, seed=seed, **origin["preparing"])
            if prepared.fingerprint != self.schema["fingerprint"]:
                raise RunError(
                    f"the data of run '{self.run.path}' have changed since it was trained, so its "
                    "test part is gone; name the rows to use"
                )
            found = prepared.test
        return found if most is None else found.part(torch.arange(min(most, len(found))))

    def folder(self, verb: str, out: str | None) -> Path:
        """A new folder for what the verb makes."""
        return disk.new_folder(
            Path(out) if out is not None else None, (self.run.path / verb).as_posix()
        )

    def write(self, folder: Path, name: str, x: torch.Tensor) -> str:
        """Rows (n, *shape) of model space in the kind that came in; the file's name."""
        layout = self.schema["layout"]
        suffix = {"table": layout.get("suffix", ".csv"), "images": ""}.get(layout["kind"], ".npy")
        if self.spec.image and layout["kind"] == "images":
            suffix = ""
        return sources.write(self.schema, self.spec, x, folder / f"{name}{suffix}").name

    def decode(self, x: torch.Tensor) -> np.ndarray:
        """Rows of model space in the user's units, to be shown."""
        return seen(self.schema, self.spec, x)


def sample(run: str, n: int, out: str | None, seed: int, mean: bool) -> Path:
    """n new rows from the prior."""
    opened = Opened(run)
    x, _ = uses.sample(opened.model, n, seed=seed, mean=mean)
    folder = opened.folder("sample", out)
    said = {"verb": "sample", "n": n, "seed": seed, "mean": mean}
    return _conclude(opened, folder, said, {"rows": x})


def vary(run: str, data: str | None, n: int, rows: int, out: str | None, seed: int) -> Path:
    """n variations of each of the first `rows` rows."""
    opened = Opened(run)
    given = opened.rows(data, rows)
    x = uses.vary(opened.model, given, n, seed=seed, mean=opened.spec.image)
    folder = opened.folder("vary", out)
    said = {"verb": "vary", "n": n, "of": len(given), "seed": seed}
    picture = torch.cat([_x(given).unsqueeze(1), x], 1)
    return _conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, picture)


def reconstruct(
    run: str, data: str | None, draws: int, level: float, out: str | None, skip_bad: bool
) -> Path:
    """Every row at its posterior mean, and with `draws` an interval per entry."""
    opened = Opened(run, skip_bad)
    given = opened.rows(data)
    found = uses.reconstruct(opened.model, given, draws=draws, level=level)
    parts = {"rows": found.mean}
    if found.low is not None and found.high is not None:
        parts |= {"low": found.low, "high": found.high}
    folder = opened.folder("reconstruct", out)
    said = {"verb": "reconstruct", "n": len(given), "draws": draws, "level": level}
    picture = torch.stack([_x(given)[:16], found.mean[:16]], 0)
    return _conclude(opened, folder, said, parts, picture)


def encode(run: str, data: str | None, out: str | None, skip_bad: bool) -> Path:
    """Posterior means and standard deviations, codes.npz."""
    opened = Opened(run, skip_bad)
    codes = uses.encode(opened.model, opened.rows(data))
    folder = opened.folder("encode", out)
    with disk.writing(folder):
        np.savez(folder / "codes.npz", mean=codes.mean.numpy(), std=codes.std.numpy())
    said = {"verb": "encode", "n": len(codes.mean), "latent_dim": codes.mean.shape[1]}
    disk.write_json(folder / "result.json", said | {"files": ["codes.npz"]})
    return folder


def interpolate(
    run: str, data: str | None, pairs: int, steps: int, path: str, out: str | None
) -> Path:
    """From row 0 to row 1, from row 2 to row 3 …, through the means of their posteriors."""
    opened = Opened(run)
    given = opened.rows(data, 2 * pairs)
    if len(given) < 2:
        raise UsageError(f"{len(given)} row was given; an interpolation takes at least two")
    even = torch.arange(0, len(given) - 1, 2)
    x = uses.interpolate(opened.model, given.part(even), given.part(even + 1), steps, path)
    folder = opened.folder("interpolate", out)
    said = {"verb": "interpolate", "pairs": len(even), "steps": steps, "path": path}
    return _conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, x)


def traverse(
    run: str, data: str | None, row: int, steps: int, span: float, out: str | None
) -> Path:
    """One latent dimension at a time, the liveliest first."""
    opened = Opened(run)
    given = opened.rows(data)
    if not 0 <= row < len(given):
        raise UsageError(f"row {row} was asked for; rows are 0 to {len(given) - 1}")
    rates = uses.active_units(opened.model, given).rates
    dims = uses.traversed(opened.model, rates)
    one = given.part(torch.tensor([row]))
    x = uses.traverse(opened.model, one, dims, steps, span)
    folder = opened.folder("traverse", out)
    said = {"verb": "traverse", "row": row, "dims": dims, "steps": steps, "span": span}
    return _conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, x)


def score(run: str, data: str | None, k: int, seed: int, skip_bad: bool) -> dict[str, Any]:
    """log p(x) of every row; mean and standard error, nats per row."""
    opened = Opened(run, skip_bad)
    found = evidence(opened.model, opened.rows(data), k=k, seed=seed)
    return {
        "n": found.n,
        "log_evidence": found.mean,
        "log_evidence_se": found.se,
        "k": found.k,
        "ess": found.ess,
        "per_row": found.per_row.tolist(),
    }


def _x(data: Data) -> torch.Tensor:
    return data.rows(slice(None)).x


def _conclude(
    opened: Opened,
    folder: Path,
    said: dict[str, Any],
    parts: dict[str, torch.Tensor],
    picture: torch.Tensor | None = None,
) -> Path:
    """Writes rows, picture (rows x columns of rows) and result.json into `folder`."""
    files = [opened.write(folder, name, x) for name, x in parts.items()]
    if picture is None:
        x = parts["rows"]
        side = max(1, int(min(len(x), 100) ** 0.5))
        picture = x[: side * side].unflatten(0, (side, side))
    if show_rows(opened.spec, opened.decode, picture, folder / "picture.png"):
        files.append("picture.png")
    disk.write_json(folder / "result.json", said | {"files": files})
    return folder
