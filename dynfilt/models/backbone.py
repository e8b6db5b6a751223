"""The first layers of ResNet-18: what the lab and the label-guided networks look through."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.models.basic_block import BasicBlock
from dynfilt.models.weights import load_backbone_weights

FEATURE_CHANNELS = 64
FEATURE_SIZE = 8


class Backbone(nn.Module):
    """ResNet-18 (He et al., CVPR 2016, arXiv 1512.03385) from conv1 to block `blocks` of layer1, never frozen.

    images: (B, 3, 32, 32) -> v (B, 64, 8, 8). `weights` as in dynfilt.models.weights.
    Raises ValueError when blocks is not 1 or 2, or when the images are not 3x32x32: the classifiers read every place
    of v.
    """

    def __init__(self, blocks: int, weights: str) -> None:
        super().__init__()
        if blocks not in (1, 2):
            raise ValueError(f"backbone_blocks={blocks}: layer1 of ResNet-18 has 2 blocks; allowed: 1, 2")
        self.conv1 = nn.Conv2d(3, FEATURE_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(FEATURE_CHANNELS)
        self.layer1 = nn.Sequential(
            *(BasicBlock(FEATURE_CHANNELS, FEATURE_CHANNELS, stride=1, conv=nn.Conv2d) for _ in range(blocks))
        )
        load_backbone_weights(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (3, 4 * FEATURE_SIZE, 4 * FEATURE_SIZE):
            raise ValueError(
                f"images are {tuple(images.shape[1:])}, must be (3, 32, 32); for other sizes choose a ResNet, "
                "e.g. model=resnet18"
            )
        return self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1))
