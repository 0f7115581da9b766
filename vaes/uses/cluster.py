"""Groups of rows: the classes of a model that has them, else a mixture of Gaussians over codes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaes.dist.base import Latent
from vaes.dist.chain import Chain
from vaes.dist.discrete import OneHot
from vaes.errors import UsageError
from vaes.model import Model
from vaes.uses.codes import ACTIVE, encode
from vaes.uses.common import CHUNK, Rows, batches, evaluating, shared

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

MOST = 20  # clusters that are tried
PATIENCE = 4  # further numbers of clusters that are tried after the best
STARTS = 5
SEARCHED = 5000  # rows on which the number of clusters is chosen
DRAWS = 64  # of what stands before the class in a chain


@dataclass(frozen=True)
class Clusters:
    """labels (n,) · probabilities (n, k) of each cluster · sizes (k,), rows by label ·
    representatives (k,): the row of each cluster whose code is nearest to the mean of the
    cluster's codes, -1 for an empty one. Clusters of a mixture fall in size, classes of a model
    keep their numbers."""

    labels: Tensor
    probabilities: Tensor
    sizes: Tensor
    representatives: Tensor
    _mixture: Mixture | None = None

    def assign(self, model: Model, data: Rows) -> tuple[Tensor, Tensor]:
        """Labels (n,) and probabilities (n, k) of other rows, by the same model."""
        if self._mixture is None:
            found = classes(model, data)
            assert found is not None
        else:
            found = self._mixture(encode(model, data).mean)
        return found.argmax(1), found


def cluster(model: Model, data: Rows, k: int | None = None, *, seed: int = 0) -> Clusters:
    """Rows in groups.

    Where the posterior has a one-hot part, its classes and their posterior probabilities; else a
    mixture of k Gaussians with full covariances over the posterior means of the active dimensions,
    the best of 5 starts. k None: the number from 1 to 20 with the lowest BIC (Schwarz 1978),
    chosen on at most 5000 rows. Raises UsageError where k does not fit the model or the rows.
    """
    n, codes = len(data), encode(model, data).mean
    if k is not None and not 1 <= k <= n:
        raise UsageError(f"k={k}: at least one cluster, and at most one per row ({n})")
    found, mixture = classes(model, data), None
    if found is None:
        if n < 2:
            raise UsageError(f"{n} row: a mixture takes at least two")
        mixture = _mixture(codes, k, seed)
        found = mixture(codes)
    elif k not in (None, found.shape[1]):
        raise UsageError(f"k={k}, but this model has {found.shape[1]} classes: leave k out")
    labels = found.argmax(1)
    sizes = labels.bincount(minlength=found.shape[1])
    return Clusters(labels, found, sizes, _representatives(codes, labels, len(sizes)), mixture)


def classes(model: Model, data: Rows) -> Tensor | None:
    """Posterior probabilities (n, k) of the first one-hot part of z; None where there is none."""
    parts = []
    with evaluating(model):
        for batch in batches(data, CHUNK):
            found = _one_hot(model.posterior(batch))
            if found is None:
                return None
            parts.append(found)
    return torch.cat(parts)


def _one_hot(q: Latent) -> Tensor | None:
    if isinstance(q, OneHot):
        return q.logits.exp()
    if not isinstance(q, Chain):
        return None
    if isinstance(q.first, OneHot):
        return q.first.logits.exp()
    # a class that depends on what stands before it: the mean over draws of that
    z = q.draw(shared("classes", 0, q, DRAWS))
    ends = [sum(q.sizes[: i + 1]) for i in range(len(q.links))]
    for end, link in zip(ends, q.links, strict=True):
        part = link(z[..., :end])
        if isinstance(part, OneHot):
            return part.logits.exp().mean(0)
    return None


class Mixture:
    """A mixture of Gaussians over the `active` dimensions of codes; its components by weight."""

    def __init__(self, fitted: GaussianMixture, active: Tensor) -> None:
        self.fitted, self.active = fitted, active
        self.order = np.argsort(-np.asarray(fitted.weights_), kind="stable")

    def __call__(self, codes: Tensor) -> Tensor:
        found = self.fitted.predict_proba(codes[:, self.active].double().cpu().numpy())
        return torch.from_numpy(found[:, self.order]).to(codes.device)


def _mixture(codes: Tensor, k: int | None, seed: int) -> Mixture:
    variance = codes.double().var(0, correction=0)
    # dimensions that say nothing would only add parameters; the widest one stays in any case
    active = variance > min(ACTIVE, 0.5 * float(variance.max()))
    active[variance.argmax()] = True
    x = codes[:, active].double().cpu().numpy()
    if k is None:
        few = x[np.random.default_rng(seed).permutation(len(x))[:SEARCHED]]
        scores: dict[int, float] = {}
        for count in range(1, min(MOST, len(few)) + 1):
            scores[count] = float(_fit(few, count, seed).bic(few))
            if count - min(scores, key=scores.__getitem__) >= PATIENCE:
                break
        k = min(scores, key=scores.__getitem__)
    return Mixture(_fit(x, k, seed), active)


def _fit(x: np.ndarray, k: int, seed: int) -> GaussianMixture:
    # here, not above: scikit-learn takes a second to import, and only this use needs it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(k, n_init=STARTS, max_iter=300, random_state=seed)
    with warnings.catch_warnings():
        # the best of the starts is taken, converged to the last digit or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(x)


def _representatives(codes: Tensor, labels: Tensor, k: int) -> Tensor:
    found = torch.full((k,), -1, device=codes.device)
    for label in range(k):
        rows = (labels == label).nonzero().squeeze(1)
        if len(rows):
            own = codes[rows].double()
            spread = own.std(0, correction=0).clamp(min=1e-12)
            found[label] = rows[((own - own.mean(0)) / spread).square().sum(1).argmin()]
    return found
