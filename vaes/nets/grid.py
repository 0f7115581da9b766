"""Bodies whose features keep their place in an image: z is a small grid, channels first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vaes.nets.conv import conv_decoder, conv_encoder, sizes

SIDE = 8  # places a side at most, where the widths are not given


def grid_widths(shape: Sequence[int]) -> tuple[int, ...]:
    """Channels of the halvings that leave a grid of at most 8 places on its shorter side."""
    halvings, side = 0, min(shape[1:])
    while halvings == 0 or side > SIDE:
        halvings, side = halvings + 1, side // 2
    return tuple(min(128, 64 * 2**i) for i in range(halvings))


def grid_of(shape: Sequence[int], widths: Sequence[int]) -> tuple[int, int]:
    """Height and width of the grid that `widths` leave of an image (C, H, W)."""
    return sizes((shape[1], shape[2]), len(widths))[-1]


def grid_encoder(
    shape: tuple[int, ...], out: int, widths: Sequence[int], act: str = "silu", norm: bool = True
) -> nn.Sequential:
    """x (n, C, H, W) -> (n, out), out / places numbers of each place."""
    height, width = grid_of(shape, widths)
    body = list(conv_encoder(shape, widths, act, norm))[:-1]
    last = nn.Conv2d(widths[-1], out // (height * width), 1)
    return nn.Sequential(*body, last, nn.Flatten())


def grid_decoder(
    latent: int, shape: tuple[int, ...], widths: Sequence[int], act: str = "silu", norm: bool = True
) -> nn.Sequential:
    """z (n, latent), latent / places numbers of each place -> (n, C, H, W) for `shape`."""
    height, width = grid_of(shape, widths)
    channels = latent // (height * width)
    # all but the linear map of a code without places
    body = list(conv_decoder(1, shape, widths, act, norm))[2:]
    first = nn.Conv2d(channels, widths[-1], 3, padding=1)
    return nn.Sequential(nn.Unflatten(1, (channels, height, width)), first, *body)
