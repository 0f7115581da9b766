"""Rows without their noise."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.dist.base import Latent
from vaes.dist.gaussian import DiagonalNormal, NormalLikelihood
from vaes.errors import UsageError
from vaes.evaluate.likelihood import refuse_without_bound
from vaes.model import Model, Step
from vaes.uses.common import CHUNK, Rows, at_once, batches, evaluating, shared, values
from vaes.uses.refine import refine
from vaes.uses.rows import reconstruct

STEPS = 100  # of refinement where the noise is known


def denoise(
    model: Model,
    data: Rows,
    *,
    noise: float | Tensor | None = None,
    steps: int | None = None,
    k: int = 64,
    seed: int = 0,
) -> Tensor:
    """Each row as the model would have it, (n, *shape): its gaps are filled too.

    Without `noise`, the mean of p(x|z) at the posterior mean, which takes whatever the code does
    not hold for noise. noise: the known standard deviation of Gaussian noise that was added to
    clean rows of reals, in the user's units, one number or one per entry; then E[clean row | row]
    under y = x + noise, x ~ the model: with p(x|z) = N(m, v) the weights of k draws of z are those
    of y ~ N(m, v + noise^2), and the clean row given z is m + v / (v + noise^2) (y - m).
    steps: of `refine`, since noisy rows are not what the encoder was trained on (None: 0, and 100
    where the noise is known). Raises UsageError for known noise on other entries than reals.
    """
    if noise is None:
        if not steps:
            return reconstruct(model, data).mean
        codes = refine(model, data, steps=steps, seed=seed).loc
        with evaluating(model):
            pairs = zip(codes.split(CHUNK), batches(data, CHUNK), strict=True)
            return torch.cat([values(model, z, batch) for z, batch in pairs])
    refuse_without_bound(model)
    spread = torch.as_tensor(noise, dtype=torch.float64)
    if any(kind != "real" for kind in model.spec.kinds) or k < 1 or not bool((spread > 0).all()):
        raise UsageError(
            f"noise={noise}, k={k}: known noise is positive and on reals only, k >= 1; leave "
            "noise out for other entries"
        )
    noisy = _Noisy(model, spread)
    q = refine(noisy, data, steps=STEPS if steps is None else steps, seed=seed)
    parts, start = [], 0
    with evaluating(noisy):
        for batch in batches(data, at_once(model, k)):
            end = start + len(batch)
            part = DiagonalNormal(q.loc[start:end], q.log_scale[start:end])
            parts.append(noisy.clean(part, batch, k, seed))
            start = end
    return torch.cat(parts)


class _Noisy(Model):
    """The model of y = x + noise: the same z, and what p(x|z) is widened by the noise."""

    def __init__(self, model: Model, spread: Tensor) -> None:
        super().__init__(model.spec, model.latent)
        self.noise_size = model.noise_size
        self.log_jacobian = model.log_jacobian
        scale = torch.tensor(model.spec.scale, dtype=torch.float64)
        if len(scale) > 1:
            scale = scale.view(model.spec.shape)
        self.of, self.power = model, (spread / scale).square()

    def prior(self, batch: Batch) -> Latent:
        return self.of.prior(batch)

    def posterior(self, batch: Batch) -> Latent:
        return self.of.posterior(batch)

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        p = self._inner(z, batch)
        variance = p.variance + self.power.to(p.mean)
        return NormalLikelihood(p.mean, 0.5 * variance.log(), len(self.spec.shape))

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}

    def clean(self, q: Latent, batch: Batch, k: int, seed: int) -> Tensor:
        """E[x|y] of every row by k draws of q(z|y)."""
        half = shared("denoise", seed, q, -(-k // 2))
        # in antithetic pairs: a mean over them has no error where the clean row is linear in z
        z = q.draw(torch.cat([half, -half]))
        p, inner = self.likelihood(z, batch), self._inner(z, batch)
        log_w = p.log_prob(batch.x, batch.mask) + self.prior(batch).log_prob(z) - q.log_prob(z)
        gain = inner.variance / p.variance
        if batch.mask is not None:
            gain = torch.where(batch.mask, gain, torch.zeros_like(gain))
        clean = inner.mean + gain * (batch.x - inner.mean)
        return torch.einsum("kn,kn...->n...", log_w.softmax(0), clean)

    def _inner(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        p = self.of.likelihood(z, batch)
        if not isinstance(p, NormalLikelihood):
            raise UsageError(
                f"noise was given, but this model's likelihood ({type(p).__name__}) is not "
                "Gaussian; leave noise out"
            )
        return p
