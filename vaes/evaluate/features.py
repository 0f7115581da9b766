"""Features of rows, by which samples are compared.

A distance between features says nothing without the map that they come from: its name and a digest
stand beside the numbers, and numbers of different digests are not comparable. A map by name is
divided by one number, so that its features of training rows have variance 1 on average.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, generator
from vaes.errors import DataError, UsageError, did_you_mean
from vaes.nets.conv import conv_encoder
from vaes.nets.mlp import mlp
from vaes.uses.common import CHUNK
from vaes.uses.nearest import Space

MAPS = ("pixels", "pca64", "mlp", "cnn")
COMPONENTS = 64
FITTED = 4_000  # training rows that means, scales and components come from
WIDTH, STEPS, ROWS = 64, 600, 128  # of a classifier: features, steps of its training, rows a step
Of = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FeatureMap:
    """Rows in model space (n, *shape) to features (n, dimensions), float64.

    digest: of its features of the first 100 training rows; `classify`: rows to classes, of a map
    that is the body of a classifier.
    """

    name: str
    of: Callable[[Batch], Tensor]
    dimensions: int
    digest: str
    classify: Callable[[Batch], Tensor] | None = None

    def __call__(self, rows: Data, what: str = "given", order: Tensor | None = None) -> Tensor:
        """Features of the rows numbered by `order` (m,) or of all, (m, dimensions); UsageError
        where some are no finite numbers."""
        rows = rows if order is None else rows.part(order)
        with torch.no_grad():
            found = torch.cat([_shaped(self.of(b), b, self.name) for b in rows.batches(CHUNK)])
        bad = (~found.isfinite()).any(1)
        if bad.any():
            first = bad.nonzero()[0, 0]
            raise UsageError(
                f"features '{self.name}' of {int(bad.sum())} of {len(found)} {what} rows are no "
                f"finite numbers, the first is row {int(first if order is None else order[first])}"
            )
        return found

    def accuracy(self, rows: Data) -> float | None:
        """Share of the labelled rows that the map's classifier gets right; None without either."""
        if self.classify is None or rows.y is None or not (rows.y >= 0).any():
            return None
        with torch.no_grad():
            found = torch.cat([self.classify(batch) for batch in rows.batches(CHUNK)])
        return float((found == rows.y)[rows.y >= 0].double().mean())


def feature_map(features: str | Of, train: Data, seed: int = 0) -> FeatureMap:
    """A map by name, fitted to training rows, or a function of one's own.

    "pixels": the rows themselves, as `vaes.uses.nearest.Space` scales them · "pca64": their 64
    first principal components, fewer where rows have no more · "mlp", "cnn" (images): the last
    hidden layer, 64 wide, of a small classifier of the training rows' labels, weights and order by
    `seed` · a function: x (n, *shape) in model space -> (n, d), taken as it is.
    """
    if not isinstance(features, str):
        name = getattr(features, "__name__", type(features).__name__)
        return _named(name, lambda batch: features(batch.x), train)
    if features not in MAPS:
        raise UsageError(f"features '{features}' are not known; {did_you_mean(features, MAPS)}")
    refuse_gaps(train, "training")
    if features in ("mlp", "cnn"):
        return _classifier(features, train, seed)
    points, fitted = _points(train, seed)
    if features == "pixels":
        return _named(features, points, train)
    vectors = _components(fitted)
    unit = (fitted @ vectors).var(0).mean().sqrt()
    return _named(f"pca{vectors.shape[1]}", lambda batch: points(batch) @ vectors / unit, train)


class _Points:
    """Rows as points, centred and divided by one number."""

    def __init__(self, space: Space, mean: Tensor, unit: Tensor) -> None:
        self.width, self.space, self.mean, self.unit = space.width, space, mean, unit

    def __call__(self, batch: Batch) -> Tensor:
        return (self.space.points(batch)[0] - self.mean) / self.unit


