"""A prior fitted to the codes of a finished run, all else as it is: `vaes train --prior-after`.

The average of q(z|x) over the training rows is seldom the prior that a run was trained with; where
they part, draws decode to what no row is like. A prior of that shape costs less rate, so that the
evidence rises by as much, and its draws fall where codes are (Hoffman & Johnson 2016; Ghosh et al.
2020, arXiv:1903.12436). The old run stays; the new one's run.json names its prior.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaes import data as sources
from vaes import disk
from vaes.batch import Data
from vaes.composed import Composed
from vaes.data import Prepared
from vaes.dist.fitted import per_class
from vaes.dist.priors import CODES, PRIORS, Prior, codes
from vaes.errors import RunError, UsageError, did_you_mean
from vaes.evaluate.likelihood import evidence
from vaes.model import Model, Phase
from vaes.parts import Part, folded, made
from vaes.run import METRICS, Run

KINDS = {"normal": "fitted", "mixture": "fitted_mixture", "flow": "fitted_flow"}
TABLE = {**PRIORS, "per_class": per_class}  # by name, as run.json has them
DRAWS = 100  # of the evidence by which priors are ranked
MOST = 2_000  # validation rows that rank them
TRAINED = "as trained"


def taken(model: Model, part: Part) -> Composed:
    """`model` with the prior `part` (a name of `TABLE`, with options) in place of
    its own; not fitted yet."""
    if not isinstance(model, Composed) or type(model).prior is not Composed.prior:
        raise UsageError(
            f"{type(model).__name__} has no prior that can be exchanged; models that are composed "
            "of parts have"
        )
    prior: Prior = made("prior", part, TABLE, model.spec, model.latent)
    space = getattr(getattr(model.encoder, "head", None), "space", "real")
    if prior.space != space:
        raise UsageError(
            f"priors that are fitted after training are densities over real numbers; the codes of "
            f"this model live in '{space}'"
        )
    like = model.log_jacobian
    model.latent_prior = prior.to(device=like.device, dtype=next(model.parameters()).dtype)
    model.phases = (Phase("train"), *prior.phases)
    return model


@torch.no_grad()
def fitted(model: Model, part: Part, train: Data) -> Composed:
    """`model` with the prior `part` fitted to the codes of `train`."""
    model = taken(model, part)
    model.latent_prior.begin(model, CODES, train)
    return model.eval()


@torch.no_grad()
def held_out(model: Model, valid: Data, seed: int = 0) -> Tensor:
    """What ranks priors, per row of `valid`: its evidence; of a model that has none, the density of
    its codes. Nats, (n,)."""
    few = valid.part(torch.arange(min(MOST, len(valid))))
    if model.bound != "none":
        return evidence(model, few, k=DRAWS, seed=seed).per_row.double()
    z = codes(model, few)
    parts = [
        model.prior(b).log_prob(v) for b, v in zip(few.batches(500), z.split(500, 1), strict=True)
    ]
    return torch.cat(parts, 1).mean(0).double()


def prior_after(
    path: str | Path,
    kinds: Sequence[str],
    *,
    each_class: bool = False,
    options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    data: Any = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Run:
    """A new run with the prior, of `kinds` (normal, mixture, flow), that is best on held-out rows.

    each_class: one prior for each class of labelled rows, so that rows of one class can be drawn ·
    options: of the kinds, {"mixture.components": 20} · data: the rows again, where the run was
    trained on rows in memory; encoder, decoder: bodies of the user's own, likewise.
    """
    from vaes.plan import Plan
    from vaes.training import finish

    if out is not None:
        Run.refuse_existing(out)
    old = Run(path)
    parts = _parts(kinds, options or {}, each_class)
    prepared, done = _prepared(old, data), Plan(**old.info["plan"])
    model = old.load(encoder, decoder)
    if each_class and not prepared.spec.classes:
        raise UsageError(f"run '{path}' has no labels, which a prior for each class needs")
    for part in parts.values():  # what is wrong with one is said before any is fitted
        made("prior", part, TABLE, model.spec, model.latent)
    seed, began = done.seed, held_out(model, prepared.valid, done.seed)
    scores, best = {TRAINED: float(began.mean())}, (-math.inf, "", model)
    report(_line(TRAINED, began, began))
    for kind, part in parts.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = fitted(old.load(encoder, decoder), part, prepared.train)
        score = held_out(found, prepared.valid, seed)
        report(_line(kind, score, began))
        scores[kind] = float(score.mean())
        best = max(best, (scores[kind], kind, found), key=lambda one: one[0])
    _, kind, model = best
    if scores[TRAINED] >= scores[kind]:
        report(f"note: none is better on held-out rows than the prior of the run; {kind} is kept")
    info = {k: v for k, v in old.info.items() if k in _KEPT}
    info["prior"] = parts[kind]
    info["prior_after"] = {"of": str(old.path), "held_out": scores, "kept": kind}
    run = Run.create(out, f"{old.path.name}-{kind}", info)
    with run.locked():
        for name in (METRICS, "schema.toml"):
            if (old.path / name).exists():
                with disk.writing(run.path / name):
                    shutil.copyfile(old.path / name, run.path / name)
        run.save_weights(model)
        finish(run, model, prepared, done)
    return run


_KEPT = ("recipe", "options", "custom", "spec", "schema", "plan", "data", "trained")


def _parts(kinds: Sequence[str], options: Mapping[str, Any], each_class: bool) -> dict[str, Part]:
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"prior '{kind}' is not known; {did_you_mean(kind, KINDS)}")
    if not kinds:
        raise UsageError(f"name one of {', '.join(KINDS)}, or several with commas")
    defaults: dict[str, Part] = {kind: KINDS[kind] for kind in kinds}
    for key in options:
        if "." not in key:
            first = kinds[0]
            raise UsageError(f"option '{key}' is of no prior; write it as {first}.{key}=...")
    found = defaults | folded(options, defaults)
    return {k: {"name": "per_class", "each": v} for k, v in found.items()} if each_class else found


def _prepared(run: Run, data: Any) -> Prepared:
    """The run's own rows in their parts."""
    origin = run.info["data"]
    if data is None and origin["from"] is None:
        raise UsageError(f"run '{run.path}' was trained on rows in memory: hand them in as data=")
    source = sources.load(origin["from"] if data is None else data, **origin["reading"])
    prepared = sources.prepare(source, seed=run.info["plan"]["seed"], **origin["preparing"])
    if prepared.fingerprint != run.info["schema"]["fingerprint"]:
        raise RunError(
            f"the data of run '{run.path}' have changed since it was trained, and a prior is "
            "fitted to the codes of the rows that it was trained on; restore them"
        )
    return prepared


def _line(kind: str, score: Tensor, began: Tensor) -> str:
    gain = score - began
    told = f"{kind:<12} held-out {score.mean():9.3f} nats per row"
    if gain.abs().max() == 0:
        return told
    return f"{told} ({gain.mean():+.3f} ± {gain.std() / math.sqrt(len(gain)):.3f})"
