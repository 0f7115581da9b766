"""Train a model: `vaes train`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaes.commands.shared import Out, Seed, SkipBad, app
from vaes.errors import UsageError


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
    prior_after: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="DATA is a finished run: fit a new prior to its codes, the best of normal, "
            "mixture, flow (comma between them).",
        ),
    ] = None,
    each_class: Annotated[
        bool, typer.Option("--each-class", help="With --prior-after: a prior for each class.")
    ] = False,
) -> None:
    """Train on DATA, evaluate on held-out rows, write a run folder."""
    from vaes import arguments, console, training
    from vaes.options import known_anywhere, split_options

    if prior_after is not None:
        return _prior_after(context, data, prior_after, each_class, set_, out)
    if each_class:
        raise UsageError("--each-class goes with --prior-after")
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


def _prior_after(
    context: typer.Context,
    run: str | None,
    kinds: str,
    each_class: bool,
    set_: list[str] | None,
    out: str | None,
) -> None:
    """A new run of an old one, with a prior fitted to its codes."""
    from vaes import after, arguments, console

    if run is None:
        raise UsageError("--prior-after goes by a finished run: vaes train RUN --prior-after flow")
    for option in context.params:
        source = context.get_parameter_source(option)
        given = source is not None and source.name == "COMMANDLINE"
        if given and option not in ("data", "prior_after", "each_class", "set_", "out"):
            raise UsageError(
                f"--{option.replace('_', '-')} was given with --prior-after, which trains nothing "
                "but a prior; leave it out"
            )
    made = after.prior_after(
        run,
        [kind.strip() for kind in kinds.split(",") if kind.strip()],
        each_class=each_class,
        options=arguments.options(set_),
        out=out,
        report=console.say,
    )
    typer.echo(console.verdict(made.path))
