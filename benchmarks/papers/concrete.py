"""Jang et al. 2017, table 1: Concrete draws against score functions on static MNIST.

    VAES_DATA=FOLDER python benchmarks/papers/concrete.py [--epochs 20] [--codes bits categories]
        [--ways concrete relaxed straight_through reinforce vimco] [--out FOLDER]

The published VAE 784-(200)-784, linear, with 200 bits or 20 variables of 10 classes, on a truncated
schedule. Every way has the same
networks, rows and steps; what is printed is the bound and the evidence of true discrete draws on
the same test rows, with the gain over the score function row by row and the standard error of its
mean. The claim is the order: Concrete before the score function. Runs in `--out` are gone on with.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from vaes import data as sources
from vaes.evaluate.likelihood import evidence
from vaes.run import Run
from vaes.training import resume, train

CODES = {"bits": 2, "categories": 10}  # classes of a variable
PUBLISHED = {  # minus the bound, table 1
    ("bits", "concrete"): 105.0,
    ("bits", "straight_through"): 116.0,
    ("bits", "reinforce"): 112.2,
    ("categories", "concrete"): 101.5,
    ("categories", "straight_through"): 110.9,
    ("categories", "reinforce"): 110.6,
}
WAYS: dict[str, tuple[str, dict]] = {
    "reinforce": ("vae", {"objective": {"name": "reinforce", "baseline": "mean"}}),
    "concrete": ("concrete_vae", {"temperature": 1.0}),
    "relaxed": ("concrete_vae", {"bound": "relaxed"}),
    "straight_through": ("concrete_vae", {"hard": True}),
    "vimco": ("vimco", {}),
}


def trained(codes: str, way: str, path: Path, options: dict) -> Run:
    """The run of that way, gone on with where it is there."""
    if path.exists():
        return Run(path) if Run(path).finished else resume(path, report=print)
    recipe, own = WAYS[way]
    classes = CODES[codes]
    if recipe == "vae":
        one_hot = {"name": "categorical", "classes": classes}
        own = {"posterior": "bernoulli" if classes == 2 else one_hot, **own}
    else:
        own = {"classes": classes, **own}
    own = {"latent": 200, **own, **options}
    return train("mnist_static", recipe, out=path, report=print, **own)


def main():
    """Train each, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--codes", nargs="+", default=list(CODES), choices=list(CODES))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--samples", type=int, default=200, help="of the evidence")
    parser.add_argument("--rows", type=int, default=10_000, help="of the test set, every so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs; a temporary one if left out")
    args = parser.parse_args()
    options = {"net": "mlp", "hidden": [], "epochs": args.epochs, "batch": args.batch}
    options |= {"schedule": "cosine", "patience": 0.0, "threads": args.threads}
    test = sources.prepare(sources.load("mnist_static")).test
    test = test.part(torch.arange(0, len(test), max(1, len(test) // args.rows)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.out or temporary)
        for codes in args.codes:
            first = None
            for way in args.ways:
                run = trained(codes, way, folder / f"{codes}-{way}-{args.epochs}", options)
                torch.set_num_threads(run.info["plan"]["threads"])
                found = evidence(run.load(), test, k=args.samples)
                first = found.per_row if first is None else first
                gain = found.per_row - first
                se = gain.std().item() / len(gain) ** 0.5
                minutes = run.info["trained"]["seconds"] / 60
                print(
                    f"{codes} {way}: -ELBO {-found.elbo:.2f} ± {found.elbo_se:.2f}, -log p(x) "
                    f"{-found.mean:.2f} ± {found.se:.2f} nats; over {args.ways[0]} "
                    f"{gain.mean():.2f} ± {se:.2f} ({minutes:.1f} minutes; {found.n} rows, "
                    f"{args.samples} samples; published {PUBLISHED.get((codes, way), '?')})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
