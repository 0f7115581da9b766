"""Seconds and memory: a million rows scored; a table fitted with the defaults.

    python benchmarks/tables/speed.py [--rows 1000000] [--columns 20] [--k 16] [--table FILE.csv]

Rows of numbers that depend on one another are drawn into an array; `vaes train` learns from the
first 20,000 of them, `vaes score --k K` scores all. Seconds are those of the whole command, start,
reading and compilation included; memory is the most that the command held, beside the size of the
array. With `--table`, `vaes train FILE.csv` with no option is timed too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TRAINED = 20_000


def timed(*command):
    """What a command of vaes printed, its seconds, the most MiB that it or an earlier one held."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "vaes", *map(str, command)], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return done.stdout, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def drawn(rows, columns):
    """Four numbers per row, bent and mixed into the columns, and noise."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(rows, 4))
    bent = np.concatenate([z, np.sin(2 * z)], 1) @ draw.normal(size=(8, columns))
    return (bent + 0.3 * draw.normal(size=bent.shape)).astype(np.float32)


def main():
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--table", metavar="FILE.csv")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, few, all_rows = (Path(folder) / name for name in ("run", "few.npy", "all.npy"))
        x = drawn(args.rows, args.columns)
        np.save(all_rows, x)
        np.save(few, x[:TRAINED])
        _, fitting, before = timed("train", few, "--out", run)
        said, scoring, most = timed("score", run, all_rows, "--k", args.k, "--json")
        found = json.loads(said.strip().splitlines()[-1])
        print(f"fit on {TRAINED:,} rows: {fitting:.1f} s, {before:,.0f} MiB")
        print(
            f"{args.rows:,} x {args.columns} scored with K = {args.k}: {scoring:.1f} s, at most "
            f"{most:,.0f} MiB (the array {x.nbytes / 2**20:,.0f} MiB); log evidence "
            f"{found['log_evidence']:.3f} ± {found['log_evidence_se']:.3f} nats per row"
        )
        if args.table:
            said, seconds, _ = timed("train", args.table, "--out", Path(folder) / "table")
            print(f"{args.table} with the defaults: {seconds:.1f} s")


if __name__ == "__main__":
    main()
