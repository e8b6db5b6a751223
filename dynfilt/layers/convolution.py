"""The base of the dynamic layers: the arguments of nn.Conv2d, checked, and forward as a choice and its application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from dynfilt.layers.arguments import require_count
from dynfilt.layers.choice import Choice
from dynfilt.layers.geometry import Geometry, Padding, Size, padded, pair, read_padding


class DynamicConv2d(nn.Module):
    """A drop-in for nn.Conv2d whose input decides something: a layer writes `choice` and `apply_choice`.

    x: (B, C, H, W) -> (B, O, H', W'). Sizes are an int or a pair, padding may also be `same` or `valid`.
    Raises ValueError for groups that do not divide both channel counts and for sizes that are not ints in range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Padding,
        dilation: Size,
        groups: int,
    ) -> None:
        super().__init__()
        require_count("in_channels", in_channels, "channel")
        require_count("out_channels", out_channels, "channel")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups}: must divide in_channels={in_channels} and out_channels={out_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair("kernel_size", kernel_size, at_least=1)
        self.stride = pair("stride", stride, at_least=1)
        self.padding = read_padding(padding, self.stride)
        self.dilation = pair("dilation", dilation, at_least=1)
        self.groups = groups

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Shape of one kernel, (O, C/groups, kh, kw)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def choice(self, x: Tensor) -> Choice:
        """Return what each image of x (B, C, H, W) decides."""
        raise NotImplementedError

    def apply_choice(self, x: Tensor, choice: Any) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and a choice of its images."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W)."""
        return self.apply_choice(x, self.choice(x))

    def placed(self, x: Tensor) -> tuple[Tensor, Geometry]:
        """x, with the last zeros of an uneven `same`, and how the filter moves over it, in numbers."""
        x, padding = padded(x, self.padding, self.kernel_size, self.dilation)
        return x, Geometry(self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={getattr(self, 'bias', None) is not None}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # nn.Module.to(memory_format=channels_last) refuses five dimensions; one kernel after the other they pass.
        def stacked(tensor: Tensor) -> Tensor:
            if tensor.ndim != 5:
                return fn(tensor)
            kernels = fn(tensor.flatten(0, 1))
            # On a CPU mixtures are products of rows of numbers, one row a kernel.
            kernels = kernels.contiguous() if kernels.device.type == "cpu" else kernels
            return kernels.unflatten(0, tensor.shape[:2])

        return super()._apply(stacked, recurse)
