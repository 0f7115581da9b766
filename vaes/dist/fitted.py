"""Priors fitted to the codes of the training rows after training, while all else stands still.

A code is a draw of q(z|x), not its mean: what is fitted is the average of the posteriors over the
rows, the prior that costs the least rate (Hoffman & Johnson 2016; after training, Ghosh et al.
2020, arXiv:1903.12436; Dai & Wipf 2019, arXiv:1903.05789).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.base import Latent
from vaes.dist.flows import Couplings, Flow
from vaes.dist.gaussian import CholeskyNormal
from vaes.dist.mixture import Blend, Mixture
from vaes.dist.priors import CODES, Prior, codes
from vaes.errors import DataError, UsageError
from vaes.model import Model, Phase
from vaes.parts import Part, made

MOST = 40_000  # codes that a mixture is fitted to
HELD = 10  # one code in so many chooses among the steps of a flow
BATCH, RATE = 256, 5e-3  # of the flow's steps


class FittedMixture(Prior):
    """A mixture of `components` Gaussians of full covariance, by EM; N(0, I) until then."""

    loc: Tensor
    tril: Tensor
    log_weights: Tensor
    phases = (Phase(CODES, share=0.0),)

    def __init__(self, size: int, components: int = 10) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"components={components}: at least one is needed")
        self.register_buffer("loc", torch.zeros(components, size))
        self.register_buffer("tril", torch.eye(size).repeat(components, 1, 1))
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))

    def forward(self, model: Model, batch: Batch) -> Mixture:
        return Mixture(CholeskyNormal(self.loc, self.tril), self.log_weights, len(batch))

    def begin(self, model: Model, phase: str, data: Data) -> None:
        if phase != CODES:
            return
        k = len(self.log_weights)
        if len(data) < 2 * k:
            raise DataError(
                f"{len(data)} rows are too few for a mixture of {k} components; give it at most "
                f"{max(1, len(data) // 2)}, or fit one normal"
            )
        z = codes(model, data).flatten(0, 1).double()
        z = z[torch.randperm(len(z), generator=generator("mixture"))[:MOST].to(z.device)].cpu()
        ridge = 1e-6 * float(z.var(0).max()) + 1e-12
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the best step is kept
            found = GaussianMixture(k, reg_covar=ridge, random_state=0).fit(z.numpy())
        self.loc.copy_(torch.from_numpy(found.means_))
        self.tril.copy_(torch.linalg.cholesky(torch.from_numpy(found.covariances_)))
        self.log_weights.copy_(torch.from_numpy(found.weights_).log())


class Standardised(Latent):
    """loc + exp(log_scale) * y with y ~ `base`, per dimension."""

    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, base: Latent, loc: Tensor, log_scale: Tensor) -> None:
        super().__init__(base.batch_shape, base.event_shape[0])
        self.base, self.loc, self.log_scale = base, loc, log_scale

    @property
    def noise_size(self) -> int:
        return self.base.noise_size

    @property
    def mean(self) -> Tensor:
        return self.loc + self.log_scale.exp() * self.base.mean

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp() * self.base.variance

    def draw(self, noise: Tensor) -> Tensor:
        return self.loc + self.log_scale.exp() * self.base.draw(noise)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        y = (value - self.loc) * (-self.log_scale).exp()
        return self.base.log_prob(y) - self.log_scale.sum(-1)


class FittedFlow(Prior):
    """A flow (`vaes.dist.flows`) over the standardised codes, by `steps` of Adam; of these the one
    is kept that gives held-out codes the highest density. Nearly N(0, I) until then.

    Its weights are frozen for all but `begin`.
    """

    loc: Tensor
    log_scale: Tensor
    phases = (Phase(CODES, share=0.0),)

    def __init__(self, size: int, layers: int = 6, width: int = 64, steps: int = 2000) -> None:
        super().__init__()
        self.couplings, self.steps = Couplings(size, layers, width), steps
        self.couplings.requires_grad_(False)
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("log_scale", torch.zeros(size))

    def forward(self, model: Model, batch: Batch) -> Standardised:
        return Standardised(Flow(self.couplings, len(batch)), self.loc, self.log_scale)

    def begin(self, model: Model, phase: str, data: Data) -> None:
        if phase != CODES:
            return
        z = codes(model, data)
        self.loc.copy_(z.mean((0, 1)))
        spread = z.std((0, 1), correction=0)
        self.log_scale.copy_(spread.clamp(min=1e-3 * float(spread.max()) + 1e-12).log())
        held = torch.arange(z.shape[1], device=z.device) % HELD == HELD - 1  # rows, not codes
        y = (z - self.loc) * (-self.log_scale).exp()
        with torch.enable_grad():
            _descend(self.couplings.requires_grad_(True), y[:, ~held], y[:, held], self.steps)
        self.couplings.requires_grad_(False)


def _descend(couplings: Couplings, train: Tensor, held: Tensor, steps: int) -> None:
    """The couplings become those of the step that is best on `held`; (draws, n, d) both."""
    train, held = train.flatten(0, 1), held.flatten(0, 1)
    flow, draw = Flow(couplings, 1), generator("flow")
    adam = torch.optim.Adam(couplings.parameters(), RATE)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    best, kept = -math.inf, {k: v.clone() for k, v in couplings.state_dict().items()}
    for step in range(steps + 1):
        if step % max(1, steps // 20) == 0 and len(held):
            with torch.no_grad():
                score = float(flow.log_prob(held).mean())
            if score > best:
                best, kept = score, {k: v.clone() for k, v in couplings.state_dict().items()}
        rows = torch.randint(len(train), (BATCH,), generator=draw).to(train.device)
        loss = -flow.log_prob(train[rows]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        fall.step()
    couplings.load_state_dict(kept)


def per_class(spec: Spec, size: int, *, each: Part = "fitted") -> PerClass:
    """A prior of the kind `each`, one of those that are fitted after training, for each class."""
    from vaes.dist.priors import PRIORS

    if not spec.classes:
        raise UsageError("a prior for each class needs labels, which these rows have not")
    parts = [made("each", each, PRIORS, spec, size) for _ in spec.classes]
    if any([p.name for p in part.phases] != [CODES] for part in parts):
        fit = "fitted, fitted_mixture or fitted_flow"
        raise UsageError(f"each={each} is not fitted to codes after training; take {fit}")
    return PerClass(parts)


class PerClass(Prior):
    """One fitted prior for each class, weighed by the shares of the labelled training rows.

    Rows are scored under the mixture over the classes, whatever their labels: the evidence stays
    that of x. `of_class` is one class's own.
    """

    shares: Tensor

    def __init__(self, parts: Sequence[Prior]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.register_buffer("shares", torch.full((len(parts),), 1 / len(parts)))
        self.phases = (Phase(CODES, share=0.0),)

    def forward(self, model: Model, batch: Batch) -> Blend:
        return Blend([part(model, batch) for part in self.parts], self.shares.log())

    def of_class(self, model: Model, label: int, batch: Batch) -> Latent:
        """p(z) of the rows of class `label`."""
        return cast(Latent, self.parts[label](model, batch))

    def begin(self, model: Model, phase: str, data: Data) -> None:
        if phase != CODES:
            return
        if data.y is None:
            raise DataError("a prior for each class needs labels, which these rows have not")
        sizes = []
        for label, part in enumerate(self.parts):
            rows = (data.y == label).nonzero().flatten()
            sizes.append(len(rows))
            if len(rows) < 2:
                named = model.spec.classes[label] if model.spec.classes else label
                raise DataError(
                    f"class '{named}' has {len(rows)} training rows; a prior of its own needs two"
                )
            cast(Any, part).begin(model, phase, data.part(rows))
        self.shares.copy_(torch.tensor(sizes).double() / sum(sizes))
