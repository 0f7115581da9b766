"""Spike-and-slab sparse coding (S3C; Goodfellow, Courville & Bengio 2012), by variational EM."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec, generator
from vaes.dist.chain import Chain
from vaes.dist.gaussian import DiagonalNormal, NormalLikelihood
from vaes.dist.latent_codes import Bits
from vaes.dist.regression import Regression, moments, observed
from vaes.dist.spikes import Spikes, coordinate_ascent, evidence
from vaes.errors import UsageError
from vaes.model import Model, Phase, Step
from vaes.recipes.ppca import only_reals

SETTINGS = {"batch": 2048, "epochs": 100}
FLOOR, CERTAIN = 1e-6, 12.0  # of variances; logits of a unit that is always or never on
COUNTED = 12  # units whose 2^H patterns are enumerated


class SpikeSlab(Model):
    """z = (h, s): h_i ~ Bernoulli(sigmoid(b_i)), s_i | h_i ~ N(h_i mu_i, 1 / alpha_i),
    x | h, s ~ N(W (h * s) + c, v I).

    q is the best structured mean field, prod_i q(h_i) q(s_i|h_i), by coordinate ascent for every
    row, so the mean of log w is a lower bound; `exact` is the evidence itself. All numbers are
    buffers that `closed_form` moves once per pass.
    """

    whole_epochs = True
    phases = (Phase("train"),)
    weight: Tensor
    bias: Tensor
    variance: Tensor
    logits: Tensor
    slab: Tensor
    precision: Tensor
    on: Tensor

    def __init__(self, spec: Spec, units: int, sweeps: int) -> None:
        super().__init__(spec, 2 * units)
        self.players, self.units, self.sweeps = {}, units, sweeps
        self.register_buffer("weight", torch.zeros(spec.size, units))
        self.register_buffer("bias", torch.zeros(spec.size))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("logits", torch.full((units,), -1.0))
        self.register_buffer("slab", torch.zeros(units))
        self.register_buffer("precision", torch.ones(units))
        self.sums = Regression(1, spec.size, units + 1, spec.missing)
        # of one pass: E h, E h s, E h s^2 of every unit
        self.register_buffer("on", torch.zeros(3, units), persistent=False)

    def prior(self, batch: Batch) -> Chain:
        log_scale = -0.5 * self.precision.log()
        first = Bits(self.logits.expand(len(batch), -1))
        sizes = (self.units, self.units)
        return Chain(first, lambda h: DiagonalNormal(h * self.slab, log_scale), sizes=sizes)

    def posterior(self, batch: Batch) -> Chain:
        logits, mean, on = self._spikes(batch)
        off = -0.5 * self.precision.log()

        def link(h: Tensor) -> DiagonalNormal:
            # a unit that is off keeps the prior of its slab, which costs nothing
            return DiagonalNormal(h * mean, off + h * (0.5 * on.log() - off))

        return Chain(Bits(logits), link, sizes=(self.units, self.units))

    def likelihood(self, z: Tensor, batch: Batch) -> NormalLikelihood:
        h, s = z.chunk(2, -1)
        mean = ((h * s) @ self.weight.T + self.bias).unflatten(-1, self.spec.shape)
        return NormalLikelihood(mean, 0.5 * self.variance.log(), len(self.spec.shape))

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}

    def exact(self, batch: Batch) -> Tensor:
        """log p(x) of every row (n,) by all 2^H patterns, in model space; H at most 12."""
        if self.units > COUNTED:
            raise UsageError(f"{self.units} units have too many patterns; at most {COUNTED} units")
        x, seen = self._rows(batch)
        return evidence(self._numbers(), self.variance, x, seen)

    def begin(self, phase: str, data: Data) -> None:
        """Columns' means; units in random directions of the rows' size."""
        total = torch.zeros(3, self.spec.size, dtype=torch.float64, device=self.bias.device)
        for batch in data.batches(1000):
            seen, x = observed(batch.x, batch.mask).double(), batch.x.flatten(1).double()
            total += torch.stack([(seen * x).sum(0), (seen * x.square()).sum(0), seen.sum(0)])
        mean = total[0] / total[2].clamp(min=1)
        spread = (total[1] / total[2].clamp(min=1) - mean.square()).mean()
        draw = torch.randn(self.weight.shape, generator=generator("units"), dtype=torch.float64)
        self.bias.copy_(mean)
        self.weight.copy_((spread / self.units).sqrt() * draw.to(mean.device))
        self.variance.copy_((spread / 2).clamp(min=FLOOR))

    def closed_form(self, batch: Batch, step: Step) -> None:
        """The E-step of every batch; the M-step after the last one of a pass."""
        logits, mean, variance = self._spikes(batch)
        x, seen = batch.x.flatten(1), observed(batch.x, batch.mask)
        h = logits.sigmoid()
        t, square = h * mean, h * (mean.square() + variance)
        t1, moment = moments(t, torch.diag_embed(square - t.square()))
        self.sums.add(x, seen, torch.ones_like(x[:, :1]), t1.unsqueeze(1), moment.unsqueeze(1))
        self.on += torch.stack([h.sum(0), t.sum(0), square.sum(0)])
        if step.last_of_epoch:
            self._maximise()

    def _maximise(self) -> None:
        found, (h, first, second) = self.sums.solve(), self.on
        self.weight.copy_(found.weight[0, :, :-1])
        self.bias.copy_(found.weight[0, :, -1])
        self.variance.copy_((found.residual / found.count).clamp(min=FLOOR)[0])
        self.logits.copy_((h / found.mass).logit().clamp(-CERTAIN, CERTAIN))
        some = h.clamp(min=1e-8)
        self.slab.copy_(first / some)
        self.precision.copy_(1 / (second / some - (first / some).square()).clamp(min=FLOOR))
        self.on.zero_()

    def _numbers(self) -> Spikes:
        return Spikes(self.weight, self.logits, self.slab, self.precision)

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        seen = observed(batch.x, batch.mask)
        return (batch.x.flatten(1) - self.bias) * seen, seen

    def _spikes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        x, seen = self._rows(batch)
        whole = None if batch.mask is None else seen
        return coordinate_ascent(self._numbers(), self.variance, x, whole, self.sweeps)


def build(spec: Spec, *, latent: int | None = None, sweeps: int = 20) -> Model:
    """Sparse sums of W's columns for standardised reals; z has a bit and a number for each.

    latent: units (None: half the columns, 2 to 32) · sweeps: of the coordinate ascent of each row.
    """
    only_reals(spec, "spike_slab")
    units = latent if latent is not None else min(32, max(2, spec.size // 2))
    if units < 1 or sweeps < 1:
        raise UsageError(f"latent={units}, sweeps={sweeps}: at least one of each is needed")
    return SpikeSlab(spec, units, sweeps)
