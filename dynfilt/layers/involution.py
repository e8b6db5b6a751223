"""Involution: every position generates its own small filter, which channels share in groups.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021, arXiv 2103.06255.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Geometry, Padding, Size, centred
from dynfilt.layers.initialisation import InitialScale, as_conv2d_does, reset_bias
from dynfilt.layers.per_position import conv2d_per_position
from dynfilt.layers.squeeze import AnyBatchNorm1d, FeatureNorm, require_images, unit_features


class InvolutionConv2d(DynamicConv2d):
    """y = conv1x1(z), z[c, p] = sum_t h(x)[g(c), t, p] x[c, p + t], h = 1x1(ReLU(BN(1x1(x)))) at each position p.

    x: (B, C, H, W) -> (B, O, H', W'). Involution itself mixes no channels; it was published between 1x1 convolutions.
    To take the place of any convolution the layer has one after it, of which `groups` are the groups. The arguments up
    to `bias` are those of nn.Conv2d; then the channels that share a filter and the ratio of channels to hidden ones.
    With a stride the filter comes from the average of the stride's pixels, from the centre tap's on.
    `initial_scale: published` starts h as the authors' code, which gives about sqrt(group_channels / reduction) of the
    static twin's standard deviation, 2 as published; `corrected` scales h to 1 for white images. As published y grows
    with the square of an image; with `feature_norm: rms` h sees each pixel divided by its root mean square.
    Under autocast h is in low precision, unlike other layers' choices: there are as many filters as pixels, and they
    are features.
    Parameters `weight` (O, C/groups, 1, 1) and `bias` (O) or None.
    Raises ValueError when group_channels does not divide the input channels, for fewer channels than `reduction`, an
    unknown initial_scale or feature_norm and as DynamicConv2d does.
    """

    choice_names = ("position filter",)

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
        group_channels: int = 16,
        reduction: int = 4,
        initial_scale: InitialScale = "published",
        feature_norm: FeatureNorm = "none",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_count("group_channels", group_channels, "channel")
        require_count("reduction", reduction, "channel for each hidden one")
        require_choice("initial_scale", initial_scale, InitialScale)
        require_choice("feature_norm", feature_norm, FeatureNorm)
        if in_channels % group_channels:
            raise ValueError(f"group_channels={group_channels}: must divide in_channels={in_channels}")
        if in_channels < reduction:
            raise ValueError(f"reduction={reduction}: leaves none of {in_channels} channels")
        self.filter_groups = in_channels // group_channels
        hidden = in_channels // reduction
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reduce = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.norm = AnyBatchNorm1d(hidden)
        self.span = nn.Conv2d(hidden, self.filter_groups * taps, 1)
        self.initial_scale = initial_scale
        self.feature_norm = feature_norm
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the 1x1 kernel and the bias as nn.Conv2d does, the generator as the authors' code."""
        as_conv2d_does(self.weight)
        reset_bias(self.bias, self.kernel_shape)
        for convolution in (self.reduce, self.span):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        assert self.span.bias is not None
        nn.init.zeros_(self.span.bias)
        if self.initial_scale == "corrected":
            self._correct_span()

    @torch.no_grad()
    def _correct_span(self) -> None:
        """Scale each group's rows s so that sum_t E[h_t^2 x_t^2] = E[x^2] over white images.

        E[h^2] = E[r^2] |s|^2 + E[r]^2 ((sum s)^2 - |s|^2) for rectified normal r; the centre tap weighs the pixel that
        it is computed from, which adds 2 / C.
        """
        rows = self.span.weight.flatten(1).unflatten(0, (self.filter_groups, -1))  # (G, taps, hidden)
        square, squared_mean = 1 / 2, 1 / (2 * math.pi)
        energy = (square - squared_mean) * rows.square().sum(2) + squared_mean * rows.sum(2).square()
        height, width = self.kernel_size
        energy[:, (height - 1) // 2 * width + (width - 1) // 2] *= 1 + 2 / self.in_channels
        rows.div_(energy.sum(1).sqrt()[:, None, None])

    def choice(self, x: Tensor) -> Tensor:
        """Return each position's filters (B, groups of channels, kh, kw, H', W')."""
        require_images(x, self.in_channels)
        x, geometry = self.placed(x)
        seen = self._averaged(x, geometry)
        reduced = self.reduce(unit_features(seen) if self.feature_norm == "rms" else seen)
        hidden = F.relu(self.norm(reduced.flatten(2))).view_as(reduced)
        return self.span(hidden).unflatten(1, (self.filter_groups, *self.kernel_size))

    def _averaged(self, x: Tensor, geometry: Geometry) -> Tensor:
        """For each output the pixel under the centre tap, with a stride averaged with those that are skipped."""
        stride = geometry.stride
        at_centre = centred(x, self.kernel_size, geometry, skipped=True)
        if stride == (1, 1):
            return at_centre
        return F.avg_pool2d(at_centre, stride, ceil_mode=True, count_include_pad=False)

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and filters (B, groups of channels, kh, kw, H', W')."""
        x, (stride, padding, dilation, groups) = self.placed(x)
        z = conv2d_per_position(x, choice.to(x.dtype), stride, padding, dilation)
        return F.conv2d(z, self.weight, self.bias, groups=groups)
