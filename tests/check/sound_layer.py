"""A right dynamic layer, to put faults into."""

import math

import torch
from torch import Tensor, nn

from dynfilt.layers.per_sample import conv2d_per_sample


class Filter(nn.Module):
    """Attention over K kernels from globally averaged features."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        num_kernels: int = 4,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.size = stride, padding, (kernel_size, kernel_size)
        self.num_kernels = num_kernels
        self.weight = nn.Parameter(torch.empty(num_kernels * out_channels, in_channels, kernel_size, kernel_size))
        # Such that the mean of K kernels is as large as one of nn.Conv2d's.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(6 / num_kernels - 1))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.head = nn.Linear(in_channels, num_kernels)
        self.register_buffer("temperature", torch.tensor(30.0))

    def attention(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            logits = self.head(x.to(self.head.weight.dtype).mean((2, 3)))
            return (logits / self.temperature).softmax(1)

    def mixed(self, pi: Tensor) -> Tensor:
        bank = self.weight.unflatten(0, (self.num_kernels, -1))
        return (pi.to(bank.dtype) @ bank.flatten(1)).unflatten(1, bank.shape[1:])

    def convolve(self, x: Tensor, filters: Tensor) -> Tensor:
        y = conv2d_per_sample(x, filters.to(x.dtype), None, self.stride, self.padding)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.mixed(self.attention(x)))
