"""How close drawn rows are to real ones, by features of both.

Every number depends on the features, on the number of rows and on which real rows were taken: say
all three beside it. Sources: Heusel et al. 2017 (Frechet distance); Chong & Forsyth 2020
(arXiv:1911.07023; without its bias); Binkowski et al. 2018 (arXiv:1801.01401; KID); Kynkaanniemi
et al. 2019 (arXiv:1904.06991; precision, recall); Naeem et al. 2020 (arXiv:2002.09797; density,
coverage); Gretton et al. 2012 (maximum mean discrepancy and its test).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor

from vaes.errors import UsageError

BLOCK = 2**24  # distances that are held at once
SIZES = 10  # numbers of rows that the Frechet distance is extrapolated from
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernel "rbf", in median distances
KERNELS = ("imq", "rbf", "cubic")


def frechet(real: Tensor, drawn: Tensor) -> float:
    """Squared Frechet distance between the Gaussians with the moments of features (n, d), (m, d).

    Positive for a finite number of rows even where both come from one source, about as 1 / n: see
    `frechet_unbiased`. Warns where there are no more rows than features.
    """
    real, drawn = _features(real, drawn, least=2)
    if min(len(real), len(drawn)) <= real.shape[1]:
        warnings.warn(
            f"{min(len(real), len(drawn))} rows of {real.shape[1]} features have a covariance of "
            "no full rank; the Frechet distance is far too large",
            stacklevel=2,
        )
    return frechet_of_moments(real.mean(0), real.T.cov(), drawn.mean(0), drawn.T.cov())


def frechet_of_moments(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of means (d,) and covariances (d, d)."""
    d = len(mean)
    cov, other_cov = cov.double().reshape(d, d), other_cov.double().reshape(d, d)
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # the eigenvalues of C C' are those of the symmetric C^(1/2) C' C^(1/2)
    both = torch.linalg.eigvalsh(root @ other_cov @ root).clamp(min=0).sqrt().sum()
    apart = (mean.double() - other_mean.double()).square().sum()
    # rounding brings equal moments below zero
    return max(0.0, float(apart + cov.trace() + other_cov.trace() - 2 * both))


def frechet_unbiased(real: Tensor, drawn: Tensor, seed: int = 0) -> float:
    """The Frechet distance that infinitely many rows would have, by its line in 1 / n.

    Distances of ten sizes from a fifth of the rows on, both sides drawn anew for each, are fitted
    by a line whose value at 1 / n = 0 is returned; close to 0 it may be negative.
    """
    real, drawn = _features(real, drawn, least=10)
    n = min(len(real), len(drawn))
    if n // 5 <= real.shape[1]:
        raise UsageError(
            f"{n} rows of {real.shape[1]} features: the distance without bias needs more than "
            f"{5 * real.shape[1]} rows of either kind"
        )
    generator = torch.Generator().manual_seed(seed)
    inverse = torch.linspace(5 / n, 1 / n, SIZES, dtype=torch.float64)
    found = [
        frechet(_some(real, size, generator), _some(drawn, size, generator))
        for size in (1 / inverse).round().long().tolist()
    ]
    line = torch.stack([torch.ones_like(inverse), inverse], 1)
    fitted = torch.linalg.lstsq(line, torch.tensor(found, dtype=torch.float64).unsqueeze(1))
    return float(fitted.solution[0])


@dataclass(frozen=True)
class Neighbours:
    """Shares and ratios by balls that reach to each row's k-th neighbour of its own kind.

    precision: of the drawn rows in the ball of a real one · recall: of the real rows in the ball of
    a drawn one · density: real balls that a drawn row lies in, over k; 1 for equal sources, and
    not bounded · coverage: of the real balls that hold a drawn row; below 1 for equal sources too
    (`equal_coverage`).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(real: Tensor, drawn: Tensor, k: int = 5) -> Neighbours:
    """Precision, recall, density and coverage of features `drawn` (m, d) beside `real` (n, d)."""
    real, drawn = _features(real, drawn, least=2)
    if not 1 <= k < min(len(real), len(drawn)):
        raise UsageError(
            f"k={k}: of {len(real)} real and {len(drawn)} drawn rows each needs more than k others"
        )
    around_real, around_drawn = _radii(real, k), _radii(drawn, k)
    inside = torch.zeros(len(drawn), dtype=torch.long, device=real.device)
    recalled, covered = [], []
    for start, part in _blocks(real, len(drawn)):
        distances = torch.cdist(part, drawn)
        near = distances < around_real[start : start + len(part)].unsqueeze(1)
        inside += near.sum(0)
        covered.append(near.any(1))
        recalled.append((distances < around_drawn).any(1))
    return Neighbours(
        precision=float((inside > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(inside.double().mean() / k),
        coverage=float(torch.cat(covered).double().mean()),
    )


def equal_coverage(n: int, m: int, k: int = 5) -> float:
    """The coverage to expect of m drawn rows from the source of the n real ones, about 1 - 2^-k
    where m = n (Naeem et al. 2020, lemma 2)."""
    missed = sum(math.log(n - 1 - i) - math.log(n - 1 + m - i) for i in range(k))
    return 1 - math.exp(missed)


def mmd(real: Tensor, drawn: Tensor, kernel: str = "imq") -> float:
    """Maximum mean discrepancy, squared and unbiased: 0 on average where the sources are equal, so
    it may be negative.

    kernel: "imq", C / (C + |x - y|^2) with C = 2 d, for features of unit variance · "rbf", the mean
    of Gaussians of five widths about the median distance · "cubic", (x y / d + 1)^3, as in KID.
    """
    gram, n = _gram(*_features(real, drawn, least=2), kernel)
    signs = torch.ones(len(gram), dtype=torch.float64, device=gram.device)
    signs[n:] = -1
    return float(_discrepancy(gram, signs.unsqueeze(1), n))


def mmd_test(
    real: Tensor, drawn: Tensor, kernel: str = "imq", permutations: int = 500, seed: int = 0
) -> float:
    """p-value of "one source", by permutations of which row is of which kind: uniform if it is."""
    if permutations < 1:
        raise UsageError(f"permutations={permutations}: at least one is needed")
    gram, n = _gram(*_features(real, drawn, least=2), kernel)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.ones(len(gram), permutations + 1, dtype=torch.float64)
    signs[n:] = -1
    for column in range(1, permutations + 1):
        signs[:, column] = signs[torch.randperm(len(gram), generator=generator), 0]
    found = _discrepancy(gram, signs.to(gram.device), n)
    # rounding must not make a permutation that changes nothing smaller than what was found
    reached = found[1:] >= found[0] - 1e-12 * gram.abs().max()
    return (1 + int(reached.sum())) / (permutations + 1)


def kid(
    real: Tensor, drawn: Tensor, size: int = 1000, draws: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Kernel inception distance and its standard error: `mmd` by the cubic kernel, the mean over
    `draws` subsets of `size` rows of either kind (all, where there are fewer)."""
    real, drawn = _features(real, drawn, least=2)
    if size < 2 or draws < 1:
        raise UsageError(f"size={size}, draws={draws}: two rows and one subset are the least")
    size, generator = min(size, len(real), len(drawn)), torch.Generator().manual_seed(seed)
    found = [
        mmd(_some(real, size, generator), _some(drawn, size, generator), "cubic")
        for _ in range(draws)
    ]
    return fmean(found), stdev(found) / draws**0.5 if draws > 1 else math.nan


