"""The command's parser, and the arguments that verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

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
