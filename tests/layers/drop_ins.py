"""Every layer that takes nn.Conv2d's place, in small, and how an oracle is held against it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynfilt.layers.bands import BandModulatedConv2d
from dynfilt.layers.condconv import CondConv2d
from dynfilt.layers.dcd import DCDConv2d
from dynfilt.layers.ddf import DDFConv2d
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.fdconv import FDConv2d
from dynfilt.layers.involution import InvolutionConv2d
from dynfilt.layers.kernel_warehouse import KernelWarehouseConv2d
from dynfilt.layers.odconv import ODConv2d
from dynfilt.layers.se import SEConv2d
from dynfilt.layers.varchannel import VarChannelConv2d
from dynfilt.layers.weightnet import WeightNetConv2d

CHANNELS = 8


@dataclass(frozen=True)
class DropIn:
    """A layer and the options that make its test sharp; what it does not do by design."""

    layer: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    starts_as_static: dict[str, Any] = field(default_factory=dict)
    groups: bool = True
    depthwise: bool = True
    choice_in_float32: bool = True  # False for filters of positions, which are features

    def build(self, in_channels: int = CHANNELS, out_channels: int = 12, kernel_size: Any = 3, **changes: Any) -> Any:
        return self.layer(in_channels, out_channels, kernel_size, **{**self.options, **changes})


DROP_INS = {
    "dyconv": DropIn(DYConv2d, {"temperature": 2.0}, {"initial_scale": "corrected", "temperature": 30.0}),
    "dyconv sigmoid": DropIn(
        DYConv2d, {"attention": "sigmoid", "temperature": 1.0}, {"initial_scale": "corrected", "temperature": 30.0}
    ),
    "condconv": DropIn(CondConv2d, {}, {"initial_scale": "corrected"}),
    "odconv": DropIn(ODConv2d, {"temperature": 2.0}, {"initial_scale": "corrected", "temperature": 30.0}),
    "odconv, 3 kernels": DropIn(
        ODConv2d,
        {"temperature": 2.0, "num_kernels": 3},
        {"initial_scale": "corrected", "temperature": 30.0, "temperature_on": "kernels"},
    ),
    "dcd": DropIn(DCDConv2d, {}, {"initial_scale": "corrected"}, groups=False),
    "dcd, pool 1": DropIn(DCDConv2d, {"pool": 1}, {"initial_scale": "corrected"}, groups=False),
    "fdconv": DropIn(FDConv2d, {"frequency_groups": 3, "band_modulation": False}),
    "fdconv, bands": DropIn(FDConv2d, {"frequency_groups": 9}),
    "bands": DropIn(BandModulatedConv2d),
    "involution": DropIn(
        InvolutionConv2d, {"group_channels": 4}, {"initial_scale": "corrected"}, choice_in_float32=False
    ),
    "ddf": DropIn(DDFConv2d, {"reduction": 0.5}, {"initial_scale": "corrected"}, choice_in_float32=False),
    "kernel_warehouse": DropIn(
        KernelWarehouseConv2d, {"assignment_share": 0.3}, {"initial_scale": "corrected", "assignment_share": 1.0}
    ),
    "kernel_warehouse, half": DropIn(
        KernelWarehouseConv2d,
        {"assignment_share": 0.3, "budget": 0.5, "cell_size": 0.5},
        {"initial_scale": "corrected", "assignment_share": 1.0},
    ),
    "se": DropIn(SEConv2d),
    "varchannel": DropIn(VarChannelConv2d, {"num_templates": 5}, {"num_templates": 64}, groups=False),
    "weightnet": DropIn(WeightNetConv2d, {"activations": 2, "generator_groups": 1}),
    "weightnet, slices": DropIn(WeightNetConv2d, {"activations": 2, "generator_groups": 2}, depthwise=False),
    "se published": DropIn(SEConv2d, {"initial_scale": "published"}, {"initial_scale": "corrected"}),
}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"padding": 1},
    "same": {"padding": "same"},
    "valid": {"padding": "valid", "bias": False},
    "stride": {"stride": 2, "padding": 1},
    "one by one": {"kernel_size": 1},
    "one by one, stride": {"kernel_size": 1, "stride": 2, "bias": False},
    "pairs": {"kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
    "dilated": {"dilation": 2, "padding": 2},
    "uneven same": {"kernel_size": (2, 3), "padding": "same"},
    "wide padding": {"padding": 2, "kernel_size": (1, 3)},
    "few outputs": {"stride": 4, "padding": 1, "kernel_size": (3, 2), "dilation": (1, 2)},
    "groups": {"groups": 2, "padding": 1},
    "groups, few outputs": {"groups": 4, "stride": (4, 3)},
    "depthwise": {"groups": CHANNELS, "out_channels": CHANNELS, "padding": 1},
}


def cases() -> list[tuple[str, str]]:
    """Each layer with each geometry that it has."""
    return [
        (name, geometry)
        for name, drop_in in DROP_INS.items()
        for geometry, options in GEOMETRIES.items()
        if (drop_in.groups or "groups" not in options) and (drop_in.depthwise or options.get("groups") != CHANNELS)
    ]


def lively(layer: nn.Module) -> nn.Module:
    """The layer in float64 and eval mode, with parameters and BatchNorm statistics far from where they start."""
    generator = torch.Generator().manual_seed(7)
    layer = layer.double().eval()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            scale = 1.0 if "gate" in name or "norm" in name else 0.3
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for name, buffer in layer.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.3 * torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
            if name.endswith("running_var"):
                buffer.mul_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
    return layer


def images(batch: int = 4, channels: int = CHANNELS, height: int = 9, width: int = 8, seed: int = 3) -> Tensor:
    """Random images in float64, each channel around a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(batch, channels, 1, 1, generator=generator, dtype=torch.float64)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64) + means


def outputs_and_gradients(function: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output of a function of x and of the layer's parameters, and all gradients of a random sum of it."""
    x = x.detach().requires_grad_()
    y = function(x)
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(11))
    return [y.detach(), *torch.autograd.grad((y * cotangent).sum(), [x, *layer.parameters()])]


def assert_equals_the_loop(layer: nn.Module, image_output: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Hold outputs and gradients of x and every parameter to a loop; image_output maps (C, H, W) to (O, H', W')."""
    expected = outputs_and_gradients(lambda v: torch.stack([image_output(image) for image in v]), layer, x)
    ours = outputs_and_gradients(layer, layer, x)
    names = ["output", "x", *(name for name, _ in layer.named_parameters())]
    for name, a, b in zip(names, ours, expected, strict=True):
        assert b.abs().max() > 1e-6, f"{name}: nothing to compare"
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
