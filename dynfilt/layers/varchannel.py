"""A convolution for any number of input channels, and the published one that draws its weights anew in every pass.

In the manner of HyperNet in CHAMMI (Chen et al., NeurIPS 2023 datasets track, arXiv 2310.19224): the filter of an input
channel is generated, here from what the channel is and from what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import Draw, as_conv2d_does, reset_bias
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import at_least_float32, full_precision, linear_dtype

Condition = Literal["content", "identity"]
# Mean and standard deviation of a channel in its image, and the share of the channels that is there.
STATISTICS = 3
# The generated part of a filter starts small: a layer that sees all channels then starts as a static one.
START_STD = 1e-2


class VarChannelConv2d(DynamicConv2d):
    """y = (C / c) sum_j conv(x_j, w_j) + b over the c channels that are there, w_j = sum_n a_jn T_n.

    a_j = e_j + U gelu(V [e_j; s_j] + v): e_j is learned for channel j, s_j holds the mean and standard deviation of
    that channel in the image and c / C; with `condition: identity` the first two are 0, and no image decides anything.
    x: (B, c, H, W), `channels` the numbers of its channels, from 0 to C - 1, None for all C -> (B, O, H', W').
    The number of parameters does not depend on c. The templates T are `weight` (N, O, 1, kh, kw); with all channels,
    N = C and before training they are the kernel of nn.Conv2d. Computed as one static convolution of N mixed channels.
    Raises ValueError for groups, for channels that the layer was not built for, and as DynamicConv2d does.
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
        num_templates: int = 3,
        hidden_features: int = 16,
        condition: Condition = "content",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        if groups != 1:
            raise ValueError(f"groups={groups}: every channel brings its own filter; groups must be 1")
        require_count("num_templates", num_templates, "template")
        require_count("hidden_features", hidden_features, "hidden unit")
        require_choice("condition", condition, Condition)
        self.condition = condition
        self.weight = nn.Parameter(torch.empty(num_templates, out_channels, 1, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        identity = F.one_hot(torch.arange(in_channels) % num_templates, num_templates)
        self.identity = nn.Parameter(identity.to(self.weight.dtype))
        self.hidden = nn.Linear(num_templates + STATISTICS, hidden_features)
        self.output = nn.Linear(hidden_features, num_templates, bias=False)
        nn.init.normal_(self.output.weight, std=START_STD)
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)

    @property
    def choice_names(self) -> tuple[str, ...]:
        """What the images decide: nothing where the filters depend on the channels' identity alone."""
        return ("template mixing",) if self.condition == "content" else ()

    @torch.no_grad()
    def reset_kernels(self, draw: Draw) -> None:
        """Start template n as channel n of a kernel (O, C, kh, kw) that `draw` fills, of a new one after every C."""
        for start in range(0, len(self.weight), self.in_channels):
            templates = self.weight[start : start + self.in_channels]
            kernel = torch.empty(self.kernel_shape, dtype=templates.dtype, device=templates.device)
            draw(kernel)
            templates.copy_(kernel.transpose(0, 1)[: len(templates), :, None])

    def choice(self, x: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return how much of each template each channel of each image takes, (B, c, N), float32 under autocast."""
        present = _checked(x, self.in_channels, channels)
        identity = torch.stack([self.identity[channel] for channel in present])
        with full_precision(x):
            statistics = _statistics(x, len(present) / self.in_channels, self.condition)
            known = identity.to(statistics.dtype) + torch.zeros_like(statistics[..., :1])
            conditions = torch.cat([known, statistics], dim=2)
            hidden = F.gelu(self.hidden(conditions.to(linear_dtype(self.hidden))))
            return at_least_float32(identity) + at_least_float32(self.output(hidden))

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, c, H, W) and a mixing (B, c, N)."""
        x, geometry = self.placed(x)
        scale = self.in_channels / x.shape[1]
        mixed = (scale * choice).to(x.dtype).transpose(1, 2) @ x.flatten(2)
        return conv2d(mixed.unflatten(2, x.shape[2:]), self.weight.squeeze(2).transpose(0, 1), self.bias, geometry)

    def forward(self, x: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, H', W') for x (B, c, H, W), whose channels have these numbers."""
        return self.apply_choice(x, self.choice(x, channels))

    def filters(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """Each image's whole filter (B, O, c, kh, kw), as applied."""
        choice = self.choice(x) if choice is None else choice
        scale = self.in_channels / x.shape[1]
        return torch.einsum("bcn,nohw->bochw", scale * choice, self.weight.squeeze(2).to(choice.dtype))


class NoiseConv2d(DynamicConv2d):
    """The published fault, to be measured: a convolution whose weights are drawn anew in every pass, and never trained.

    x: (B, c, H, W) of any c -> (B, O, H', W'). Weights are standard normal, as the published layer draws them; the
    BatchNorm behind it takes their scale away. It has no parameters. Raises ValueError for groups and a bias.
    """

    choice_names = ()

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        if groups != 1 or bias:
            raise ValueError(f"groups={groups}, bias={bias}: the published layer has neither")

    def choice(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return nothing: it does not look at its images."""
        return ()

    def forward(self, x: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return (B, O, H', W') for x (B, c, H, W); which channels these are makes no difference."""
        _checked(x, self.in_channels, channels)
        x, geometry = self.placed(x)
        weight = torch.randn(self.out_channels, x.shape[1], *self.kernel_size, dtype=x.dtype, device=x.device)
        return conv2d(x, weight, None, geometry)


def _checked(x: Tensor, in_channels: int, channels: Sequence[int] | None) -> Sequence[int]:
    """The numbers of x's channels. Raises ValueError where they do not fit x or the layer."""
    wanted = in_channels if channels is None else len(channels)
    if x.ndim != 4 or x.shape[1] != wanted or not wanted:
        hint = "; of fewer channels name the numbers" if channels is None else f" for channels={tuple(channels)}"
        raise ValueError(f"expected input (B, {wanted}, H, W), got {tuple(x.shape)}{hint}")
    present = range(in_channels) if channels is None else channels
    if len(set(present)) < wanted or not all(0 <= channel < in_channels for channel in present):
        last = in_channels - 1
        raise ValueError(f"channels={tuple(present)}: the layer was built for different numbers from 0 to {last}")
    return present


def _statistics(x: Tensor, share: float, condition: Condition) -> Tensor:
    """(B, c, STATISTICS), at least float32."""
    pixels = at_least_float32(x.flatten(2))
    shares = pixels.new_full((*pixels.shape[:2], 1), share)
    if condition == "identity":
        return F.pad(shares, (STATISTICS - 1, 0))
    mean = pixels.mean(2, keepdim=True)
    # sqrt has no slope at a channel of one colour.
    deviation = ((pixels - mean).square().mean(2, keepdim=True) + 1e-6).sqrt()
    return torch.cat([mean, deviation, shares], dim=2)
