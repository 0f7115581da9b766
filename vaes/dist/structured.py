"""Gaussians over images whose residuals depend on their neighbours (Dorta et al. 2018, sec. 4).

The precision of a channel is L L^T with L lower triangular in raster order and zero but for the
diagonal and the pixels of a k x k neighbourhood: its density takes as many products as it has
entries. Source: arXiv:1802.07079.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from vaes.dist.base import HALF_LOG_2PI, Likelihood, filled, masked, soft_clip, wide
from vaes.dist.gaussian import BELOW, LIKELIHOOD_LOG_SCALE
from vaes.dist.joint import alone, regressed, sequential
from vaes.errors import UsageError

LOG_DIAGONAL = (-LIKELIHOOD_LOG_SCALE[1], -LIKELIHOOD_LOG_SCALE[0])  # of L: inverse scales


def following(neighbourhood: int) -> list[tuple[int, int]]:
    """(down, right) of the (k^2 - 1) / 2 neighbours that come after a pixel in raster order."""
    if neighbourhood < 1 or neighbourhood % 2 == 0:
        raise UsageError(f"neighbourhood={neighbourhood}: an odd number of pixels, 1, 3, 5 ...")
    reach = neighbourhood // 2
    below = [(y, x) for y in range(1, reach + 1) for x in range(-reach, reach + 1)]
    return [(0, x) for x in range(1, reach + 1)] + below


class StructuredNormal(Likelihood):
    """N(mean, (L L^T)^-1): `mean` and `log_diagonal` (*k, n, C, H, W), `below` (*k, n, m, C, H, W).

    Column j of L holds exp(log_diagonal_j) on the diagonal and below[o]_j in the row of the pixel
    that is `following(neighbourhood)[o]` from j; pixels beyond the border do not exist. (L^T r)_j
    is then what is left of pixel j given all that follow it, in units of its spread.
    """

    support = constraints.real  # type: ignore[assignment]

    def __init__(
        self, mean: Tensor, log_diagonal: Tensor, below: Tensor, neighbourhood: int, flat: bool
    ) -> None:
        super().__init__(mean.flatten(-3) if flat else mean, 1 if flat else 3)
        self._mean, self.log_diagonal, self.below = mean, log_diagonal, below
        self.offsets, self.reach, self.flat = following(neighbourhood), neighbourhood // 2, flat

    @property
    def mean(self) -> Tensor:
        return self._event(self._mean)

    @property
    def variance(self) -> Tensor:
        """From the dense covariance of every row."""
        found = self.covariance().diagonal(dim1=-2, dim2=-1)
        return self._event(found.view(self._mean.shape))

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each pixel given all that follow it; of rows with gaps given the observed before it."""
        residual = self._image(filled(x, mask)) - self._mean
        if mask is None:
            white = self._white(residual)
            return self._event(-0.5 * white.square() + self.log_diagonal - HALF_LOG_2PI)
        seen = self._image(mask).flatten(-2)
        known = torch.where(seen, residual.flatten(-2), residual.new_zeros(()))
        found = sequential(alone(self.covariance(), seen), known)
        return masked(self._event(found.view(self._mean.shape)), mask)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        like = self._mean
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return self._event(like + self.solved(noise))

    def complete(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # a draw of all pixels, moved by what the observed ones of it are off by (Matheron's rule)
        return self._regressed(x, mask, self.draw(generator))

    def expected(self, x: Tensor, mask: Tensor) -> Tensor:
        return self._regressed(x, mask, self.mean)

    def solved(self, noise: Tensor) -> Tensor:
        """e with L^T e = noise (*k, n, C, H, W), from the last pixel to the first; pixels that do
        not wait for one another, a slanted line of them, at a time."""
        height, width = noise.shape[-2:]
        r, inverse = self.reach, (-self.log_diagonal).exp().expand_as(noise)
        e = F.pad(torch.zeros_like(noise), (r, r, 0, r))
        for line in reversed(range((r + 1) * (height - 1) + width)):
            ys = [y for y in range(height) if 0 <= line - (r + 1) * y < width]
            y = torch.tensor(ys, device=noise.device)
            x = line - (r + 1) * y
            rest = noise[..., y, x]
            for o, (down, right) in enumerate(self.offsets):
                rest = (
                    rest - self.below[..., o, :, :, :][..., y, x] * e[..., y + down, x + right + r]
                )
            e[..., y, x + r] = rest * inverse[..., y, x]
        return e[..., :height, r : r + width]

    def factor(self) -> Tensor:
        """L dense, (*k, n, C, HW, HW)."""
        height, width = self._mean.shape[-2:]
        flat = torch.diag_embed(self.log_diagonal.exp().expand_as(self._mean).flatten(-2))
        for o, (down, right) in enumerate(self.offsets):
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            there = (y + down < height) & (x + right >= 0) & (x + right < width)
            column = (y * width + x)[there].to(flat.device)
            row = column + down * width + right
            below = self.below[..., o, :, :, :].flatten(-2)
            flat[..., row, column] = below[..., column].expand(flat[..., row, column].shape)
        return flat

    def covariance(self) -> Tensor:
        """Sigma dense, (*k, n, C, HW, HW)."""
        factor = self.factor()
        eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        return inverse.mT @ inverse

    def _white(self, residual: Tensor) -> Tensor:
        """L^T r: every pixel and its neighbours after it, none beyond the border."""
        height, width = residual.shape[-2:]
        r = self.reach
        padded, total = F.pad(residual, (r, r, 0, r)), self.log_diagonal.exp() * residual
        for o, (down, right) in enumerate(self.offsets):
            there = padded[..., down : down + height, right + r : right + r + width]
            total = total + self.below[..., o, :, :, :] * there
        return total

    def _regressed(self, x: Tensor, mask: Tensor, around: Tensor) -> Tensor:
        seen = self._image(mask).flatten(-2)
        residual = self._image(filled(x, mask) - around).flatten(-2)
        moved = regressed(self.covariance(), residual, seen)
        return torch.where(mask, x, around + self._event(moved.view(self._mean.shape)))

    def _event(self, image: Tensor) -> Tensor:
        return image.flatten(-3) if self.flat else image

    def _image(self, event: Tensor) -> Tensor:
        return event.unflatten(-1, (1, 1, -1)) if self.flat else event


class Structured(nn.Module):
    """Head of a Gaussian with structured residuals over images, or over flat rows as one line.

    Of h the mean (without `mean`: 0), the logarithm of the diagonal and one number for each
    neighbour that follows, all for each entry; neighbours weigh in units of the pixel's own spread,
    so that scales and dependence are learned apart. `neighbourhood` 1 is a Gaussian with a scale
    for each entry.
    """

    def __init__(self, shape: tuple[int, ...], neighbourhood: int = 3, mean: bool = True) -> None:
        super().__init__()
        if len(shape) not in (1, 3):
            raise UsageError(f"structured residuals are of images or of flat rows, not {shape}")
        self.flat, self.neighbourhood = len(shape) == 1, neighbourhood
        self.shape = (1, 1, *shape) if self.flat else tuple(shape)
        self.numbers = 1 + len(following(neighbourhood))  # for each entry, beside its mean
        self.entries = math.prod(shape)
        self.means = self.entries if mean else 0
        self.size = self.means + self.entries * self.numbers

    def forward(self, h: Tensor) -> StructuredNormal:
        h = wide(h)
        mean = h[..., : self.means] if self.means else torch.zeros_like(h[..., : self.entries])
        return self.around(mean, h[..., self.means :])

    def around(self, mean: Tensor, h: Tensor, log_scale: Tensor | float = 0.0) -> StructuredNormal:
        """From the mean (*k, n, entries) and what h tells of its residuals, whose spread is
        exp(`log_scale`) and which are independent where h is 0."""
        h = h.unflatten(-1, (self.numbers, *self.shape))
        log_diagonal = soft_clip(h[..., 0, :, :, :] - log_scale, *LOG_DIAGONAL)
        below = BELOW * h[..., 1:, :, :, :] * log_diagonal.exp().unsqueeze(-4)
        mean = mean.unflatten(-1, self.shape)
        return StructuredNormal(mean, log_diagonal, below, self.neighbourhood, self.flat)
