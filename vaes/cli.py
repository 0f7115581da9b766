"""The command `vaes`: verbs share one shape, `vaes VERB RUN-or-DATA [options]`.

Nothing heavy is imported before a verb needs it. A user's mistake ends in one line that says what
was given, what is true and what to do. Exit status: 0; 1 data or run; 2 usage; 74 disk or
permission; 130 and 143 signals; a traceback only with --debug.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Annotated, Any

import typer

from vaes.errors import SIGNALS, DiskError, Interrupted, UsageError, VaesError, did_you_mean

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Variational autoencoders for data of your own: trained fast, measured honestly.",
)

RunArg = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
DataArg = Annotated[
    str | None,
    typer.Argument(metavar="[DATA]", help="Rows to use; without it the run's own test part."),
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="New folder for what is made.")]
Seed = Annotated[int, typer.Option(help="Of every random draw.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that can't be read.")]


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Built-in name, folder of images, .npy .npz .csv …"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="See `vaes recipes`; vae, for tables of unlike columns tabular."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Option of the recipe.")
    ] = None,
    out: Out = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, in place of epochs.")] = None,
    time: Annotated[str | None, typer.Option(help="Stop after 90s, 10m or 2h.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    checkpoint: Annotated[int, typer.Option(help="Steps between saved states.")] = 500,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Overrule: real, pixel, binary, category, count, or COLUMN=KIND."),
    ] = None,
    binarize: Annotated[str | None, typer.Option(help="static, dynamic or threshold.")] = None,
    missing: Annotated[str | None, typer.Option(help="nan or modelled: NaN marks a gap.")] = None,
    schema: Annotated[
        str | None, typer.Option(metavar="FILE", help="What columns are; see `vaes data`.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column that holds labels.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of images in pixels.")] = None,
    mode: Annotated[str, typer.Option(help="Colour of images: auto, L, RGB, RGBA.")] = "auto",
    split: Annotated[str, typer.Option(help="Shares that train, validate, test.")] = "80/10/10",
    skip_bad: SkipBad = False,
) -> None:
    """Train on DATA, evaluate on held-out rows, write a run folder."""
    from vaes import arguments, console, training
    from vaes.options import known_anywhere, split_options

    if (data is None) == (resume is None):
        raise UsageError("give DATA to train on, or --resume RUN to go on with a run")
    for option in context.params if resume is not None else ():
        source = context.get_parameter_source(option)
        if option != "resume" and source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"--{option.strip('_').replace('_', '-')} was given with --resume, which goes on "
                "exactly as the run began; leave it out, or train a new run"
            )
    with console.progress() as progress:
        if resume is not None:
            run = training.resume(resume, report=console.say, callbacks=[progress])
        else:
            limit = arguments.seconds(time)
            options = arguments.options(set_, epochs=epochs, steps=steps, time=limit)
            # a name that `train` itself takes is no option
            split_options(recipe, options) if recipe else known_anywhere(options)
            kinds = arguments.kinds(kind)
            arguments.refuse_beside_schema(schema, kind=kinds, label=label, drop=drop)
            by_column, for_all = (kinds, None) if isinstance(kinds, dict) else (None, kinds)
            reading = {"schema": schema, "label": label, "drop": drop, "kind": by_column}
            preparing = {"kind": for_all, "binarize": binarize, "missing": missing}
            run = training.train(
                data,
                recipe,
                out=out,
                reading=arguments.given(**reading, size=size, skip_bad=skip_bad)
                | ({"mode": mode} if mode != "auto" else {}),
                preparing=arguments.given(**preparing) | {"split": arguments.split(split)},
                report=console.say,
                callbacks=[progress],
                **options,
                **{"seed": seed, "device": device, "checkpoint": checkpoint},
            )
    typer.echo(console.verdict(run.path))


@app.command()
def sample(
    run: RunArg,
    n: Annotated[int, typer.Option("-n", help="How many rows.")] = 64,
    out: Out = None,
    seed: Seed = 0,
    mean: Annotated[bool, typer.Option(help="Means of p(x|z) in place of draws.")] = False,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Fix a column of a table.")
    ] = None,
) -> None:
    """Make new rows."""
    from vaes import verbs

    typer.echo(verbs.sample(run, n, out, seed, mean, where or ()))


@app.command()
def vary(
    run: RunArg,
    data: DataArg = None,
    n: Annotated[int, typer.Option("-n", help="Variations of each row.")] = 7,
    rows: Annotated[int, typer.Option(help="How many rows to vary.")] = 8,
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """Make variations of rows."""
    from vaes import verbs

    typer.echo(verbs.vary(run, data, n, rows, out, seed))


@app.command()
def reconstruct(
    run: RunArg,
    data: DataArg = None,
    draws: Annotated[int, typer.Option(help="Draws for an interval; 0 = none.")] = 0,
    level: Annotated[float, typer.Option(help="Share that the interval holds.")] = 0.9,
    out: Out = None,
    skip_bad: SkipBad = False,
) -> None:
    """Encode rows and decode them again."""
    from vaes import verbs

    typer.echo(verbs.reconstruct(run, data, draws, level, out, skip_bad))


@app.command()
def encode(run: RunArg, data: DataArg = None, out: Out = None, skip_bad: SkipBad = False) -> None:
    """Write the codes of rows: posterior means and standard deviations."""
    from vaes import verbs

    typer.echo(verbs.encode(run, data, out, skip_bad))


@app.command()
def interpolate(
    run: RunArg,
    data: DataArg = None,
    pairs: Annotated[int, typer.Option(help="Pairs of rows: 0 and 1, 2 and 3 …")] = 8,
    steps: Annotated[int, typer.Option(help="Rows of each path, ends included.")] = 9,
    path: Annotated[str, typer.Option(help="linear or slerp.")] = "linear",
    out: Out = None,
) -> None:
    """Walk between pairs of rows."""
    from vaes import verbs

    typer.echo(verbs.interpolate(run, data, pairs, steps, path, out))


@app.command()
def traverse(
    run: RunArg,
    data: DataArg = None,
    row: Annotated[int, typer.Option(help="The row to start from.")] = 0,
    steps: Annotated[int, typer.Option(help="Rows of each strip.")] = 7,
    span: Annotated[float, typer.Option(help="Prior standard deviations each way.")] = 2.0,
    out: Out = None,
) -> None:
    """Move one latent dimension at a time."""
    from vaes import verbs

    typer.echo(verbs.traverse(run, data, row, steps, span, out))


@app.command()
def score(
    run: RunArg,
    data: DataArg = None,
    k: Annotated[int, typer.Option(help="Importance samples per row.")] = 1000,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Mean and error as JSON.")] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Log evidence of rows, in nats."""
    from vaes import verbs

    found = verbs.score(run, data, k, seed, skip_bad)
    per_row, unit = found.pop("per_row"), found.pop("unit")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for value in per_row:
        typer.echo(f"{value:.6f}")
    typer.echo(
        f"log evidence {found['log_evidence']:.3f} ± {found['log_evidence_se']:.3f} "
        f"{unit} ({found['n']} rows, {found['k']} draws, "
        f"effective sample size {found['ess']:.0f})",
        err=True,
    )


