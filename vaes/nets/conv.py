"""Convolutional bodies for images of any channels x height x width, odd and narrow ones too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from vaes.nets.mlp import activation
from vaes.nets.thin import THIN, ThinConv2d, ThinConvTranspose2d

Size = tuple[int, int]


def _halving(size: Size) -> tuple[Size, Size, Size]:
    """Kernel, stride and padding of a layer that halves each side that has at least 4 pixels."""
    halve = [side >= 4 for side in size]
    kernel, stride = [4 if h else 3 for h in halve], [2 if h else 1 for h in halve]
    return (kernel[0], kernel[1]), (stride[0], stride[1]), (1, 1)


def sizes(size: Size, layers: int) -> list[Size]:
    """Height and width before the first and after each of `layers` halvings."""
    found = [size]
    for _ in range(layers):
        _, stride, _ = _halving(found[-1])
        found.append((found[-1][0] // stride[0], found[-1][1] // stride[1]))
    return found


def _norm(channels: int, norm: bool) -> list[nn.Module]:
    # up to 8 groups of 4 channels or more: where one pixel is left, the norm of a group of one
    # number is a constant
    groups = math.gcd(8, channels, max(1, channels // 4))
    return [nn.GroupNorm(groups, channels)] if norm else []


class Residual(nn.Module):
    """h + conv(act(norm(conv(act(norm(h)))))), the size and the channels unchanged."""

    def __init__(self, channels: int, act: str, norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_norm(channels, norm),
            activation(act),
            nn.Conv2d(channels, channels, 3, padding=1),
            *_norm(channels, norm),
            activation(act),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


def conv_encoder(
    shape: tuple[int, ...],
    widths: Sequence[int],
    act: str = "silu",
    norm: bool = True,
    residual: bool = False,
) -> nn.Sequential:
    """Strided convolutions: x (n, C, H, W) -> (n, widths[-1] * H' * W')."""
    channels, size = shape[0], (shape[1], shape[2])
    layers: list[nn.Module] = []
    for width, before in zip(widths, sizes(size, len(widths)), strict=False):
        kernel, stride, padding = _halving(before)
        made = ThinConv2d if channels <= THIN else nn.Conv2d
        layers += [made(channels, width, kernel, stride, padding), *_norm(width, norm)]
        layers += [activation(act)] + ([Residual(width, act, norm)] if residual else [])
        channels = width
    return nn.Sequential(*layers, nn.Flatten())


def conv_decoder(
    latent: int,
    shape: tuple[int, ...],
    widths: Sequence[int],
    act: str = "silu",
    norm: bool = True,
    residual: bool = False,
) -> nn.Sequential:
    """The mirror image: z (n, d) -> (n, C, H, W) for `shape` = (C, H, W).

    `shape[0]` is the number of output channels: entries per pixel times numbers per entry.
    """
    steps = sizes((shape[1], shape[2]), len(widths))
    first = (widths[-1], *steps[-1])
    layers: list[nn.Module] = [
        nn.Linear(latent, math.prod(first)),
        nn.Unflatten(1, first),
        *_norm(widths[-1], norm),
        activation(act),
    ]
    outputs = [*reversed(widths[:-1]), shape[0]]
    channels = widths[-1]
    pairs = zip(outputs, steps[-2::-1], steps[:0:-1], strict=True)
    for i, (width, after, before) in enumerate(pairs):
        kernel, stride, padding = _halving(after)
        # what the halving rounded away comes back as output padding
        odd = (after[0] - before[0] * stride[0], after[1] - before[1] * stride[1])
        if residual:
            layers.append(Residual(channels, act, norm))
        thin = width <= THIN and stride == (2, 2)
        made = ThinConvTranspose2d if thin else nn.ConvTranspose2d
        layers.append(made(channels, width, kernel, stride, padding, odd))
        channels = width
        if i < len(outputs) - 1:
            layers += [*_norm(width, norm), activation(act)]
    return nn.Sequential(*layers)
