"""A small transformer over a sequence of codes, each given those before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cache = list[tuple[Tensor, Tensor]]  # keys and values of the places so far, per layer


class _Layer(nn.Module):
    """Causal attention and a feed-forward network, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple:
        """h (n, places, width); with `past` the places are those after it."""
        split = self.three(self.before(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4)  # (n, heads, places, width / heads)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        # one new place sees all that is there; a whole sequence only what comes before
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        return h + self.feed(self.after(h)), (k, v)


class Causal(nn.Module):
    """Logits of the next of `count` codes at each of `places`, given the codes before it.

    The last layer begins at 0, so that every code is as likely as any until it is trained
    (Vaswani et al. 2017; after the norms of Xiong et al. 2020).
    """

    def __init__(
        self, places: int, count: int, width: int = 128, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.places, self.count = places, count
        self.code = nn.Embedding(count, width)
        self.place = nn.Parameter(0.1 * torch.randn(places, width))
        nn.init.normal_(self.code.weight, std=0.1)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, count)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, codes: Tensor) -> Tensor:
        """codes (n, places) -> logits (n, places, count)."""
        shown = F.pad(self.code(codes[:, :-1]), (0, 0, 1, 0))  # the first place is given nothing
        h = shown + self.place
        for layer in self.layers:
            h, _ = layer(h)
        return self.last(self.norm(h))

    def begin(self, n: int) -> tuple[Tensor, Cache]:
        """Logits (n, count) of the first place, and what the later ones need of it."""
        return self._next(self.place.new_zeros(n, 1, self.place.shape[1]), 0, None)

    def follow(self, codes: Tensor, place: int, past: Cache) -> tuple[Tensor, Cache]:
        """Logits (n, count) of `place`, given the codes (n,) of the place before."""
        return self._next(self.code(codes).unsqueeze(1), place, past)

    def _next(self, shown: Tensor, place: int, past: Cache | None) -> tuple[Tensor, Cache]:
        h, kept = shown + self.place[place], []
        for i, layer in enumerate(self.layers):
            h, pair = layer(h, past[i] if past is not None else None)
            kept.append(pair)
        return self.last(self.norm(h)).squeeze(1), kept
