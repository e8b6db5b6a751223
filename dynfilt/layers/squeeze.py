"""An image's features as one short vector, from which attention and gates are computed; float32 under autocast."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def require_images(x: Tensor, in_channels: int) -> None:
    """Raise ValueError unless x is (B, in_channels, H, W)."""
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise ValueError(f"expected input (B, {in_channels}, H, W), got {tuple(x.shape)}")


def global_average(x: Tensor, in_channels: int) -> Tensor:
    """Mean over all pixels, (B, C), at least float32. Raises ValueError unless x is (B, in_channels, H, W)."""
    require_images(x, in_channels)
    # The gradient of a sum is a view, that of a mean a whole map; a sum of float16 would overflow.
    total = x.sum(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
    return total / x.shape[2:].numel()


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in float64 if they are: for what low precision would round away."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def linear_dtype(linear: nn.Module) -> torch.dtype:
    """The dtype that a linear layer takes: its weight's; float32 where it is quantised and `weight` is a method."""
    weight = linear.weight
    return weight.dtype if isinstance(weight, Tensor) else torch.float32
