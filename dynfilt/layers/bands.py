"""Frequency band modulation: an image's own frequencies, cut into bands that each position weighs.

Chen et al., CVPR 2025, arXiv 2503.18783, the part of FDConv that changes the features before the convolution, and a
static convolution with this part alone: FDConv's control without a dynamic kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import as_conv2d_does, reset_bias
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import HEAD_STD, at_least_float32, full_precision, require_images

# Each band reaches from 1 / 2n of the sampling rate up to the one before; what is below the last is not weighed.
DIVISORS = (2, 4, 8)


class BandModulation(nn.Module):
    """x -> sum_i g_i(x) * band_i(x) + what is below, with gates g = 2 * sigmoid(3x3 convolution), which start at 1.

    x: (B, C, H, W) -> (B, C, H, W). A band holds the frequencies whose larger coordinate is within its limits, cut for
    the image's own size. What is below a limit is a projection along each axis, so no Fourier transform is needed.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(in_channels, len(DIVISORS), 3, padding=1)
        assert self.gate.bias is not None
        nn.init.normal_(self.gate.weight, std=HEAD_STD)
        nn.init.zeros_(self.gate.bias)

    def gates(self, x: Tensor) -> Tensor:
        """Return each position's gates (B, bands, H, W), at least float32; call it with autocast off."""
        return 2 * at_least_float32(self.gate(x.to(self.gate.weight.dtype))).sigmoid()

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Return the modulated x for gates (B, bands, H, W)."""
        with full_precision(x):
            precise = at_least_float32(x)
            modulated = precise * gates[:, :1]
            steps = torch.cat([gates[:, 1:], torch.ones_like(gates[:, :1])], dim=1) - gates
            for index, divisor in enumerate(DIVISORS):
                below = _projection(x.shape[2], divisor, precise) @ precise @ _projection(x.shape[3], divisor, precise)
                modulated = modulated + below * steps[:, index : index + 1]
            return modulated.to(x.dtype)


def _projection(size: int, divisor: int, like: Tensor) -> Tensor:
    """(size, size): keeps of a line the frequencies up to 1 / (2 * divisor); depends on the distance alone."""
    highest = size // (2 * divisor)
    place = torch.arange(size, device=like.device)
    turns = place[:, None] * torch.arange(1, highest + 1, device=like.device) % size
    line = (1 + 2 * torch.cos(2 * torch.pi / size * turns.to(like.dtype)).sum(-1)) / size
    return line[(place[:, None] - place) % size]


class BandModulatedConv2d(DynamicConv2d):
    """y = conv(modulated x) + b: one kernel for all images, before which each position weighs bands of frequencies.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments are those of nn.Conv2d. As in FDConv a 1x1 kernel has no bands, and
    is a static convolution. The gates start at 1, so the layer starts as nn.Conv2d.
    Parameters `weight` (O, C/groups, kh, kw) and `bias` (O) or None. Raises ValueError as DynamicConv2d does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.weight = nn.Parameter(torch.empty(self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.bands = BandModulation(in_channels) if self.kernel_size != (1, 1) else None
        self.reset_parameters()

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The gates on bands, where there are bands."""
        return () if self.bands is None else ("band gate",)

    def reset_parameters(self) -> None:
        """Draw weight and bias as nn.Conv2d does."""
        as_conv2d_does(self.weight)
        reset_bias(self.bias, self.kernel_shape)

    def choice(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates on bands (B, bands, H, W), float32 under autocast; nothing for a 1x1 kernel."""
        require_images(x, self.in_channels)
        if self.bands is None:
            return ()
        with full_precision(x):
            return (self.bands.gates(x),)

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, ...]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and what `choice` returns."""
        if self.bands is not None:
            x = self.bands(x, *choice)
        x, geometry = self.placed(x)
        y = conv2d(x, self.weight, None, geometry)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]
