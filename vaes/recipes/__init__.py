"""The folder is the registry: a recipe's name is its file's name, its options are the signature of
its `build`, its help is its docstring's first line. Adding a model is adding a file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from vaes.batch import Spec
from vaes.errors import UsageError, did_you_mean
from vaes.model import Model
from vaes.parts import folded, plain

OURS = ("spec", "bound")  # arguments of `compose` that recipes give
MODULES = ("encoder", "decoder")  # parts that are Python objects: not for the command line


def names() -> list[str]:
    """Every recipe in the folder, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def recipe(name: str) -> ModuleType:
    """The module of the recipe `name`."""
    if name not in names():
        raise UsageError(f"recipe '{name}' is not known; {did_you_mean(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def default(spec: Spec) -> str:
    """The recipe for rows of `spec` where none is named: `counts` where all entries are counts,
    `tabular` where columns are unlike."""
    if spec.totals:
        return "counts"
    table = len(spec.shape) == 1 and {"category", "numeric"} & set(spec.kinds)
    return "tabular" if table and not {"real", "count"} & set(spec.kinds) else "vae"


def summary(name: str) -> str:
    """First line of the recipe's docstring."""
    return (recipe(name).__doc__ or "").strip().splitlines()[0]


def options(name: str) -> dict[str, inspect.Parameter]:
    """What `build` takes beside the spec, by name.

    A `build` that ends in `**parts` passes them on to `compose`: its parts are options too, but for
    those that the recipe names in `FIXED`.
    """
    from vaes.composed import compose

    found = dict(inspect.signature(recipe(name).build).parameters)
    found.pop("spec")
    if found.pop("parts", None) is not None:
        parts = dict(inspect.signature(compose).parameters)
        for fixed in (*OURS, *getattr(recipe(name), "FIXED", ())):
            parts.pop(fixed)
        found = {**found, **{k: v for k, v in parts.items() if k not in found}}
    return found


def defaults(name: str) -> dict[str, Any]:
    """What the options of a recipe are where nothing is said, but for parts that are modules."""
    found = {key: option.default for key, option in options(name).items()}
    return {key: value for key, value in found.items() if key not in MODULES and plain(value)}


def settings(name: str) -> dict[str, Any]:
    """How a recipe trains where nothing else is said: what it names in `SETTINGS`."""
    return dict(getattr(recipe(name), "SETTINGS", {}))


def reads(name: str) -> dict[str, Any]:
    """How rows are prepared for a recipe where nothing else is said: what it names in `READS`."""
    return dict(getattr(recipe(name), "READS", {}))


def build(name: str, spec: Spec, **hyperparameters: Any) -> Model:
    """The model of recipe `name` for rows of `spec`; an unknown option is one line."""
    known = options(name)
    hyperparameters = folded(hyperparameters, {k: o.default for k, o in known.items()})
    for key in hyperparameters:
        if key not in known:
            raise UsageError(f"recipe '{name}' has no option '{key}'; {did_you_mean(key, known)}")
    return recipe(name).build(spec, **hyperparameters)
