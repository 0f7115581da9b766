"""comparison.html: the leaderboard of `vaes compare` as one file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from vaes.report.charts import Dot, whiskers
from vaes.report.markup import number, paragraph, section, table, with_error

HEAD = ("", "log evidence", "behind the best", "recipe", "rate", "active", "weights", "seconds")


def compared(told: Mapping[str, Any]) -> str:
    """The page of a comparison.json."""
    places = told["places"]
    rows = [
        (
            place["name"],
            with_error(place["mean"], place["se"]) if place["mean"] is not None else "no density",
            _behind(place),
            place.get("recipe", "–"),
            number(place.get("rate")),
            "–"
            if place.get("active_units") is None
            else f"{place['active_units']} of {place['latent_dim']}",
            number(place.get("weights"), 0),
            number(place.get("seconds"), 0),
        )
        for place in places
    ]
    dots = [
        Dot(p["name"], p["mean"], p["se"], "recipe" in p) for p in places if p["mean"] is not None
    ]
    chart = whiskers(dots, "Log evidence, ± two standard errors", "nats per row")
    note = (
        "Differences are taken row by row, so their errors are smaller than those of means. The "
        "evidence of a model whose posterior is not exact is estimated from below."
    )
    body = [
        "<header><h1>Models on the same rows</h1></header>",
        section(
            "Log evidence",
            paragraph(f"On {told['n']:,} rows, {told['unit']}; {told['k']:,} draws a row."),
            table(HEAD, rows),
            chart,
            *(paragraph(words) for words in told["notes"]),
            paragraph(note, "small"),
        ),
    ]
    html, style = (
        files("vaes.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css")
    )
    return Template(html).substitute(title="Comparison", style=style, body="".join(body), script="")


def _behind(place: Mapping[str, Any]) -> str:
    if place["behind"] is None:
        return "–"
    if not place["behind"]:
        return "best"
    tie = ", not told apart" if place["tied"] else ""
    return with_error(place["behind"], place["behind_se"]) + tie
