"""Which network, how wide, how many latent dimensions, where a user names a kind or nothing."""

from __future__ import annotations

import torch
from torch import nn

from vaes.batch import Spec
from vaes.errors import UsageError, did_you_mean
from vaes.nets.conv import conv_decoder, conv_encoder
from vaes.nets.grid import grid_decoder, grid_encoder, grid_of, grid_widths
from vaes.nets.mlp import ResidualMLP, mlp

NETS = ("auto", "mlp", "conv", "residual", "grid")
CONV_FROM = 16  # pixels a side


def default_latent(spec: Spec) -> int:
    """min(32, max(2, D / 4)); for images from 16 pixels a side 32, from 32 pixels on 64."""
    if spec.image and min(spec.shape[1:]) >= CONV_FROM:
        return 32 if max(spec.shape[1:]) < 32 else 64
    return min(32, max(2, spec.size // 4))


def latent_of(kind: str, spec: Spec, widths: tuple[int, ...], latent: int | None) -> int:
    """What is given, or the default; of a grid a multiple of its places, 4 for each by default."""
    if kind != "grid":
        return latent if latent is not None else default_latent(spec)
    height, width = grid_of(spec.shape, widths)
    places = height * width
    if latent is not None and latent % places:
        raise UsageError(
            f"latent={latent}: a grid of {height} x {width} places takes a multiple of {places}"
        )
    return latent if latent is not None else 4 * places


def net_of(net: str, spec: Spec) -> str:
    if net not in NETS:
        raise UsageError(f"net '{net}' is not known; {did_you_mean(net, NETS)}")
    large = spec.image and min(spec.shape[1:]) >= CONV_FROM
    if net in ("conv", "grid") and not spec.image:
        raise UsageError(
            f"net={net} is for images; rows of shape {spec.shape} take mlp or residual"
        )
    return ("conv" if large else "mlp") if net == "auto" else net


def widths_of(kind: str, spec: Spec) -> tuple[int, ...]:
    if kind == "grid":
        return grid_widths(spec.shape)
    if kind != "mlp" and spec.image:
        return (32, 64, 128, 256) if min(spec.shape[1:]) >= 64 else (32, 64, 128)
    return (512, 512) if spec.size > 256 else (256, 256)


def encoder_of(
    kind: str, shape: tuple[int, ...], out: int, widths: tuple[int, ...], act: str, norm: bool
) -> nn.Module:
    size = torch.Size(shape).numel()
    if kind == "mlp":
        return mlp(size, widths, act)
    if kind == "grid":
        return grid_encoder(shape, out, widths, act, norm)
    if len(shape) == 3:
        return conv_encoder(shape, widths, act, norm, residual=kind == "residual")
    return ResidualMLP(size, widths[0], len(widths), act)


def decoder_of(
    kind: str, latent: int, spec: Spec, size: int, widths: tuple[int, ...], act: str, norm: bool
) -> nn.Module:
    if kind == "mlp":
        return mlp(latent, widths[::-1], act)
    if spec.image:
        out = (size * spec.shape[0] // spec.size, *spec.shape[1:])
        if kind == "grid":
            return grid_decoder(latent, out, widths, act, norm)
        return conv_decoder(latent, out, widths, act, norm, residual=kind == "residual")
    return ResidualMLP(latent, widths[-1], len(widths), act)
