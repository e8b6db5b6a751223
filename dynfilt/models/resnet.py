"""ResNet-18 with a choice of convolution, and the two networks of the DY-Conv comparison made of it.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, with torchvision's
parameter names. DY-Conv takes every convolution except the first: Chen et al., CVPR 2020, arXiv 1912.03458.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.attention import AttentionKind
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.models.weights import load_backbone_weights

Stem = Literal["imagenet", "cifar"]
ConvFactory = Callable[..., nn.Module]

BLOCK_CONVOLUTIONS = ("conv1", "conv2", "downsample.0")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes.

    x: (B, in_channels, H, W) -> (B, channels, H / stride, W / stride). `conv` builds its convolutions (conv1,
    conv2, downsample.0), nn.Conv2d those of them that are named in `static`.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, conv: ConvFactory, static: Collection[str] = ()
    ) -> None:
        super().__init__()

        def build(name: str, inputs: int, kernel_size: int, stride: int) -> nn.Module:
            chosen: ConvFactory = nn.Conv2d if name in static else conv
            size = {"kernel_size": kernel_size, "stride": stride, "padding": kernel_size // 2}
            return chosen(inputs, channels, **size, bias=False)

        self.conv1 = build("conv1", in_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = build("conv2", channels, 3, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            shortcut = build("downsample.0", in_channels, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) for x (B, in_channels, H, W)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 whose convolutions named in `dynamic_layers` come from `conv`, the others from nn.Conv2d.

    images: (B, 3, H, W) -> scores (B, num_classes). `stem` is `imagenet` (7x7, stride 2, then max pool) or
    `cifar` (3x3, stride 1, no pool); it stays static. `conv` is called as conv(in, out, kernel_size=,
    stride=, padding=, bias=False). A name in `dynamic_layers` stands for itself and all below it: a stage
    (layer3), a block (layer3.0), a convolution (layer3.0.conv1, layer3.0.downsample). `dropout` acts before
    the last layer. `weights` as in dynfilt.models.weights, for all but the last layer; a dynamic layer's
    kernels all start as the file's one, which under softmax first computes what the static network would.
    Raises ValueError for an unknown stem and for a name in `dynamic_layers` that covers no convolution.
    """

    def __init__(
        self,
        num_classes: int,
        stem: Stem,
        conv: ConvFactory,
        dynamic_layers: list[str],
        dropout: float,
        weights: str,
    ) -> None:
        super().__init__()
        if stem not in get_args(Stem):
            raise ValueError(f"stem={stem!r}: choose one of {', '.join(get_args(Stem))}")
        _check_names(dynamic_layers)
        stage = partial(_stage, conv=conv, dynamic_layers=dynamic_layers)
        self.conv1 = _first_convolution(stem)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.layer1 = stage("layer1", 64, 64, stride=1)
        self.layer2 = stage("layer2", 64, 128, stride=2)
        self.layer3 = stage("layer3", 128, 256, stride=2)
        self.layer4 = stage("layer4", 256, 512, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(512, num_classes)
        initialise_convolutions(self)
        _load_backbone(self, stem, weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (B, num_classes) for images x (B, 3, H, W)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def resnet18(num_classes: int, stem: Stem, dropout: float, weights: str) -> ResNet18:
    """Return the static twin: the network of dyconv_resnet18 with nn.Conv2d everywhere.

    11,689,512 parameters with the imagenet stem and 1000 classes, 11,173,962 with the cifar stem and 10.
    """
    return ResNet18(num_classes, stem, nn.Conv2d, [], dropout, weights)


def dyconv_resnet18(
    num_classes: int,
    stem: Stem,
    num_kernels: int,
    reduction: float,
    attention: AttentionKind,
    dynamic_layers: list[str],
    dropout: float,
    weights: str,
) -> ResNet18:
    """Return ResNet-18 with dynamic convolutions of ``num_kernels`` kernels at ``dynamic_layers``.

    Raises ValueError as DYConv2d and ResNet18 do.
    """
    conv = partial(DYConv2d, num_kernels=num_kernels, reduction=reduction, attention=attention)
    return ResNet18(num_classes, stem, conv, dynamic_layers, dropout, weights)


@torch.no_grad()
def initialise_convolutions(module: nn.Module) -> None:
    """Draw nn.Conv2d's weights, and each kernel of DYConv2d's, from He's normal distribution by fan out.

    One rule for both, so that a dynamic network and its static twin differ in the filter alone.
    Source: He et al., ICCV 2015, arXiv 1502.01852, in torchvision's choice of mode.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | DYConv2d):
            kernels = layer.weight if isinstance(layer, DYConv2d) else layer.weight[None]
            for kernel in kernels:
                nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")


@torch.no_grad()
def _load_backbone(model: ResNet18, stem: Stem, weights: str) -> None:
    """Load all but the last layer; every kernel of a dynamic layer becomes the file's kernel."""
    if weights == "none":
        return
    static = resnet18(model.fc.out_features, stem, 0.0, "none")
    load_backbone_weights(static, weights)
    own = model.state_dict()
    for name, value in static.state_dict().items():
        if not name.startswith("fc."):
            own[name].copy_(value)


def _first_convolution(stem: Stem) -> nn.Conv2d:
    if stem == "imagenet":
        return nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    return nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)


def _stage(
    name: str, in_channels: int, channels: int, stride: int, conv: ConvFactory, dynamic_layers: list[str]
) -> nn.Sequential:
    """Return the two blocks of a stage, with ``conv`` where a dynamic layer covers the convolution."""
    blocks = []
    for index, (inputs, step) in enumerate([(in_channels, stride), (channels, 1)]):
        static = [c for c in BLOCK_CONVOLUTIONS if not _covered(f"{name}.{index}.{c}", dynamic_layers)]
        blocks.append(BasicBlock(inputs, channels, step, conv, static))
    return nn.Sequential(*blocks)


def _covered(convolution: str, layers: list[str]) -> bool:
    return any(f"{convolution}.".startswith(f"{layer}.") for layer in layers)


def _check_names(dynamic_layers: list[str]) -> None:
    stages = [f"layer{stage}" for stage in (1, 2, 3, 4)]
    convolutions = [f"{stage}.{block}.{conv}" for stage in stages for block in (0, 1) for conv in ("conv1", "conv2")]
    convolutions += [f"{stage}.0.downsample.0" for stage in stages[1:]]
    for layer in dynamic_layers:
        if not any(_covered(convolution, [layer]) for convolution in convolutions):
            raise ValueError(
                f"dynamic_layers names {layer!r}; allowed are {', '.join(stages)}, their blocks "
                "(layer1.0) and their convolutions (layer1.0.conv1, layer1.0.conv2, layer2.0.downsample)"
            )
