"""What a run is worth, and what it says of rows: odd ones, groups, differences, sizes."""

from __future__ import annotations

from typing import Annotated

import typer

from vaes.commands.shared import DataArg, Out, RunArg, Seed, SkipBad, app
from vaes.errors import UsageError


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
    from vaes import console, disk, verbs

    found = verbs.score(run, data, k, seed, skip_bad)
    per_row, unit = found.pop("per_row"), found.pop("unit")
    if as_json:
        typer.echo(disk.json_line(found))
        return
    for value in per_row:
        typer.echo(f"{value:.6f}")
    typer.echo(
        f"log evidence {console.number(found, 'log_evidence').strip()} "
        f"{unit} ({found['n']} rows, {found['k']} draws, "
        f"effective sample size {found['ess']:.0f})",
        err=True,
    )


@app.command()
def evaluate(
    run: RunArg,
    data: DataArg = None,
    k: Annotated[int, typer.Option(help="Importance samples per row.")] = 1000,
    features: Annotated[
        str | None, typer.Option(help="What drawn rows are compared by: pca64, pixels, mlp, cnn.")
    ] = None,
    annealed: Annotated[
        int, typer.Option(metavar="ROWS", help="Rows whose evidence annealing checks; slow.")
    ] = 0,
    factors: Annotated[
        str | None, typer.Option(metavar="FILE", help="Known factors of the rows, .npy (rows, f).")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Measure all of it, say what is wrong, write a report."""
    from vaes import console, verbs

    folder = verbs.evaluate(run, data, k, features, annealed, factors, out, seed, skip_bad)
    typer.echo(console.verdict(folder, "evaluation"))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Folders of runs.")],
    data: Annotated[
        str | None, typer.Option(help="Rows to compare on; without it the runs' own test part.")
    ] = None,
    k: Annotated[int, typer.Option(help="Importance samples per row.")] = 1000,
    out: Out = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The leaderboard as JSON.")] = False,
) -> None:
    """Rank runs and trivial baselines by the log evidence of the same rows."""
    from vaes import verbs

    folder, lines = verbs.compare(runs, data, k, out, seed)
    if as_json:
        typer.echo((folder / "comparison.json").read_text(encoding="utf-8"), nl=False)
        return
    for line in lines:
        typer.echo(line)
    typer.echo(f"comparison: {folder}")


@app.command()
def compress(
    run: RunArg,
    data: DataArg = None,
    out: Annotated[str, typer.Option("--out", "-o", help="New file for the coded rows.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The sizes as JSON.")] = False,
) -> None:
    """Code rows into a file that is as small as the ELBO says."""
    from vaes import console, disk, verbs

    if not out:
        raise UsageError("compress writes one file; name it with -o FILE")
    found = verbs.compress(run, data, out)
    if as_json:
        typer.echo(disk.json_line(found))
        return
    for line in console.sizes(found):
        typer.echo(line)


@app.command()
def decompress(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `vaes compress` wrote.")],
    run: Annotated[
        str | None, typer.Option("--run", help="The run it was coded with, if it has moved.")
    ] = None,
    out: Out = None,
) -> None:
    """Bring back the rows of a coded file, bit for bit."""
    from vaes import verbs

    typer.echo(verbs.decompress(file, run, out))


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
