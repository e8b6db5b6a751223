"""A bank of K kernels, of which every image takes its own mixture: W(x) = sum_k pi_k(x) W_k."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.choice import KERNEL_ATTENTION
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import Draw, InitialScale, as_conv2d_does, rescale_mixture, reset_bias
from dynfilt.layers.mixture import conv2d_mixture, mix
from dynfilt.layers.reach import conv2d


class BankConv2d(DynamicConv2d):
    """A convolution whose choice is an attention pi (B, K) over its kernels and biases; a layer writes `choice`.

    Parameters `weight` (K, O, C/groups, kh, kw) and `bias` (K, O) or None. `initial_share` is the weight that each
    kernel has at the start; `initial_scale: corrected` draws the kernels so much larger that their mixture is then as
    large as one kernel. A bank whose attention is `constant` is one kernel, and the layer is nn.Conv2d, bit for bit.
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
        bias: bool,
        num_kernels: int,
        initial_share: float,
        initial_scale: InitialScale,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_choice("initial_scale", initial_scale, InitialScale)
        self.num_kernels = num_kernels
        self.initial_share = initial_share
        self.initial_scale = initial_scale
        self.weight = nn.Parameter(torch.empty(num_kernels, *self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(num_kernels, out_channels)) if bias else None

    @property
    def constant(self) -> bool:
        """Whether the only kernel's weight is 1 for every image."""
        return False

    @property
    def choice_names(self) -> tuple[str, ...]:
        """One attention over the kernels, none where it is constant."""
        return () if self.constant else (KERNEL_ATTENTION,)

    def reset_parameters(self) -> None:
        """Draw each kernel and bias as nn.Conv2d does: uniform within 1 / sqrt(fan in of one kernel)."""
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)
        if self.bias is not None:
            self.correct(self.bias)

    def reset_kernels(self, draw: Draw) -> None:
        """Start each kernel from `draw`, which fills one (O, C/groups, kh, kw) in place."""
        for kernel in self.weight.detach():
            draw(kernel)
        self.correct(self.weight)

    def correct(self, parameters: Tensor) -> None:
        """Scale K kernels or biases, each drawn as one, to what `initial_scale` wants of their mixture."""
        if self.initial_scale == "corrected":
            rescale_mixture(parameters, self.initial_share)

    def filters(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """Each image's kernel (B, O, C/groups, kh, kw); the sum keeps the precision of pi."""
        pi = self.choice(x) if choice is None else choice
        assert isinstance(pi, Tensor)
        return mix(pi, self.weight)

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and pi (B, K)."""
        x, geometry = self.placed(x)
        if self.constant:
            bias = None if self.bias is None else self.bias.squeeze(0)
            return conv2d(x, self.weight.squeeze(0), bias, geometry)
        return conv2d_mixture(x, self.weight, choice, self.bias, *geometry)
