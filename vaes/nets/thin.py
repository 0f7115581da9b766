"""Convolutions at the image's end, where one side has few channels, as matrix products.

The arithmetic is that of torch's modules, from which they inherit their parameters; the general
kernels lay channels into vector registers and leave these nearly empty with one of them,
which cost a small autoencoder a tenth (fp32) to a fifth (bf16) of its training time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

THIN = 2  # channels up to which a layer counts as thin; from three on the general kernels win


class ThinConv2d(nn.Conv2d):
    """`nn.Conv2d` with few input channels: patches (n H' W', C k k) times weights."""

    def forward(self, input: Tensor) -> Tensor:
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        ph, pw = (int(side) for side in self.padding)
        x = F.pad(input, (pw, pw, ph, ph))
        patches = x.unfold(2, kh, sh).unfold(3, kw, sw)  # (n, C, H', W', kh, kw)
        n, _, height, width = patches.shape[:4]
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(n * height * width, -1)
        y = F.linear(flat, self.weight.flatten(1), self.bias)
        return y.view(n, height, width, -1).permute(0, 3, 1, 2)


class ThinConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of kernel 4, stride 2, padding 1 with few output channels.

    Every input pixel times the weights gives a 4 x 4 patch; each output pixel is the sum of the
    four patches that cover it, two by two along each axis, by the parity of its place.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        n, channels, height, width = input.shape
        flat = input.permute(0, 2, 3, 1).reshape(n * height * width, channels)
        patches = (flat @ self.weight.flatten(1)).view(n, height, width, -1, 4, 4)
        odd = tuple(self.output_padding)
        y = self._overlap(patches, 1, 4, odd[0])  # rows: (n, 2 H, W, O, 4)
        y = self._overlap(y, 2, 4, odd[1])  # columns: (n, 2 H, 2 W, O)
        if self.bias is not None:
            y = y + self.bias
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def _overlap(patches: Tensor, axis: int, taps: int, odd: int) -> Tensor:
        """Adds taps 0...3 of dimension `taps` to places 2 i - 1 ... 2 i + 2 along `axis`."""
        t0, t1, t2, t3 = patches.unbind(taps)
        size = t0.shape[axis]
        edge = torch.zeros_like(t0.narrow(axis, 0, 1))
        even = t1 + torch.cat([edge, t3.narrow(axis, 0, size - 1)], axis)  # place 2 i
        uneven = t2 + torch.cat([t0.narrow(axis, 1, size - 1), edge], axis)  # place 2 i + 1
        y = torch.stack([even, uneven], axis + 1).flatten(axis, axis + 1)
        if odd:  # one place more: it is reached by the last tap alone
            y = torch.cat([y, t3.narrow(axis, size - 1, 1)], axis)
        return y
