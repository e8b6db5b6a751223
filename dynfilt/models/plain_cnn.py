"""A plain CNN whose every ingredient is a choice: filters, depth, norm, activation, how it shrinks the image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.dropout import Dropout

Norm = Literal["batch", "none"]
Activation = Literal["relu", "gelu", "silu"]
Shrinking = Literal["max_pool", "mean_pool", "stride"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class PlainCnn(nn.Module):
    """Stages of convolutions, each followed by norm and activation; every stage halves the image; then mean and linear.

    images: (B, 3, H, W) -> scores (B, num_classes). `stages` has (channels, convolutions) of each. `shrink` says how a
    stage halves: by a 2x2 pool at its end, or by stride 2 in its last convolution. With `norm: none` convolutions have
    biases. Raises ValueError for an unknown word, no stages, an even kernel_size, and images halved to nothing.
    """

    def __init__(
        self,
        num_classes: int,
        stages: list[tuple[int, int]],
        kernel_size: int,
        norm: Norm,
        activation: Activation,
        shrink: Shrinking,
        dropout: float,
    ) -> None:
        super().__init__()
        require_choice("norm", norm, Norm)
        require_choice("activation", activation, Activation)
        require_choice("shrink", shrink, Shrinking)
        if not stages or any(count < 1 for stage in stages for count in stage):
            raise ValueError(f"stages={stages}: must be [channels, convolutions] of one or more stages, all at least 1")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: must be odd, so that the convolution keeps the size")
        self.smallest_image = 2 ** len(stages)
        layers: list[nn.Module] = []
        inputs = 3
        for channels, convolutions in stages:
            for number in range(1, convolutions + 1):
                stride = 2 if shrink == "stride" and number == convolutions else 1
                padding, bias = kernel_size // 2, norm == "none"
                convolution = nn.Conv2d(inputs, channels, kernel_size, stride=stride, padding=padding, bias=bias)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers.append(convolution)
                layers += [nn.BatchNorm2d(channels)] if norm == "batch" else []
                layers.append(ACTIVATIONS[activation]())
                inputs = channels
            if shrink != "stride":
                layers.append(nn.MaxPool2d(2) if shrink == "max_pool" else nn.AvgPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (B, num_classes) for images (B, 3, H, W)."""
        if min(images.shape[2:]) < self.smallest_image:
            size = "x".join(map(str, images.shape[2:]))
            raise ValueError(
                f"images are {size}; model.stages halves them to nothing below {self.smallest_image} pixels"
            )
        return self.fc(self.dropout(F.adaptive_avg_pool2d(self.features(images), 1).flatten(1)))
