"""How good drawn rows are: the numbers of `vaes.evaluate.samples`, and what the source itself has.

Protocol: equal numbers of rows on both sides, held-out rows as the reference, another half of them
as the floor, since each of these numbers is off where there are few rows, for the best of models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from vaes.batch import Data, generator
from vaes.errors import DataError, UsageError
from vaes.evaluate.features import FeatureMap, feature_map, refuse_gaps
from vaes.evaluate.samples import (
    equal_coverage,
    frechet_of_moments,
    frechet_unbiased,
    kid_of_blocks,
    mmd_test,
    neighbours,
)
from vaes.uses.augment import copies

AUDITED = 1_000  # drawn and held-out rows whose nearest training row is sought
TESTED, PERMUTATIONS = 500, 200  # rows of either kind and permutations of the test
LEAST = 10  # rows of either kind
SAID = ("identical", "held_identical", "share", "p_value", "leaning", "expected", "p_leaning")


def quality(
    drawn: Tensor | Data,
    test: Data,
    train: Data,
    features: str | Callable[[Tensor], Tensor] = "pca64",
    seed: int = 0,
    k: int = 5,
) -> dict[str, Any]:
    """How good drawn rows (m, *shape) in model space are, beside rows of the source itself.

    One half of the held-out rows is compared with as many drawn ones ("drawn") and with the other
    half ("floor"): a perfect model has the floor's numbers, up to chance. Each has `frechet`, the
    distance by these n rows; `frechet_limit`, without the bias of few rows (None where there are
    too few, see "notes"); `kid` and its standard error over blocks of fresh rows; `precision`,
    `recall`, `density`, `coverage` by k neighbours (`equal_coverage`: what to expect of equal
    sources); `mmd_p`, the p-value of one source (500 rows, kernel "rbf"). "copies" says whether
    drawn rows lie nearer to the training rows than held-out ones do (`vaes.uses.copies`, at most
    1,000 of either). `seed` chooses rows; the map is the same for all seeds.

    Whether rows are draws or means of p(x|z) changes every number: say which. UsageError for too
    few rows, unknown maps and features that are no finite numbers; DataError for rows with gaps.
    """
    drawn = drawn if isinstance(drawn, Data) else Data(train.spec, drawn)
    drawn, test = (rows.to(train.x.device) for rows in (drawn, test))
    n = _comparable(drawn, test, train, k)
    order, other = _order(test, seed, "test"), _order(drawn, seed, "drawn")
    mapped = feature_map(features, train)
    real = mapped(test, "test", order[:n])
    fresh = mapped(test, "test", order[n : 2 * n])
    new = mapped(drawn, "drawn", other[:n])
    some = test.part(order[: min(len(test), AUDITED)])
    audit = copies(drawn.part(other[:AUDITED]), train, some)
    return {
        "features": mapped.name,
        "digest": mapped.digest,
        "dimensions": mapped.dimensions,
        "accuracy": mapped.accuracy(test),
        "n": n,
        "n_train": len(train),
        "k": k,
        "seed": seed,
        "equal_coverage": equal_coverage(n, n, k),
        "drawn": _compared(real, new, seed, k),
        "floor": _compared(real, fresh, seed, k),
        "copies": {name: getattr(audit, name) for name in SAID}
        | {"n": len(audit.new), "n_held": len(audit.held)},
        "notes": _notes(mapped, n),
    }


def _comparable(drawn: Data, test: Data, train: Data, k: int) -> int:
    """How many rows of either kind are compared; one line where they cannot be."""
    for rows, what in ((drawn, "drawn"), (test, "test"), (train, "training")):
        refuse_gaps(rows, what)
        if tuple(rows.x.shape[1:]) != train.spec.shape:
            raise DataError(
                f"{what} rows of shape {tuple(rows.x.shape[1:])} beside training rows of shape "
                f"{train.spec.shape}: they must be of one kind"
            )
    n, least = min(len(drawn), len(test) // 2), max(LEAST, k + 1)
    if n < least:
        raise UsageError(
            f"{len(drawn)} drawn and {len(test)} test rows are too few: {least} drawn and "
            f"{2 * least} test rows are the least, and thousands say more"
        )
    return n


def _compared(real: Tensor, drawn: Tensor, seed: int, k: int) -> dict[str, float | None]:
    """All numbers of features (n, d) of either kind."""
    n, d = real.shape
    moments = real.mean(0), real.T.cov(), drawn.mean(0), drawn.T.cov()
    value, se = kid_of_blocks(real, drawn, seed=seed)
    p = mmd_test(real[:TESTED], drawn[:TESTED], "rbf", permutations=PERMUTATIONS, seed=seed)
    return {
        "frechet": frechet_of_moments(*moments),
        "frechet_limit": frechet_unbiased(real, drawn, seed) if n // 5 > d else None,
        "kid": value,
        "kid_se": se,
        **asdict(neighbours(real, drawn, k)),
        "mmd_p": p,
    }


def _notes(mapped: FeatureMap, n: int) -> list[str]:
    """What the number of rows does not allow."""
    d, notes = mapped.dimensions, []
    if n <= d:
        notes.append(
            f"FD-{mapped.name} of {n} rows is far too large, for the drawn rows and for the floor: "
            f"more than {d} of either kind are needed for a covariance of full rank"
        )
    if n // 5 <= d:
        notes.append(
            f"the limit of FD-{mapped.name} needs {5 * d + 5} rows of either kind, {n} were "
            f"compared: {5 * d + 5} drawn and {10 * d + 10} test rows"
        )
    return notes


def _order(rows: Data, seed: int, what: str) -> Tensor:
    return torch.randperm(len(rows), generator=generator("quality", seed, what)).to(rows.x.device)
