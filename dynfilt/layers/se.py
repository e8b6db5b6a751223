"""Gates on the inputs and outputs of a static convolution: the control of the field.

Squeeze-and-excitation (Hu et al., CVPR 2018, arXiv 1709.01507) on both sides of one kernel. ODConv with one kernel is
this and a gate on the taps, so that a layer that does not beat it owes its gain to gates, not to filters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import InitialScale, as_conv2d_does, reset_bias
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import Squeeze, at_least_float32, full_precision, gate_features, gate_filters, gate_head


class SEConv2d(DynamicConv2d):
    """y = g_out(x) * conv(g_in(x) * x) + b, with gates from the image's globally averaged features.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d; `reduction` is the ratio of
    hidden units to channels. `initial_scale: corrected` doubles the sigmoid, so that every gate starts at 1 and the
    layer as nn.Conv2d; `published` is the plain sigmoid, which starts at 0.5 on both sides.
    Parameters `weight` (O, C/groups, kh, kw) and `bias` (O) or None.
    Raises ValueError for a reduction that is not positive, an unknown initial_scale and as DynamicConv2d does.
    """

    choice_names = ("input gate", "output gate")

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
        reduction: float = 0.0625,
        initial_scale: InitialScale = "corrected",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_choice("initial_scale", initial_scale, InitialScale)
        self.open_gate = 2.0 if initial_scale == "corrected" else 1.0
        self.weight = nn.Parameter(torch.empty(self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.squeeze = Squeeze(in_channels, reduction)
        self.input_gate = gate_head(self.squeeze.hidden, in_channels)
        self.output_gate = gate_head(self.squeeze.hidden, out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as nn.Conv2d does."""
        as_conv2d_does(self.weight)
        reset_bias(self.bias, self.kernel_shape)

    def choice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates on inputs (B, C) and outputs (B, O), float32 under autocast."""
        with full_precision(x):
            hidden = self.squeeze(x)
            gates = (at_least_float32(head(hidden)).sigmoid() for head in (self.input_gate, self.output_gate))
            input_gate, output_gate = (gate * self.open_gate for gate in gates)
        return input_gate, output_gate

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and both gates."""
        input_gate, output_gate = choice
        x, geometry = self.placed(gate_features(x, input_gate))
        y = gate_features(conv2d(x, self.weight, None, geometry), output_gate)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def filters(self, x: Tensor, choice: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Each image's whole filter (B, O, C/groups, kh, kw)."""
        input_gate, output_gate = self.choice(x) if choice is None else choice
        return gate_filters(self.weight[None], input_gate, output_gate, self.groups)
