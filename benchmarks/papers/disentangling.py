"""Chen et al. 2018, sec. 6: beta-TCVAE against beta-VAE over seeds, on the drawn sprites.

    python benchmarks/papers/disentangling.py [--seeds 3] [--recipes beta_vae beta_tcvae] [--out F]

Every recipe with its defaults, ten latent dimensions and the same rows, steps and seeds; factor_vae
and dip_vae are recipes to add. Prints of each run, as it ends, the distortion and rate of fresh
pictures and three scores of the codes' means; then median and range over the seeds, and the
difference from the first recipe seed by seed, beside what noise and the factors themselves score.
The scores differ between seeds by more than between recipes (Locatello et al. 2019): three seeds
rank nothing. Runs that exist in `--out` are gone on with.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vaes.batch import Data
from vaes.data.sprites import factors, pictures
from vaes.evaluate.disentangle import Disentanglement, disentanglement, ends
from vaes.evaluate.likelihood import bound
from vaes.run import Run
from vaes.training import resume, train

SCORES = ("mig", "factor_vae", "dci_disentanglement")
SEED = 1  # of the pictures that are scored, two thirds of which are among the trained ones


def trained(recipe: str, seed: int, path: Path, options: dict) -> Run:
    """The run, whose weights and order of rows come from `seed`."""
    if path.exists():
        return Run(path) if Run(path).finished else resume(path)
    return train("sprites", recipe, out=path, seed=seed, **options)


@torch.no_grad()
def scored(run: Run, values: np.ndarray) -> tuple[Disentanglement, float, float]:
    """Scores of the means of q(z|x), distortion and rate of the pictures of factors (n, 5)."""
    model = run.load()
    rows = Data(model.spec, torch.from_numpy(pictures(values)).unsqueeze(1))
    codes = torch.cat([model.posterior(batch).mean for batch in rows.batches(500)])
    parts = bound(model, rows)
    return disentanglement(codes.numpy(), values), parts.distortion, parts.rate


def told(name: str, found: list[float]) -> str:
    """Median and range."""
    return f"{name} {np.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def main():
    """Train each, score, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=["beta_vae", "beta_tcvae"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--net", default="mlp", help="mlp; conv takes four times as long")
    parser.add_argument("--rows", type=int, default=5000, help="pictures that are scored")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs; a temporary one if left out")
    args = parser.parse_args()
    options = {"latent": 10, "net": args.net, "epochs": args.epochs, "batch": 128}
    options |= {"schedule": "cosine", "patience": 0.0, "threads": args.threads}
    values = factors(args.rows, SEED)
    for name, end in zip(("noise", "the factors"), ends(values, 10), strict=True):
        print(name, *(f"{s} {getattr(end, s):.3f}" for s in SCORES), flush=True)
    table: dict[str, list[tuple]] = {recipe: [] for recipe in args.recipes}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(args.seeds):
            for recipe in args.recipes:
                begun, path = time.perf_counter(), Path(args.out or temporary)
                run = trained(recipe, seed, path / f"{recipe}-{args.epochs}-{seed}", options)
                scores, distortion, rate = scored(run, values)
                row = (*(getattr(scores, s) for s in SCORES), distortion, rate)
                table[recipe].append(row)
                said = [f"{n} {v:.3f}" for n, v in zip((*SCORES, "D", "R"), row, strict=True)]
                minutes = (time.perf_counter() - begun) / 60
                print(recipe, f"seed {seed}:", *said, f"({minutes:.1f} minutes)", flush=True)
    first = np.array(table[args.recipes[0]])
    for recipe, rows in table.items():
        found = np.array(rows)
        named = zip((*SCORES, "distortion", "rate"), found.T, strict=True)
        print(f"{recipe}:", " · ".join(told(name, column.tolist()) for name, column in named))
        if recipe != args.recipes[0]:
            apart = zip(SCORES, (found - first).T, strict=False)
            said = "; ".join(f"{n} {np.array2string(d, precision=3)}" for n, d in apart)
            print(f"{recipe} - {args.recipes[0]}, seed by seed: {said}")


if __name__ == "__main__":
    main()
