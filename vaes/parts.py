"""Parts of a model by name, with options of their own.

"vamp", or {"name": "vamp", "components": 9}.

A part is a function of its module: its keyword arguments are its options. On the command line
`--set prior=vamp --set prior.components=9` says the same.

Spaces, where a code z lives and where its prior must live too: "real" (all of R^d), "positive",
"unit" (0 to 1 each), "simplex", "sphere", "binary", "onehot", "codes" (vectors of a codebook).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from vaes.errors import UsageError, did_you_mean

Part = str | Mapping[str, Any]


def named(part: Part) -> tuple[str, dict[str, Any]]:
    """Name and options of a part."""
    if isinstance(part, str):
        return part, {}
    options = dict(part)
    return str(options.pop("name", "")), options


def known(what: str, part: Part, table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of a part that `table` has; one line where it has not."""
    if not isinstance(part, (str, Mapping)):
        raise UsageError(
            f"{what} is a {type(part).__name__}; it takes a name, or a name and options"
        )
    name, options = named(part)
    if name not in table:
        raise UsageError(f"{what} '{name}' is not known; {did_you_mean(name, table)}")
    return name, options


def made(what: str, part: Part, table: Mapping[str, Callable[..., Any]], *given: Any) -> Any:
    """The part of that name, made of what it is `given` and of its options."""
    name, options = known(what, part, table)
    return called(f"{what}={name}", table[name], options, *given)


def called(said: str, make: Callable[..., Any], options: Mapping[str, Any], *given: Any) -> Any:
    """`make(*given, **options)`; an option that it has not, or that it needs, is one line."""
    signature = list(inspect.signature(make).parameters.values())[len(given) :]
    takes = {p.name: p for p in signature if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    for key in options:
        if key not in takes:
            hint = did_you_mean(key, takes) if takes else "it has none"
            raise UsageError(f"{said} has no option '{key}'; {hint}")
    for key, parameter in takes.items():
        if parameter.default is parameter.empty and key not in options:
            raise UsageError(f"{said} needs {key}; give it as {said.split('=')[0]}.{key}=...")
    try:
        return make(*given, **options)
    except TypeError as error:  # an option of the wrong type, such as a word for a number
        raise UsageError(f"{said} does not take {dict(options)}: {error}") from error


def folded(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which "prior.components" has become an option of the part `prior`; a part that is
    not named is the default one."""
    found = {key: value for key, value in options.items() if "." not in key}
    for key, value in options.items():
        what, dot, option = key.partition(".")
        if not dot:
            continue
        if what not in defaults and what not in found:
            raise UsageError(f"there is no option '{key}'; {did_you_mean(what, sorted(defaults))}")
        part = found.get(what, defaults.get(what))
        if not isinstance(part, (str, Mapping)):
            raise UsageError(f"{key}={value} was given, but {what} is {part}, which has no options")
        name, own = named(part)
        found[what] = {"name": name, **own, option: value}
    return found


def plain(value: Any) -> bool:
    """Whether JSON can hold it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
