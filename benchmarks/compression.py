"""Files as long as the bound says: digits, static MNIST, a table of categories.

    VAES_DATA=FOLDER python benchmarks/compression.py [--cases digits mnist adult]
        [--run CASE=RUN ...]

Each case trains a run (or takes the one that is given), codes its rows into a file by `vaes
compress`, decodes the file by `vaes decompress` and compares every row. Bars: rows equal to the
bit, the file within 1 % of minus the ELBO of the same rows, MNIST at most .180 bits per dimension
(Townsend et al. 2019 report .19; bzip2 has .249 and gzip .317 on packed bits). Prints a table.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from vaes import data as sources
from vaes.run import Run
from vaes.training import train
from vaes.verbs.compress import compress, decompress

NEAR = 1.0  # per cent that a file may differ from the bound
MNIST_BAR = 0.180  # bits per dimension
MNIST = {
    "latent": 40, "net": "mlp", "hidden": [400], "act": "relu", "schedule": "cosine", "lr": 1e-3,
    "warmup": 0.0, "patience": 0.0, "precision": "bf16", "threads": 1, "steps": 26_000,
}  # fmt: skip
NUMBERS = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]


def main() -> None:
    """Every case, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--run", action="append", default=[], metavar="CASE=RUN")
    args = parser.parse_args()
    given = dict(pair.split("=", 1) for pair in args.run)
    print(
        "| rows | bytes | nats/row | -ELBO | difference | bits/dim | packed by gzip, bz2, xz "
        "(bits/dim) | rows/s there, back | equal |\n|" + "---|" * 9
    )
    for case in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            print(CASES[case](Path(folder), given.get(case)), flush=True)


def digits(folder: Path, given: str | None) -> str:
    """All 1,797, by the default run."""
    run = Run(given) if given else train("digits", "vae", out=folder / "run")
    return told("digits", run, "digits", load_digits().images, folder)


def mnist(folder: Path, given: str | None) -> str:
    """The 10,000 test rows of the set's own split."""
    run = Run(given) if given else train("mnist_static", "vae", out=folder / "run", **MNIST)
    source = sources.load("mnist_static")
    assert source.parts is not None
    rows = np.asarray(source.x)[np.asarray(source.parts["test"])]
    return told("mnist_static", run, None, rows, folder, MNIST_BAR)


def adult(folder: Path, given: str | None) -> str:
    """The columns of Adult that hold words, all rows."""
    with gzip.open(Path(os.environ["VAES_DATA"], "tabular", "adult.csv.gz"), "rt") as lines:
        whole = [[cell.strip() for cell in line] for line in csv.reader(lines) if line]
    kept = [j for j, name in enumerate(whole[0]) if name not in NUMBERS]
    rows = [[line[j] for j in kept] for line in whole]
    path = folder / "words.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    run = Run(given) if given else train(path, "tabular", out=folder / "run")
    return told("adult, words", run, str(path), rows, folder)


CASES = {"digits": digits, "mnist": mnist, "adult": adult}


def told(
    name: str, run: Run, data: str | None, rows: Any, folder: Path, bar: float | None = None
) -> str:
    """One line: the file of these rows, what it is held against, and whether it decodes."""
    file, start = folder / "rows.bits", time.perf_counter()
    found = compress(str(run.path), data, str(file))
    there, start = time.perf_counter() - start, time.perf_counter()
    back = decompress(str(file), str(run.path), str(folder / "back"))
    seconds, equal = time.perf_counter() - start, _same(back, rows)
    per_byte = found["bits_per_dim"] / (found["bytes"] - found["bytes_apart"])
    others = ", ".join(f"{size * per_byte:.3f}" for size in found["others"].values())
    verdict = equal and abs(found["difference"]) <= NEAR
    verdict = verdict and (bar is None or found["bits_per_dim"] <= bar)
    return (
        f"| {name}, {found['n']:,} | {found['bytes']:,} ({found['bytes_apart']:,} apart) | "
        f"{found['nats_per_row']:.3f} | {found['negative_elbo']:.3f} ± "
        f"{found['negative_elbo_se']:.3f} | {found['difference']:+.2f} % | "
        f"{found['bits_per_dim']:.4f} | {others} | {found['n'] / there:.0f}, "
        f"{found['n'] / seconds:.0f} | {'yes' if equal else '**no**'}"
        f"{'' if verdict else ', bars **short**'} |"
    )


def _same(folder: Path, rows: Any) -> bool:
    """Whether the decoded rows are those that were read."""
    if (folder / "rows.npy").exists():
        found = np.load(folder / "rows.npy")
        return bool(np.array_equal(found.reshape(len(found), -1), rows.reshape(len(found), -1)))
    with open(folder / "rows.csv", newline="") as file:
        return [list(row) for row in csv.reader(file)] == [list(row) for row in rows]


if __name__ == "__main__":
    main()
