"""Filters that differ from position to position: generated for each image, and their static (untied) twin."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.per_position import conv2d_per_position
from dynfilt.layers.squeeze import full_precision

LEAST_LENGTH = 1e-12  # as in F.normalize


class GeneratedLocalConv2d(nn.Module):
    """y[b, p] = sum_{c, t} w[b, c, t, p] x[b, c, p + t]: one filter for each image and position, generated there.

    x: (B, C, H, W) -> (B, 1, H, W). The generator is a 1x1 convolution C -> C * k * k, then tanh; every position's
    filter is divided by its L2 norm. Memory is linear in the positions, C * k * k numbers each.
    The dynamic local filtering layer of Jia et al., NeurIPS 2016, arXiv 1605.09673, section 3.2.
    Raises ValueError for an even kernel_size.
    """

    choice_names = ("local filter",)

    def __init__(self, in_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = _odd(kernel_size)
        self.generator = nn.Conv2d(in_channels, in_channels * kernel_size**2, 1)

    def choice(self, x: Tensor) -> Tensor:
        """The filters of a batch, (B, C, k, k, H, W), float32 under autocast."""
        w, length = self._generated(x)
        return w / length[:, :, None, None]

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, 1, H, W) for x (B, C, H, W) and filters (B, C, k, k, H, W)."""
        return _summed(x, choice.to(x.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1, H, W) for x (B, C, H, W)."""
        w, length = self._generated(x)
        y = _summed(x, w.to(x.dtype))
        return (y / length).to(y.dtype)  # instead of C * k * k numbers for each of y's

    def _generated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Filters (B, C, k, k, H, W) before they are divided by their lengths (B, 1, H, W), at least float32."""
        w = torch.tanh(self.generator(x))
        with full_precision(w):
            length = torch.linalg.vector_norm(w, dim=1, keepdim=True, dtype=torch.promote_types(w.dtype, torch.float32))
        return w.unflatten(1, (x.shape[1], self.kernel_size, self.kernel_size)), length.clamp_min(LEAST_LENGTH)


class UntiedConv2d(nn.Module):
    """The static twin: one trainable filter for each position, the same for all images, applied alike.

    x: (B, C, size, size) -> (B, 1, size, size). Each filter starts as one of nn.Conv2d. `normalised` divides it by its
    L2 norm, as the generated filters are.
    Raises ValueError for an even kernel_size.
    """

    def __init__(self, in_channels: int, kernel_size: int, size: int, normalised: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels * _odd(kernel_size) ** 2)
        self.kernel_size = kernel_size
        self.normalised = normalised
        self.weight = nn.Parameter(torch.empty(in_channels, kernel_size**2, size, size))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1, size, size) for x (B, C, size, size)."""
        weight = F.normalize(self.weight.flatten(0, 1), dim=0) if self.normalised else self.weight.flatten(0, 1)
        weight = weight.unflatten(0, (-1, self.kernel_size, self.kernel_size))
        return _summed(x, weight.expand(len(x), *weight.shape))


def _odd(kernel_size: int) -> int:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size}: must be odd, so that every filter has a centre")
    return kernel_size


def _summed(x: Tensor, filters: Tensor) -> Tensor:
    half = filters.shape[2] // 2
    return conv2d_per_position(x, filters, (1, 1), (half, half), (1, 1)).sum(1, keepdim=True)
