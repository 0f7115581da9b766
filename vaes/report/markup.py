"""The page's HTML in small pieces; whatever comes from data goes through `text`."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any


def text(value: Any) -> str:
    """`value` as text that can stand between tags or in a quoted attribute."""
    return html.escape(str(value), quote=True)


def script_json(value: Any) -> str:
    """JSON that cannot end the script element that it stands in; same value, numbers finite."""
    told = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        told = told.replace(mark, f"\\u{ord(mark):04x}")
    return told


def section(title: str, *parts: str, name: str = "") -> str:
    """A section of the page; nothing where there is nothing to show."""
    inside = "".join(parts)
    if not inside:
        return ""
    return f"<section{f' id={name}' if name else ''}><h2>{text(title)}</h2>{inside}</section>\n"


def paragraph(words: str, kind: str = "") -> str:
    return f"<p{f' class={kind}' if kind else ''}>{text(words)}</p>"


def figure(inside: str, title: str, note: str = "") -> str:
    """A chart below its title; `note`, smaller, below both."""
    told = f"<p class=small>{text(note)}</p>" if note else ""
    return f"<figure><figcaption class=title>{text(title)}</figcaption>{inside}{told}</figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    """A table that scrolls by itself where it is wider than the screen; all cells are text."""
    first = "".join(f"<th scope=col>{text(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="table">'
        f"<table{f' class={kind}' if kind else ''}><thead><tr>{first}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def number(value: float | None, digits: int | None = None) -> str:
    """A number for a reader: a true minus sign, about four significant digits; "–" for none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 1000 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    told = f"{value:,.{digits}f}"
    if 0 < abs(value) < 1e-4:
        told = f"{value:.1e}"
    return told.replace("-", "−")


def with_error(value: float | None, se: float | None) -> str:
    """value ± its standard error, to the second digit of the error."""
    if value is None or se is None or not math.isfinite(value) or not (0 < se < math.inf):
        return number(value)
    digits = min(6, max(0, 1 - math.floor(math.log10(se))))
    return f"{number(value, digits)} ± {number(se, digits)}"
