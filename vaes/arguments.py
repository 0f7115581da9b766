"""What is written on the command line as values: KEY=VALUE pairs, kinds, shares, durations."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from vaes.errors import UsageError


def options(pairs: list[str] | None, **named: Any) -> dict[str, Any]:
    """--set key=value pairs, values read as numbers, lists, true, false, none or words."""
    found = {k: v for k, v in named.items() if v is not None}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: write --set key=value")
        if key in ("seed", "device", "checkpoint"):
            raise UsageError(f"--set {pair}: {key} has an option of its own, --{key} {text}")
        if key in found:
            raise UsageError(f"option '{key}' was given twice")
        found[key] = value(text)
    for key in ("encoder", "decoder"):
        if key in found:
            raise UsageError(f"{key} takes a network of your own, from Python: train(…, {key}=…)")
    return found


def value(text: str) -> Any:
    """A number, a list, true, false, none, or a word."""
    if text.lower() in ("none", "null"):
        return None
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except json.JSONDecodeError:
        return text


def given(**named: Any) -> dict[str, Any]:
    """Those that were given."""
    return {k: v for k, v in named.items() if v not in (None, False, [])}


def kinds(given: list[str] | None) -> str | dict[str, str] | None:
    """One kind for all columns, or COLUMN=KIND for some."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [item.partition("=") for item in given]
    for key, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--kind {key}: with several kinds write --kind COLUMN=KIND each time")
    return {key: value for key, _, value in pairs}


def refuse_beside_schema(schema: str | None, **others: Any) -> None:
    """One line where an option says what the schema file says too."""
    for name in given(**others) if schema is not None else ():
        raise UsageError(
            f"--{name} was given with --schema {schema}, which says what every column is; change "
            "the file, or give one of the two"
        )


def split(text: str) -> list[float]:
    """80/10/10 as shares of 1."""
    try:
        shares = [float(part) for part in text.split("/")]
        total = sum(shares)
        if len(shares) != 3 or min(shares) < 0 or not total > 0:
            raise ValueError(text)
    except ValueError:
        raise UsageError(f"--split {text}: write three shares, such as 80/10/10") from None
    return [share / total for share in shares]


def seconds(text: str | None) -> float | None:
    """90s, 10m or 2h in seconds."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise UsageError(f"--time {text}: write seconds, minutes or hours: 90s, 10m, 2h") from None
