"""What there is: recipes, data, the environment."""

from __future__ import annotations

from typing import Annotated

import typer

from vaes.commands.shared import app
from vaes.errors import UsageError


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
