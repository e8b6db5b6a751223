"""An image's features as one short vector, and the gates computed from it; float32 under autocast.

Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_positive

# Small enough for gates to start alike for all images, large enough for what lies before them to move in float32.
HEAD_STD = 1e-3
LEAST_SQUARE = 1e-5  # beside the mean square that features are normalised by
# `none` decides from features as they are, `rms` from features divided by their root mean square.
FeatureNorm = Literal["none", "rms"]


def require_images(x: Tensor, in_channels: int) -> None:
    """Raise ValueError unless x is (B, in_channels, H, W)."""
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise ValueError(f"expected input (B, {in_channels}, H, W), got {tuple(x.shape)}")


def global_average(x: Tensor, in_channels: int) -> Tensor:
    """Mean over all pixels, (B, C), at least float32. Raises ValueError unless x is (B, in_channels, H, W)."""
    require_images(x, in_channels)
    # The gradient of a sum is a view, that of a mean a whole map; a sum of float16 would overflow.
    total = x.sum(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
    return total / (x.shape[2] * x.shape[3])  # numel() is a constant to a tracer and to torch.export


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in float64 if they are: for what low precision would round away."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def unit_features(x: Tensor) -> Tensor:
    """x (B, C, ...) divided by its root mean square over dimension 1, in the precision of x.

    Of an image twice as strong the answer is the same: a filter generated from it does not grow, and outputs grow with
    the image instead of its square. Without this a deviation is squared from layer to layer in evaluation.
    """
    full = at_least_float32(x)
    return (full * (full.square().mean(1, keepdim=True) + LEAST_SQUARE).rsqrt()).to(x.dtype)


def linear_dtype(linear: nn.Module) -> torch.dtype:
    """The dtype that a linear layer takes: its weight's; float32 where it is quantised and `weight` is a method."""
    weight = linear.weight
    return weight.dtype if isinstance(weight, Tensor) else torch.float32


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off, for norms, softmax and gates, on a device that has it; meta has not."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


class AnyBatchNorm1d(nn.BatchNorm1d):
    """nn.BatchNorm1d that also trains on a batch without a variance: less than two values a channel.

    It is then normalised by the running statistics, which stay as they are. x: (B, C) or (B, C, L).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x."""
        if self.training and x.numel() < 2 * self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Squeeze(nn.Module):
    """Global average, Linear without bias, BatchNorm, activation: (B, C, H, W) -> (B, hidden), float32 under autocast.

    hidden is max(int(C * reduction), 16), as in ODConv. Raises ValueError for a reduction that is not positive.
    """

    def __init__(self, in_channels: int, reduction: float, activation: nn.Module | None = None) -> None:
        super().__init__()
        require_positive("reduction", reduction, "a positive ratio of hidden units to channels, e.g. 0.0625")
        self.in_channels = in_channels
        self.hidden = max(int(in_channels * reduction), 16)
        self.reduce = nn.Linear(in_channels, self.hidden, bias=False)
        self.norm = AnyBatchNorm1d(self.hidden)
        self.activation = nn.ReLU() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, hidden) for x (B, C, H, W)."""
        with full_precision(x):
            pooled = global_average(x, self.in_channels)
            return self.activation(self.norm(self.reduce(pooled.to(linear_dtype(self.reduce)))))


def gate_head(hidden: int, features: int) -> nn.Linear:
    """A Linear whose gates start alike for all images and channels."""
    head = nn.Linear(hidden, features)
    nn.init.normal_(head.weight, std=HEAD_STD)
    nn.init.zeros_(head.bias)
    return head


def gate_features(x: Tensor, gate: Tensor) -> Tensor:
    """Weigh the channels of x (B, C, H, W) by gate (B, C), in the precision of x."""
    return x * gate.to(x.dtype)[:, :, None, None]


def gate_filters(filters: Tensor, input_gate: Tensor, output_gate: Tensor | None, groups: int) -> Tensor:
    """Filters (B or 1, O, C/groups, kh, kw) that do what gates (B, C) and (B, O) on features do."""
    gated = filters * for_each_output(input_gate, filters.shape[1], groups)[..., None, None]
    return gated if output_gate is None else gated * output_gate[:, :, None, None, None]


def for_each_output(of_inputs: Tensor, out_channels: int, groups: int) -> Tensor:
    """Spread gates on inputs (B, C, ...) to the filters of all outputs: (B, O or 1, C/groups, ...)."""
    if groups == 1:
        return of_inputs[:, None]
    by_group = of_inputs.unflatten(1, (groups, 1, -1))
    return by_group.expand(-1, -1, out_channels // groups, *by_group.shape[3:]).flatten(1, 2)
