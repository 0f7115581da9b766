"""Dai & Wipf 2019, table 1: drawn rows of the first stage against those of both, Fashion-MNIST.

    VAES_DATA=FOLDER python benchmarks/papers/two_stage.py [--data fashion_mnist] [--epochs 20]
        [--features cnn] [--rows 5000] [--out FOLDER]

One run has both: z ~ N(0, I) through the decoder's means, or z ~ p(z|u) with u ~ N(0, I). The
network is an MLP on a truncated schedule (the paper: convolutions, 400 + 800 epochs), the noise of
the pixels is learnt. Prints the Frechet distance to held-out rows in the features of the library's
own classifier, unbiased where there are rows enough, and its floor, two halves of the test rows;
the paper's claim is a distance of its second stage that is a quarter lower and more.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from vaes import data as sources
from vaes.batch import Batch
from vaes.evaluate.quality import quality
from vaes.run import Run
from vaes.training import train

PUBLISHED = {"mnist": (54.5, 12.6), "fashion_mnist": (60.0, 29.3)}  # Inception features


@torch.no_grad()
def drawn(model, rows: int, second: bool) -> torch.Tensor:
    """Means of p(x|z), (rows, *shape), with z of the first or of the second stage's prior."""
    draw, found = torch.Generator().manual_seed(0), []
    for _ in range(rows // 500):
        like = model.log_jacobian.new_zeros(500, *model.spec.shape).float()
        noise = torch.randn(500, model.latent, generator=draw)
        z = model.prior(Batch(like)).draw(noise) if second else noise
        found.append(model.likelihood(z, Batch(like)).mean)
    return torch.cat(found)


def main():
    """Train once, draw twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--epochs", type=int, default=20, help="of the first stage")
    parser.add_argument("--features", nargs="+", default=["cnn", "pca64"])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="folder for the run; a temporary one if left out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path, begun = Path(args.out or temporary) / "two_stage", time.perf_counter()
        if not path.exists():
            train(
                args.data, "two_stage", out=path, preparing={"kind": "real"}, report=print,
                latent=64, net="mlp", hidden=[512, 512], width=512, share=1.0,
                epochs=2 * args.epochs, batch=256, lr=1e-3, schedule="cosine", patience=0.0,
                threads=args.threads,
            )  # fmt: skip
        print(f"{(time.perf_counter() - begun) / 60:.1f} minutes", flush=True)
        torch.set_num_threads(args.threads)
        model = Run(path).load()
        parts = sources.prepare(sources.load(args.data), kind="real")
        for features in args.features:
            found = {}
            for second in (False, True):
                said = quality(drawn(model, args.rows, second), parts.test, parts.train, features)
                found[second] = said["drawn"]["frechet"]
                floor = said["floor"]["frechet"]
            fall = 100 * (1 - found[True] / found[False])
            print(
                f"{features}: first stage {found[False]:.3f}, both {found[True]:.3f}, {fall:.0f} % "
                f"lower (floor {floor:.3f}; published {PUBLISHED.get(args.data, '?')})",
                flush=True,
            )


if __name__ == "__main__":
    main()
