"""Rows out of a trained run: drawn, varied, rebuilt, walked between, cleaned, filled."""

from __future__ import annotations

from typing import Annotated

import typer

from vaes.commands.shared import DataArg, Out, RunArg, Seed, SkipBad, app


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
    label: Annotated[
        str | None, typer.Option(help="A class; see `vaes train --prior-after --each-class`.")
    ] = None,
) -> None:
    """Make new rows."""
    from vaes import verbs

    typer.echo(verbs.sample(run, n, out, seed, mean, where or (), label))


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
