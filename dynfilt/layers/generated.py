"""Filters generated from the image's own features, and their shared (static) twin."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.per_sample import conv2d_per_sample

NORMALISATIONS = ("per_image", "over_batch")
GRADIENTS = ("full", "cut")


class FilterGenerator(nn.Module):
    """Map the flattened features of an image to one vector of filter weights: FC, then tanh.

    features: (B, ...) with `condition_features` numbers an image -> (B, filter_features), in -1..1.
    Dynamic Filter Networks, Jia et al., NeurIPS 2016, arXiv 1605.09673.
    """

    def __init__(self, condition_features: int, filter_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition_features, filter_features)

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(self.linear(features.flatten(1)))


class GeneratedConv2d(nn.Module):
    """A convolution whose filter is generated from its own input, one filter an image.

    x: (B, C, H, W) with C * H * W = condition_features -> (B, O, H', W').
    `normalisation: per_image` divides each image's filter by its L2 norm; `over_batch` is the fault of a
    public implementation: the norm over the batch *is* the filter, one for all images. `gradient: cut` is the
    other fault: the generator never trains. Both exist to be measured.
    Raises ValueError for an unknown normalisation or gradient.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int,
        condition_features: int,
        normalisation: Literal["per_image", "over_batch"],
        gradient: Literal["full", "cut"],
    ) -> None:
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation={normalisation!r} is unknown; allowed: {', '.join(NORMALISATIONS)}")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient={gradient!r} is unknown; allowed: {', '.join(GRADIENTS)}")
        self.filter_shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.padding = padding
        self.normalisation = normalisation
        self.gradient = gradient
        self.generator = FilterGenerator(condition_features, math.prod(self.filter_shape))

    @property
    def mixes_batch(self) -> bool:
        """Whether the output of an image depends on the other images of its batch."""
        return self.normalisation == "over_batch"

    def filters(self, x: Tensor) -> Tensor:
        """The filters of a batch, as applied: (B, O, C, k, k)."""
        w = self.generator(x)
        with torch.autocast(w.device.type, enabled=False):
            w = w.float() if w.dtype in (torch.bfloat16, torch.float16) else w
            w = _norm_over_batch(w) if self.mixes_batch else F.normalize(w, dim=1)
        w = w.view(-1, *self.filter_shape)
        return w.detach() if self.gradient == "cut" else w

    def forward(self, x: Tensor) -> Tensor:
        return conv2d_per_sample(x, self.filters(x), padding=self.padding)


class SharedConv2d(nn.Module):
    """The static twin: one trainable filter for all images, applied by the same formulation.

    x: (B, C, H, W) -> (B, O, H', W'). Initialised as nn.Conv2d.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def filters(self, x: Tensor) -> Tensor:
        """The same filter for every image: (B, O, C, k, k), a view."""
        return self.weight.expand(x.shape[0], *self.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d_per_sample(x, self.filters(x), padding=self.padding)


class GeneratorHead(nn.Module):
    """The generator's parameters without a dynamic filter: class scores straight from the generated vector.

    features: (B, ...) -> (B, num_classes). The control of equal capacity for GeneratedConv2d.
    """

    def __init__(self, condition_features: int, filter_features: int, num_classes: int) -> None:
        super().__init__()
        self.generator = FilterGenerator(condition_features, filter_features)
        self.scores = nn.Linear(filter_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(self.generator(features))


def _norm_over_batch(w: Tensor) -> Tensor:
    return w.norm(dim=0, keepdim=True).expand_as(w)
