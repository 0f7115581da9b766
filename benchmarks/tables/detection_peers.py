"""Peers' outlier scores, higher = odder, of every split that `detection.py` has laid down.

    python benchmarks/tables/detection_peers.py --folder FOLDER [--only knn gmm]

PyOD's detectors at their defaults (its VAE, isolation forest, PCA), the distance to the fifth
neighbour, and a Gaussian mixture with full covariances whose number of components is chosen by a
fifth of the training rows held out. PyOD's VAE and PCA standardise by themselves; neighbours and
mixture get columns standardised by the training rows. A split whose scores lie there is left alone.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from pyod.models.iforest import IForest
from pyod.models.pca import PCA
from pyod.models.vae import VAE
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

COMPONENTS = (1, 2, 4, 8, 16, 32)


def pyod(make):
    """Scores of a detector of PyOD."""

    def scores(train, test, seed):
        return make(seed).fit(train).decision_function(test)

    return scores


def knn(train, test, seed):
    """Distance to the fifth nearest training row."""
    train, test = standardised(train, test)
    return NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0][:, -1]


def gmm(train, test, seed):
    """-log p of the mixture with the most probable held-out rows."""
    train, test = standardised(train, test)
    order = np.random.default_rng(seed).permutation(len(train))
    held, rest = train[order[: len(train) // 5]], train[order[len(train) // 5 :]]
    found = []
    for k in COMPONENTS:
        if 5 * k <= len(rest):
            mixture = GaussianMixture(k, reg_covar=1e-3, random_state=seed).fit(rest)
            found.append((mixture.score(held), k, mixture))
    return -max(found, key=lambda one: one[:2])[2].score_samples(test)


def standardised(train, test):
    """Both by the mean and the standard deviation of the training rows."""
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1
    return (train - mean) / spread, (test - mean) / spread


PEERS = {
    "pyod_vae": pyod(lambda seed: VAE(random_state=seed, verbose=0)),
    "iforest": pyod(lambda seed: IForest(random_state=seed)),
    "pca": pyod(lambda seed: PCA(random_state=seed)),
    "knn": knn,
    "gmm": gmm,
}


def main():
    """Every peer on every split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for split in sorted(args.folder.glob("*.npz")):
        held = np.load(split)
        train, test, seed = held["train"], held["test"], int(held["seed"])
        # PyOD divides by the spread of a column
        kept = train.std(0) > 0
        for name in args.only:
            out = split.with_suffix(f".{name}.npy")
            if out.exists():
                continue
            start = time.perf_counter()
            np.save(out, PEERS[name](train[:, kept], test[:, kept], seed))
            print(f"{split.stem} {name} {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
