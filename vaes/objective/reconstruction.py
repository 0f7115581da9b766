"""What autoencoders descend: the reconstruction at the code of x, and what is asked of the code,
of the encoder or of the decoder beside it. No posterior, no rate, no bound.

Sources: Vincent et al. 2008 (denoising); Rifai et al. 2011 (contractive); Ng 2011, Makhzani & Frey
2013 (sparse); Ghosh et al. 2020, arXiv:1903.12436 (regularised decoders).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vaes.batch import Batch, Spec
from vaes.errors import UsageError
from vaes.model import Model, Step
from vaes.objective.base import Objective
from vaes.objective.weights import log_likelihood

WEIGHTS = ("l2", "l1", "share", "contract", "slope", "decay")


@dataclass(frozen=True)
class Reconstruction(Objective):
    """-log p(x|z) at the code z of x, and weights of what else is asked. Nats per row.

    noise: standard deviation of what is added to the x that the encoder sees (model space) · hide:
    share of its entries that are hidden · l2: weight of |z|^2 / 2, which is -log N(z; 0, I) but for
    its constant · l1: of |z|_1 · share: of the sum of KL(rho || mean activation) over units
    between 0 and 1 · contract: of |de/dx|_F^2, of what the encoder sees · slope: of |dg/dz|_F^2, of
    the numbers that the decoder gives its likelihood · decay: of the squared weights of the decoder
    / 2 · probes: random directions that the Jacobians are estimated by, without bias; 0 = exactly,
    one direction for each number that comes out.
    """

    samples: int = 1
    noise: float = 0.0
    hide: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    share: float = 0.0
    rho: float = 0.05
    contract: float = 0.0
    slope: float = 0.0
    decay: float = 0.0
    probes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*WEIGHTS, "noise", "probes"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)}: a number of 0 or more is needed")
        if not 0 <= self.hide < 1:
            raise UsageError(f"hide={self.hide}: a share of the entries, 0 to below 1")
        if not 0 < self.rho < 1:
            raise UsageError(f"rho={self.rho}: a mean activation lies between 0 and 1")

    def __call__(self, model: Model, batch: Batch, step: Step) -> Tensor:
        z = model.posterior(self.corrupted(batch)).mean
        return self.at(model, batch, z).mean() + self.asked(model, batch, z)

    def at(self, model: Model, batch: Batch, z: Tensor) -> Tensor:
        """-log p(x|z) and what the code itself costs, (n,)."""
        loss = -log_likelihood(model, z, batch)
        if self.l2:
            loss = loss + 0.5 * self.l2 * z.square().sum(-1)
        return loss + self.l1 * z.abs().sum(-1) if self.l1 else loss

    def asked(self, model: Any, batch: Batch, z: Tensor) -> Tensor:
        """What is asked of the whole batch, of the encoder and of the decoder."""
        total = z.new_zeros(())
        if self.share:
            total = total + self.share * bernoulli_kl(self.rho, z.mean(0)).sum()
        if self.contract:
            seen, encoder = model.inputs(batch), model.encoder
            jacobian = squared_jacobian(lambda h: encoder(h).mean, seen, self.probes)
            total = total + self.contract * jacobian.mean()
        if self.slope:
            found = squared_jacobian(model.decoder.numbers, z, self.probes)
            total = total + self.slope * found.mean()
        if self.decay:
            squares = [w.square().sum() for w in model.decoder.parameters() if w.dim() > 1]
            total = total + 0.5 * self.decay * torch.stack(squares).sum()
        return total

    def corrupted(self, batch: Batch) -> Batch:
        """What the encoder sees; hidden entries are gaps where rows may have gaps, else 0."""
        x, mask = batch.x, batch.mask
        if self.noise:
            x = x + self.noise * torch.randn_like(x)
        if self.hide:
            keep = torch.rand_like(x) >= self.hide
            mask = mask if mask is None else mask & keep
            x = x * keep
        return replace(batch, x=x, mask=mask)


def refuse_corruption(spec: Spec, noise: float, hide: float) -> None:
    """One line for entries that hold a code, not a number: they take no noise and no 0."""
    coded = sorted({"category", "numeric", "count"} & set(spec.kinds))
    if coded and (noise or (hide and not spec.missing)):
        raise UsageError(
            f"noise={noise}, hide={hide}: '{coded[0]}' entries cannot be corrupted so; "
            + ("take hide alone" if spec.missing else "leave both 0 for these rows")
        )


def bernoulli_kl(rho: float, mean: Tensor) -> Tensor:
    """KL(Bernoulli(rho) || Bernoulli(mean)) of every unit."""
    mean = mean.clamp(1e-6, 1 - 1e-6)  # a unit that is off on all rows has a cost, not an infinity
    p = torch.as_tensor(rho, dtype=mean.dtype, device=mean.device)
    return p * (p / mean).log() + (1 - p) * ((1 - p) / (1 - mean)).log()


def squared_jacobian(function: Callable[[Tensor], Tensor], at: Tensor, probes: int) -> Tensor:
    """|df/dx|_F^2 of every row, (n,), for f that works on each row by itself; differentiable.

    The mean over `probes` random sign vectors v of |v^T J|^2, whose expectation it is (Hutchinson
    1990); 0: the sum over unit vectors, exactly.
    """
    with torch.enable_grad():
        x = at if at.requires_grad else at.detach().requires_grad_()
        y = function(x)
        size = y.shape[-1]
        if probes:
            signs = [2.0 * torch.randint_like(y, 2) - 1 for _ in range(probes)]
        else:
            eye = torch.eye(size, dtype=y.dtype, device=y.device)
            signs = [row.expand_as(y) for row in eye]
        pulled = [torch.autograd.grad((y * v).sum(), x, create_graph=True)[0] for v in signs]
    total = torch.stack([g.flatten(1).square().sum(1) for g in pulled]).sum(0)
    return total / probes if probes else total


def bounded_slopes(decoder: nn.Module) -> None:
    """Every linear map and convolution of `decoder` is divided by its largest singular value, so
    that no map stretches a code (RAE-SN; Miyato et al. 2018)."""
    for module in list(decoder.modules()):
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            spectral_norm(cast(Any, module))
