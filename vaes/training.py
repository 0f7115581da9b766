"""From data to a finished run folder: load, prepare, build, fit, evaluate, draw.

`train` starts a run, `resume` goes on with one. The estimators, which write no folder, share the
parts: `split_options` and `seeded_build`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaes import data as sources
from vaes import disk, recipes
from vaes.batch import Spec
from vaes.data import Prepared
from vaes.data.editable import schema_toml, spelled_out
from vaes.errors import SIGNALS, Interrupted, RunError, UsageError
from vaes.evaluate.summary import summary
from vaes.fit import Callback, Loop, Record
from vaes.machine import matmul, onednn_is_exact, threads
from vaes.model import Model
from vaes.options import split_options
from vaes.parts import plain
from vaes.pictures import draw_pictures
from vaes.plan import Plan, Settings, plan
from vaes.report import write as report_page
from vaes.run import Run, versions

Report = Callable[[str], None]


def train(
    data: Any,
    recipe: str | None = None,
    *,
    out: str | Path | None = None,
    reading: dict[str, Any] | None = None,
    preparing: dict[str, Any] | None = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    report: Report = lambda line: None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Trains `recipe` on `data`, evaluates it on held-out rows and writes a run folder.

    recipe: None takes `vaes.recipes.default`, by the data. data: whatever `vaes.data.load` takes.
    reading, preparing: arguments of `vaes.data.load` (with schema, a file that says what columns
    are) and `vaes.data.prepare`. encoder, decoder: network bodies of your own. options: of the
    recipe and of `Settings`, by name. report: gets one line at a time. Returns the finished run.
    """
    for key, value in options.items():
        if not plain(value):
            raise UsageError(
                f"{key} is a {type(value).__name__}, which a run folder cannot hold; give {key} by "
                "name, or use vaes.VAE"
            )
    if out is not None:
        Run.refuse_existing(out)  # before the rows are read, which may take long
    if recipe is not None:
        split_options(recipe, options)
    seed = options.get("seed", Settings.seed)
    source = sources.load(data, **(reading or {}))
    preparing = (recipes.reads(recipe) if recipe else {}) | (preparing or {})
    prepared = sources.prepare(source, seed=seed, **preparing)
    recipe = recipe or recipes.default(prepared.spec)
    ours, settings = split_options(recipe, options)
    for part, use in ((prepared.valid, "choose the weights"), (prepared.test, "evaluate them")):
        if not len(part):
            raise UsageError(f"the split leaves no rows to {use}; give it a share, as in 80/10/10")
    for line in prepared.notes:
        report(line)
    bodies = {k: v for k, v in (("encoder", encoder), ("decoder", decoder)) if v is not None}
    model = seeded_build(recipe, prepared.spec, settings.seed, ours | bodies)
    done = plan(settings, model, len(prepared.train))
    run = Run.create(
        out,
        f"{prepared.schema['name']}-{recipe}",
        {
            "recipe": recipe,
            # the defaults too: a later version may have others, and the weights fit these
            "options": recipes.defaults(recipe) | ours,
            "custom": sorted(bodies),
            "spec": prepared.spec.to_json(),
            "schema": prepared.schema,
            "plan": done.to_json(),
            "data": _origin(data, reading, preparing),
        },
    )
    if prepared.schema["layout"].get("kind") == "table":
        disk.write_new(run.path / "schema.toml", schema_toml(source, prepared.decision))
    report(described(model, recipe, done))
    with run.locked():
        _fit(run, model, prepared, done, None, report, callbacks)
    return run


def resume(
    path: str | Path,
    data: Any = None,
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    report: Report = lambda line: None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Goes on with a run exactly where its newest state stands; a finished one is left alone.

    data: the rows again, where they did not come from a name or a file; with labels of their own as
    vaes.data.load(rows, label=labels).
    """
    run = Run(path)
    with run.locked():
        if "evaluated" in run.info:
            report(f"run '{path}' is finished; nothing to do")
            return run
        if "prior" in run.info and not run.finished:
            raise RunError(f"run '{path}' ended while its prior was written; remove it, and repeat")
        origin = run.info["data"]
        if data is None and origin["from"] is None:
            raise UsageError(f"run '{path}' was trained on rows in memory: hand them in as data=")
        source = sources.load(origin["from"] if data is None else data, **origin["reading"])
        seed = run.info["plan"]["seed"]
        prepared = sources.prepare(source, seed=seed, **origin["preparing"])
        if prepared.fingerprint != run.info["schema"]["fingerprint"]:
            raise RunError(
                f"the data of run '{path}' have changed since it began (another fingerprint); "
                "restore them, or train anew"
            )
        run.build(encoder, decoder)  # says what is missing before anything is seeded
        bodies = {k: v for k, v in (("encoder", encoder), ("decoder", decoder)) if v is not None}
        model = seeded_build(run.info["recipe"], run.spec, seed, run.info["options"] | bodies)
        # of a run whose weights are final only the evaluation is left, with all lines of the log
        state = None if run.finished else run.load_state()
        done = _still_possible(Plan(**run.info["plan"]), report)
        step = done.steps if run.finished else state[1]["step"] if state else 0
        began, here = run.info.get("versions", {}), versions()
        for name in ("torch", "numpy"):
            if began.get(name) != here[name]:
                report(
                    f"note: the run began with {name} {began.get(name)}, this is {here[name]}: "
                    "it goes on, but not to the same bits"
                )
        report(f"going on with run '{path}' after step {step} of {done.steps}")
        _fit(run, model, prepared, done, state, report, callbacks)
    return run


def _still_possible(done: Plan, report: Report) -> Plan:
    """A run's plan on the machine that goes on with it."""
    if done.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"this run trains on {done.device}, which this machine does not have")
    if done.matmul == "onednn" and not onednn_is_exact():
        report(
            "note: this processor would make the run's fp32 products bf16; it goes on in fp32, "
            "but not to the same bits"
        )
        return replace(done, matmul="default")
    return done


