"""Dynamic convolution (DY-Conv): K parallel kernels, mixed for each image by an attention.

Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv 1912.03458.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.attention import AttentionKind, KernelAttention, check_temperature
from dynfilt.layers.bank import BankConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import InitialScale

Control = Literal["none", "constant", "frozen", "shuffled"]


class DYConv2d(BankConv2d):
    """A convolution with a kernel for each image: W(x) = sum_k pi_k(x) W_k, b(x) = sum_k pi_k(x) b_k.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d, sizes as an int or a
    pair, padding also as `same`; then the number of kernels K, the attention's hidden units for each input channel,
    its kind, the temperature to start with (the paper's 30), and how large the kernels start: as the paper's, whose
    near-uniform mixture has 1 / sqrt(K) of one kernel's standard deviation, or `corrected`. With one kernel and softmax
    it is nn.Conv2d, bit for bit.
    Parameters `weight` (K, O, C/groups, kh, kw) and `bias` (K, O) or None, each kernel initialised as
    nn.Conv2d's; buffer `temperature`, 0-dim, set by dynfilt.layers.attention.set_temperature. A forward hook
    on `attention` may replace pi.
    Three controls have all its parameters: `constant` learns one pi for all images, `frozen` never trains the
    attention, `shuffled` gives every image of a training batch the pi of a random one of them.
    Raises ValueError for num_kernels below 1, a reduction or temperature that is not positive, an unknown
    attention or control, a control where one kernel leaves nothing to decide, groups that do not divide both channel
    counts, and sizes that are not ints in range.
    """

    temperature: Tensor

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
        num_kernels: int = 4,
        reduction: float = 0.25,
        attention: AttentionKind = "softmax",
        temperature: float = 30.0,
        initial_scale: InitialScale = "published",
        control: Control = "none",
    ) -> None:
        require_choice("control", control, Control)
        head = KernelAttention(in_channels, num_kernels, reduction, attention)
        if control != "none" and head.constant:
            raise ValueError(f"control={control}: one kernel with softmax has no attention to control; leave it none")
        share = 1 / num_kernels if attention == "softmax" else 0.5
        geometry = (kernel_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *geometry, bias, num_kernels, share, initial_scale)
        self.attention = head.requires_grad_(control != "frozen")
        self.control = control
        self.register_buffer("temperature", torch.tensor(check_temperature(temperature), dtype=torch.float32))
        self.reset_parameters()

    @property
    def constant(self) -> bool:
        """Whether softmax over one kernel leaves nothing to decide."""
        return self.attention.constant

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The attention, unless it is the same for all images."""
        return () if self.control == "constant" else super().choice_names

    def choice(self, x: Tensor) -> Tensor:
        """Return pi (B, K), float32 under autocast, for images x (B, C, H, W)."""
        pi = self.attention(torch.zeros_like(x) if self.control == "constant" else x, self.temperature)
        if self.control == "shuffled" and self.training:
            return pi[torch.rand(len(pi), device=pi.device).argsort()]
        return pi