def kid_of_blocks(
    real: Tensor, drawn: Tensor, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Kernel inception distance as the mean over blocks of `size` rows of either kind that share
    no row (at least five blocks, so smaller ones where there are fewer rows), and its standard
    error, that of fresh rows: subsets that overlap (`kid`) know of their own choice alone."""
    real, drawn = _features(real, drawn, least=10)
    n, generator = min(len(real), len(drawn)), torch.Generator().manual_seed(seed)
    size = max(2, min(size, n // 5))
    a, b = _some(real, n, generator), _some(drawn, n, generator)
    starts = range(0, n - size + 1, size)
    found = [mmd(a[i : i + size], b[i : i + size], "cubic") for i in starts]
    return fmean(found), stdev(found) / len(found) ** 0.5


def _features(real: Tensor, drawn: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Features of both kinds in float64, checked."""
    found = torch.as_tensor(real).double(), torch.as_tensor(drawn).double()
    shapes = " and ".join(str(tuple(x.shape)) for x in found)
    if any(x.dim() != 2 for x in found) or found[0].shape[1:] != found[1].shape[1:]:
        raise UsageError(f"features of shapes {shapes}: rows (n, d) of equal d are needed")
    for name, x in zip(("real", "drawn"), found, strict=True):
        if len(x) < least or not x.shape[1]:
            raise UsageError(
                f"features of shapes {shapes}: at least {least} {name} rows are needed"
            )
        bad = (~x.isfinite()).any(1)
        if bad.any():
            raise UsageError(
                f"{int(bad.sum())} of {len(x)} {name} rows have features that are no finite "
                f"numbers, the first is row {int(bad.nonzero()[0])}"
            )
    return found


def _some(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """`size` rows of x, drawn without repeats."""
    return x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]


def _blocks(x: Tensor, others: int) -> Iterator[tuple[int, Tensor]]:
    """Rows of x in blocks whose distances to `others` rows fit `BLOCK`: (first row, rows)."""
    size = max(1, BLOCK // max(1, others))
    for start in range(0, len(x), size):
        yield start, x[start : start + size]


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each row (n, d) to its k-th nearest other row, (n,)."""
    # the row itself is the nearest, at a distance of 0
    parts = [torch.cdist(part, x).kthvalue(k + 1, 1).values for _, part in _blocks(x, len(x))]
    return torch.cat(parts)


def _gram(real: Tensor, drawn: Tensor, kernel: str) -> tuple[Tensor, int]:
    """The kernel between all rows of both kinds, its diagonal 0, and how many are real."""
    if kernel not in KERNELS:
        raise UsageError(f"kernel '{kernel}' is not known; it is one of {', '.join(KERNELS)}")
    x = torch.cat([real, drawn])
    d = x.shape[1]
    if kernel == "cubic":
        gram = (x @ x.T / d + 1) ** 3
    else:
        square = torch.cdist(x, x).square()
        if kernel == "imq":
            gram = 2 * d / (2 * d + square)
        else:
            apart = square[*torch.triu_indices(len(x), len(x), 1, device=x.device)]
            middle = apart.median().clamp(min=1e-300)
            gram = torch.stack([(-square / (2 * w**2 * middle)).exp() for w in WIDTHS]).mean(0)
    return gram.fill_diagonal_(0), len(real)


def _discrepancy(gram: Tensor, signs: Tensor, n: int) -> Tensor:
    """The unbiased squared discrepancy for every column of `signs`: +1 of the n real rows, else -1.

    With indicators a = (1 + s) / 2 and b = (1 - s) / 2: a G a / n(n-1) + b G b / m(m-1) - 2 a G b
    / nm, where the diagonal of G is 0.
    """
    m = len(gram) - n
    a, b = (1 + signs) / 2, (1 - signs) / 2
    ga = gram @ a
    gb = gram @ b
    within = (a * ga).sum(0) / (n * (n - 1)) + (b * gb).sum(0) / (m * (m - 1))
    return within - 2 * (b * ga).sum(0) / (n * m)
