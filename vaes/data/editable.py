"""The columns of a table as a file that a user reads, edits and trains with."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaes.batch import KINDS
from vaes.data.arrays import brief
from vaes.data.infer import Decision, infer
from vaes.data.source import Source, only_names, shown
from vaes.errors import DataError, UsageError, did_you_mean

ASIDE, LABEL = "aside", "label"
HEAD = """\
# The columns of {name}, in order. Change what a column is and train with this file.
# kind: {kinds}; "aside" leaves a column out, "label" takes it as labels.
# What follows a # was found in the data and is not read. A column without an entry stays as found.
"""


def schema_toml(source: Source, decision: Decision | None = None) -> str:
    """Every column of flat rows with its kind, as `decision` (of `infer`) has it; "aside" with the
    reason and "label" for those that are no data. Inverse: `read_toml`."""
    if len(source.shape) != 1:
        raise DataError(f"{shown(source.name)} holds images, which have no columns to list")
    decision = decision or infer(source, source.kinds or None, missing="nan")
    layout = source.layout
    names = source.names or tuple(str(j) for j in range(source.shape[0]))
    grids = decision.grids * (len(names) if len(decision.grids) == 1 else 1)
    words = layout.get("categories") or [None] * len(names)
    kinds = {name: grid.kind for name, grid in zip(names, grids, strict=True)}
    found = {
        name: f"{len(known):,}: {only_names(known, 20)}" if known else grid.told()
        for name, grid, known in zip(names, grids, words, strict=True)
    }
    for name in layout.get("drop", ()):
        kinds[name], found[name] = ASIDE, layout.get("aside", {}).get(name, "as asked")
    if layout.get("label") is not None:
        kinds[layout["label"]] = LABEL
        found[layout["label"]] = f"{len(source.classes):,}: {only_names(source.classes, 20)}"
    order = [name for name in layout.get("order", names) if name in kinds]
    head = HEAD.format(name=shown(source.name), kinds=", ".join(f'"{kind}"' for kind in KINDS))
    entries = [f'[columns.{_key(n)}]\nkind = "{kinds[n]}"  # {found[n]}\n' for n in order]
    return "\n".join([head, *entries])


def described(source: Source) -> str:
    """What was found in rows as they were read: of flat rows `schema_toml`, of images a line."""
    if len(source.shape) == 1:
        return schema_toml(source)
    told = infer(source, missing="nan").told(source.x[0].size)
    return f"{shown(source.name)}: {len(source):,} images of shape {source.shape}; {told}\n"


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the file says, as arguments `kind` (column -> kind), `drop` and `label` of `load`,
    which hands the kinds on to `prepare`. Raises DataError in one line for a file that says
    something else.

    Whether its columns exist `load` knows, and says.
    """
    path = Path(path)
    columns = _columns(path)
    said: dict[str, Any] = {"kind": {}, "drop": [], "label": None}
    for name, entry in columns.items():
        where = f"column '{shown(name)}' of {path.name}"
        kind = _kind(entry, where)
        if kind == ASIDE:
            said["drop"].append(name)
        elif kind != LABEL:
            said["kind"][name] = kind
        elif said["label"] is None:
            said["label"] = name
        else:
            raise DataError(f"{where} is a second label, beside '{shown(said['label'])}'")
    if not said["kind"]:
        raise DataError(f"{path.name} leaves no column of data; give one of them a kind")
    return said


def spelled_out(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load` with what the file `schema` says in its place: a run remembers that, and
    not a file that may change. Raises UsageError where an argument says what the file says too."""
    found = {name: value for name, value in reading.items() if name != "schema"}
    path = reading.get("schema")
    if path is None:
        return found
    for name in ("label", "drop", "kind"):
        if found.get(name) not in (None, (), [], {}):
            raise UsageError(
                f"{name} was given with schema {path}, which says what every column is; change the "
                "file, or give one of the two"
            )
    return found | read_toml(path)


def _columns(path: Path) -> dict[str, Any]:
    """The entries below [columns]."""
    try:
        said = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or brief(error)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text; save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path.name} is not valid TOML: {brief(error)}") from error
    other = next((key for key in said if key != "columns"), None)
    if other is not None:
        raise DataError(f"{path.name} has an entry '{shown(other)}'; known: [columns.NAME]")
    columns = said.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise DataError(f"{path.name} lists no columns; each is an entry [columns.NAME]")
    return columns


def _kind(entry: Any, where: str) -> str:
    """The kind of one entry."""
    if not isinstance(entry, dict) or "kind" not in entry:
        raise DataError(f'{where} has no kind; write [columns.NAME] and below it kind = "numeric"')
    other = next((key for key in entry if key != "kind"), None)
    if other is not None:
        # A dot in a name that is not in quotes makes an entry within an entry.
        raise DataError(f"{where} has an entry '{shown(other)}'; only 'kind' is known")
    known = (*KINDS, ASIDE, LABEL)
    if not isinstance(entry["kind"], str) or entry["kind"] not in known:
        hint = did_you_mean(shown(entry["kind"]), known)
        raise DataError(
            f"{where} has the kind '{shown(entry['kind'])}', which is not known; {hint}"
        )
    return entry["kind"]


def _key(name: str) -> str:
    """A name as TOML writes it."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
