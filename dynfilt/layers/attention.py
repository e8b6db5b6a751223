"""Attention over K kernels: the weights with which an image mixes them, and the temperature of that choice.

Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv 1912.03458;
sigmoid routing after CondConv, Yang et al., NeurIPS 2019, arXiv 1904.04971.
"""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count, require_positive
from dynfilt.layers.squeeze import at_least_float32, full_precision, global_average, linear_dtype, require_images

AttentionKind = Literal["softmax", "sigmoid"]


class KernelAttention(nn.Module):
    """Weights pi of K kernels for each image, from the image's globally averaged features.

    Global average pool, Linear(C, hidden) without bias, ReLU, Linear(hidden, K), then `softmax` or `sigmoid`
    of logits / temperature. hidden is int(C * reduction) + 1, and K for an image of 3 channels. At a high
    temperature softmax mixes all kernels alike and sigmoid gives every kernel 0.5; at temperature 1 sigmoid
    is the routing of CondConv. Softmax over one kernel is 1 for every image: that layer has no parameters.
    Raises ValueError for num_kernels below 1, a reduction that is not positive and an unknown attention.
    """

    def __init__(self, in_channels: int, num_kernels: int, reduction: float, attention: AttentionKind) -> None:
        super().__init__()
        require_count("num_kernels", num_kernels, "kernel")
        require_positive("reduction", reduction, "a positive ratio of hidden units to channels, e.g. 0.25")
        require_choice("attention", attention, AttentionKind)
        self.in_channels = in_channels
        self.num_kernels = num_kernels
        self.kind = attention
        self.constant = num_kernels == 1 and attention == "softmax"
        if not self.constant:
            hidden = num_kernels if in_channels == 3 else int(in_channels * reduction) + 1
            self.reduce = nn.Linear(in_channels, hidden, bias=False)
            self.score = nn.Linear(hidden, num_kernels)

    def forward(self, x: Tensor, temperature: Tensor) -> Tensor:
        """Return pi (B, K), at least float32 under autocast too, for x (B, C, H, W); temperature is 0-dim."""
        if self.constant:
            require_images(x, self.in_channels)
            return at_least_float32(x.new_ones(x.shape[0], 1))
        with full_precision(x):
            pooled = global_average(x, self.in_channels)
            hidden = F.relu(self.reduce(pooled.to(linear_dtype(self.reduce))))
            logits = at_least_float32(self.score(hidden)) / temperature
            return logits.softmax(dim=1) if self.kind == "softmax" else logits.sigmoid()

    def extra_repr(self) -> str:
        return f"num_kernels={self.num_kernels}, attention={self.kind}"


def check_temperature(value: float) -> float:
    """Return the temperature; raise ValueError unless it is a positive finite number."""
    require_positive("temperature", value, "a positive finite number, e.g. 30 to start with or 1 at the end")
    return value


def set_temperature(module: nn.Module, value: float) -> None:
    """Fill every buffer named `temperature` inside module; a module without one is left as it is.

    The buffers are filled in place, so compiled and graph-captured models see the new value.
    Raises ValueError unless value is a positive finite number.
    """
    fill_temperatures(temperature_buffers(module), value)


def fill_temperatures(buffers: Iterable[Tensor], value: float) -> None:
    """`set_temperature` where `temperature_buffers` has found the buffers already, as a training loop's steps do."""
    check_temperature(value)
    for buffer in buffers:
        buffer.fill_(value)


def get_temperature(module: nn.Module) -> float | None:
    """Return the temperature that all layers inside module share, None if no layer has one.

    Raises ValueError when layers differ.
    """
    buffers = temperature_buffers(module)
    if not buffers:
        return None
    values = torch.cat([buffer.flatten() for buffer in buffers]).tolist()
    if min(values) != max(values):
        raise ValueError(
            f"layers differ in temperature ({min(values)} to {max(values)}): set_temperature gives all one"
        )
    return values[0]


def temperature_buffers(module: nn.Module, named: str = "temperature") -> list[Tensor]:
    """Every buffer of that name inside module. Raises ValueError for one of whole numbers, which would be rounded."""
    found = {name: buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] == named}
    for name, buffer in found.items():
        if not buffer.is_floating_point():
            kind = str(buffer.dtype).removeprefix("torch.")
            raise ValueError(f"{name}: is a buffer of {kind}, which a schedule would round; make it one of floats")
    return list(found.values())
