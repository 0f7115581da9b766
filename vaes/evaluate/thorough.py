"""All that can be measured of a model, in minutes: `vaes evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from vaes import uses
from vaes.batch import Data
from vaes.errors import DataError, UsageError, did_you_mean
from vaes.evaluate.annealed import Annealing, anneal, bdmc
from vaes.evaluate.calibration import PLACES, intervals
from vaes.evaluate.cluster import agreement
from vaes.evaluate.disentangle import disentanglement, ends
from vaes.evaluate.features import MAPS
from vaes.evaluate.gaps import gaps
from vaes.evaluate.levels import checked
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.quadrature import MOST, quadrature
from vaes.evaluate.quality import quality
from vaes.evaluate.summary import DRAWS, summary
from vaes.model import Model

DRAWN = 10_000  # rows drawn for sample quality, at most
RANKED = 2_000  # rows whose entries are ranked among draws
CLUSTERED = 5_000  # training rows whose codes are grouped
GAPPED, CLIMBED = 100, 300  # rows whose own best posteriors are sought, in so many steps
INTEGRATED = 500  # rows whose evidence is integrated where z has few dimensions


def thorough(
    model: Model,
    train: Data,
    test: Data,
    seed: int = 0,
    k: int = DRAWS,
    *,
    valid: Data | None = None,
    metrics: Sequence[dict[str, Any]] | None = None,
    recipe: str | None = None,
    features: str | None = None,
    annealed: int = 0,
    factors: np.ndarray | None = None,
) -> dict[str, Any]:
    """`vaes.evaluate.summary.summary` with all baselines, and more.

    "samples": drawn rows beside held-out ones by `features` (see `vaes.evaluate.features`; None
    takes "pca64") · "calibration": how often entries lie within central intervals of p(x|z) ·
    "gaps": what the encoder and the family of posteriors cost, on 100 rows · "quadrature": log p(x)
    without an encoder, of four latent dimensions or fewer, on 500 rows · "clusters": how well
    groups of codes agree with labels, where rows have some · "annealed": log p(x) of so many rows
    by annealed importance sampling beside that by the encoder's draws, and what annealing may be
    wrong by on as many simulated rows · "disentanglement": of codes against `factors` (n, f), each
    score beside that of noise and of the factors themselves. What cannot be measured of this model
    or these rows is said in "notes"; what was asked for by name raises.
    """
    _refuse(test, features, factors)  # before what takes minutes
    found = summary(
        model, train, test, seed, k, valid=valid, metrics=metrics, recipe=recipe, every=True
    )
    device = model.log_jacobian.device
    train, test = train.to(device), test.to(device)
    parts: dict[str, tuple[bool, Callable[[], dict[str, Any] | None]]] = {
        "calibration": (False, lambda: _calibration(model, test, seed)),
        "samples": (
            features is not None,
            lambda: _samples(model, train, test, features or "pca64", seed),
        ),
        "gaps": (False, lambda: _gaps(model, test, k, seed)),
        "quadrature": (False, lambda: _quadrature(model, test, seed)),
        "clusters": (False, lambda: _clusters(model, train, test, seed)),
        "annealed": (True, lambda: _annealed(model, test, annealed, k, seed)),
        "disentanglement": (True, lambda: _disentangled(model, test, factors, seed)),
    }
    for name, (asked, measure) in parts.items():
        try:
            told = measure()
        except (UsageError, DataError) as error:
            if asked:
                raise
            found["notes"].append(f"{name}: {error}")
        else:
            if told is not None:
                found[name] = told
    return found


def _refuse(test: Data, features: str | None, factors: np.ndarray | None) -> None:
    """One line for what was asked for and cannot be."""
    if features is not None and features not in MAPS:
        raise UsageError(f"features '{features}' are not known; {did_you_mean(features, MAPS)}")
    if factors is None:
        return
    if len(factors) != len(test):
        raise DataError(f"{len(factors)} rows of factors were given for {len(test)} rows of data")
    checked(np.zeros((len(test), 1)), factors)


def _calibration(model: Model, test: Data, seed: int) -> dict[str, Any]:
    """Share of the entries within the central 10, 20 ... 90 % of p(x_j|z)."""
    ranks = intervals(model, evenly(test, RANKED), seed=seed).ranks
    ranks, middle = ranks[ranks >= 0], (PLACES + 1) // 2
    inside = [
        float(((ranks >= middle - j) & (ranks < middle + j)).double().mean())
        for j in range(1, middle)
    ]
    return {"nominal": [j / middle for j in range(1, middle)], "observed": inside}


def _samples(
    model: Model, train: Data, test: Data, features: str, seed: int
) -> dict[str, Any] | None:
    if train.mask is not None or test.mask is not None:
        return None  # distances between rows with gaps are no distances
    n = min(DRAWN, len(test))
    drawn, _ = uses.sample(model, n, seed=seed)
    return quality(drawn, test, train, features, seed)


def _gaps(model: Model, test: Data, k: int, seed: int) -> dict[str, Any]:
    """What the encoder and the family of its posteriors cost."""
    found = gaps(model, evenly(test, GAPPED), k=k, steps=CLIMBED, seed=seed)
    told = {
        name: value for name, value in vars(found).items() if isinstance(value, (int, float, str))
    }
    return told


def _quadrature(model: Model, test: Data, seed: int) -> dict[str, Any] | None:
    """log p(x) without an encoder, where z has few dimensions."""
    if model.latent > MOST or model.bound == "none":
        return None
    found = quadrature(model, evenly(test, INTEGRATED), seed=seed)
    return {
        "n": found.n,
        "points": found.points,
        "log_evidence": found.mean,
        "log_evidence_se": found.se,
    }


def _clusters(model: Model, train: Data, test: Data, seed: int) -> dict[str, Any] | None:
    """Groups of the training rows' codes, as many as there are classes, on the test rows."""
    k = len(model.spec.classes)
    if test.y is None or k < 2:
        return None
    known = test.part((test.y >= 0).nonzero().flatten())
    if not len(known):
        return None
    labels, _ = uses.cluster(model, evenly(train, CLUSTERED), k, seed=seed).assign(model, known)
    assert known.y is not None
    return {"k": k, "n": len(known)} | vars(agreement(known.y.cpu(), labels.cpu()))


