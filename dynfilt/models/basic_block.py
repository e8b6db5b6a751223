"""The block that all our ResNets are built of, and what it asks of the convolution that it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.reach import Conv2d

ConvFactory = Callable[..., nn.Module]
SET_BY_THE_NETWORK = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "bias")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes.

    x: (B, in_channels, H, W) -> (B, channels, H / stride, W / stride). `conv` builds its convolutions (conv1,
    conv2, downsample.0), static ones those of them that are named in `static`. A static one has nn.Conv2d's parameters.
    Raises ValueError when `conv` builds something that is no module.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, conv: ConvFactory, static: Collection[str] = ()
    ) -> None:
        super().__init__()

        conv = _by_reach(conv)

        def build(name: str, inputs: int, kernel_size: int, stride: int) -> nn.Module:
            chosen: ConvFactory = Conv2d if name in static else conv
            size = {"kernel_size": kernel_size, "stride": stride, "padding": kernel_size // 2}
            built = chosen(inputs, channels, **size, bias=False)
            if not isinstance(built, nn.Module):
                raise ValueError(f"conv builds an object of type {type(built).__name__}, which is no torch.nn.Module")
            return built

        self.conv1 = build("conv1", in_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = build("conv2", channels, 3, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            shortcut = build("downsample.0", in_channels, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) for x (B, in_channels, H, W)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


def _by_reach(conv: ConvFactory) -> ConvFactory:
    """conv, but for nn.Conv2d what multiplies no padding where leaving it out pays."""
    if getattr(conv, "func", conv) is not nn.Conv2d:
        return conv
    return partial(Conv2d, *getattr(conv, "args", ()), **getattr(conv, "keywords", {}))


def require_convolution(conv: Any) -> None:
    """Raise ValueError unless conv can be called as a convolution is."""
    function, options = getattr(conv, "func", conv), getattr(conv, "keywords", {})
    name = getattr(function, "__qualname__", function)
    for argument in SET_BY_THE_NETWORK:
        if argument in options:
            raise ValueError(f"conv.{argument}: is set by the network for each of its convolutions; leave it out")
    try:
        inspect.signature(function).bind(1, 1, kernel_size=1, stride=1, padding=0, bias=False, **options)
    except (TypeError, ValueError) as error:
        called = "conv(in_channels, out_channels, kernel_size=, stride=, padding=, bias=False)"
        raise ValueError(f"conv: {name} cannot be called as {called}: {error}") from error
