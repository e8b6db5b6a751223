"""ResNet-18 with ImageNet weights on images of another data set: resized on the device, its first layers frozen."""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.models.resnet import resnet18
from dynfilt.models.weights import load_backbone_weights


class TransferResNet18(nn.Module):
    """ResNet-18 with torchvision's layers and a new last one, trained from the layer `freeze_until` on.

    images: (B, 3, H, W) -> scores (B, num_classes). They are resized to image_size x image_size first, bilinear; null
    takes them as they are. `freeze_until` names the first layer that trains, conv1, bn1, layer1 .. layer4 or fc, null
    for all; what lies before it keeps its weights and its BatchNorm statistics. `weights` as in dynfilt.models.weights;
    the convolutions named in `random_layers` start at random whatever the file holds.
    Raises ValueError for names of layers that are not there and an image_size below 32.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int | None,
        freeze_until: str | None,
        weights: str,
        random_layers: list[str],
    ) -> None:
        super().__init__()
        if image_size is not None and image_size < 32:
            raise ValueError(f"image_size={image_size}: ResNet-18 halves an image five times; use at least 32")
        self.image_size = image_size
        self.network = resnet18(num_classes, "imagenet", 1.0, nn.Conv2d, "all", 0.0, "none")
        for name in random_layers:
            if name not in self.network.convolutions:
                raise ValueError(f"random_layers: no layer {name!r}; e.g. {', '.join(self.network.convolutions[-3:])}")
        load_backbone_weights(self.network, weights, random_layers)
        layers = [name for name, layer in self.network.named_children() if any(True for _ in layer.parameters())]
        if freeze_until is not None and freeze_until not in layers:
            raise ValueError(f"freeze_until: no layer {freeze_until!r}; allowed: {', '.join(layers)}, null for none")
        self.frozen = layers[: layers.index(freeze_until)] if freeze_until else []
        for name in self.frozen:
            self.network.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for frozen layers, whose BatchNorm keeps its statistics."""
        super().train(mode)
        for name in self.frozen:
            self.network.get_submodule(name).eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (B, num_classes) for images (B, 3, H, W)."""
        if self.image_size is not None:
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.network(images)
