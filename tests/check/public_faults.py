"""Faults of public code, each written anew and small from its description: what the check must reject."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.check.sound_layer import Filter


class AssignsData(nn.Module):
    """The lab's public solution: the generated filter is assigned to a parameter's .data, which cuts the gradient."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.generator = nn.Linear(in_channels, self.conv.weight.numel())

    def forward(self, x: Tensor) -> Tensor:
        generated = self.generator(x.mean((0, 2, 3)))
        self.conv.weight.data = generated.view_as(self.conv.weight)
        return self.conv(x)


class NormOverBatch(Filter):
    """The norm is taken over the batch, not over an image's filter."""

    def mixed(self, pi: Tensor) -> Tensor:
        filters = super().mixed(pi)
        return filters / filters.norm(dim=0)


class ScaledByBatchSize(Filter):
    """The response is divided by the square root of the batch size, where the filter's was meant."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / math.sqrt(len(x) or 1)


class ReadsEmbeddingData(nn.Module):
    """The generator reads embeds.weight.data, so that the embedding never trains."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__()
        self.embeds = nn.Embedding(out_channels, 16)
        self.generator = nn.Linear(16, in_channels * kernel_size**2)
        self.shape, self.padding = (out_channels, in_channels, kernel_size, kernel_size), padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.generator(self.embeds.weight.data).view(self.shape), padding=self.padding)


class DetachedNorm(Filter):
    """The filter is divided by a norm through which no gradient flows."""

    def mixed(self, pi: Tensor) -> Tensor:
        filters = super().mixed(pi)
        length = filters.flatten(1).norm(dim=1).detach()[:, None, None, None, None]
        return filters / length * math.sqrt(filters.shape[1] / 3)


class DetachedAttention(Filter):
    """The features that the attention sees are detached, so that the input's gradient lacks a part."""

    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x.detach())


class DetachedInTraining(Filter):
    """The same, but only in training, where it counts."""

    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x.detach() if self.training else x)


class RandomInForward(nn.Module):
    """The variable-channel layer: kernels drawn by torch.randn in forward, so that they are noise."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(out_channels))
        self.kernel_size, self.padding = kernel_size, padding

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(self.scale), x.shape[1], self.kernel_size, self.kernel_size)
        weight = torch.randn(shape, dtype=x.dtype) / math.sqrt(math.prod(shape[1:]) * 3)
        return F.conv2d(x, weight * self.scale[:, None, None, None].to(x.dtype), padding=self.padding)


class BuildsInForward(Filter):
    """The variable-channel layer: its attention is built anew for the channels that come."""

    def forward(self, x: Tensor) -> Tensor:
        if getattr(self, "gate", None) is None:
            self.gate = nn.Linear(x.shape[1], x.shape[1]).to(x.dtype)
        return super().forward(x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None])


class PlainTemperature(Filter):
    """The temperature is an ordinary attribute, lost with a state dict."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        del self.temperature
        self.temperature = 30.0

    def update_temperature(self) -> None:
        if self.temperature > 1:
            self.temperature -= 3


class UndefinedBias(Filter):
    """Biases are mixed through a name that is not defined."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + aggregate_bias if self.bias is not None else y  # type: ignore[name-defined]  # noqa: F821


class Gates(nn.Module):
    """Sigmoids of a temperature that is a plain number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)
        self.temperature = 34.0

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc(x.mean((2, 3))) / self.temperature).sigmoid()[:, :, None, None]


class HalfTheHeads(Filter):
    """FMDConv: the update reaches the gates only, the kernels' attention stays near the uniform mean for ever."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.gates = Gates(in_channels)

    def update_temperature(self, temperature: float) -> None:
        self.gates.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2 * self.gates(x))


class BrokenUpdate(Filter):
    """FMDConv: the other update uses names that are not defined."""

    def updata_temperature(self) -> None:
        self.temperature -= temperature_step  # type: ignore[name-defined]  # noqa: F821


class IgnoredTemperature(Filter):
    """A second softmax divides by the number that the first one started with."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.taps = nn.Linear(in_channels, self.size[0] * self.size[1])

    def forward(self, x: Tensor) -> Tensor:
        taps = (self.taps(x.mean((2, 3))) / 30.0).softmax(1).view(-1, 1, 1, *self.size) * math.prod(self.size)
        return self.convolve(x, self.mixed(self.attention(x)) * taps.to(self.weight.dtype))


