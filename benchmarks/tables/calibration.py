"""False alarms on ten generated tables, thresholds from held-out rows.

    python benchmarks/tables/calibration.py [--sets ring bits ...] [--seed 0]

`VAEDetector` with its defaults learns from 4,000 normal rows; 50,000 others calibrate the threshold
at a nominal share of false alarms of 1 %, and 50,000 fresh ones meet it. Printed for each table:
the realised share; the p-value of the two-sample Kolmogorov-Smirnov test between the p-values of
the fresh rows and those of the rows that calibrate, which of a sound calibration is uniform itself;
the area under the ROC curve for 2,000 rows whose columns are those of the table, each drawn by
itself, beside scikit-learn's isolation forest and the distance to the fifth nearest training row
(numbers standardised with gaps at their mean, words one-hot); seconds of the processor.
"""

import argparse
import time

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from vaes import VAEDetector
from vaes.uses import Conformal

TRAINED, HELD, FRESH, ODD = 4_000, 50_000, 50_000, 2_000
NOMINAL, BAND, KS = 0.01, (0.008, 0.012), 0.01


def correlated(draw, n):
    """One Gaussian with a full covariance."""
    root = np.random.default_rng(1).normal(size=(10, 10))
    return draw.normal(size=(n, 10)) @ root


def clusters(draw, n):
    """Five Gaussians, each with a covariance of its own."""
    world = np.random.default_rng(2)
    means, roots = 3 * world.normal(size=(5, 10)), world.normal(size=(5, 10, 10)) / 3
    which = draw.integers(0, 5, n)
    return means[which] + np.einsum("nij,nj->ni", roots[which], draw.normal(size=(n, 10)))


def heavy(draw, n):
    """Student's t with three degrees of freedom, correlated."""
    root = np.random.default_rng(3).normal(size=(8, 8))
    return draw.normal(size=(n, 8)) @ root / np.sqrt(draw.chisquare(3, (n, 1)) / 3)


def skewed(draw, n):
    """Exponentials of correlated normal numbers."""
    root = np.random.default_rng(4).normal(size=(8, 8)) / 3
    return np.exp(draw.normal(size=(n, 8)) @ root)


def bent(draw, n):
    """Three numbers, bent and mixed into 12 columns, and noise."""
    z, world = draw.normal(size=(n, 3)), np.random.default_rng(5).normal(size=(6, 12))
    return np.concatenate([z, np.sin(2 * z)], 1) @ world + 0.2 * draw.normal(size=(n, 12))


def ring(draw, n):
    """A circle with noise."""
    angle = draw.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * draw.normal(size=(n, 2))


def bits(draw, n):
    """Twenty bits of four classes."""
    shares = np.random.default_rng(6).beta(0.5, 0.5, (4, 20))
    return (draw.random((n, 20)) < shares[draw.integers(0, 4, n)]).astype(float)


def counts(draw, n):
    """Whole numbers that two gamma factors make rise together."""
    loads = np.random.default_rng(7).gamma(1, 2, (2, 10))
    return draw.poisson(draw.gamma(2, 1, (n, 2)) @ loads).astype(float)


def mixed(draw, n):
    """Four numbers and four columns of words, told by one of three classes."""
    world, which = np.random.default_rng(8), draw.integers(0, 3, n)
    means, shares = 2 * world.normal(size=(3, 4)), world.dirichlet(np.full(5, 0.4), (4, 3))
    frame = pd.DataFrame(means[which] + draw.normal(size=(n, 4)), columns=list("abcd"))
    for name, share in zip("efgh", shares, strict=True):
        level = (share[which].cumsum(1) < draw.random((n, 1))).sum(1).clip(max=4)
        frame[name] = np.array(["red", "green", "blue", "grey", "pink"])[level]
    return frame


def gaps(draw, n):
    """The five Gaussians, a fifth of the entries missing."""
    return np.where(draw.random((n, 10)) < 0.2, np.nan, clusters(draw, n))


SETS = (correlated, clusters, heavy, skewed, bent, ring, bits, counts, mixed, gaps)


def independent(draw, rows):
    """Rows whose columns are each drawn from that column of `rows`, by themselves."""
    frame = pd.DataFrame(rows)
    apart = {c: column.to_numpy()[draw.permutation(len(frame))] for c, column in frame.items()}
    return pd.DataFrame(apart) if isinstance(rows, pd.DataFrame) else pd.DataFrame(apart).to_numpy()


def numbers(train, *others):
    """All as arrays without gaps or words, by what `train` holds."""
    frames = [pd.get_dummies(pd.DataFrame(x), dtype=float) for x in (train, *others)]
    frames = [f.reindex(columns=frames[0].columns, fill_value=0.0) for f in frames]
    mean, spread = frames[0].mean(), frames[0].std()
    return [((f - mean) / spread.where(spread > 0, 1)).fillna(0.0).to_numpy() for f in frames]


def areas(train, fresh, odd, seed):
    """The area under the ROC curve of the isolation forest and of the fifth neighbour."""
    train, fresh, odd = numbers(train, fresh, odd)
    both = np.concatenate([fresh[:ODD], odd])
    forest = -IsolationForest(random_state=seed).fit(train).score_samples(both)
    distances = NearestNeighbors(n_neighbors=5).fit(train).kneighbors(both)[0][:, -1]
    return area(forest), area(distances)


def area(scores):
    """Under the ROC curve of as many normal as odd rows, the odd ones last."""
    return roc_auc_score(np.repeat([0, 1], len(scores) // 2), scores)


def main():
    """One row per table, then what the bars say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [make.__name__ for make in SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| | recipe | false alarms | KS | vaes | iforest | kNN | seconds |")
    print("|" + " --- |" * 8)
    met = 0
    for make in (make for make in SETS if make.__name__ in args.sets):
        draw, start = np.random.default_rng([args.seed, 1]), time.process_time()
        train, held, fresh = (make(draw, n) for n in (TRAINED, HELD, FRESH))
        odd = independent(draw, make(draw, ODD))
        missing = "nan" if make is gaps else None
        model = VAEDetector(random_state=args.seed, missing=missing).fit(train)
        calibrated = Conformal(-model.score_samples(held))
        p = calibrated.p_values(-model.score_samples(fresh))
        alarms = float((p <= NOMINAL).double().mean())
        ks = ks_2samp(p.numpy(), calibrated.p_values(calibrated.scores).numpy()).pvalue
        both = np.concatenate([model.score_samples(x) for x in (fresh[:ODD], odd)])
        own, seconds = area(-both), time.process_time() - start
        forest, neighbour = areas(train, fresh, odd, args.seed)
        met += BAND[0] <= alarms <= BAND[1] and ks > KS
        print(
            f"| {make.__name__} | {model.recipe_} | {alarms:.4f} | {ks:.3f} | {own:.3f} | "
            f"{forest:.3f} | {neighbour:.3f} | {seconds:.0f} |",
            flush=True,
        )
    print(
        f"\nFalse alarms between {BAND[0]} and {BAND[1]}, KS above {KS}: {met} of {len(args.sets)}"
    )


if __name__ == "__main__":
    main()
