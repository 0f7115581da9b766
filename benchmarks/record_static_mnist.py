"""Time to quality: static MNIST, MLP 784-400-40-400-784, evidence by 200 samples on 10,000 rows.

    VAES_DATA=FOLDER python benchmarks/record_static_mnist.py [--epochs 150] [--set lr=0.001] ...

The run that the record table (benchmarks/RECORDS.md) counts: data as published (50,000 / 10,000 /
10,000), the network of Kingma & Welling 2014 at the size of the published 89.8 nats, the clock from
the start of training to its end, validation included. Prints one line for the table.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from vaes import data as sources
from vaes.arguments import options as read_options
from vaes.evaluate.likelihood import evidence
from vaes.training import train


def main():
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", default=[], dest="pairs", metavar="KEY=VALUE")
    parser.add_argument("--recipe", default="vae")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--samples", type=int, default=200)
    args = parser.parse_args()
    options = {"latent": 40, "net": "mlp", "hidden": [400], "act": "relu", "schedule": "cosine"}
    options |= {"epochs": args.epochs, "patience": 0.0, **read_options(args.pairs)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = train("mnist_static", args.recipe, out=Path(folder) / "run", report=print, **options)
        whole = time.perf_counter() - start
        model, test = run.load(), sources.prepare(sources.load("mnist_static")).test
        torch.set_num_threads(run.info["plan"]["threads"])
        start = time.perf_counter()
        found = evidence(model, test, k=args.samples)
        scoring = time.perf_counter() - start
    minutes = run.info["trained"]["seconds"] / 60
    given = " ".join(f"{k}={v}" for k, v in options.items())
    print(
        f"| {-found.mean:.2f} ± {found.se:.2f} | {minutes:.2f} | {whole / 60:.2f} | "
        f"{run.info['plan']['precision']}, {run.info['plan']['threads']} threads | "
        f"{args.recipe} {given} | scoring {scoring:.0f} s, best step "
        f"{run.info['trained']['best_step']:,} of {run.info['plan']['steps']:,} |"
    )


if __name__ == "__main__":
    main()
