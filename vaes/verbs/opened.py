"""A finished run and the rows that a verb works on; how what it made is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaes import console, disk
from vaes import data as sources
from vaes.batch import Data
from vaes.data import Prepared, Source
from vaes.data.alike import alike
from vaes.errors import RunError, UsageError
from vaes.pictures import seen, show_rows
from vaes.run import Run

if TYPE_CHECKING:
    from vaes.model import Model


class Opened:
    """A finished run, its model, and the rows that a verb works on."""

    def __init__(self, run: str, skip_bad: bool = False) -> None:
        self.run, self.skip_bad = Run(run), skip_bad
        self.model: Model = self.run.load()
        self.spec, self.schema = self.model.spec, self.run.info["schema"]

    def rows(self, data: str | None, most: int | None = None, unseen: bool = False) -> Data:
        """The rows of `data`, or the run's own test part; the first `most` of them. `unseen` as
        `vaes.data.encode` has it."""
        if most is not None and most < 1:
            raise UsageError(f"{most} rows were asked for; at least one is needed")
        if data is not None:
            found = sources.encode(
                self.schema, self.spec, self.raw(data, (), unseen), unseen=unseen
            )
        else:
            found = self.prepared().test
        return found if most is None else found.part(torch.arange(min(most, len(found))))

    def where(self, data: str | None) -> str:
        """Where the rows lie: `data`, or what the run was made from."""
        found = self.run.info["data"]["from"] if data is None else data
        if found is None:
            raise UsageError("this run was trained on rows in memory; name the rows to use")
        return found

    def raw(self, data: str | None, beside: Sequence[str] = (), unseen: bool = False) -> Source:
        """The rows of `data`, or all rows that the run was made from, as they were read. beside:
        columns that they have and the run does not · unseen: as `vaes.data.encode` has it."""
        layout, schema = self.schema["layout"], self.schema
        if beside:
            schema = {**schema, "layout": {**layout, "drop": [*layout["drop"], *beside]}}
        source = alike(schema, self.spec, self.where(data), self.skip_bad, unseen)
        for note in source.notes:
            console.say(note)
        return source

    def prepared(self) -> Prepared:
        """The run's own rows in their parts."""
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
        return prepared

    def folder(self, verb: str, out: str | None) -> Path:
        """A new folder for what the verb makes."""
        return disk.new_folder(
            Path(out) if out is not None else None, (self.run.path / verb).as_posix()
        )

    def names(self) -> list[str]:
        """What every entry of a flat row is called."""
        return list(self.spec.names or map(str, range(self.spec.size)))

    def told(self, data: Data) -> list[list[Any]]:
        """The entries of flat rows in the user's words and units."""
        if self.schema["layout"]["kind"] == "table":
            rows = sources.table(self.schema, self.spec, x_of(data)).to_pylist()
            plain = (bool, int, float, str, type(None))
            return [[v if isinstance(v, plain) else str(v) for v in row.values()] for row in rows]
        return self.decode(x_of(data)).reshape(len(data), -1).tolist()

    def write(self, folder: Path, name: str, x: torch.Tensor, given: Source | None = None) -> str:
        """Rows (n, *shape) of model space in the kind that came in; the file's name. What `given`
        holds is written as it was given."""
        layout = self.schema["layout"]
        suffix = {"table": layout.get("suffix", ".csv"), "images": ""}.get(layout["kind"], ".npy")
        if self.spec.image and layout["kind"] == "images":
            suffix = ""
        path = folder / f"{name}{suffix}"
        return sources.write(self.schema, self.spec, x, path, given=given).name

    def decode(self, x: torch.Tensor) -> np.ndarray:
        """Rows of model space in the user's units, to be shown."""
        return seen(self.schema, self.spec, x)


def x_of(data: Data) -> torch.Tensor:
    return data.rows(slice(None)).x


def conclude(
    opened: Opened,
    folder: Path,
    said: dict[str, Any],
    parts: dict[str, torch.Tensor],
    picture: torch.Tensor | None = None,
    others: Sequence[str] = (),
) -> Path:
    """Writes rows, picture (rows x columns of rows) and result.json into `folder`, which has the
    files `others` already."""
    files = [*others, *(opened.write(folder, name, x) for name, x in parts.items())]
    if picture is None:
        x = next(iter(parts.values()))
        side = max(1, int(min(len(x), 100) ** 0.5))
        picture = x[: side * side].unflatten(0, (side, side))
    if show_rows(opened.spec, opened.decode, picture, folder / "picture.png"):
        files.append("picture.png")
    disk.write_json(folder / "result.json", said | {"files": files})
    return folder