def _annealed(model: Model, test: Data, rows: int, k: int, seed: int) -> dict[str, Any] | None:
    """Annealing beside importance sampling on the same rows, and its certificate."""
    if not rows:
        return None
    some, how = evenly(test, rows), Annealing(seed=seed)
    lower, plain = anneal(model, some, how), evidence(model, some, k=k, seed=seed)
    sure = bdmc(model, len(some), how)
    return {
        "n": len(some),
        "chains": how.chains,
        "steps": how.steps,
        "acceptance": lower.acceptance,
        "log_evidence": lower.mean,
        "log_evidence_se": lower.se,
        "by_draws": plain.mean,
        "by_draws_se": plain.se,
        "gap": sure.gap,
        "gap_se": sure.gap_se,
    }


def _disentangled(
    model: Model, test: Data, factors: np.ndarray | None, seed: int
) -> dict[str, Any] | None:
    if factors is None:
        return None
    codes = uses.encode(model, test).mean.cpu().numpy()
    noise, perfect = (asdict(end) for end in ends(factors, codes.shape[1], seed))
    scores = asdict(disentanglement(codes, factors, seed))
    return {
        name: {"codes": score, "noise": noise[name], "factors": perfect[name]}
        for name, score in scores.items()
    }


def evenly(data: Data, most: int) -> Data:
    """At most `most` rows, evenly spaced."""
    if len(data) <= most:
        return data
    return data.part(torch.linspace(0, len(data) - 1, most).long().to(data.x.device))
