"""What a run is and what it is worth: the head of the page, its numbers, its charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vaes.batch import Spec
from vaes.report.charts import Dot, Line, bars, lines, thinned, whiskers
from vaes.report.markup import number, paragraph, section, table, text, with_error
from vaes.run import Run

START = 0.1  # of training: its steep first part is left out of the axis limits
LISTED = 8  # entries of a list of numbers up to which it is told in full
MEANINGS = {
    "log_evidence": ("log evidence", "log p(x), by importance sampling; higher is better"),
    "elbo": ("ELBO", "lower bound on the log evidence: −(distortion + rate)"),
    "rate": ("rate", "KL(q(z|x) ‖ p(z)): what a code costs"),
    "distortion": ("distortion", "−E log p(x|z): what rebuilding from the code costs"),
}


def title(run: Run) -> str:
    """What the run is called."""
    return f"{run.info['recipe']} on {run.info['schema']['name']}"


def header(run: Run, evaluation: Mapping[str, Any]) -> str:
    """Name of the run, what it was made of, and the verdict on its health."""
    info, spec = run.info, run.spec
    rows = info["schema"].get("split", {}).get("rows", {})
    kinds = ", ".join(dict.fromkeys(spec.kinds[spec.gates :]))
    told = [f"{_shape(spec)} ({kinds})"]
    told += [", ".join(f"{number(n, 0)} {part}" for part, n in rows.items())] if rows else []
    latent, trained = evaluation.get("latent_dim"), info.get("trained")
    told += [_some(latent, "latent dimension")] if latent else []
    told += [_some(trained["steps"], "step")] if trained and trained["steps"] else []
    head = f"<h1>{text(title(run))}</h1>{paragraph(' · '.join(told), 'what')}"
    return f"<header>{head}{verdict(evaluation)}</header>\n"


def _shape(spec: Spec) -> str:
    """What a row is, in a few words."""
    if spec.image:
        channels, height, width = spec.shape
        return f"images of {height} × {width}" + (f", {channels} channels" if channels > 1 else "")
    if len(spec.shape) == 1:
        return _some(spec.size - spec.gates, "column")
    return f"rows of {' × '.join(map(str, spec.shape))}"


def _some(count: int, what: str) -> str:
    return f"{number(count, 0)} {what}{'' if count == 1 else 's'}"


def verdict(evaluation: Mapping[str, Any]) -> str:
    """The findings of the health report; nothing where none was made."""
    findings = (evaluation.get("health") or {}).get("findings")
    if findings is None:
        return ""
    if not findings:
        return paragraph("Healthy: nothing was found.", "verdict good")
    order = sorted(findings, key=lambda f: f.get("severity") != "warning")
    lines = []
    for found in order:
        remedy = found.get("remedy")
        told = (
            f"<b>{text(found.get('severity', 'note'))}</b> {text(found['sentence'].rstrip('.'))}."
        )
        told += f" <span>Remedy: {text(remedy)}</span>" if remedy else ""
        kind = "warning" if found.get("severity") == "warning" else "note"
        lines.append(f'<li class="{kind}">{told}</li>')
    return f'<ul class="verdict">{"".join(lines)}</ul>'


def worth(evaluation: Mapping[str, Any]) -> str:
    """The numbers of evaluation.json with their errors, and the evidence beside baselines."""
    rows = [
        (name, meaning, with_error(evaluation[key], evaluation.get(f"{key}_se")))
        for key, (name, meaning) in MEANINGS.items()
        if evaluation.get(key) is not None
    ]
    if evaluation.get("bits_per_dim") is not None:
        told = number(evaluation["bits_per_dim"], 4)
        rows.append(("bits per dimension", "−log₂ p(x) over the entries of a row", told))
    if "active_units" in evaluation:
        told = f"{evaluation['active_units']} of {evaluation.get('latent_dim', '?')}"
        rows.append(
            ("active units", "dimensions whose posterior means have a variance > .01", told)
        )
    if evaluation.get("ess") is not None:
        told = f"{number(evaluation['ess'], 1)} of K = {number(evaluation['k'], 0)}"
        meaning = "(Σw)² / Σw², median over rows; few: the evidence is a loose bound"
        rows.append(("effective draws", meaning, told))
    unit = evaluation.get("unit", "nats per row")
    of = f"{number(evaluation.get('n'), 0)} test rows · {unit} · ± one standard error"
    note = paragraph(of, "small")
    note += "".join(paragraph(told, "small") for told in evaluation.get("notes") or ())
    if evaluation.get("bound") == "none":
        note += paragraph("This model has no density over x, so there is no evidence.")
    inside = f"<div>{_numbers(rows)}{note}</div>{against(evaluation)}"
    return section("What it is worth", f'<div class="worth">{inside}</div>') if rows else ""


def _numbers(rows: Sequence[tuple[str, str, str]]) -> str:
    """Name, meaning and value of each number."""
    names = [f"{text(name)}<small>{text(meaning)}</small>" for name, meaning, _ in rows]
    pairs = zip(names, (text(told) for _, _, told in rows), strict=True)
    lines = "".join(f"<tr><th scope=row>{name}</th><td>{told}</td></tr>" for name, told in pairs)
    return f'<table class="numbers">{lines}</table>'


def against(evaluation: Mapping[str, Any]) -> str:
    """The model beside baselines on one axis."""
    if evaluation.get("log_evidence") is None:
        return ""
    dots = [
        Dot("this model", evaluation["log_evidence"], evaluation.get("log_evidence_se"), True),
        Dot("its ELBO", evaluation["elbo"], evaluation.get("elbo_se"), True),
    ]
    for name, found in _baselines(evaluation).items():
        dots.append(Dot(name, found["log_evidence"], found.get("log_evidence_se")))
    below = [k for k, v in _baselines(evaluation).items() if v.get("bound") == "lower"]
    note = f"Of {', '.join(below)}: a lower bound on its own evidence." if below else ""
    title = "Log evidence beside baselines, ± two standard errors"
    return whiskers(dots, title, "nats per row", note)


def _baselines(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The baselines whose evidence is a number."""
    given = evaluation.get("baselines") or {}
    return {k: v for k, v in given.items() if v.get("log_evidence") is not None}