class FixedBasis(Filter):
    """No fault: what is frozen is not meant to train, nor are the numbers of an order to be moved."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.basis = nn.Parameter(torch.ones(in_channels, 1, 1), requires_grad=False)
        self.order = nn.Parameter(torch.arange(in_channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, self.order] * self.basis.to(x.dtype))


class RandomStart(Filter):
    """FDConv: the output gates start at random, since what should initialise them tests a method, not a layer."""

    def __init__(self, in_channels: int, out_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, out_channels, *arguments, **options)
        self.gate = nn.Linear(in_channels, out_channels)
        nn.init.kaiming_normal_(self.gate.weight, mode="fan_out", nonlinearity="relu")
        self.gate.weight.data *= math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2 * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]


class WrongGroups(Filter):
    """FDConv: the kernel of a grouped convolution is reshaped by all input channels."""

    def __init__(self, in_channels: int, *arguments: Any, groups: int = 1, **options: Any) -> None:
        super().__init__(in_channels // groups, *arguments, **options)
        self.head = nn.Linear(in_channels, self.num_kernels)
        self.in_channels, self.groups = in_channels, groups

    def convolve(self, x: Tensor, filters: Tensor) -> Tensor:
        stacked = filters.to(x.dtype).reshape(-1, self.in_channels, *filters.shape[-2:])
        images = x.reshape(1, -1, *x.shape[-2:])
        y = F.conv2d(images, stacked, None, self.stride, self.padding, groups=len(x) * self.groups or 1)
        y = y.view(len(x), filters.shape[1], *y.shape[-2:])
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


class FourierWithoutSize(Filter):
    """FDConv: the inverse transform is not given the size, so that an odd number of columns loses one."""

    def mixed(self, pi: Tensor) -> Tensor:
        filters = super().mixed(pi).movedim(2, 4)
        batch, outputs, height, width, inputs = filters.shape
        matrix = filters.reshape(batch, outputs * height, width * inputs)
        matrix = torch.fft.irfft2(torch.fft.rfft2(matrix))
        return matrix.view(batch, outputs, height, width, -1).movedim(4, 2)


class MissingAttribute(Filter):
    """PAD-Net: one mode reads an attribute that only the other has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.phi


class NotANumber(Filter):
    """OverLoCK: NaN under autocast, by a sum in the narrow type."""

    def attention(self, x: Tensor) -> Tensor:
        total = (x * 1000).to(torch.float16 if torch.is_autocast_enabled("cpu") else x.dtype).square().sum((2, 3))
        return super().attention(x) * (total / total).mean()


class SharedNorm(Filter):
    """TransXNet: one BatchNorm sees two distributions in a forward, so that evaluation is not training."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.norm = nn.BatchNorm2d(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.norm(F.adaptive_avg_pool2d(x, 2)).mean((2, 3), keepdim=True)
        return super().forward(x + self.norm(x.mean((2, 3), keepdim=True).expand_as(x)) * pooled)


class KeptInAList(Filter):
    """KernelWarehouse: modules registered through a Python list, which no state dict sees."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.heads = [nn.Linear(in_channels, in_channels)]

    def forward(self, x: Tensor) -> Tensor:
        gate = self.heads[0].to(x.dtype)(x.mean((2, 3))).sigmoid()
        return super().forward(x * gate[:, :, None, None])


class DeadParameters(Filter):
    """A filter of K kernels that are averaged: the attention decides nothing."""

    def mixed(self, pi: Tensor) -> Tensor:
        return super().mixed(torch.full_like(pi, 1 / pi.shape[1]))


class Prints(Filter):
    """FDConv: forward prints, which breaks a compiled graph."""

    def forward(self, x: Tensor) -> Tensor:
        print(end="")
        return super().forward(x)


class ViewsMemory(Filter):
    """DY-Conv implementations: images become groups by view, which only contiguous memory allows."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(1, -1, *x.shape[2:]).view(x.shape))


class NormOfOneImage(Filter):
    """ODConv: BatchNorm over pooled features, which has nothing to normalise in a batch of one."""

    def __init__(self, in_channels: int, *arguments: Any, **options: Any) -> None:
        super().__init__(in_channels, *arguments, **options)
        self.norm = nn.BatchNorm1d(in_channels)

    def attention(self, x: Tensor) -> Tensor:
        return super().attention(self.norm(x.mean((2, 3)))[:, :, None, None])


class KnowsTwoTypes(Filter):
    """Involution: the name of a compiled kernel is looked up by dtype, and half precision has none."""

    def mixed(self, pi: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else pi.dtype
        assert {torch.float32: "float", torch.float64: "double"}[dtype]
        return super().mixed(pi)


class WholeStrides(Filter):
    """DDF: the output has height // stride rows, one too few for odd heights."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, : x.shape[2] // self.stride, : x.shape[3] // self.stride]


class OutputOfInputSize(Filter):
    """A collection of attention modules: the output is viewed with the input's size, whatever the stride."""

    def convolve(self, x: Tensor, filters: Tensor) -> Tensor:
        return super().convolve(x, filters).view(*filters.shape[:2], *x.shape[2:])


class FlatGates(Filter):
    """FMDConv: sigmoid gates on inputs and outputs start at temperature 30, so that each halves the features."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 2) / 2


class SmallBank(Filter):
    """CondConv implementations: the bank is drawn as one tensor, whose fan in is that of all outputs together."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        nn.init.kaiming_uniform_(self.weight.data.unflatten(0, (self.num_kernels, -1)), a=math.sqrt(5))


class Hangs(Filter):
    """A layer that never comes back."""

    def forward(self, x: Tensor) -> Tensor:
        while True:
            pass


class WrongShape(Filter):
    """A layer that loses a row."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, 1:]