def seeded_build(recipe: str, spec: Spec, seed: int, options: dict[str, Any]) -> Model:
    """The model with its weights drawn from `seed`, the global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return recipes.build(recipe, spec, **options)


def described(model: Model, recipe: str, done: Plan) -> str:
    """One line: what is trained, for how long, on what."""
    weights = sum(p.numel() for p in model.parameters())
    how = ", compiled" if done.compile else ""
    moves = any(phase.share for phase in model.phases)
    length = f"{done.steps:,} steps of {done.batch} rows" if moves else "solved in closed form"
    return (
        f"{recipe}: {weights:,} weights, {model.latent} latent dimensions; {length}, "
        f"{done.precision}{how}, {done.threads} thread"
        f"{'s' if done.threads > 1 else ''}, {done.device}"
    )


def _fit(
    run: Run,
    model: Model,
    prepared: Prepared,
    done: Plan,
    state: tuple[dict[str, torch.Tensor], Record] | None,
    report: Report,
    callbacks: Sequence[Callback],
) -> None:
    if not run.finished:
        _train(run, model, prepared, done, state, report, callbacks)
    finish(run, model, prepared, done)


def finish(run: Run, model: Model, prepared: Prepared, done: Plan) -> None:
    """Evaluation, pictures and report of a run whose weights are final."""
    try:
        model = model if model.training is False else run.load(*_bodies(model, run))
        with threads(done.threads), matmul(done.matmul):
            evaluation = summary(
                model,
                prepared.train,
                prepared.test,
                seed=done.seed,
                valid=prepared.valid,
                metrics=run.metrics(),
                recipe=run.info["recipe"],
            )
            run.write("evaluation.json", evaluation)
            draw_pictures(run, model.cpu(), prepared)
            report_page(run, model, prepared, evaluation, run.path / "report.html")
    except (KeyboardInterrupt, SystemExit) as error:
        name = "SIGINT" if isinstance(error, KeyboardInterrupt) else "SIGTERM"
        raise Interrupted(name, "in its evaluation, weights saved", f"{run.path}") from None
    run.update(evaluated=True, metrics={k: evaluation[k] for k in ("elbo", "log_evidence")})


def _train(
    run: Run,
    model: Model,
    prepared: Prepared,
    done: Plan,
    state: tuple[dict[str, torch.Tensor], Record] | None,
    report: Report,
    callbacks: Sequence[Callback],
) -> None:
    def keep(loop: Loop, record: Record) -> None:
        if record:
            run.append(record)
        elif loop.progress.step % done.checkpoint == 0 and not loop.stop:
            run.save_state(*loop.state())

    loop = Loop(model, prepared.train, prepared.valid, done, [keep, *callbacks])
    if state is not None:
        loop.restore(*state)
    else:  # a network of the user's may begin from weights that no seed knows
        run.save_state(*loop.state())
    with stopping(loop):
        progress = loop.run()
    if done.time is not None and progress.taken < done.steps and not progress.stopped:
        report(
            f"the time ended at step {progress.taken:,} of {done.steps:,}; warm-up and "
            "schedule were planned for all of them: give --steps to plan for fewer"
        )
    for note in loop.notes:
        report(note)
    if progress.stopped:
        run.save_state(*loop.state())
        where = f"after step {progress.step} of {done.steps}, state saved"
        raise Interrupted(progress.stopped, where, f"{run.path}")
    run.update(
        trained={
            "steps": progress.taken,
            "best_step": progress.best_step,
            "seconds": round(progress.seconds, 3),
            "notes": loop.notes,
        }
    )
    run.save_weights(model)


def _bodies(model: Model, run: Run) -> tuple[nn.Module | None, nn.Module | None]:
    """The user's own bodies out of a model that holds them."""
    found = []
    for name in ("encoder", "decoder"):
        part = getattr(model, name, None)
        found.append(getattr(part, "body", None) if name in run.info["custom"] else None)
    return found[0], found[1]


def _origin(data: Any, reading: Any, preparing: Any) -> dict[str, Any]:
    """Where the rows came from, so that a resume finds them: a name, an absolute path or None."""
    where = None
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        where = str(path.resolve()) if path.exists() and str(data) not in _names() else str(data)
    # of rows in memory, labels come along as an array: both are handed in again on resume
    said = spelled_out(reading or {})
    reading = {k: v for k, v in said.items() if where is not None or plain(v)}
    return {"from": where, "reading": reading, "preparing": dict(preparing or {})}


def _names() -> list[str]:
    from vaes.data import builtin

    return list(builtin.names())


@contextmanager
def stopping(loop: Loop) -> Iterator[None]:
    """SIGINT and SIGTERM end the loop after the current step; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if loop.stop:
            os._exit(SIGNALS[signal.Signals(number).name])
        loop.stop = signal.Signals(number).name

    before = {name: signal.signal(getattr(signal, name), ask) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
