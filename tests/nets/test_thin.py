"""Thin convolutions are torch's own, values and gradients, at every size and odd rest."""

import pytest
import torch
from torch import nn

from vaes.nets.thin import ThinConv2d, ThinConvTranspose2d


def same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """In float64: outputs, and gradients of a random functional, to 1e-12."""
    theirs.load_state_dict(ours.state_dict())
    found = []
    for module in (ours.double(), theirs.double()):
        given = x.double().clone().requires_grad_()
        y = module(given)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).double()
        (y * weights).sum().backward()
        found.append([y.detach(), given.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (7, 6), (28, 28), (5, 9)])
def test_convolution(channels, size):
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))
    same(ThinConv2d(channels, 8, 4, 2, 1), nn.Conv2d(channels, 8, 4, 2, 1), x)
    same(ThinConv2d(channels, 8, 3, 1, 1), nn.Conv2d(channels, 8, 3, 1, 1), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (4, 1)])
@pytest.mark.parametrize("odd", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_transposed_convolution(channels, size, odd):
    x = torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(2))
    given = (8, channels, 4, 2, 1, odd)
    same(ThinConvTranspose2d(*given), nn.ConvTranspose2d(*given), x)
