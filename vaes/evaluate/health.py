"""What is wrong with a trained model, why, and what to do about it.

`examine` measures, on at most a thousand rows of each part, and judges: a finding is one sentence
with its number and cause, and one remedy, in options of `vaes train`. The borders were set on
models of other seeds than those that benchmarks/health.py reports on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vaes.batch import Data, generator
from vaes.errors import DataError, UsageError
from vaes.evaluate import symptoms
from vaes.evaluate.aggregate import aggregate, collapsed, holes, some
from vaes.evaluate.baselines import independent
from vaes.evaluate.calibration import intervals, simulated
from vaes.evaluate.findings import CHECKS
from vaes.evaluate.likelihood import bound, evidence
from vaes.evaluate.patient import Finding, Patient
from vaes.model import Model
from vaes.plan import widest
from vaes.uses.codes import active_units

ROWS, LEAST = 1000, 200  # of a part that are looked at: at most, and of the widest models
WORK = 200_000_000  # numbers of the widest layer that one measure may make: a second or two
FITTED = 5000  # training rows that the independent baseline is fitted to
PAIRS, FEW, DRAWS = 500, 100, 200  # posteriors in the mixture; rows of the evidence, its draws
SIMULATIONS = 500  # of the encoder's calibration


@dataclass(frozen=True)
class Health:
    """numbers: what was measured, by name, nats per row, None where the model has no such number ·
    findings: what is wrong with it, warnings first."""

    numbers: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are more than a note."""
        return tuple(f for f in self.findings if f.severity == "warning")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, words and lists."""
        return {"numbers": self.numbers, "findings": [asdict(f) for f in self.findings]}

    def lines(self) -> list[str]:
        """`told` of the findings."""
        return told([asdict(f) for f in self.findings])


def told(findings: Sequence[Mapping[str, str]]) -> list[str]:
    """A line for each finding (as `Health.to_json` has them) with its remedy, or one that says that
    there is none."""
    lines = [f"{f['severity']}: {f['sentence']}; remedy: {f['remedy']}" for f in findings]
    return lines or ["healthy: nothing found"]


def examine(
    model: Model,
    train: Data,
    valid: Data | None,
    test: Data,
    metrics: Sequence[dict[str, Any]] | None = None,
    seed: int = 0,
    recipe: str | None = None,
) -> Health:
    """Measures and judges `model`, fitted to `train` and chosen by `valid`, on the rows `test`.

    metrics: the lines of metrics.jsonl, without which nothing is said of how training ended ·
    recipe: the model's, so that remedies name options that it has. Needs ten rows of both. A model
    with `bound = "none"` has no rate and no evidence: what concerns those is None.
    """
    if min(len(train), len(test)) < 10:
        raise DataError(
            f"{len(train)} training and {len(test)} test rows: to examine a model takes ten of both"
        )
    device = model.log_jacobian.device
    train, test = train.to(device), test.to(device)
    valid = None if valid is None else valid.to(device)
    numbers: dict[str, Any] = {
        "n_train": len(train),
        "n_test": len(test),
        "latent_dim": model.latent,
        "bound": model.bound,
    }
    rows = min(ROWS, max(LEAST, WORK // widest(model) // 10))
    few, seen = some(train, rows, "train", seed), some(test, rows, "test", seed)
    numbers |= _of_rows(train, test, few, seen)
    numbers |= _of_bounds(model, train, few, seen, metrics or (), seed)
    numbers |= _of_codes(model, train, valid, seen, seed)
    numbers |= _of_calibration(model, seen, seed)
    numbers = {name: _plain(value) for name, value in numbers.items()}
    patient = Patient(model, numbers, recipe)
    found = [finding for check in CHECKS if (finding := check(patient)) is not None]
    return Health(numbers, tuple(sorted(found, key=lambda f: f.severity == "note")))


def _of_rows(train: Data, test: Data, few: Data, seen: Data) -> dict[str, Any]:
    """What is wrong with the rows themselves."""
    found, twins = symptoms.copies(train, test)
    distance, surely = symptoms.shifted(few, seen)
    unlike = surely & (distance > 0)
    still = symptoms.constant(train)
    return {
        "copies": found,
        "twins": twins,
        "constant": still.flatten().nonzero().flatten().tolist(),
        "shift": distance[unlike].max() if bool(unlike.any()) else 0.0,
        "shifted": int(distance.where(unlike, distance.new_zeros(())).argmax()),
    }


def _of_bounds(
    model: Model, train: Data, few: Data, seen: Data, metrics: Sequence[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """ELBO on both parts, evidence, what independent entries reach, how training ended."""
    ours, theirs = (bound(model, data, seed=seed, k=2) for data in (few, seen))
    gaps = model.evidence == "x,s"
    base = independent(some(train, FITTED, "baseline", seed), seen, gaps)
    split = model.bound != "none" and len(theirs.rates) == model.latent
    found: dict[str, Any] = {
        "elbo_train": ours.elbo,
        "elbo": theirs.elbo,
        "elbo_gap_se": math.hypot(ours.elbo_se, theirs.elbo_se),
        "distortion_train": ours.distortion,
        "distortion": theirs.distortion,
        "rate": theirs.rate,
        "rates": [float(r) for r in theirs.rates] if split else None,
        "independent": base.mean,
        "log_evidence": None,
        "slack": None,
        "ess": None,
        "epochs": metrics[-1].get("epoch") if metrics else None,
        "rising": None,
        "rising_se": None,
    }
    if model.bound != "none":
        draws = min(DRAWS, max(20, WORK // widest(model) // FEW))
        score = evidence(model, some(seen, FEW, "evidence", seed), k=draws, seed=seed)
        found |= {"log_evidence": score.mean, "slack": score.mean - score.elbo, "ess": score.ess}
    end = symptoms.rising(metrics)
    return found if end is None else found | {"rising": end[0], "rising_se": end[1]}


def _of_codes(
    model: Model, train: Data, valid: Data | None, seen: Data, seed: int
) -> dict[str, Any]:
    """How codes are spread, which dimensions carry anything, and whether the decoder listens."""
    draw = generator("reliance", seed, device=seen.x.device)
    held = valid if valid is not None and len(valid) > len(seen) else seen
    units = active_units(model, seen)
    hole = holes(model, train, held, seed=seed)
    found: dict[str, Any] = {
        "active_units": units.count,
        "collapsed": None if model.bound == "none" else collapsed(model, seen),
        "reliance": symptoms.reliance(model, seen, draw),
        "hole_rate": hole.rate,
        "hole_rate_se": hole.se,
        "information": None,
        "divergence": None,
        "total_correlation": None,
        "mmd": None,
    }
    if model.bound == "none":
        return found
    q = aggregate(model, train, rows=PAIRS, draws=1, seed=seed)
    return found | {
        "information": q.information,
        "divergence": q.divergence,
        "total_correlation": q.correlation,
        "mmd": q.mmd,
    }


def _of_calibration(model: Model, seen: Data, seed: int) -> dict[str, Any]:
    """Whether encoder and likelihood are as sure as they may be."""
    found: dict[str, Any] = dict.fromkeys(
        ("coverage", "spread", "inside50", "inside50_se", "inside90", "inside90_se", "shared")
    )
    try:
        sbc = simulated(model, simulations=SIMULATIONS, seed=seed)
        found |= {"coverage": sbc.coverage[:-1].mean(), "spread": sbc.spread[:-1].mean()}
    except UsageError:  # discrete codes, point posteriors: they have no ranks
        pass
    ends = symptoms.limits(model, seen, generator("limits", seed, device=seen.x.device))
    found |= {"floor": ends and ends[0], "ceiling": ends and ends[1]}
    if model.evidence != "x,s":
        told = intervals(model, seen, seed=seed)
        found |= {"inside50": told.inside50, "inside50_se": told.inside50_se}
        found |= {"inside90": told.inside90, "inside90_se": told.inside90_se}
        found["shared"] = symptoms.shared(told.ranks)
    return found


def _plain(value: Any) -> Any:
    """A number that JSON can hold; None for what is no number."""
    if isinstance(value, (list, str, int)) or value is None:
        return value
    return float(value) if math.isfinite(float(value)) else None
