"""Scores of samples, codes and clusters beside those of packages that others keep, on equal rows.

python benchmarks/metrics_against_references.py [--full]

Each reference that is installed is asked, absent ones are named: prdc, torchmetrics, scikit-learn,
disent. Bar: 1e-5, absolutely or of the value. --full adds two sets of 10,000 normal rows of 1,000
dimensions, whose values prdc publishes (.4772 .4705 1.0555 .9735, +- .02).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
import time
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from vaes.evaluate import dci, disentangle, levels
from vaes.evaluate.cluster import agreement
from vaes.evaluate.samples import frechet, kid, neighbours

BAR = 1e-5
PAIRS = 5
PUBLISHED = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
Pair = tuple[str, float, float]  # what, ours, theirs


def sets() -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Real and drawn features of several sizes, apart by several amounts."""
    draw = np.random.default_rng(0)
    for n, m, d, shift in ((300, 250, 4, 0.3), (500, 500, 16, 0.0), (900, 700, 64, 0.1)):
        real = draw.normal(size=(n, d)) @ np.diag(draw.uniform(0.5, 2, d))
        drawn = 0.9 * draw.normal(size=(m, d)) @ np.diag(draw.uniform(0.5, 2, d)) + shift
        yield f"{n}/{m} x {d}", torch.from_numpy(real), torch.from_numpy(drawn)


def of_prdc() -> Iterator[Pair]:
    from prdc import compute_prdc

    for name, real, drawn in sets():
        for k in (3, 5):
            ours = neighbours(real, drawn, k)
            with contextlib.redirect_stdout(None):
                theirs: Any = compute_prdc(real.numpy(), drawn.numpy(), k)
            for what, value in theirs.items():
                yield f"{what}, k={k}, {name}", getattr(ours, what), float(value)


class Identity(torch.nn.Module):
    """Features that are the rows; torchmetrics tries the map on an image to learn their number."""

    num_features = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def of_torchmetrics() -> Iterator[Pair]:
    from torchmetrics.clustering import (
        AdjustedMutualInfoScore,
        AdjustedRandScore,
        NormalizedMutualInfoScore,
    )
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    for name, real, drawn in sets():
        body = Identity()
        body.num_features = real.shape[1]
        distance = FrechetInceptionDistance(feature=body, normalize=True)
        distance.set_dtype(torch.float64)
        distance.update(real, real=True)
        distance.update(drawn, real=False)
        yield f"Frechet distance, {name}", frechet(real, drawn), float(distance.compute())
        # as one subset of all rows, where both sides have as many
        n = min(len(real), len(drawn))
        kernel = KernelInceptionDistance(feature=body, subsets=1, subset_size=n, normalize=True)
        kernel.update(real[:n], real=True)
        kernel.update(drawn[:n], real=False)
        yield f"KID, {name}", kid(real[:n], drawn[:n], n, 1)[0], float(kernel.compute()[0])
    for name, truth, found in partitions():
        a, b = torch.from_numpy(found), torch.from_numpy(truth)
        ours = agreement(truth, found)
        for what, metric in {
            "nmi": NormalizedMutualInfoScore(),
            "ari": AdjustedRandScore(),
            "ami": AdjustedMutualInfoScore(),
        }.items():
            yield f"{what}, {name}", getattr(ours, what), float(metric(a, b))


def partitions() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(1)
    yield "of ten", np.array(list(map(int, "0001112222"))), np.array(list(map(int, "1100000222")))
    truth = draw.integers(0, 6, 2000)
    yield "by chance", truth, draw.integers(0, 9, 2000)
    yield (
        "half right",
        truth,
        np.where(draw.random(2000) < 0.5, 5 - truth, draw.integers(0, 6, 2000)),
    )


def of_sklearn() -> Iterator[Pair]:
    from sklearn import metrics

    for name, truth, found in partitions():
        ours = agreement(truth, found)
        yield f"nmi, {name}", ours.nmi, float(metrics.normalized_mutual_info_score(truth, found))
        yield f"ari, {name}", ours.ari, float(metrics.adjusted_rand_score(truth, found))
        yield f"ami, {name}", ours.ami, float(metrics.adjusted_mutual_info_score(truth, found))
    draw = np.random.default_rng(2)
    z, v = draw.normal(size=(3000, 3)), draw.integers(0, 5, (3000, 2))
    z[:, 0] += v[:, 0]
    for j, code in enumerate(levels.binned(z).T):
        for k, factor in enumerate(v.T):
            theirs = float(metrics.mutual_info_score(code, factor))
            yield f"information {j}, {k}", disentangle._mutual(code, factor), theirs


