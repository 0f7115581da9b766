"""Options by name: which are the recipe's, which are training's, and what values they take."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from vaes import recipes
from vaes.errors import UsageError, did_you_mean
from vaes.parts import folded
from vaes.plan import Settings


def split_options(recipe: str, options: dict[str, Any]) -> tuple[dict[str, Any], Settings]:
    """Which options are the recipe's and which are `Settings`; an unknown one is one line."""
    ours, theirs = recipes.options(recipe), Settings.names()
    options = folded(options, {k: o.default for k, o in ours.items()})
    kinds = {f.name: f.type for f in fields(Settings)} | {k: o.annotation for k, o in ours.items()}
    for key, value in options.items():
        if key not in ours and key not in theirs:
            hint = did_you_mean(key, [*ours, *theirs])
            raise UsageError(f"recipe '{recipe}' has no option '{key}'; {hint}")
        _check_kind(key, value, str(kinds[key]))
    given = {k: v for k, v in options.items() if k in theirs}
    own = recipes.settings(recipe)
    if {"epochs", "steps"} & given.keys():  # a length of the user's own
        own = {k: v for k, v in own.items() if k not in ("epochs", "steps", "presented")}
    settings = Settings(**own | given)
    return {k: v for k, v in options.items() if k in ours}, settings


def known_anywhere(options: dict[str, Any]) -> None:
    """One line for a name that is an option of no recipe and of training neither, where the recipe
    is still to be chosen by the data."""
    every = {*Settings.names(), *(key for name in recipes.names() for key in recipes.options(name))}
    for key in options:
        if key.partition(".")[0] not in every:
            raise UsageError(f"there is no option '{key}'; {did_you_mean(key, sorted(every))}")


_KINDS: dict[str, tuple[Any, str]] = {
    "int": (numbers.Integral, "a whole number"),
    "float": (numbers.Real, "a number"),
    "str": (str, "a word"),
    "bool": (bool, "true or false"),
    "None": (type(None), "none"),
    "Part": ((str, Mapping), "a name, or a name and options"),
    "Sequence[int]": (Sequence, "a list of whole numbers, such as [256,256]"),
}


def _check_kind(key: str, value: Any, annotation: str) -> None:
    """One line where `value` is none of what `annotation`, such as "int | None", names."""
    names = annotation.split(" | ")
    if not all(name in _KINDS for name in names):
        return  # a Python object: for the recipe to judge
    for name in names:
        fits = isinstance(value, _KINDS[name][0]) and isinstance(value, bool) == (name == "bool")
        if name.startswith("Sequence") and fits:
            fits = not isinstance(value, str)
            fits = fits and all(isinstance(v, numbers.Integral) and int(v) > 0 for v in value)
        if fits:
            return
    told = " or ".join(_KINDS[name][1] for name in names)
    raise UsageError(f"{key}={value} is not possible; {key} takes {told}")
