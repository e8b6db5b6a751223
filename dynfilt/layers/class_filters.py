"""1x1 filters that belong to a class: generated from a label embedding, trainable, or replaced by concatenation."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.squeeze import at_least_float32, full_precision

ResponseScale = Literal["divide", "multiply", "none"]
EXPONENTS = {"divide": -0.5, "multiply": 0.5, "none": 0.0}


class ClassResponses(nn.Module):
    """Apply one 1x1 filter a class to shared features: all classes are the outputs of one 1x1 convolution.

    v: (B, C, H, W) -> responses (B, classes, H, W), rescaled by C**-0.5 (`divide`), C**0.5 (`multiply`) or not.
    `filters` is a module that returns the weights (classes, C).
    Raises ValueError for an unknown response_scale.
    """

    kernel_size = (1, 1)

    def __init__(self, filters: nn.Module, in_channels: int, response_scale: ResponseScale) -> None:
        super().__init__()
        require_choice("response_scale", response_scale, ResponseScale)
        self.filters = filters
        self.scale = in_channels ** EXPONENTS[response_scale]

    def forward(self, v: Tensor) -> Tensor:
        weight = self.filters() * self.scale
        return F.conv2d(v, weight[:, :, None, None].to(v.dtype))


class GeneratedClassFilters(nn.Module):
    """One filter a class, generated from a learned embedding of the label: FC, ReLU, FC, tanh, L2 norm.

    () -> (num_classes, in_channels), rows of unit length. Depends on the class only, never on the image.
    """

    def __init__(self, num_classes: int, in_channels: int, embedding_features: int, hidden_features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_features)
        self.hidden = nn.Linear(embedding_features, hidden_features)
        self.output = nn.Linear(hidden_features, in_channels)

    def forward(self) -> Tensor:
        w = torch.tanh(self.output(F.relu(self.hidden(self.embedding.weight))))
        with full_precision(w):
            return F.normalize(at_least_float32(w), dim=1)


class TrainableClassFilters(nn.Module):
    """The static twin: `num_filters` trainable filters, initialised as nn.Conv2d.

    () -> (num_filters, in_channels).
    """

    def __init__(self, num_filters: int, in_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_filters, in_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self) -> Tensor:
        return self.weight


class ClassConcatenation(nn.Module):
    """The naive way to give a network the label: concatenate its embedding to the features at every position.

    v: (B, C, H, W) -> (B, classes, H, W) through 1x1 convolutions (C + E) -> hidden, ReLU, hidden -> 1 for each class.
    The first convolution is split into its feature and its embedding part, which is exact and runs on the
    features once.
    """

    def __init__(self, num_classes: int, in_channels: int, embedding_features: int, hidden_features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_features)
        self.concatenated = nn.Conv2d(in_channels + embedding_features, hidden_features, 1)
        self.response = nn.Conv2d(hidden_features, 1, 1)

    def forward(self, v: Tensor) -> Tensor:
        batch, in_channels, height, width = v.shape
        weight = self.concatenated.weight[:, :, 0, 0]
        from_features = F.conv2d(v, weight[:, :in_channels, None, None])
        from_class = F.linear(self.embedding.weight, weight[:, in_channels:], self.concatenated.bias)
        hidden = F.relu(from_features[:, None] + from_class[None, :, :, None, None])
        return self.response(hidden.flatten(0, 1)).view(batch, -1, height, width)
