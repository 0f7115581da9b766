"""A run folder: everything that a trained model is, readable without code of the user's.

run.json (recipe, options, spec, schema, plan, versions, data) · weights.safetensors (the
best) · state/ (what an exact resume needs) · metrics.jsonl · evaluation.json · pictures. Only
safetensors and JSON are ever read; nothing is unpickled. One folder holds one run and is never
written over.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaes import disk
from vaes.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vaes.batch import Spec
    from vaes.model import Model

FORMAT = 1  # of run.json; a reader refuses newer ones
KEPT = 2  # saved states
FIELDS = ("recipe", "options", "spec", "schema", "plan", "data")  # of run.json, in every run
METRICS = "metrics.jsonl"


class Run:
    """One run folder. `Run.create` makes a new one, `Run(path)` opens one that exists."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RunError(f"'{path}' is no run folder: there is no such folder; train one first")
        self.info: dict[str, Any] = disk.read_json(self.path / "run.json", f"run '{path}'")
        version = self.info.get("format") if isinstance(self.info, dict) else None
        if not isinstance(version, int):
            raise RunError(f"'{path}' is no run folder: its run.json was not written by vaes")
        if version > FORMAT:
            raise RunError(
                f"run '{path}' is of format {version}, this vaes reads up to {FORMAT}; upgrade vaes"
            )
        for field in FIELDS:
            if field not in self.info:
                raise RunError(f"run '{path}' is damaged: run.json lacks '{field}'")

    @classmethod
    def create(cls, out: str | Path | None, name: str, info: dict[str, Any]) -> Run:
        """A new folder `out`, or runs/<name>-<n> with the first free n; never an existing one."""
        if out is not None:
            cls.refuse_existing(out)
        path = disk.new_folder(None if out is None else Path(out), f"runs/{name}")
        with disk.writing(path):
            (path / "state").mkdir()
        disk.write_json(path / "run.json", {"format": FORMAT, **info, "versions": versions()})
        return cls(path)

    @staticmethod
    def refuse_existing(out: str | Path) -> None:
        """One line where `out` is taken."""
        if Path(out).exists():
            raise UsageError(
                f"--out {out} exists and is never written over; choose another folder, or go on "
                f"with: vaes train --resume {out}"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process and sweeps what a killed one left."""
        with disk.locked(self.path / ".lock", f"run '{self.path}'"):
            disk.sweep(self.path)
            disk.sweep(self.path / "state")
            yield

    def update(self, **fields: Any) -> None:
        """Adds fields to run.json."""
        self.info |= fields
        disk.write_json(self.path / "run.json", self.info)

    def write(self, name: str, content: Any) -> None:
        """A JSON file of the run."""
        disk.write_json(self.path / name, content)

    @property
    def spec(self) -> Spec:
        """What one row of this run is."""
        from vaes.batch import Spec

        return Spec.from_json(self.info["spec"])

    @property
    def finished(self) -> bool:
        """Whether the run holds its final weights."""
        return "weights" in self.info

    def append(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        path = self.path / METRICS
        line = json.dumps(disk._finite(record), allow_nan=False) + "\n"
        with disk.writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(line)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl; a last line cut by a kill is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def save_state(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """A checkpoint: the tensors first, then the pointer; the last two are kept."""
        import safetensors.torch

        folder, step = self.path / "state", int(progress["step"])
        path = self.path / METRICS
        meta = {"progress": progress, "metrics": path.stat().st_size if path.exists() else 0}
        with disk.writing(path):
            if path.exists():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        contents = safetensors.torch.save(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            {"meta": json.dumps(disk._finite(meta))},
        )
        # numbered by the write, so that a state saved twice at one step never replaces itself
        known = self._states()
        number = 1 + max((s["number"] for s in known), default=0)
        file = f"{step}-{number}.safetensors"
        entry = {
            "number": number,
            "step": step,
            "file": file,
            "sha256": disk.write_bytes(folder / file, contents),
        }
        kept = [entry, *known][:KEPT]
        disk.write_json(folder / "latest.json", {**entry, "states": kept})
        names = {s["file"] for s in kept}
        for old in folder.glob("*.safetensors"):
            if old.name not in names:
                old.unlink(missing_ok=True)

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest state whose checksum holds, metrics.jsonl cut back to it; None = no state."""
        import safetensors
        import safetensors.torch

        states = self._states()
        for entry in states:
            path = self.path / "state" / entry["file"]
            if not path.exists() or disk.sha256(path) != entry["sha256"]:
                continue
            with safetensors.safe_open(path, "pt") as file:
                meta = json.loads((file.metadata() or {})["meta"])
            progress = meta["progress"]
            if progress["best"] is None:
                progress["best"] = float("-inf")
            self._cut_metrics(meta["metrics"])
            return safetensors.torch.load_file(path), progress
        if states:
            raise RunError(f"run '{self.path}' is damaged: no saved state has its checksum")
        self._cut_metrics(0)
        return None

    def _states(self) -> list[dict[str, Any]]:
        path = self.path / "state" / "latest.json"
        return disk.read_json(path, f"run '{self.path}'")["states"] if path.exists() else []

    def _cut_metrics(self, size: int) -> None:
        path = self.path / METRICS
        if path.exists() and path.stat().st_size > size:
            with disk.writing(path), open(path, "r+b") as file:
                file.truncate(size)

    def save_weights(self, model: Model) -> None:
        """weights.safetensors and its checksum: the run is finished from here on."""
        import safetensors.torch

        contents = safetensors.torch.save(
            {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        )
        digest = disk.write_bytes(self.path / "weights.safetensors", contents)
        self.update(weights=digest)

    def load(self, encoder: nn.Module | None = None, decoder: nn.Module | None = None) -> Model:
        """The trained model, in evaluation mode; bodies of the user's own are handed in again."""
        import safetensors.torch

        model = self.build(encoder, decoder)
        if not self.finished:
            raise RunError(
                f"run '{self.path}' is not finished; go on with: vaes train --resume {self.path}"
            )
        path = self.path / "weights.safetensors"
        if not path.exists():
            raise RunError(f"run '{self.path}' is incomplete: {path.name} is missing")
        if disk.sha256(path) != self.info["weights"]:
            raise RunError(f"run '{self.path}' is damaged: {path.name} has another checksum")
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()

    def build(self, encoder: nn.Module | None = None, decoder: nn.Module | None = None) -> Model:
        """The untrained model that run.json describes."""
        from vaes import recipes

        bodies = {"encoder": encoder, "decoder": decoder}
        own = [name for name in self.info.get("custom", []) if bodies[name] is None]
        if own:
            raise UsageError(
                f"run '{self.path}' has a network of your own as its {' and '.join(own)}; load it "
                f"from Python: load('{self.path}', {own[0]}=...)"
            )
        given = {k: v for k, v in bodies.items() if v is not None}
        model = recipes.build(self.info["recipe"], self.spec, **self.info["options"], **given)
        if "prior" in self.info:  # of its own, fitted after training
            from vaes.after import taken

            return taken(model, self.info["prior"])
        return model


def load(
    run: str | Path, encoder: nn.Module | None = None, decoder: nn.Module | None = None
) -> Model:
    """The trained model of a run folder; see `Run.load`."""
    return Run(run).load(encoder, decoder)


def versions() -> dict[str, str]:
    """Of everything that can change a number."""
    import numpy
    import torch

    import vaes

    return {
        "vaes": vaes.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
