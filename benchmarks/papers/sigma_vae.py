"""Rybkin et al. 2021, sec. 5: a learned noise level against unit variance, Frey faces.

    VAES_DATA=FOLDER python benchmarks/papers/sigma_vae.py [--steps 1500]

The 1,965 faces, grey levels as they are (28 x 20, 8 bits), by the mass of a Gaussian in the cell of
each level: sigma = 1 of the range [0, 1], as a mean squared error without a weight has it, against
one learned sigma, one for each pixel, and one for each pixel and row. The paper compares on SVHN,
by densities and FID; what is checked is the order, shared far ahead of 1, on held-out nats.
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

SCALES = (1.0, "shared", "entry", "network")


def main():
    """Train each, score the same held-out rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--scales", nargs="+", default=SCALES)
    parser.add_argument("--samples", type=int, default=200, help="of the evidence")
    parser.add_argument("--rows", type=int, default=100, help="of the held-out ones")
    args = parser.parse_args()
    faces = np.load(Path(os.environ["VAES_DATA"]) / "frey_faces" / "frey_faces.npz")["images"]
    test = sources.prepare(sources.load(faces)).test
    test = test.part(torch.arange(min(args.rows, len(test))))
    options = {"net": "mlp", "hidden": [200, 200], "latent": 20, "threads": 1, "patience": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for scale in args.scales:
            scale = float(scale) if str(scale).replace(".", "").isdigit() else scale
            begun = time.perf_counter()
            path = Path(folder) / str(scale)
            run = train(faces, "sigma_vae", out=path, steps=args.steps, scale=scale, **options)
            model = run.load()
            found = evidence(model, test, k=args.samples)
            x = test.rows(slice(0, len(test)))
            with torch.no_grad():
                p = model.likelihood(model.posterior(x).mean, x)
            sigma = p.log_scale.exp().mean().item()
            error = (p.mean - x.x).square().mean().sqrt().item()
            print(
                f"scale={scale}: -log p(x) {-found.mean:.1f} ± {found.se:.1f} nats, "
                f"{-found.mean / test.spec.size / np.log(2):.3f} bits a pixel; sigma "
                f"{sigma:.4f}, root mean squared residual {error:.4f} "
                f"({(time.perf_counter() - begun) / 60:.1f} minutes)",
                flush=True,
            )


if __name__ == "__main__":
    main()
