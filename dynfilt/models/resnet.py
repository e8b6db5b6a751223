"""ResNets with a choice of convolution: one network for every layer of the field, and its static twin.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, with torchvision's parameter
names and a 1x1 convolution in every shortcut that changes the shape. As in DY-Conv (Chen et al., CVPR 2020, arXiv
1912.03458) every convolution may be dynamic except the first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.attention import AttentionKind
from dynfilt.layers.dropout import Dropout
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.initialisation import Draw, draw_kernels
from dynfilt.layers.kernel_warehouse import share_cells
from dynfilt.models.basic_block import BasicBlock, ConvFactory, require_convolution
from dynfilt.models.weights import load_backbone_weights

Stem = Literal["imagenet", "cifar", "stride2"]
DynamicLayers = list[str] | Literal["all"]

# He et al., ICCV 2015, arXiv 1502.01852, in torchvision's choice of mode.
he_normal: Draw = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """A ResNet of basic blocks whose convolutions named in `dynamic_layers` come from `conv`, the others nn.Conv2d.

    images: (B, 3, H, W) -> scores (B, num_classes). `stages` has (channels, blocks) of layer1, layer2, ...; each stage
    after the first halves the image. `width` is a factor on all channels. `stem` is `cifar` (3x3, stride 1), `stride2`
    (3x3, stride 2, a quarter of the work) or `imagenet` (7x7, stride 2, then max pool); it stays static. `conv` is
    called as conv(in, out, kernel_size=, stride=, padding=, bias=False). `dynamic_layers` is `all` or a list of names,
    each for itself and all below it: a stage (layer3), a block (layer3.0), a convolution (layer3.0.conv1,
    layer3.0.downsample). `dropout` acts before the last layer. Layers that share cells do so with those that read the
    maps of the same stage. Every kernel of every convolution starts from He's normal distribution by fan out, see
    dynfilt.layers.initialisation.draw_kernels. `weights` as in dynfilt.models.weights, for all but the last layer;
    every kernel of a dynamic layer starts as the file's one.
    Raises ValueError for an unknown stem, a width that gives no whole channels, a name in `dynamic_layers` that covers
    no convolution, a `conv` that cannot be called so, and weights that a layer cannot start from.
    """

    def __init__(
        self,
        num_classes: int,
        stages: list[tuple[int, int]],
        stem: Stem,
        width: float,
        conv: ConvFactory,
        dynamic_layers: DynamicLayers,
        dropout: float,
        weights: str,
    ) -> None:
        super().__init__()
        require_choice("stem", stem, Stem)
        require_convolution(conv)
        if not stages or any(count < 1 for stage in stages for count in stage):
            raise ValueError(f"stages={stages}: must be [channels, blocks] of one or more stages, all at least 1")
        channels = _widened([count for count, _ in stages], width)
        blocks = [count for _, count in stages]
        self.convolutions = ("conv1", *_block_convolutions(blocks))
        static = self._static(dynamic_layers)
        self.conv1 = _first_convolution(stem, channels[0])
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(stages) + 1)]
        for name, (inputs, outputs), count in zip(self.stages, pairwise([channels[0], *channels]), blocks, strict=True):
            self.add_module(name, _stage(name, inputs, outputs, count, conv, static))
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(channels[-1], num_classes)
        for _, names in groupby(sorted(self.convolutions[1:], key=_stage_that_it_reads), _stage_that_it_reads):
            share_cells(self.get_submodule(name) for name in names)
        for name in self.convolutions:
            draw_kernels(self.get_submodule(name), he_normal)
        if weights != "none":
            twin = ResNet(num_classes, stages, stem, width, nn.Conv2d, [], dropout, "none")
            load_backbone_weights(twin, weights)
            self._start_from(twin)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (B, num_classes) for images x (B, 3, H, W)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))

    def _static(self, dynamic_layers: DynamicLayers) -> set[str]:
        """The convolutions that stay static."""
        if dynamic_layers == "all":
            return set()
        covered: set[str] = set()
        for layer in dynamic_layers:
            below = {name for name in self.convolutions[1:] if f"{name}.".startswith(f"{layer}.")}
            if not below:
                stages = sorted({name.partition(".")[0] for name in self.convolutions[1:]})
                raise ValueError(
                    f"dynamic_layers names {layer!r}; allowed are {', '.join(stages)}, their blocks (layer1.0) "
                    "and their convolutions (layer1.0.conv1, layer1.0.conv2, layer2.0.downsample)"
                )
            covered |= below
        return set(self.convolutions) - covered

    @torch.no_grad()
    def _start_from(self, twin: ResNet) -> None:
        """Take over all of a static twin but the last layer."""
        own = self.state_dict()
        for name, value in twin.state_dict().items():
            if not name.startswith("fc.") and name.removesuffix(".weight") not in self.convolutions:
                own[name].copy_(value)
        for name in self.convolutions:
            self._start_convolution(name, twin.get_parameter(f"{name}.weight"))

    def _start_convolution(self, name: str, kernel: Tensor) -> None:
        layer = self.get_submodule(name)

        def copy(own: Tensor) -> None:
            if own.shape != kernel.shape:
                raise ValueError(f"weights: {name} is a {type(layer).__name__} with a kernel of another shape")
            own.copy_(kernel)

        if not draw_kernels(layer, copy):
            raise ValueError(f"weights: {name} is a {type(layer).__name__}, which starts from no kernel; weights: none")


def resnet18(
    num_classes: int,
    stem: Stem,
    width: float,
    conv: ConvFactory,
    dynamic_layers: DynamicLayers,
    dropout: float,
    weights: str,
) -> ResNet:
    """Return ResNet-18: four stages of two blocks, 64 to 512 channels.

    With nn.Conv2d 11,689,512 parameters with the imagenet stem and 1000 classes, 11,173,962 with the cifar stem and 10.
    """
    stages = [(64, 2), (128, 2), (256, 2), (512, 2)]
    return ResNet(num_classes, stages, stem, width, conv, dynamic_layers, dropout, weights)


def dyconv_resnet18(
    num_classes: int,
    stem: Stem,
    num_kernels: int,
    reduction: float,
    attention: AttentionKind,
    dynamic_layers: list[str],
    dropout: float,
    weights: str,
) -> ResNet:
    """Return ResNet-18 with dynamic convolutions of `num_kernels` kernels at `dynamic_layers`.

    Raises ValueError as DYConv2d and ResNet do.
    """
    conv = partial(DYConv2d, num_kernels=num_kernels, reduction=reduction, attention=attention)
    return resnet18(num_classes, stem, 1.0, conv, dynamic_layers, dropout, weights)


def _first_convolution(stem: Stem, channels: int) -> nn.Conv2d:
    if stem == "imagenet":
        return nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
    return nn.Conv2d(3, channels, 3, stride=2 if stem == "stride2" else 1, padding=1, bias=False)


def _stage(
    name: str, in_channels: int, channels: int, blocks: int, conv: ConvFactory, static: Collection[str]
) -> nn.Sequential:
    """The blocks of a stage; the first one of all but layer1 halves the image."""
    built = []
    for index in range(blocks):
        prefix = f"{name}.{index}."
        inside = {convolution.removeprefix(prefix) for convolution in static if convolution.startswith(prefix)}
        stride = 2 if index == 0 and name != "layer1" else 1
        built.append(BasicBlock(in_channels if index == 0 else channels, channels, stride, conv, inside))
    return nn.Sequential(*built)


def _block_convolutions(blocks: Sequence[int]) -> Iterator[str]:
    """Names of the convolutions in all blocks, in the order in which they are built."""
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            yield from (f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2")
            if stage > 1 and block == 0:
                yield f"layer{stage}.0.downsample.0"


def _stage_that_it_reads(convolution: str) -> int:
    """The number of the stage whose maps a convolution of a block reads, 1 also for the first one's."""
    stage, block, name = convolution.split(".", 2)
    leads_in = block == "0" and name != "conv2"
    return max(1, int(stage.removeprefix("layer")) - leads_in)


def _widened(channels: list[int], width: float) -> list[int]:
    """Channels times width. Raises ValueError, with the nearest widths that do, where that gives no whole channels."""
    unit = math.gcd(*channels)
    if not (0 < width < math.inf):
        raise ValueError(f"width={width}: must be a positive factor on all channels, e.g. 0.5")
    steps = width * unit
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
        nearest = {max(math.floor(steps), 1) / unit, max(math.ceil(steps), 1) / unit}
        words = " and ".join(map(str, sorted(nearest)))
        raise ValueError(f"width={width} gives no whole channels of {channels}; the nearest that does: {words}")
    return [round(count * width) for count in channels]
