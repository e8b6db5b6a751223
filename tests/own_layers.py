"""Convolutions as somebody outside dynfilt writes them, for tests of `model.conv._target_`."""

import torch
from torch import Tensor, nn


class GatedConv2d(nn.Module):
    """A convolution whose outputs are weighed by each image."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        groups: int = 1,
        hidden: int = 8,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        self.gate = nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, out_channels))

    def scale(self, x: Tensor) -> Tensor:
        return 2 * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.scale(x)


class CutConv2d(GatedConv2d):
    """The same with its gradient cut."""

    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x).detach()


class Windowed(GatedConv2d):
    """The same on images seen through a window, made at its first use for each size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.windows: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[3]
        if size not in self.windows:
            self.windows[size] = torch.hann_window(size, periodic=False) + 0.5
        return super().forward(x * self.windows[size].to(x.dtype))


class FiveDimensions(GatedConv2d):
    """The same with a parameter that channels_last cannot lay out."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.factor = nn.Parameter(torch.ones(1, 1, 1, 1, 1))

    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x) * self.factor[0]


class ChoosesByLabel(GatedConv2d):
    """The same with methods that have dynfilt's names and mean something else."""

    def choice(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.scale(x)[labels]

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        return self.conv(x) * choice


class NoLayer:
    """A class that is no layer."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: int) -> None:
        self.size = (in_channels, out_channels, kernel_size)


number = 3
