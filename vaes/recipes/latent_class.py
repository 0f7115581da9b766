"""Mixture of rows with independent columns (Lazarsfeld & Henry 1968), by exact EM."""

from __future__ import annotations

import torch
from torch import Tensor

from vaes.batch import Batch, Data, Spec
from vaes.dist.cells import Cells, CellsLikelihood
from vaes.dist.discrete import OneHot
from vaes.errors import UsageError
from vaes.model import Model, Phase, Step

SETTINGS = {"batch": 2048, "epochs": 60}
FLOOR = 1e-30  # of probabilities before a logarithm


class LatentClass(Model):
    """z is one of K classes; given z the columns are independent: a table of cell probabilities.

    The posterior is exact, so log w is log p(x), gaps included. EM with a Dirichlet prior on every
    row of the table: its mean is the column's marginal, its weight `smoothing` rows. The table, the
    weights of the classes and the running sums of a pass are buffers that `closed_form` moves.
    """

    bound = "exact"
    whole_epochs = True
    phases = (Phase("train"),)
    table: Tensor
    weights: Tensor
    marginal: Tensor
    counts: Tensor
    sizes: Tensor

    def __init__(self, spec: Spec, classes: int, smoothing: float) -> None:
        super().__init__(spec, classes)
        self.players = {}
        self.cells, self.smoothing = Cells(spec), smoothing
        total = self.cells.total
        self.register_buffer("table", torch.zeros(classes, total))  # log p(cell | class)
        self.register_buffer("weights", torch.zeros(classes))  # log p(class), not normalised
        self.register_buffer("marginal", torch.ones(total))
        self.register_buffer("counts", torch.zeros(classes, total), persistent=False)
        self.register_buffer("sizes", torch.zeros(classes), persistent=False)
        self.marginal.copy_(self._normalised(self.marginal))
        self.table.copy_(self.marginal.log().expand(classes, -1))

    def prior(self, batch: Batch) -> OneHot:
        return OneHot(self.weights.expand(len(batch), -1))

    def posterior(self, batch: Batch) -> OneHot:
        given = self.cells.one_hot(batch.x, batch.mask) @ self.table.T
        return OneHot(given + self.weights.log_softmax(-1))

    def likelihood(self, z: Tensor, batch: Batch) -> CellsLikelihood:
        return CellsLikelihood(z @ self.table, self.cells)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}

    def begin(self, phase: str, data: Data) -> None:
        """Every class starts half way between the marginals and a row drawn at random."""
        counts = torch.zeros_like(self.marginal)
        for batch in data.batches(1000):
            counts += self.cells.one_hot(batch.x, batch.mask).sum(0)
        # a cell that no row has is as probable as a row in a million of one observation
        self.marginal.copy_(self._normalised(counts + 1e-6))
        draw = torch.Generator().manual_seed(0)
        rows = torch.randint(len(data), (self.latent,), generator=draw)
        few = data.rows(rows.to(data.x.device))
        started = 0.5 * self.cells.one_hot(few.x, few.mask) + 0.5 * self.marginal
        self.table.copy_(self._normalised(started).log())
        self.weights.zero_()

    def closed_form(self, batch: Batch, step: Step) -> None:
        """The E-step of every batch; the M-step after the last one of a pass."""
        share = self.posterior(batch).logits.exp()
        self.counts += share.T @ self.cells.one_hot(batch.x, batch.mask)
        self.sizes += share.sum(0)
        if step.last_of_epoch:
            smoothed = self.counts + self.smoothing * self.marginal
            self.table.copy_(self._normalised(smoothed).clamp(min=FLOOR).log())
            self.weights.copy_((self.sizes + self.smoothing / self.latent).log())
            self.counts.zero_()
            self.sizes.zero_()

    def _normalised(self, values: Tensor) -> Tensor:
        """Positive numbers (…, total) divided by their sum over each column's cells."""
        sums = self.cells.join([part.sum(-1) for part in self.cells.split(values)])
        return values / sums.repeat_interleave(self.cells.levels, -1)


def build(spec: Spec, *, latent: int | None = None, smoothing: float = 1.0) -> Model:
    """A table of probabilities per class; for columns that are binary, categories, levels, numeric.

    latent: number of classes (None: one for 60 training rows, 2 to 500) · smoothing: weight of the
    columns' marginals in every class, in rows.
    """
    classes = latent if latent is not None else min(500, max(2, spec.rows // 60))
    if classes < 1:
        raise UsageError(f"latent={latent}: at least one class is needed")
    if not smoothing > 0:
        raise UsageError(f"smoothing={smoothing}: a number above 0, so that no cell has none")
    return LatentClass(spec, classes, smoothing)
