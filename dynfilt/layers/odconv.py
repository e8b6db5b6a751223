"""Omni-dimensional dynamic convolution (ODConv): gates on inputs, outputs and taps, attention over K kernels.

Li et al., "Omni-Dimensional Dynamic Convolution", ICLR 2022, arXiv 2209.07947.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.attention import check_temperature
from dynfilt.layers.choice import KERNEL_ATTENTION
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Geometry, Padding, Size, output_size
from dynfilt.layers.initialisation import Draw, InitialScale, as_conv2d_does, rescale_mixture, reset_bias
from dynfilt.layers.mixture import conv2d_mixture, mix
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import (
    Squeeze,
    at_least_float32,
    for_each_output,
    full_precision,
    gate_features,
    gate_filters,
    gate_head,
)

TemperatureOn = Literal["all", "kernels"]


class ODConv2d(DynamicConv2d):
    """W(x) = sum_k pi_k(x) W_k, its taps, inputs and outputs weighed by gates of the image; y = conv(x, W(x)) + b.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d; then the number of kernels K,
    the ratio of hidden units to channels, the temperature to start with (the paper's 30), whether it divides the logits
    of `all` heads, as the authors' code does, or of the `kernels` alone, and how the layer starts: `published` with
    plain sigmoids, at 1 / sqrt(K) of the static twin's standard deviation and half of that for each gate that the layer
    has, or `corrected` with doubled ones that start at 1 and kernels that are larger by sqrt(K). As in the authors'
    code a 1x1 kernel has no tap gate, a depthwise layer no output gate, one kernel no attention.
    Parameters `weight` (K, O, C/groups, kh, kw) and `bias` (O) or None; buffer `temperature`, 0-dim.
    Raises ValueError for num_kernels below 1, a reduction or temperature that is not positive, an unknown word and as
    DynamicConv2d does.
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
        num_kernels: int = 1,
        reduction: float = 0.0625,
        temperature: float = 30.0,
        temperature_on: TemperatureOn = "all",
        initial_scale: InitialScale = "published",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_count("num_kernels", num_kernels, "kernel")
        require_choice("temperature_on", temperature_on, TemperatureOn)
        require_choice("initial_scale", initial_scale, InitialScale)
        self.num_kernels = num_kernels
        self.temperature_on = temperature_on
        self.initial_scale = initial_scale
        self.weight = nn.Parameter(torch.empty(num_kernels, *self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.register_buffer("temperature", torch.tensor(check_temperature(temperature), dtype=torch.float32))
        self.squeeze = Squeeze(in_channels, reduction)
        nn.init.kaiming_normal_(self.squeeze.reduce.weight, mode="fan_out", nonlinearity="relu")
        self.heads = nn.ModuleDict({name: self._head(name) for name in self._head_names()})
        self.reset_parameters()

    def _head_names(self) -> list[str]:
        names = ["input_gate"]
        if not self.in_channels == self.out_channels == self.groups:
            names.append("output_gate")
        if self.kernel_size != (1, 1):
            names.append("tap_gate")
        return names if self.num_kernels == 1 else [*names, "kernels"]

    def _head(self, name: str) -> nn.Linear:
        features = {
            "input_gate": self.in_channels,
            "output_gate": self.out_channels,
            "tap_gate": self.kernel_size[0] * self.kernel_size[1],
            "kernels": self.num_kernels,
        }[name]
        head = gate_head(self.squeeze.hidden, features)
        if self.initial_scale == "published" or name == "kernels":
            nn.init.kaiming_normal_(head.weight, mode="fan_out", nonlinearity="relu")
        return head

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The gates that the layer has and its attention over kernels, as `choice` orders them."""
        return tuple(KERNEL_ATTENTION if name == "kernels" else name.replace("_", " ") for name in self.heads)

    def reset_parameters(self) -> None:
        """Draw each kernel and the bias as nn.Conv2d does."""
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)

    def reset_kernels(self, draw: Draw) -> None:
        """Start each kernel from `draw`, which fills one (O, C/groups, kh, kw) in place."""
        for kernel in self.weight.detach():
            draw(kernel)
        if self.initial_scale == "corrected":
            rescale_mixture(self.weight, 1 / self.num_kernels)

    def choice(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates on inputs (B, C), outputs (B, O), taps (B, kh * kw) and the attention over kernels (B, K),
        those that the layer has, float32 under autocast."""
        with full_precision(x):
            hidden = self.squeeze(x)
            return tuple(self._decide(name, head(hidden)) for name, head in self.heads.items())

    def _decide(self, name: str, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        if name == "kernels":
            return (logits / self.temperature).softmax(1)
        gate = (logits / self.temperature if self.temperature_on == "all" else logits).sigmoid()
        return 2 * gate if self.initial_scale == "corrected" else gate

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, ...]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and what `choice` returns."""
        chosen = dict(zip(self.heads, choice, strict=True))
        x, geometry = self.placed(x)
        inputs, pi = chosen["input_gate"], chosen.get("kernels")
        if "tap_gate" in chosen:
            y = self._convolve(x, geometry, inputs[:, :, None] * chosen["tap_gate"][:, None], pi)
        else:
            y = self._mixture(gate_features(x, inputs), self.weight, pi, geometry)
        if "output_gate" in chosen:
            y = gate_features(y, chosen["output_gate"])
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _convolve(self, x: Tensor, geometry: Geometry, gates: Tensor, pi: Tensor | None) -> Tensor:
        """Convolve with kernels mixed by pi, whose inputs and taps are weighed by gates (B, C, kh * kw)."""
        height, width = output_size((x.shape[2], x.shape[3]), self.kernel_size, geometry)
        if height * width >= self.out_channels:
            filters = self._weigh(self.weight if pi is None else mix(pi, self.weight), gates)
            return conv2d_per_sample(x, filters.to(x.dtype), None, *geometry)
        # A filter is larger than the unfolded image: weigh the image's windows instead, in one static convolution.
        stride, padding, dilation, groups = geometry
        windows = F.unfold(x, self.kernel_size, dilation, padding, stride).unflatten(1, (self.in_channels, -1))
        weighed = (windows * gates.to(x.dtype)[..., None]).flatten(1, 2).unflatten(2, (height, width))
        kernels = self.weight.flatten(2)[..., None, None]
        return self._mixture(weighed, kernels, pi, Geometry((1, 1), (0, 0), (1, 1), groups))

    def _mixture(self, x: Tensor, kernels: Tensor, pi: Tensor | None, geometry: Geometry) -> Tensor:
        if pi is None:
            return conv2d(x, kernels[0], None, geometry)
        return conv2d_mixture(x, kernels, pi, None, *geometry)

    def _weigh(self, filters: Tensor, gates: Tensor) -> Tensor:
        """filters (B or 1, O, C/groups, kh, kw) with their inputs and taps weighed by (B, C, kh * kw)."""
        return filters * for_each_output(gates, self.out_channels, self.groups).unflatten(3, self.kernel_size)

    def filters(self, x: Tensor, choice: tuple[Tensor, ...] | None = None) -> Tensor:
        """Each image's whole filter (B, O, C/groups, kh, kw)."""
        chosen = dict(zip(self.heads, self.choice(x) if choice is None else choice, strict=True))
        filters = self.weight if self.num_kernels == 1 else mix(chosen["kernels"], self.weight)
        if "tap_gate" in chosen:
            filters = filters * chosen["tap_gate"].view(-1, 1, 1, *self.kernel_size)
        return gate_filters(filters, chosen["input_gate"], chosen.get("output_gate"), self.groups)
