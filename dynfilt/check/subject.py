"""The layer under check: how it is built, its static twin, and the images it is shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dynfilt.check.schedule_numbers import schedule_numbers

Factory = Callable[..., nn.Module]
Shape = tuple[int, int, int]

GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "groups")
# Parameters are moved at least so far from where they start: gates that start alike for all images then differ.
SMALLEST_MOVE = 0.05


@dataclass(frozen=True)
class Rounding:
    """What rounding does to a layer: by how much two ways to one output may differ, of the output; for gradients the
    step of a central difference, its largest relative error, and what is nothing beside a loss of about 1."""

    same: float
    step: float
    tolerance: float
    noise: float


# The same sums in another order agree to 1e-12. A rectifier's kink within a step stays far below the tolerance, a cut
# gradient above.
FLOAT64 = Rounding(same=1e-8, step=1e-5, tolerance=1e-3, noise=1e-9)
# A softmax or a norm that is always computed in float32, say.
FLOAT32 = Rounding(same=1e-5, step=3e-3, tolerance=2e-2, noise=3e-5)


@dataclass(frozen=True)
class Subject:
    """A layer's factory, called as factory(in_channels, out_channels, **arguments), and the shape of its images."""

    factory: Factory
    image_shape: Shape
    out_channels: int
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        function = getattr(self.factory, "func", self.factory)
        options = {**getattr(self.factory, "keywords", {}), **self.arguments}
        words = "".join(f", {name}={value!r}" for name, value in options.items())
        size = "x".join(map(str, self.image_shape))
        name = getattr(function, "__qualname__", str(function))
        return f"{name}({self.image_shape[0]}, {self.out_channels}{words}) on images of {size}"

    def fresh(self, seed: int = 0, **changes: Any) -> nn.Module:
        """A new layer; `changes` are other arguments, in_channels and out_channels among them."""
        torch.manual_seed(seed)
        channels = [changes.pop(name, now) for name, now in self._channels()]
        layer = self.factory(*channels, **{**self.arguments, **changes})
        if isinstance(layer, nn.Module):
            for name, parameter in layer.named_parameters():
                if parameter.is_complex():
                    raise ValueError(
                        f"{name}: is complex, which the check cannot take; keep it as torch.view_as_real has it"
                    )
        return layer

    def twin(self, seed: int = 0, bias: bool = True, **changes: Any) -> nn.Conv2d:
        """The static convolution of the same size."""
        torch.manual_seed(seed)
        channels = [changes.pop(name, now) for name, now in self._channels()]
        options = {**getattr(self.factory, "keywords", {}), **self.arguments, **changes}
        inputs, outputs = channels
        return nn.Conv2d(inputs, outputs, bias=bias, **{name: options[name] for name in GEOMETRY if name in options})

    def lively(self) -> nn.Module:
        """A layer in float64 and eval mode, its trained parameters, BatchNorm statistics and schedules moved."""
        layer = self.fresh().double().eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in trained(layer).values():
                scale = max(parameter.square().mean().sqrt().item(), SMALLEST_MOVE) if parameter.numel() else 0.0
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            for module in layer.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                    assert module.running_var is not None
                    size = module.running_mean.shape
                    module.running_mean.add_(0.3 * torch.randn(size, generator=generator, dtype=torch.float64))
                    module.running_var.mul_(0.5 + torch.rand(size, generator=generator, dtype=torch.float64))
        for number in schedule_numbers(layer):
            number.set(1.0)
        return layer

    @cached_property
    def rounding(self) -> Rounding:
        """That of float32, where the layer computes in it although its parameters and images are float64."""
        with torch.no_grad(), _Roundings() as seen:
            run(self.lively(), self.images(2))
        return FLOAT32 if seen.found else FLOAT64

    def images(self, batch: int, seed: int = 3, **changes: int) -> Tensor:
        """Random images in float64, of which each has a mean and a contrast of its own for every channel."""
        channels, height, width = self.image_shape
        shape = (changes.get("channels", channels), changes.get("height", height), changes.get("width", width))
        generator = torch.Generator().manual_seed(seed)
        mean, contrast = torch.randn(2, batch, shape[0], 1, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
        return noise * (1 + 0.3 * contrast) + mean

    def _channels(self) -> list[tuple[str, int]]:
        return [("in_channels", self.image_shape[0]), ("out_channels", self.out_channels)]


class _Roundings(TorchDispatchMode):
    """Notes whether any operation makes less than float64 of float64."""

    found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        from_double = any(isinstance(each, Tensor) and each.dtype == torch.float64 for each in args)
        less = isinstance(result, Tensor) and result.is_floating_point() and result.dtype != torch.float64
        self.found = self.found or (from_double and less)
        return result


def trained(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The layer's parameters that are not frozen, by name."""
    return {name: parameter for name, parameter in layer.named_parameters() if parameter.requires_grad}


def run(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer's output; numbers that it draws are the same each time."""
    torch.manual_seed(0)
    return layer(x)


def relative_difference(y: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected number; infinite for other shapes and for numbers that are none."""
    if y.shape != expected.shape:
        return float("inf")
    if not y.numel():
        return 0.0
    difference = (y.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    return difference.item() if torch.isfinite(difference) else float("inf")


def make_subject(factory: Factory, image_shape: Shape, arguments: dict[str, Any]) -> Subject:
    """A factory with the arguments of a 3x3 convolution that keeps the size, where `arguments` do not say otherwise.

    Raises ValueError when the factory does not take the arguments.
    """
    channels, *_ = image_shape
    given = {**arguments}
    if given.pop("in_channels", channels) != channels:
        raise ValueError(f"in_channels: is the first number of the input, {channels}; leave it out")
    out_channels = given.pop("out_channels", channels)
    name = getattr(getattr(factory, "func", factory), "__qualname__", str(factory))
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: cannot be called as a layer is: {error}") from error
    preset = getattr(factory, "keywords", {})
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key, value in {"kernel_size": 3, "padding": 1}.items():
        if (key in signature.parameters or any_keyword) and key not in preset:
            given.setdefault(key, value)
    for key, value in {"stride": 1, "bias": False}.items():  # a network gives them, so a layer may have no default
        if key in signature.parameters and signature.parameters[key].default is inspect.Parameter.empty:
            given.setdefault(key, value)
    takes = ", ".join(signature.parameters)
    called = f"it is called as {name}(in_channels, out_channels, kernel_size=, ...), takes: {takes}"
    if "kernel_size" not in {*given, *preset}:
        raise ValueError(f"{name}: has not the interface of a convolution; {called}")
    try:
        signature.bind(channels, out_channels, **given)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; {called}") from error
    return Subject(factory, image_shape, out_channels, given)


def locate_layer(path: str) -> type[nn.Module]:
    """The class that `package.module:Layer` names. Raises ValueError for a path that leads to no layer."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")[::1]
    if not module or not name:
        raise ValueError(f"{path}: must be package.module:Layer")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be imported ({error})") from error
    if not isinstance(found, type):
        raise ValueError(f"{path}: is a {type(found).__name__}, not a class")
    if not issubclass(found, nn.Module):
        raise ValueError(f"{path}: is a class but no layer; it must be a subclass of torch.nn.Module")
    return found
