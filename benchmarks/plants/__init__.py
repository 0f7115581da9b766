"""Errors to plant, a file per area, each with a list `PLANTS`; `every` has them all."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """One error: in `file` the snippet `old`, found exactly once, becomes `new`.

    tests: the files that should notice, run first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def every() -> list[Plant]:
    """The errors of all areas."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__))
    return [p for name in modules for p in importlib.import_module(f"plants.{name}").PLANTS]
