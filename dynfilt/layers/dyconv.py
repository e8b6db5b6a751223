"""Dynamic convolution (DY-Conv): K parallel kernels, mixed for each image by an attention.

Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv 1912.03458.
"""

import math
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.attention import AttentionKind, KernelAttention, check_temperature
from dynfilt.layers.mixture import conv2d_mixture, mix

Size = int | tuple[int, int]


class DYConv2d(nn.Module):
    """A convolution with a kernel for each image: W(x) = sum_k pi_k(x) W_k, b(x) = sum_k pi_k(x) b_k.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d, sizes as an int or a
    pair; then the number of kernels K, the attention's hidden units for each input channel, its kind, and the
    temperature to start with (the paper's 30). With one kernel and softmax it is nn.Conv2d, bit for bit.
    Parameters `weight` (K, O, C/groups, kh, kw) and `bias` (K, O) or None, each kernel initialised as
    nn.Conv2d's; buffer `temperature`, 0-dim, set by dynfilt.layers.attention.set_temperature. A forward hook
    on `attention` may replace pi.
    Raises ValueError for num_kernels below 1, a reduction or temperature that is not positive, an unknown
    attention, groups that do not divide both channel counts, and sizes that are not ints in range.
    """

    temperature: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        num_kernels: int = 4,
        reduction: float = 0.25,
        attention: AttentionKind = "softmax",
        temperature: float = 30.0,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups}: must divide in_channels={in_channels} and out_channels={out_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_kernels = num_kernels
        self.kernel_size = _pair("kernel_size", kernel_size, at_least=1)
        self.stride = _pair("stride", stride, at_least=1)
        self.padding = _pair("padding", padding, at_least=0)
        self.dilation = _pair("dilation", dilation, at_least=1)
        self.groups = groups
        self.attention = KernelAttention(in_channels, num_kernels, reduction, attention)
        self.weight = nn.Parameter(torch.empty(num_kernels, out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(num_kernels, out_channels)) if bias else None
        self.register_buffer("temperature", torch.tensor(check_temperature(temperature), dtype=torch.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel and bias as nn.Conv2d does: uniform within 1 / sqrt(fan in of one kernel)."""
        for kernel in self.weight.detach():
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0, 0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return pi (B, K), float32 under autocast, for images x (B, C, H, W)."""
        return self.attention(x, self.temperature)

    def mix(self, pi: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return each image's kernel (B, O, C/groups, kh, kw) and bias (B, O) or None, for pi (B, K).

        The sum keeps the precision of pi: bfloat16 rounds away 6 % of the attention at temperature 30.
        """
        return mix(pi, self.weight), None if self.bias is None else mix(pi, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W)."""
        if self.attention.constant:
            bias = None if self.bias is None else self.bias.squeeze(0)
            return F.conv2d(x, self.weight.squeeze(0), bias, self.stride, self.padding, self.dilation, self.groups)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return conv2d_mixture(x, self.weight, self.attention_weights(x), self.bias, *geometry)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}"
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


def _pair(name: str, value: Size, at_least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < at_least for v in pair):
        raise ValueError(f"{name}={value!r}: must be an int or a pair of ints, each at least {at_least}")
    return pair