# --- training -------------------------------------------------------------------------------------
def training(records: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> str:
    """ELBO, distortion, rate and active units over steps."""
    levels = [(name, found["log_evidence"]) for name, found in _baselines(evaluation).items()]
    told = {"elbo": "ELBO", "distortion": "Distortion", "rate": "Rate"}
    told["active_units"] = "Active latent dimensions"
    charts = []
    for key, name in told.items():
        curves = [
            Line(label, *_series(records, prefix + key), kind)
            for prefix, label, kind in (("", "training", "a"), ("valid_", "validation", "b"))
        ]
        unit = "dimensions" if key == "active_units" else "nats per row"
        charts.append(
            lines(
                [c for c in curves if len(c.x)],
                name,
                "step",
                unit,
                levels=levels if key == "elbo" else (),
                limits=_limits(curves, floor=key == "active_units"),
            )
        )
    return section("Training", _row(charts))


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found[:, 1])]
    return thinned(found[:, 0], found[:, 1])


def _limits(curves: Sequence[Line], floor: bool) -> tuple[float, float] | None:
    """Limits from all but the steep start of training."""
    late = [c.y[c.x >= START * c.x[-1]] for c in curves if len(c.x)]
    values = np.concatenate(late) if late else np.zeros(0)
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-3 * max(abs(low), abs(high), 1.0))
    return (0.0, high * 1.1 + 0.5) if floor else (low - 0.08 * span, high + 0.08 * span)


# --- what is there only sometimes -----------------------------------------------------------------
def details(evaluation: Mapping[str, Any], rates: np.ndarray | None) -> str:
    """KL per dimension, the IWAE curve, calibration of intervals."""
    charts = [_rates(evaluation, rates), _curve(evaluation), _calibration(evaluation)]
    return section("Inside the bound", _row(charts)) if any(charts) else ""


def _rates(evaluation: Mapping[str, Any], rates: np.ndarray | None) -> str:
    given = evaluation.get("rates")
    values = rates if given is None else np.array(given, dtype=np.float64)
    if values is None or len(values) < 2:
        return ""
    order = np.argsort(-values, kind="stable")
    return bars(values[order], [str(j) for j in order], "KL per latent dimension, sorted", "nats")


