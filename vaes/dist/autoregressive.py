"""Rows whose columns depend on one another given z: p(x|z) = prod_j p(x_j | x_<j, z).

The network can be asked for any column given any set of others, so gaps are left out of the sum and
missing entries are drawn given all that is observed. Sources: Larochelle & Murray 2011 (NADE); Uria
et al. 2014, arXiv:1310.1757 (random orders); Chen et al. 2017, arXiv:1611.02731 (a decoder of this
kind in a variational autoencoder).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.batch import Data, Spec
from vaes.dist.base import filled, masked, wide
from vaes.dist.cells import Celled, Cells, gaps, median, pick
from vaes.nets.columns import ColumnNet


class AutoregressiveLikelihood(Celled):
    """Columns in order, each given z and those before it; `context` (*k, n, H) is what z says.

    With gaps, log p of the observed entries multiplies their conditionals given the observed ones
    before them. That is a normalised density of those entries, and their marginal as far as the
    network's conditionals agree with one another, which training in random orders teaches it.
    """

    support = constraints.real  # type: ignore[assignment]

    def __init__(
        self,
        context: Tensor,
        cells: Cells,
        net: ColumnNet,
        fixed: float,
        alone: float,
        shown_by: Sequence[int],
    ) -> None:
        like = torch.empty((), device="meta").expand(*context.shape[:-1], cells.columns)
        super().__init__(like, 1)
        self.context, self.cells, self.net = context, cells, net
        self.fixed, self.alone, self.shown_by = fixed, alone, shown_by

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x, net = filled(x, mask), self.net
        codes = self.cells.codes(x)
        embedded = net.embed(codes)
        if mask is not None:
            embedded = embedded * mask.unsqueeze(-1)
        given = self._before(embedded) + self.context.unsqueeze(-2)
        features, found = net.features(given), []
        for j in range(net.columns):
            logits = wide(net.logits(features[..., j, :], j))
            code = codes[..., j].expand(logits.shape[:-1]).unsqueeze(-1)
            chosen = logits.gather(-1, code).squeeze(-1)
            found.append(chosen - logits.logsumexp(-1))
        within = self.cells.log_within(x, codes)
        return masked(torch.stack(found, -1) + within, mask)

    def _before(self, embedded: Tensor) -> Tensor:
        """Sum of the embeddings of the columns before each, (n, m, H).

        While training, the columns of a row see none of each other with probability `alone`; a row
        keeps the order with probability `fixed`, else it has a random one.
        """
        if not self.net.training:
            return embedded.cumsum(-2) - embedded
        n, m, _ = embedded.shape
        if self.alone:
            told = torch.rand(n, 1, 1, device=embedded.device) >= self.alone
            embedded = embedded * told
        if self.fixed >= 1:
            return embedded.cumsum(-2) - embedded
        keys = torch.rand(n, m, device=embedded.device)
        kept = torch.rand(n, 1, device=embedded.device) < self.fixed
        order = torch.where(kept, torch.arange(m, device=keys.device) / m, keys).argsort(1)
        back = order.argsort(1).unsqueeze(-1).expand_as(embedded)
        shuffled = embedded.gather(1, order.unsqueeze(-1).expand_as(embedded))
        return (shuffled.cumsum(1) - shuffled).gather(1, back)

    @property
    def mean(self) -> Tensor:
        """A typical row: column after column its median, or its mode where values have no order."""
        return self._walk(None, None, None)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return self._walk(None, None, self._uniform(generator))

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self._walk(x, mask, self._uniform(generator))

    def conditionals(self, x: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        known = self.cells.codes(filled(x, mask))
        given = self._given(known, mask)
        for j, rows in gaps(mask):
            logits = wide(self.net.logits(self.net.features_of(given[..., rows, :], j), j))
            yield j, rows, self.cells.inside(logits, j).softmax(-1)

    def _given(self, known: Tensor, mask: Tensor) -> Tensor:
        """What missing columns are predicted from: z and the observed ones, (*k, n, H)."""
        shown = self.net.embed(known) * self._told(known, mask).unsqueeze(-1)
        return self.context + shown.sum(-2)

    def _told(self, known: Tensor, mask: Tensor) -> Tensor:
        """Which columns the missing ones are predicted from: what is observed, but not that they
        are missing, since no row ever showed a value beside that (missing at random)."""
        gated = [(by, j) for j, by in enumerate(self.shown_by) if by >= 0]
        told = mask.clone()
        for by, j in gated:
            told[..., by] &= mask[..., j] | (known[..., by] == 1)
        return told

    def _uniform(self, generator: torch.Generator | None) -> Tensor:
        shape = (2, *self.batch_shape, self.cells.columns)
        like = self.context
        return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)

    def _walk(self, x: Tensor | None, mask: Tensor | None, u: Tensor | None) -> Tensor:
        """Column after column, given all that is observed and what was filled in before."""
        net, cells, shape = self.net, self.cells, self.batch_shape
        given, codes, places = self.context, [], []
        known = None
        if x is not None and mask is not None:
            known = cells.codes(filled(x, mask))
            given = self._given(known, mask)
        for j in range(cells.columns):
            logits = cells.inside(wide(net.logits(net.features_of(given, j), j)), j)
            place = torch.full(shape, 0.5, device=logits.device, dtype=logits.dtype)
            if u is not None:
                code = pick(logits, u[0, ..., j])
            elif cells.ordered[j]:
                code, place = median(logits.softmax(-1))
            else:
                code = logits.argmax(-1)
            step = net.embed_one(code, j)
            if known is None and self.shown_by and self.shown_by[j] >= 0:
                # what has no value tells the other columns nothing, as in training
                step = step * codes[self.shown_by[j]].unsqueeze(-1)
            if known is not None and mask is not None:
                step = torch.where(mask[..., j].unsqueeze(-1), torch.zeros_like(step), step)
            given = given + step
            codes.append(code)
            places.append(place)
        drawn = torch.stack(places, -1) if u is None else u[1]
        found = cells.place(torch.stack(codes, -1), drawn)
        return found if x is None or mask is None else torch.where(mask, x, found)


class Autoregressive(nn.Module):
    """Decoder z (*k, n, d) -> `AutoregressiveLikelihood` over the columns of `spec`.

    width: of the sums of embeddings · dropout, while training · fixed: share of the training rows
    whose columns keep their order; the others teach the conditionals of any order · alone: share of
    the training rows whose columns are told from z alone · smooth: cells next to one another share
    what they know.
    """

    def __init__(
        self,
        spec: Spec,
        latent: int,
        width: int = 128,
        dropout: float = 0.0,
        fixed: float = 0.5,
        alone: float = 0.0,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        self.cells, self.fixed, self.alone = Cells(spec), fixed, alone
        self.shown_by = spec.shown_by
        self.net = ColumnNet(self.cells.sizes, width, dropout, self.cells.ordered if smooth else ())
        self.context = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, width))

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Every column starts at its marginal, so that steps go into what depends on what."""
        counts = torch.zeros(self.cells.total, dtype=torch.float64, device=data.x.device)
        for batch in data.batches(1000):
            counts += self.cells.one_hot(batch.x, batch.mask).double().sum(0)
        for j, n in enumerate(self.cells.sizes):
            cells = slice(self.net.starts[j], self.net.starts[j] + n)
            share = (counts[cells] + 1 / n) / (counts[cells].sum() + 1)
            self.net.base[cells] = share.log().to(self.net.base)

    def forward(self, z: Tensor) -> AutoregressiveLikelihood:
        return AutoregressiveLikelihood(
            self.context(z), self.cells, self.net, self.fixed, self.alone, self.shown_by
        )
