"""Flow posteriors against the diagonal normal on static MNIST: equal nets, equal epochs.

    VAES_DATA=FOLDER python benchmarks/papers/flow_posterior.py [--epochs 30]
        [--posteriors diagonal iaf sylvester] [--out FOLDER]

van den Berg et al. 2018 (arXiv:1803.05649, table 1): gated convolutions, 64 dimensions, up to 2,000
epochs. Here two hidden layers of 300 units and 40 dimensions on a truncated schedule, so that gains
and not numbers are to be compared: card 22c asks for at least 1 nat in the bound and .5 in the
evidence of IAF. Prints for each posterior evidence and bound of the same test rows, and the gain
row by row with the standard error of its mean. Runs that exist in `--out` are gone on with.
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

# -ELBO and -log p(x), table 1
PUBLISHED = {
    "diagonal": (86.55, 82.14),
    "planar": (86.06, 81.91),
    "iaf": (84.20, 80.79),
    "sylvester": (83.40, 80.29),
}


def trained(posterior: str, path: Path, options: dict) -> tuple[Run, float]:
    """The run and the minutes that its steps took."""
    if path.exists():
        run = Run(path) if Run(path).finished else resume(path, report=print)
    else:
        own = {"posterior": posterior}
        run = train("mnist_static", "vae", out=path, report=print, **options, **own)
    return run, run.info["trained"]["seconds"] / 60


def gained(new: torch.Tensor, old: torch.Tensor) -> str:
    """The mean gain row by row, and how many of its standard errors that is."""
    gain = new - old
    mean, se = gain.mean().item(), gain.std().item() / len(gain) ** 0.5
    return f"{mean:.3f} ± {se:.3f} nats of evidence a row, {mean / se:.1f} standard errors"


def main():
    """Train each, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--posteriors", nargs="+", default=["diagonal", "iaf", "sylvester"])
    parser.add_argument("--samples", type=int, default=500, help="of the evidence")
    parser.add_argument("--rows", type=int, default=10_000, help="of the test set, every so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs; a temporary one if left out")
    args = parser.parse_args()
    options = {"latent": 40, "net": "mlp", "hidden": [300, 300], "act": "relu"}
    options |= {"epochs": args.epochs, "batch": args.batch, "schedule": "cosine", "patience": 0.0}
    options |= {"threads": args.threads, "seed": args.seed}
    test = sources.prepare(sources.load("mnist_static")).test
    test = test.part(torch.arange(0, len(test), max(1, len(test) // args.rows)))
    with tempfile.TemporaryDirectory() as temporary:
        folder, scores, bounds = Path(args.out or temporary), {}, {}
        for name in args.posteriors:
            path = folder / f"{name}-{args.epochs}-{args.seed}"
            run, minutes = trained(name, path, options)
            torch.set_num_threads(run.info["plan"]["threads"])
            begun, model = time.perf_counter(), run.load()
            found, parts = evidence(model, test, k=args.samples), bound(model, test)
            scores[name], bounds[name] = found.per_row, parts.elbo
            said = PUBLISHED.get(name, ("?", "?"))
            print(
                f"{name}: -log p(x) {-found.mean:.3f} ± {found.se:.3f} nats, -ELBO "
                f"{-parts.elbo:.2f}, rate {parts.rate:.2f} ({minutes:.1f} minutes of steps, scored "
                f"in {(time.perf_counter() - begun) / 60:.1f}; {found.n} rows, {args.samples} "
                f"samples; published {said[1]}, -ELBO {said[0]})",
                flush=True,
            )
    first = args.posteriors[0]
    for name in args.posteriors[1:]:
        more = bounds[name] - bounds[first]
        print(f"{name} over {first}: {gained(scores[name], scores[first])}, {more:.2f} of ELBO")


if __name__ == "__main__":
    main()
