"""A prior over the codes of a quantised posterior, fitted when the codes are made."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Size, Tensor

from vaes.batch import Batch, Data, generator
from vaes.dist.base import Latent
from vaes.dist.priors import CODES, Prior
from vaes.dist.quantised import QuantisedHead, finite
from vaes.errors import UsageError
from vaes.model import Model, Phase
from vaes.nets.causal import Causal

ENTRIES = 2**24  # numbers at a time where no gradient is asked for
NEARLY = 1e-3  # spread of the last layer when its training begins


class CodeSequence(Latent):
    """p(codes) = prod_i p(code_i | those before) over z made of a quantiser's vectors.

    A draw takes one normal number for each place and inverts the distribution function of its code.
    `mean` is the likeliest code at each place in turn.
    """

    support = finite  # type: ignore[assignment]

    def __init__(self, net: Causal, head: QuantisedHead, n: int) -> None:
        super().__init__(torch.Size((n,)), head.size)
        self.net, self.head = net, head

    @property
    def noise_size(self) -> int:
        return self.net.places

    @property
    def mean(self) -> Tensor:
        first = self._sequence(1, None)
        return self.head.joined(self.head.quantiser.embed(first)).expand(*self.batch_shape, -1)

    def draw(self, noise: Tensor) -> Tensor:
        lead, flat = noise.shape[:-1], noise.reshape(-1, noise.shape[-1])
        codes = torch.cat([self._sequence(len(part), part) for part in self._parts(flat)])
        return self.head.joined(self.head.quantiser.embed(codes)).view(*lead, -1)

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.net.place)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of z (*k, n, d): (*k, n); -inf where a place holds no vector of the quantiser."""
        vectors, quantiser = self.head.split(value.detach()), self.head.quantiser
        codes = quantiser.codes(vectors)
        known = (quantiser.embed(codes) == vectors).flatten(-2).all(-1)
        flat = codes.flatten(0, -2)
        parts = [flat] if torch.is_grad_enabled() else self._parts(flat)
        found = torch.cat([self.of_codes(part) for part in parts]).view(codes.shape[:-1])
        return torch.where(known, found, -torch.inf)

    def of_codes(self, codes: Tensor) -> Tensor:
        """log p of codes (n, places), (n,)."""
        logits = self.net(codes).log_softmax(-1)
        return logits.gather(-1, codes.unsqueeze(-1)).squeeze(-1).sum(-1)

    def _parts(self, flat: Tensor) -> list[Tensor]:
        width = self.net.places * max(self.net.count, 4 * self.net.place.shape[1])
        return list(flat.split(max(1, ENTRIES // width)))

    def _sequence(self, n: int, noise: Tensor | None) -> Tensor:
        """Codes (n, places), drawn by `noise` (n, places) or, without, the likeliest in turn."""
        logits, past = self.net.begin(n)
        codes = []
        for i in range(self.net.places):
            if i:
                logits, past = self.net.follow(codes[-1], i, past)
            if noise is None:
                codes.append(logits.argmax(-1))
                continue
            u = torch.special.ndtr(noise[:, i : i + 1])
            below = (logits.softmax(-1).cumsum(-1) < u).sum(-1)
            codes.append(below.clamp(max=self.net.count - 1))
        return torch.stack(codes, -1)


class CodePrior(Prior):
    """Every code as likely as any until phase "codes", in which a transformer learns their order.

    size: dimensions of z · places, count: of the codes · width, layers: of the transformer · share:
    of the budget for it, beside 1 for the rest.
    """

    space: ClassVar[str] = "codes"
    player: ClassVar[str] = "prior"

    def __init__(
        self,
        size: int,
        places: int,
        count: int,
        width: int = 128,
        layers: int = 2,
        share: float = 0.5,
    ) -> None:
        super().__init__()
        heads = next(heads for heads in (4, 2, 1) if width % heads == 0)
        if width < 1 or layers < 1 or not share > 0:
            raise UsageError(
                f"context={width}, layers={layers}, share={share} of a prior over codes: at least "
                "1, 1 and above 0"
            )
        self.net = Causal(places, count, width, layers, heads)
        self.phases = (Phase(CODES, share=share, players=(self.player,)),)

    def forward(self, model: Any, batch: Batch) -> CodeSequence:
        head = model.encoder.head
        made = head.places, head.quantiser.count
        if made != (self.net.places, self.net.count):
            raise UsageError(
                f"prior=codes has places={self.net.places}, count={self.net.count}; the posterior "
                f"makes {made[0]} codes of {made[1]}: give the prior these"
            )
        return CodeSequence(self.net, head, len(batch))

    def begin(self, model: Model, phase: str, data: Data) -> None:
        if phase == CODES:  # at 0 the layers before would learn nothing
            weight = self.net.last.weight
            noise = torch.randn(weight.shape, generator=generator("codes"), dtype=torch.float64)
            weight.copy_(NEARLY * noise.to(weight))
