"""Mixtures of discretised logistics, whose channels lean on one another (PixelCNN++).

Source: Salimans et al. 2017 (arXiv:1701.05517), sec. 2.1 and 2.2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import Likelihood, filled, masked, soft_clip, wide
from vaes.dist.pixels import DiscretisedLogistic
from vaes.errors import UsageError

START = -1.5  # of log-scales: a fifth of the interval, wide enough to reach every level at first
SPREAD = 0.5  # of the components' first places about the middle
LEAN = 1.0  # of a channel on those before it: at most this much, either way


class LogisticMixture(Likelihood):
    """For each place one of K components, the same in all its channels, and in that discretised
    logistics; the location of a channel moves with the values of those before it.

    `logits` (*k, n, K, H, W), `loc`, `log_scale` (*k, n, K, C, H, W) in units of the interval of
    levels, `lean` (*k, n, K, C (C - 1) / 2, H, W). x lies on the grid k / (levels - 1) of [0, 1].
    With gaps a channel leans on the observed ones alone: exact where a pixel is missing as a whole,
    elsewhere a density of what is observed that is its marginal as far as the channels agree.
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        lean: Tensor,
        levels: int,
        flat: bool = False,
    ) -> None:
        one = loc.select(-4, 0)
        super().__init__(one.flatten(-3) if flat else one, 1 if flat else 3)
        self.logits, self.loc, self.log_scale = logits.log_softmax(-3), loc, log_scale
        self.lean, self.levels, self.flat = lean, levels, flat

    @property
    def support(self) -> Any:
        return constraints.interval(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        """With the mean of the channels before in place of their values."""
        found: list[Tensor] = []
        for c in range(self.loc.shape[-3]):
            found.append(self._channel(c, found).mean)
        mean = (self.logits.exp().unsqueeze(-3) * torch.stack(found, -3)).sum(-4)
        return self._event(mean)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each channel given those before it."""
        joint = self._joint(x, mask)
        return masked(
            self._event((joint[1:].logsumexp(-3) - joint[:-1].logsumexp(-3)).movedim(0, -3)), mask
        )

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        return self._walk(self.logits, None, None, generator)

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Of each place a component given all that is observed there, then its channels in turn."""
        return self._walk(self._joint(x, mask)[-1], x, mask, generator)

    def _joint(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """log p(component, the first c observed channels), (C + 1, *k, n, K, H, W)."""
        image = self._image(filled(x, mask))
        seen = None if mask is None else self._image(mask)
        total, found, before = self.logits, [self.logits], []
        for c in range(self.loc.shape[-3]):
            at = image[..., c, :, :].unsqueeze(-3)
            shown = None if seen is None else seen[..., c, :, :].unsqueeze(-3)
            total = total + masked(self._channel(c, before).terms(at), shown)
            found.append(total)
            # the middle of the levels leans nowhere
            before.append(at if shown is None else torch.where(shown, at, 0.5))
        return torch.stack(torch.broadcast_tensors(*found))

    def _walk(
        self,
        logits: Tensor,
        x: Tensor | None,
        mask: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        u = torch.rand(
            logits.shape, generator=generator, dtype=logits.dtype, device=logits.device
        ).clamp(min=1e-30)
        chosen = (logits - (-u.log()).log()).argmax(-3, keepdim=True)  # Gumbel-max
        before: list[Tensor] = []
        for c in range(self.loc.shape[-3]):
            value = self._channel(c, before, chosen).draw(generator)
            if x is not None and mask is not None:
                at, shown = (self._image(t)[..., c, :, :].unsqueeze(-3) for t in (x, mask))
                value = torch.where(shown, at, value)
            before.append(value)
        return self._event(torch.cat(before, -3))

    def _channel(
        self, c: int, before: list[Tensor], chosen: Tensor | None = None
    ) -> DiscretisedLogistic:
        """Channel c of every component (or of the `chosen` one), (*k, n, K or 1, H, W)."""
        loc, log_scale = self.loc[..., c, :, :], self.log_scale[..., c, :, :]
        leans = [self.lean[..., c * (c - 1) // 2 + i, :, :] for i in range(c)]
        if chosen is not None:
            loc, log_scale, *leans = (t.gather(-3, chosen) for t in (loc, log_scale, *leans))
        for lean, value in zip(leans, before, strict=True):
            loc = loc + lean * (value - 0.5)
        return DiscretisedLogistic(loc, log_scale, self.levels, 3)

    def _event(self, image: Tensor) -> Tensor:
        return image.flatten(-3) if self.flat else image

    def _image(self, event: Tensor) -> Tensor:
        return event.unflatten(-1, (1, 1, -1)) if self.flat else event


class PixelMixture(nn.Module):
    """Head of a mixture of `components` discretised logistics over images, or flat rows of pixels
    (which have one channel)."""

    middles: Tensor

    def __init__(self, shape: tuple[int, ...], levels: int, components: int = 5) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"components={components}: a mixture has one component or more")
        if len(shape) not in (1, 3):
            raise UsageError(f"logistic_mixture is for images or flat rows, not {shape}")
        self.flat, self.levels = len(shape) == 1, levels
        self.channels, *self.places = (1, 1, *shape) if self.flat else shape
        pairs = self.channels * (self.channels - 1) // 2
        self.parts = (1, self.channels, self.channels, pairs)  # of each component
        self.components = components
        self.size = components * sum(self.parts) * math.prod(self.places)
        self.bounds = (-math.log(levels) - 4.0, 3.0)
        spread = SPREAD * ((torch.arange(components) + 0.5) / components - 0.5)
        self.register_buffer("middles", 0.5 + spread, persistent=False)

    def forward(self, h: Tensor) -> LogisticMixture:
        h = wide(h).unflatten(-1, (self.components, sum(self.parts), *self.places))
        logits, loc, raw, lean = h.split(self.parts, -3)
        loc = loc + self.middles.view(-1, 1, 1, 1)
        log_scale = soft_clip(raw + START, *self.bounds)
        return LogisticMixture(
            logits.squeeze(-3), loc, log_scale, LEAN * lean.tanh(), self.levels, self.flat
        )