def _curve(evaluation: Mapping[str, Any]) -> str:
    found = {int(k): v for k, v in (evaluation.get("curve") or {}).items()}
    ks = sorted(found)
    line = Line(
        "IWAE_K",
        np.array(ks, dtype=np.float64),
        np.array([found[k]["mean"] for k in ks], dtype=np.float64),
        se=np.array([found[k].get("se") or 0.0 for k in ks], dtype=np.float64),
        dots=True,
    )
    name = "The bound with K importance samples, ± one standard error"
    return lines([line], name, "K", "nats per row", log_x=True)


def _calibration(evaluation: Mapping[str, Any]) -> str:
    found = evaluation.get("calibration") or {}
    if "nominal" not in found or "observed" not in found:
        return ""
    nominal, observed = (np.array(found[k], dtype=np.float64) for k in ("nominal", "observed"))
    ends = np.array([0.0, 1.0])
    curves = [
        Line("observed", nominal, observed, "a", dots=True),
        Line("nominal", ends, ends, "level"),
    ]
    name = "Held-out values within the model's intervals"
    return lines(curves, name, "nominal share", "observed share", square=True, limits=(-0.02, 1.02))


LISTED_AS = {
    "samples": "Sample quality",
    "gaps": "Gaps of the bound",
    "quadrature": "Evidence by quadrature",
    "annealed": "Evidence by annealing",
    "disentanglement": "Codes beside known factors",
    "clusters": "Groups of codes beside labels",
}


def listed(evaluation: Mapping[str, Any]) -> str:
    """What `vaes evaluate` measures besides, a table each, as it is."""
    found = []
    for key, name in LISTED_AS.items():
        rows = list(_told(evaluation.get(key) or {}))
        features = (evaluation.get(key) or {}).get("features")
        note = f"Features: {features}; numbers of other features cannot be compared."
        found.append(
            section(name, table(("", ""), rows), paragraph(note, "small") if features else "")
            if rows
            else ""
        )
    return "".join(found)


def _told(numbers: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a dict of numbers, `x_se` beside x, dicts in dicts in turn."""
    for key, value in numbers.items():
        name = before + str(key).replace("_", " ")
        if key == "features" or (key.endswith("_se") and key[:-3] in numbers):
            continue
        if isinstance(value, Mapping):
            yield from _told(value, f"{name} · ")
        elif isinstance(value, bool) or value is None or isinstance(value, str):
            yield name, "–" if value is None else str(value)
        elif isinstance(value, (int, float)):
            se = numbers.get(f"{key}_se")
            whole = isinstance(value, int) or float(value).is_integer()
            yield name, number(value, 0) if whole and se is None else with_error(value, se)
        elif isinstance(value, Sequence) and len(value) <= LISTED:
            plain = [number(v) if isinstance(v, float) else str(v) for v in value]
            yield name, ", ".join(plain)


def examined(evaluation: Mapping[str, Any]) -> str:
    """What the health report measured."""
    rows = list(_told((evaluation.get("health") or {}).get("numbers") or {}))
    if not rows:
        return ""
    return f"<details><summary>What was examined</summary>{table(('', ''), rows)}</details>\n"


def made(run: Run) -> str:
    """How the run came about: options, plan, versions, data."""
    info = run.info
    rows = [("recipe", info["recipe"])]
    rows += [(f"option {k}", _plain(v)) for k, v in info["options"].items()]
    rows += [(f"plan {k}", _plain(v)) for k, v in info["plan"].items()]
    rows += [(f"version of {k}", v) for k, v in info.get("versions", {}).items()]
    rows += [("fingerprint of the data", info["schema"].get("fingerprint", "–"))]
    inside = table(("", ""), rows)
    return f"<details><summary>How it was made</summary>{inside}</details>\n"


def _plain(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return "–" if value is None else str(value)


def _row(charts: Sequence[str]) -> str:
    """Charts beside one another where there is room."""
    found = "".join(charts)
    return f'<div class="charts">{found}</div>' if found else ""
