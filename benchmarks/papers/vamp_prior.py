"""Tomczak & Welling 2018, table 1, one stochastic layer: VampPrior against N(0, I), static MNIST.

    VAES_DATA=FOLDER python benchmarks/papers/vamp_prior.py [--epochs 30] [--priors vae vamp_prior]

Two hidden layers of 300 units and 40 latent dimensions, as published but without gates, 500
pseudo-inputs, on a truncated schedule (the paper: up to 2,000 epochs). Prints for each prior the
evidence of the same test rows and the gain row by row with the standard error of its mean, beside
the paper's numbers. Runs that exist in `--out` are gone on with.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from vaes import data as sources
from vaes.evaluate.likelihood import bound, evidence
from vaes.run import Run
from vaes.training import resume, train

PUBLISHED = {"vae": 88.56, "vamp_prior": 85.57}  # static MNIST, one layer, S = 5,000


def trained(recipe: str, path: Path, options: dict) -> tuple[Run, float]:
    """The run and the minutes that its steps took."""
    if path.exists():
        run = Run(path) if Run(path).finished else resume(path, report=print)
    else:
        own = {"components": 500} if recipe == "vamp_prior" else {}
        run = train("mnist_static", recipe, out=path, report=print, **options, **own)
    return run, run.info["trained"]["seconds"] / 60


def main():
    """Train each, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--priors", nargs="+", default=["vae", "vamp_prior"])
    parser.add_argument("--samples", type=int, default=500, help="of the evidence")
    parser.add_argument("--rows", type=int, default=10_000, help="of the test set, every so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs; a temporary one if left out")
    args = parser.parse_args()
    options = {"latent": 40, "net": "mlp", "hidden": [300, 300], "act": "relu"}
    options |= {"epochs": args.epochs, "batch": args.batch, "schedule": "cosine", "patience": 0.0}
    options |= {"threads": args.threads}
    test = sources.prepare(sources.load("mnist_static")).test
    test = test.part(torch.arange(0, len(test), max(1, len(test) // args.rows)))
    with tempfile.TemporaryDirectory() as temporary:
        folder, scores = Path(args.out or temporary), {}
        for recipe in args.priors:
            run, minutes = trained(recipe, folder / f"{recipe}-{args.epochs}", options)
            torch.set_num_threads(run.info["plan"]["threads"])
            begun, model = time.perf_counter(), run.load()
            found, parts = evidence(model, test, k=args.samples), bound(model, test)
            scores[recipe] = found.per_row
            print(
                f"{recipe}: -log p(x) {-found.mean:.3f} ± {found.se:.3f} nats, ELBO "
                f"{parts.elbo:.2f}, rate {parts.rate:.2f} ({minutes:.1f} minutes of steps, scored "
                f"in {(time.perf_counter() - begun) / 60:.1f}; {found.n} rows, {args.samples} "
                f"samples; published {PUBLISHED.get(recipe, '?')})",
                flush=True,
            )
    first = args.priors[0]
    for recipe in args.priors[1:]:
        gain = scores[recipe] - scores[first]
        se = gain.std().item() / len(gain) ** 0.5
        print(
            f"{recipe} over {first}: {gain.mean():.3f} ± {se:.3f} nats a row; published "
            f"{PUBLISHED[first] - PUBLISHED[recipe]:.2f}"
        )


if __name__ == "__main__":
    main()