@app.command()
def denoise(
    run: RunArg,
    data: DataArg = None,
    noise: Annotated[
        float | None, typer.Option(help="Standard deviation of the noise, in the data's units.")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Take noise out of rows."""
    from vaes import verbs

    typer.echo(verbs.denoise(run, data, noise, out, seed, skip_bad))


@app.command()
def impute(
    run: RunArg,
    data: DataArg = None,
    draws: Annotated[int, typer.Option(help="Completed tables to draw besides.")] = 0,
    level: Annotated[float, typer.Option(help="Share that an interval holds.")] = 0.9,
    k: Annotated[int, typer.Option(help="Importance samples per row.")] = 64,
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """Fill gaps: best values, intervals, completed tables. Without DATA, all rows of the run."""
    from vaes import verbs

    typer.echo(verbs.impute(run, data, draws, level, k, out, seed))


@app.command()
def detect(
    run: RunArg,
    data: DataArg = None,
    fdr: Annotated[float, typer.Option(help="Share of the flagged rows that may be false.")] = 0.1,
    score: Annotated[str, typer.Option(help="evidence, reconstruction, typicality.")] = "evidence",
    top: Annotated[int, typer.Option(help="Rows to say the odd columns of.")] = 20,
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """List odd rows, how rare they are, and which columns make them odd."""
    from vaes import verbs

    typer.echo(verbs.detect(run, data, fdr, score, top, out, seed))


@app.command()
def differ(
    run: RunArg,
    by: Annotated[
        str, typer.Option(metavar="COLUMN[=VALUE]", help="Two values, or one against the rest.")
    ],
    data: DataArg = None,
    top: Annotated[int, typer.Option(help="Columns to print.")] = 10,
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """Say in which columns two groups of rows differ. Without DATA, all rows of the run."""
    from vaes import verbs

    folder, lines = verbs.differ(run, data, by, top, out, seed)
    for line in lines:
        typer.echo(line)
    typer.echo(folder)


@app.command()
def cluster(
    run: RunArg,
    data: DataArg = None,
    k: Annotated[int | None, typer.Option(help="Number of groups; chosen if left out.")] = None,
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """Put rows in groups. Without DATA, all rows of the run."""
    from vaes import verbs

    typer.echo(verbs.cluster(run, data, k, out, seed))


@app.command()
def augment(
    run: RunArg,
    data: DataArg = None,
    n: Annotated[int, typer.Option("-n", help="How many new rows.")] = 1000,
    mode: Annotated[str, typer.Option(help="vary rows, or sample from the prior.")] = "vary",
    out: Out = None,
    seed: Seed = 0,
) -> None:
    """Make rows to train other models with, and check that they are no copies."""
    from vaes import verbs

    typer.echo(verbs.augment(run, data, n, mode, out, seed))


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None) -> None:
    """List the recipes, or the options of one."""
    from vaes import recipes as folder
    from vaes.plan import Settings

    if name is None:
        for each in folder.names():
            typer.echo(f"{each:18} {folder.summary(each)}")
        return
    typer.echo((folder.recipe(name).__doc__ or "").strip() + "\n")
    typer.echo((folder.recipe(name).build.__doc__ or "").strip() + "\n")
    for key, option in folder.options(name).items():
        if key not in folder.MODULES:
            typer.echo(f"  --set {key}={option.default}")
    typer.echo("\nof training:\n")
    typer.echo((Settings.__doc__ or "").split("\n\n", 1)[1].strip() + "\n")
    for key, value in vars(Settings()).items():
        typer.echo(f"  --set {key}={value}")


@app.command()
def data(
    given: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Rows to describe, as `train` reads them."),
    ] = None,
    schema: Annotated[
        str | None, typer.Option(metavar="FILE", help="New file for the columns, to be edited.")
    ] = None,
) -> None:
    """Say what the columns of DATA are; without DATA, list the built-in sets."""
    from pathlib import Path

    from vaes import console, disk
    from vaes.data import builtin, load
    from vaes.data.editable import described, schema_toml

    if given is None:
        if schema is not None:
            raise UsageError(f"--schema {schema} was given without DATA, whose columns it lists")
        for name, about in builtin.names().items():
            typer.echo(f"{name:18} {about}")
        return
    source = load(given)
    for note in source.notes:
        console.say(note)
    if schema is None:
        typer.echo(described(source), nl=False)
        return
    disk.write_new(Path(schema), schema_toml(source))
    typer.echo(f"{schema}: change it, then train with it: vaes train {given} --schema {schema}")


@app.command()
def doctor() -> None:
    """Describe the environment: versions, processor, what training would use."""
    from vaes.doctor import findings

    for line in findings():
        typer.echo(line)


def main() -> None:
    """Entry point: one line and an exit status for every mistake."""
    # a waiting OpenMP thread spins for milliseconds by default, which makes training 20 times
    # slower as soon as another process wants the core; read once, when torch is first imported
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    args = sys.argv[1:] or ["--help"]
    debug = "--debug" in args
    command = typer.main.get_command(app)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = command.main([a for a in args if a != "--debug"], "vaes", standalone_mode=False)
        if status == SIGNALS["SIGINT"]:  # typer turns Ctrl-C into this status
            print("vaes: interrupted", file=sys.stderr)
        sys.exit(status if isinstance(status, int) else 0)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        line, code = _one_line(error, command)
        if line:
            print(f"vaes: {line}", file=sys.stderr)
        sys.exit(code)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    """SIGTERM unwinds as Ctrl-C does, so that nothing half-written stays."""
    sys.exit(SIGNALS["SIGTERM"])


def _one_line(error: BaseException, command: Any) -> tuple[str, int]:
    """What is printed for an exception, and the exit status."""
    if isinstance(error, VaesError):
        return str(error), error.code
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return "interrupted", SIGNALS["SIGINT"]
    if isinstance(error, Interrupted):
        return str(error), error.code
    if hasattr(error, "format_message"):  # typer's own: a wrong option, verb or value
        return _usage(error, command), 2
    if isinstance(error, BrokenPipeError):
        return "", 0
    if isinstance(error, OSError) and not isinstance(error, DiskError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", 74
    what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return f"unexpected {what}; run again with --debug and report the traceback", 1


def _usage(error: Any, command: Any) -> str:
    message = " ".join(error.format_message().split())
    known = getattr(command, "commands", {})
    if "No such command" in message and known:
        given = message.split("'")[1] if "'" in message else ""
        return f"there is no verb '{given}'; {did_you_mean(given, known)}"
    return message
