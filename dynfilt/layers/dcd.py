"""Dynamic convolution by matrix decomposition (DCD): a static kernel, a scale and a low-rank dynamic residual.

Li et al., "Revisiting Dynamic Convolution via Matrix Decomposition", ICLR 2021, arXiv 2103.08756:
W(x) = diag(s(x)) W_0 + P Phi(x) Q^T. There is no bank, so no image needs a filter: three static convolutions do it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size, centred
from dynfilt.layers.initialisation import InitialScale, as_conv2d_does, reset_bias
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import (
    AnyBatchNorm1d,
    FeatureNorm,
    at_least_float32,
    full_precision,
    linear_dtype,
    require_images,
    unit_features,
)

# Of the published start: the residual then adds less than 1 % to the output's variance, and all of it still trains.
CORRECTED_RESIDUAL = 0.05


def hard_scale(logits: Tensor) -> Tensor:
    """relu6(x + 3) / 3: from 0 to 2, and 1 at 0."""
    return F.relu6(logits + 3) / 3


class DCDConv2d(DynamicConv2d):
    """y = s(x) * conv(x, W_0) + P (BN(Phi(x) z) + z) + b with z = BN(Q^T x) on the pixels under the kernel's centre.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d, without groups. Features are
    pooled to `pool` x `pool`, 2 in the authors' basic block and 1 in their bottleneck; Phi is d x d with
    d = int(sqrt(C * pool^2)). `initial_scale: published` draws P and Q from He's normal distribution by fan out, which
    adds about 4 / sqrt(C) to the static twin's variance; `corrected` starts P at a twentieth of that. As published the
    residual grows with the square of an image; with `feature_norm: rms` s and Phi come from pooled features divided by
    their root mean square.
    Parameters `weight` (O, C, kh, kw) and `bias` (O) or None; P is `expand`, Q `reduce`.
    Raises ValueError for groups, a pool below 1, an unknown initial_scale or feature_norm and as DynamicConv2d does.
    """

    choice_names = ("output gate", "channel mixing")

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
        pool: int = 2,
        initial_scale: InitialScale = "published",
        feature_norm: FeatureNorm = "none",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        if groups != 1:
            raise ValueError(f"groups={groups}: DCD mixes all channels with each other; groups must be 1")
        require_count("pool", pool, "row of pooled features")
        require_choice("initial_scale", initial_scale, InitialScale)
        require_choice("feature_norm", feature_norm, FeatureNorm)
        features = in_channels * pool**2
        self.pool = pool
        self.rank = math.isqrt(features)
        squeezed = max(max(features, self.rank**2) // 16, 4)
        self.initial_scale = initial_scale
        self.feature_norm = feature_norm
        self.weight = nn.Parameter(torch.empty(self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reduce = nn.Conv2d(in_channels, self.rank, 1, self.stride, bias=False)
        self.expand = nn.Conv2d(self.rank, out_channels, 1, bias=False)
        self.norm_reduced = AnyBatchNorm1d(self.rank)
        self.norm_mixed = AnyBatchNorm1d(self.rank)
        self.squeeze = nn.Linear(features, squeezed, bias=False)
        self.excite = nn.Linear(squeezed, squeezed, bias=False)
        self.mixing = nn.Linear(squeezed, self.rank**2, bias=False)
        self.output_gate = nn.Linear(squeezed, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as nn.Conv2d does, P and Q as `initial_scale` says."""
        as_conv2d_does(self.weight)
        reset_bias(self.bias, self.kernel_shape)
        for matrix in (self.reduce, self.expand):
            nn.init.kaiming_normal_(matrix.weight, mode="fan_out", nonlinearity="relu")
        if self.initial_scale == "corrected":
            with torch.no_grad():
                self.expand.weight.mul_(CORRECTED_RESIDUAL)

    def choice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale s (B, O) and Phi (B, d, d), float32 under autocast."""
        require_images(x, self.in_channels)
        with full_precision(x):
            pooled = F.adaptive_avg_pool2d(at_least_float32(x), self.pool).flatten(1)
            if self.feature_norm == "rms":
                pooled = unit_features(pooled)
            squeezed = self.squeeze(pooled.to(linear_dtype(self.squeeze)))
            squeezed = squeezed * hard_scale(self.excite(squeezed))
            phi = at_least_float32(self.mixing(squeezed)).view(-1, self.rank, self.rank)
            return hard_scale(at_least_float32(self.output_gate(squeezed))), phi

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W), s (B, O) and Phi (B, d, d)."""
        scale, phi = choice
        x, geometry = self.placed(x)
        reduced = self.reduce(centred(x, self.kernel_size, geometry))
        z = self.norm_reduced(reduced.flatten(2))
        z = self.norm_mixed(phi.to(z.dtype) @ z) + z
        residual = F.conv2d(z.view_as(reduced), self.expand.weight, self.bias)
        static = conv2d(x, self.weight, None, geometry)
        return torch.addcmul(residual, static, scale.to(static.dtype)[:, :, None, None])

    def filters(self, x: Tensor, choice: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Each image's whole filter (B, O, C, kh, kw), with BatchNorm's running statistics as in evaluation.

        What BatchNorm adds besides is a constant for each image and output.
        """
        scale, phi = self.choice(x) if choice is None else choice
        with full_precision(x):
            mixed, reduced = (_slope(norm).to(phi.dtype) for norm in (self.norm_mixed, self.norm_reduced))
            inner = mixed[:, None] * phi + torch.eye(self.rank, dtype=phi.dtype, device=phi.device)
            down = reduced[:, None] * self.reduce.weight.flatten(1).to(phi.dtype)
            residual = self.expand.weight.flatten(1).to(phi.dtype) @ inner @ down
        height, width = ((k - 1) // 2 for k in self.kernel_size)
        before = (width, self.kernel_size[1] - 1 - width, height, self.kernel_size[0] - 1 - height)
        return scale[:, :, None, None, None] * self.weight + F.pad(residual[..., None, None], before)


def _slope(norm: nn.BatchNorm1d) -> Tensor:
    """The factor of each channel in a BatchNorm in evaluation."""
    assert norm.running_var is not None
    return norm.weight / (norm.running_var + norm.eps).sqrt()
