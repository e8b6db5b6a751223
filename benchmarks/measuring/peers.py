"""The same layers and networks as public code writes them, to time ours against; each gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynfilt.data.bundle import ImageData
from dynfilt.layers.attention import AttentionKind
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.generated import GeneratedConv2d
from dynfilt.models.label_net import LabelNet
from dynfilt.models.resnet import ResNet, dyconv_resnet18, resnet18


class LoopedConv2d(GeneratedConv2d):
    """One convolution an image, in a loop that indexes the batch: the usual first draft."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, O, H', W')."""
        weight = self.filters(x)
        return torch.cat([F.conv2d(x[i : i + 1], weight[i], padding=self.padding) for i in range(len(x))])


class TenPassLabelNet(LabelNet):
    """The backbone runs once for each class, on the same images, before that class's filter is applied."""

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, 32, 32) -> scores (B, num_classes)."""
        responses: Any = self.responses
        weight = responses.filters() * responses.scale
        scores = []
        for row in weight.split(1):
            maps = F.conv2d(self.backbone(images), row[:, :, None, None])
            scores.append(self.predictor(maps.flatten(2)).flatten(1))
        return torch.cat(scores, dim=1)


class StackedOutputsConv2d(DYConv2d):
    """K convolutions whose stacked outputs are weighted and summed: the way without a kernel for each image."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, O, H', W'); a layer with bias is not asked for."""
        assert self.bias is None
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        responses = torch.stack([F.conv2d(x, kernel, None, *geometry) for kernel in self.weight], dim=1)
        pi = self.choice(x).to(responses.dtype)
        return (responses * pi[:, :, None, None, None]).sum(1)


def _network_of(layer: type[DYConv2d]) -> Callable[..., ResNet]:
    """dyconv_resnet18 with another layer for its dynamic ones."""

    @wraps(dyconv_resnet18)
    def network(num_kernels: int, reduction: float, attention: AttentionKind, **options: Any) -> ResNet:
        conv = partial(layer, num_kernels=num_kernels, reduction=reduction, attention=attention)
        return resnet18(width=1.0, conv=conv, **options)

    return network


stacked_outputs_resnet18 = _network_of(StackedOutputsConv2d)


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """The training images as torchvision's data sets give them: one PIL picture at a time, then transforms.

    Raises ValueError where torchvision is not installed.
    """

    def __init__(self, data: ImageData) -> None:
        try:
            from torchvision import transforms
        except ImportError as error:
            raise ValueError(f"the public data loader needs torchvision ({error})") from error
        steps = [transforms.RandomCrop(data.train.images.shape[-1], padding=data.pad)] if data.pad else []
        steps += [transforms.RandomHorizontalFlip()] if data.flip else []
        self.transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)])
        self.pictures: np.ndarray = data.train.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.labels = data.train.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pictures[index])), self.labels[index]


def public_loader(data: ImageData, batch_size: int, workers: int, device: torch.device) -> DataLoader:
    """The loader that tutorials write: shuffled; here with full batches only and workers that outlive an epoch."""
    return DataLoader(
        PictureDataset(data),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