def _points(train: Data, seed: int) -> tuple[_Points, Tensor]:
    """Points of variance 1 on average over the coordinates, and those of the rows that say so."""
    space = Space(train)
    order = torch.randperm(len(train), generator=generator("features", seed))[:FITTED]
    some = train.part(order.to(train.x.device))
    raw = torch.cat([space.points(batch)[0] for batch in some.batches(CHUNK)])
    mean, unit = raw.mean(0), raw.var(0, correction=0).mean().sqrt()
    if unit == 0:
        raise DataError(f"all {len(some)} training rows are the same: they have no features")
    return _Points(space, mean, unit), (raw - mean) / unit


def _components(x: Tensor) -> Tensor:
    """Principal directions (width, at most 64) of centred rows, those of variance 0 left out."""
    wide = x.shape[1] > len(x)
    # the smaller of both products has the same eigenvalues
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    most = min(COMPONENTS, int((values > 1e-9 * values[-1]).sum()))
    vectors = vectors[:, -most:].flip(1)
    if wide:
        vectors = x.T @ vectors / values[-most:].flip(0).sqrt()
    # an eigenvector is as good with either sign: its largest entry is positive
    largest = vectors.abs().argmax(0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign()


def _classifier(kind: str, train: Data, seed: int) -> FeatureMap:
    """The body of a classifier of the training rows' labels."""
    labelled = torch.empty(0) if train.y is None else (train.y >= 0).nonzero().squeeze(1)
    classes = 0 if train.y is None else len(train.y[labelled].unique())
    if train.y is None or classes < 2:
        raise UsageError(
            f"features '{kind}' are learnt from labels, and the training rows have {classes} "
            "classes: two are needed, or take pca64"
        )
    if kind == "cnn" and (not train.spec.image or "category" in train.spec.kinds):
        raise UsageError(
            f"features 'cnn' are for images; rows of shape {train.spec.shape} of kind "
            f"{train.spec.kinds[0]} take mlp"
        )
    shape, count = train.spec.shape, int(train.y.max()) + 1
    points, fitted = _points(train, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the processor's alone, restored after
        if kind == "cnn":
            first: nn.Module = nn.Sequential(nn.Unflatten(1, shape), conv_encoder(shape, (32, 64)))
            width = first(torch.zeros(1, train.spec.size)).shape[1]
        else:
            first, width = mlp(points.width, (256,)), 256
        body = nn.Sequential(first, nn.Linear(width, WIDTH), nn.SiLU())
        last = nn.Linear(WIDTH, count)
    network = nn.Sequential(body, last).to(train.x.device)
    _teach(network, points, train, labelled, seed)
    with torch.no_grad():
        unit = body(fitted.float()).double().var(0).mean().sqrt().clamp(min=1e-9)
    return _named(
        kind,
        lambda batch: body(points(batch).float()).double() / unit,
        train,
        lambda batch: network(points(batch).float()).argmax(1),
    )


def _teach(network: nn.Module, points: _Points, train: Data, labelled: Tensor, seed: int) -> None:
    """Trains a classifier of the rows numbered by `labelled` for `STEPS` steps."""
    assert train.y is not None
    optimiser, draw = torch.optim.Adam(network.parameters()), generator("features", seed, "order")
    for _ in range(STEPS):
        rows = labelled[torch.randint(len(labelled), (ROWS,), generator=draw).to(labelled.device)]
        x = points(train.rows(rows)).float()
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(network(x), train.y[rows])
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
    network.eval()


def _named(
    name: str,
    of: Callable[[Batch], Tensor],
    train: Data,
    classify: Callable[[Batch], Tensor] | None = None,
) -> FeatureMap:
    batch = train.rows(slice(0, 100))
    with torch.no_grad():
        found = _shaped(of(batch), batch, name)
    digest = hashlib.blake2b(found.float().cpu().numpy().tobytes(), digest_size=8).hexdigest()
    return FeatureMap(name, of, found.shape[1], digest, classify)


def _shaped(found: Any, batch: Batch, name: str) -> Tensor:
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(batch):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"features '{name}' of {len(batch)} rows are {shape}: a tensor (n, d) is needed"
        )
    return found.double()


def refuse_gaps(rows: Data, what: str) -> None:
    """One line where rows have gaps, or where there are none."""
    if not len(rows):
        raise DataError(f"there are no {what} rows")
    if rows.mask is not None and not rows.mask.all():
        raise DataError(
            f"the {what} rows have gaps, of which there are no features: fill them first (impute)"
        )
