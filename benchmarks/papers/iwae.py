"""Burda et al. 2016, table 1, one stochastic layer: K = 1 against K = 50 on dynamic MNIST.

    VAES_DATA=FOLDER python benchmarks/papers/iwae.py [--epochs 16] [--draws 1 50] [--out FOLDER]

The published network (784-200-200-50, tanh) and bound on Bernoulli(x / 255) redrawn at every
presentation, on a truncated schedule (the paper: 3,280 epochs in batches of 20). Prints for every
K the evidence of the same 10,000 test rows, drawn once, and the gain row by row with the standard
error of its mean, beside the paper's numbers. Runs that exist in `--out` are gone on with.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from vaes import data as sources
from vaes.evaluate.likelihood import evidence
from vaes.run import Run
from vaes.training import resume, train

PUBLISHED = {1: 86.76, 5: 85.54, 50: 84.78}  # table 1, MNIST, one layer, IWAE


def main():
    """Train each, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--samples", type=int, default=1000, help="of the evidence")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs; a temporary one if left out")
    args = parser.parse_args()
    options = {"latent": 50, "net": "mlp", "hidden": [200, 200], "act": "tanh"}
    options |= {"epochs": args.epochs, "batch": args.batch, "schedule": "cosine", "patience": 0.0}
    options |= {"threads": args.threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder, scores = Path(args.out or temporary), {}
        for k in args.draws:
            path = folder / f"iwae-{k}"
            begun = time.perf_counter()
            if path.exists():
                run = resume(path, report=print) if not Run(path).finished else Run(path)
            else:
                preparing = {"binarize": "dynamic"}
                given = options | {"samples": k}
                run = train("mnist", "iwae", out=path, preparing=preparing, report=print, **given)
            minutes = (time.perf_counter() - begun) / 60
            torch.set_num_threads(run.info["plan"]["threads"])
            source = sources.load("mnist")
            test = sources.prepare(source, binarize="dynamic").test
            found = evidence(run.load(), test, k=args.samples)
            scores[k] = found.per_row
            print(
                f"K = {k}: -log p(x) {-found.mean:.3f} ± {found.se:.3f} nats "
                f"({minutes:.1f} minutes, {found.n} rows, {args.samples} samples; "
                f"published {PUBLISHED.get(k, '?')})",
                flush=True,
            )
    first = args.draws[0]
    for k in args.draws[1:]:
        gain = scores[k] - scores[first]
        se = gain.std().item() / len(gain) ** 0.5
        print(
            f"K = {k} over K = {first}: {gain.mean():.3f} ± {se:.3f} nats a row, "
            f"{gain.mean() / se:.1f} standard errors; published "
            f"{PUBLISHED[first] - PUBLISHED[k]:.2f}"
        )


if __name__ == "__main__":
    main()
