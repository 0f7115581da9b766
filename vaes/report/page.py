"""The page put together."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from vaes import disk, uses
from vaes.data import Prepared
from vaes.model import Model
from vaes.report import numbers, rows
from vaes.report.living import Living, living
from vaes.report.markup import text
from vaes.run import Run


def write(
    run: Run, model: Model, prepared: Prepared, evaluation: Mapping[str, Any], path: str | Path
) -> None:
    """Writes the report of `run` to `path`, in place of what is there; see `page`.

    Raises DiskError where it cannot be written.
    """
    disk.write_bytes(Path(path), page(run, model, prepared, evaluation).encode())


def page(run: Run, model: Model, prepared: Prepared, evaluation: Mapping[str, Any]) -> str:
    """The report of `run` as HTML: a pure function of its arguments.

    prepared: the rows of the run, of whose test part at most 1,000 are scored, by at most 64 draws
    each, to find the least and the most likely ones. evaluation: as evaluation.json holds it;
    sections whose numbers it lacks are left out.
    """
    seed = run.info["plan"]["seed"]
    shower = rows.Shower(prepared.schema, model.spec)
    scored = rows.score(model, prepared.test, seed)
    rates = uses.active_units(model, scored.data).rates
    known: np.ndarray | None = None if rates is None else rates.cpu().numpy()
    alive = living(model, shower, scored, known, list(model.spec.classes))
    body = [
        numbers.header(run, evaluation),
        numbers.worth(evaluation),
        rows.drawn(model, shower, seed),
        alive.html,
        rows.rebuilt(model, shower, scored),
        rows.extremes(model, shower, scored, seed),
        numbers.details(evaluation, known),
        numbers.listed(evaluation),
        numbers.training(run.metrics(), evaluation),
        numbers.examined(evaluation),
        numbers.made(run),
    ]
    return Template(_part("page.html")).substitute(
        title=text(numbers.title(run)),
        style=_part("page.css"),
        body="".join(body),
        script=_script(alive),
    )


def _script(alive: Living) -> str:
    """The decoder's numbers and the script that runs it; nothing where it cannot run."""
    if not alive.data:
        return ""
    blocks = [
        f'<script id="living-data" type="application/json">{alive.data}</script>',
        f'<script id="living-weights" type="text/plain">{alive.weights}</script>',
        f"<script>\n{_part('decoder.js')}{_part('page.js')}</script>",
    ]
    return "\n".join(blocks) + "\n"


def _part(name: str) -> str:
    return files("vaes.report").joinpath(name).read_text(encoding="utf-8")
