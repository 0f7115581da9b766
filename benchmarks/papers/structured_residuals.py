"""Dorta et al. 2018, sec. 5: structured residuals against independent ones, Frey faces.

    VAES_DATA=FOLDER python benchmarks/papers/structured_residuals.py [--steps 1500]

The 1,965 faces (28 x 20) as reals: uniform noise of one level is added once and for all, so that
densities are those of reals and the same rows are scored by both. Neighbourhood 3 against 1, the
same networks with a scale of its own for each pixel and row: what neighbours tell is the gain,
which the card of the method wants to be above .1 nat a pixel on natural textures.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vaes import data as sources
from vaes.evaluate.likelihood import evidence
from vaes.training import train


def main():
    """Train both, score the same held-out rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--neighbourhoods", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--samples", type=int, default=100, help="of the evidence")
    parser.add_argument("--rows", type=int, default=100, help="of the held-out ones")
    args = parser.parse_args()
    faces = np.load(Path(os.environ["VAES_DATA"]) / "frey_faces" / "frey_faces.npz")["images"]
    draw = np.random.default_rng(0)
    x = (faces + draw.random(faces.shape)).astype(np.float32)[:, None]  # channels first
    options = {"net": "mlp", "hidden": [200, 200], "latent": 20, "threads": 1, "patience": 0.0}
    test = sources.prepare(sources.load(x), kind="real").test
    test, scores = test.part(torch.arange(min(args.rows, len(test)))), {}
    with tempfile.TemporaryDirectory() as folder:
        for k in args.neighbourhoods:
            begun, path = time.perf_counter(), Path(folder) / str(k)
            options["neighbourhood"] = k
            run = train(x, "structured_residuals", out=path, steps=args.steps, **options)
            model = run.load()
            found = evidence(model, test, k=args.samples)
            scores[k] = found.per_row
            rows = test.rows(slice(0, len(test)))
            with torch.no_grad():
                mean = model.likelihood(model.posterior(rows).mean, rows).mean
            error = (mean - rows.x).square().mean().sqrt().item()
            print(
                f"neighbourhood={k}: -log p(x) {-found.mean:.1f} ± {found.se:.1f} nats, "
                f"{-found.mean / test.spec.size:.4f} a pixel; root mean squared residual "
                f"{error:.4f} ({(time.perf_counter() - begun) / 60:.1f} minutes)",
                flush=True,
            )
    first, last = args.neighbourhoods[0], args.neighbourhoods[-1]
    gain = (scores[last] - scores[first]) / test.spec.size
    print(f"{last} over {first}: {gain.mean():.4f} ± {gain.std() / len(gain) ** 0.5:.4f} a pixel")


if __name__ == "__main__":
    main()
