"""Decoupled dynamic filters: one filter for each position times one for each channel of an image.

Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, arXiv 2104.14107.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_positive
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.decoupled import conv2d_decoupled
from dynfilt.layers.geometry import Padding, Size, centred
from dynfilt.layers.initialisation import InitialScale, as_conv2d_does, reset_bias
from dynfilt.layers.squeeze import (
    HEAD_STD,
    at_least_float32,
    full_precision,
    global_average,
    linear_dtype,
    require_images,
)

LEAST_SD = 1e-10  # below a standard deviation, as in the authors' code


class DDFConv2d(DynamicConv2d):
    """y = conv1x1(z), z[c, p] = sum_t s[t, p] r[c, t] x[c, p + t]: filters s of the positions, r of the channels.

    s = a norm(1x1(x)) at each position, r = scale norm(Linear(ReLU(Linear(mean of x)))) for each image; norm makes the
    taps of a filter 0 on average with standard deviation 1. x: (B, C, H, W) -> (B, O, H', W'). The filters mix no
    channels: they were published between 1x1 convolutions. To take the place of any convolution the layer has one after
    them, of which `groups` are the groups. The arguments up to `bias` are those of nn.Conv2d; then the ratio of hidden
    units to channels. With a stride s comes from the pixel under the centre tap. Under autocast r is float32 as other
    layers' choices are; s, of which there are as many filters as pixels, is normalised in float32 and kept in low
    precision.
    `initial_scale: published` has a = sqrt(2 / taps) and draws `scale` (C, taps) with that deviation, which gives about
    0.6 of the static twin's standard deviation for 3x3; `corrected` draws its signs alone, of a size that gives 1. A
    filter of one tap has nothing to be normalised over and is 1 + what is generated, which starts near 0.
    Parameters `weight` (O, C/groups, 1, 1) and `bias` (O) or None.
    Raises ValueError for a reduction that is not positive, an unknown initial_scale and as DynamicConv2d does.
    """

    choice_names = ("position filter", "channel filter")

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
        reduction: float = 0.2,
        initial_scale: InitialScale = "published",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_positive("reduction", reduction, "a positive ratio of hidden units to channels, e.g. 0.2")
        require_choice("initial_scale", initial_scale, InitialScale)
        self.taps = self.kernel_size[0] * self.kernel_size[1]
        hidden = max(int(in_channels * reduction), 1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.spatial = nn.Conv2d(in_channels, self.taps, 1)
        self.reduce = nn.Linear(in_channels, hidden)
        self.channel = nn.Linear(hidden, in_channels * self.taps)
        self.position_scale = math.sqrt(2 / self.taps)
        self.scale = nn.Parameter(torch.empty(in_channels, self.taps)) if self.taps > 1 else None
        self.initial_scale = initial_scale
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the 1x1 kernel and the bias as nn.Conv2d does, the generators as PyTorch does, `scale` as said above."""
        as_conv2d_does(self.weight)
        reset_bias(self.bias, self.kernel_shape)
        for generator in (self.spatial, self.channel):
            generator.reset_parameters()
            if self.scale is None:
                assert generator.bias is not None
                nn.init.normal_(generator.weight, std=HEAD_STD)
                nn.init.zeros_(generator.bias)
        if self.scale is None:
            return
        nn.init.normal_(self.scale, std=self.position_scale)
        if self.initial_scale == "corrected":
            # The squares of both normalised filters sum to taps - 1; independent, those of their product to this.
            energy = self.position_scale**2 * (self.taps - 1) ** 2 / self.taps
            with torch.no_grad():
                self.scale.copy_(self.scale.sign() / math.sqrt(energy))

    def choice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the filters of positions (B, kh, kw, H', W') and channels (B, C, kh, kw), these at least float32."""
        require_images(x, self.in_channels)
        pixels, geometry = self.placed(x)
        pixels = centred(pixels, self.kernel_size, geometry)[:, :, :: geometry.stride[0], :: geometry.stride[1]]
        generated = self.spatial(pixels)
        position = _normalised(generated, 1)
        with full_precision(x):
            pooled = global_average(x, self.in_channels).to(linear_dtype(self.reduce))
            of_taps = self.channel(self.reduce(pooled).relu()).unflatten(1, (self.in_channels, self.taps))
            channel = _normalised(of_taps, 2)
            if self.scale is not None:
                position, channel = position * self.position_scale, channel * self.scale
        position = position.to(generated.dtype).unflatten(1, self.kernel_size)
        return position, channel.unflatten(2, self.kernel_size)

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and both filters."""
        x, (stride, padding, dilation, groups) = self.placed(x)
        position, channel = (part.to(x.dtype) for part in choice)
        z = conv2d_decoupled(x, position, channel, stride, padding, dilation)
        return nn.functional.conv2d(z, self.weight, self.bias, groups=groups)


def _normalised(filters: Tensor, dim: int) -> Tensor:
    """Filters whose taps along a dimension are 0 on average with standard deviation 1, at least float32; one tap is
    moved to 1."""
    filters, taps = at_least_float32(filters), filters.shape[dim]
    if taps == 1:
        return 1 + filters
    deviations = filters - filters.mean(dim, keepdim=True)
    return deviations / ((deviations.square().sum(dim, keepdim=True) / (taps - 1)).sqrt() + LEAST_SD)