def _of_disent(name: str) -> Any:
    """A module of its metrics alone: its data sets, which they only name, need much besides."""
    import disent

    for stood_in in ("disent.dataset", "disent.metrics"):
        sys.modules.setdefault(stood_in, types.ModuleType(stood_in))
    sys.modules["disent.dataset"].DisentDataset = object  # type: ignore[attr-defined]
    sys.modules["disent.metrics"].__path__ = [os.path.join(disent.__path__[0], "metrics")]
    return importlib.import_module(f"disent.metrics.{name}")


def of_disent() -> Iterator[Pair]:
    draw = np.random.default_rng(3)
    v = np.stack([draw.integers(0, size, 3000) for size in (3, 6, 8)], 1)
    plain = (v - v.mean(0)) / v.std(0)
    turned = plain @ np.linalg.qr(draw.normal(size=(3, 3)))[0]
    codes = {
        "noisy": plain + 0.3 * draw.normal(size=v.shape),
        "turned": np.concatenate([turned, draw.normal(size=(3000, 1))], 1),
        "noise": draw.normal(size=(3000, 4)),
    }
    for name, z in codes.items():
        gap = _of_disent("_mig")._compute_mig(z.T, v.T)["mig.discrete_score"]
        yield f"MIG, {name}", disentangle._gap(disentangle._information(z, v), v), float(gap)
        train, test = levels.parts(3000, (dci.TRAINED, dci.TESTED), np.random.default_rng(0))
        halves = z[train].T, v[train].T, z[test].T, v[test].T
        for continuous in (False, True):
            told = (0, 1, 2) if continuous else ()
            theirs = _of_disent("_sap")._compute_sap(*halves, continuous)["sap.score"]
            kind = "continuous" if continuous else "discrete"
            ours = dci.sap(z, v, continuous=told)
            yield f"SAP {kind}, {name}", ours, float(theirs)
        train, test = levels.parts(3000, (dci.GROWN, dci.TESTED), np.random.default_rng(0))
        found, other = dci.dci(z, v, trees=100), _of_disent("_dci")
        importance, accuracy = np.zeros((z.shape[1], 3)), []
        for k in range(3):
            # its trees break ties by the global generator, by which scores vary in the third digit
            np.random.seed(0)  # noqa: NPY002
            halves = z[train].T, v[train, k : k + 1].T, z[test].T, v[test, k : k + 1].T
            importance[:, k : k + 1], _, right = other._compute_importance_gbt(*halves)
            accuracy.append(right)
        yield f"D, {name}", found.disentanglement, float(other._disentanglement(importance))
        yield f"C, {name}", found.completeness, float(other._completeness(importance))
        yield f"I, {name}", found.informativeness, float(np.mean(accuracy))


REFERENCES = {
    "prdc": of_prdc,
    "torchmetrics": of_torchmetrics,
    "sklearn": of_sklearn,
    "disent": of_disent,
}


def large() -> int:
    """Pairs of sets of one source in 1,000 dimensions: the published numbers are those of one such
    pair, and lie within three spreads of ours over pairs."""
    begun, found, failed = time.monotonic(), [], 0
    for seed in range(PAIRS):
        draw = torch.Generator().manual_seed(seed)
        real, drawn = (torch.randn(10_000, 1000, generator=draw) for _ in "ab")
        found.append(neighbours(real, drawn, 5))
    for what, published in PUBLISHED.items():
        values = np.array([getattr(each, what) for each in found])
        spread = values.std(ddof=1)
        bad = abs(values.mean() - published) > 3 * spread
        failed += bad
        told = f"{what} {values.mean():.4f}, spread {spread:.4f}, published {published:.4f}"
        print(f"{'WRONG' if bad else 'ok   '} 10,000 x 1,000: {told}")
    print(f"{time.monotonic() - begun:.0f} s")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="10,000 rows of 1,000 dimensions too")
    full, failed = parser.parse_args().full, 0
    for message in ("Metric `Kernel Inception Distance`", "Sparse invariant checks"):
        warnings.filterwarnings("ignore", message=message)
    for package, pairs in REFERENCES.items():
        if importlib.util.find_spec(package) is None:
            print(f"absent: {package}")
            continue
        found = [(what, a, b, abs(a - b) / max(1, abs(b))) for what, a, b in pairs()]
        wrong = [each for each in found if not each[3] <= BAR]
        failed += len(wrong)
        worst = max(each[3] for each in found)
        print(
            f"{package}: {len(found) - len(wrong)} of {len(found)} agree, at worst by {worst:.1e}"
        )
        for what, a, b, _ in wrong:
            print(f"  WRONG {what}: {a:.8g} here, {b:.8g} there")
    if full:
        failed += large()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
