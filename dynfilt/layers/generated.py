"""Filters generated from the image's own features, and their shared (static) twin."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.choice import FILTER
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.squeeze import at_least_float32, full_precision

Normalisation = Literal["per_image", "over_batch", "per_kernel", "none"]
Activation = Literal["tanh", "none"]
Gradient = Literal["full", "cut"]
# Beyond this tanh lets hardly any gradient through.
SATURATED = 0.99


class FilterGenerator(nn.Module):
    """Map the features of an image to one vector of filter weights: FC, then tanh.

    features: (B, ...) with `condition_features` numbers an image -> (B, filter_features), in -1..1.
    Dynamic Filter Networks, Jia et al., NeurIPS 2016, arXiv 1605.09673. Three changes to it, as ablations: `pooled`
    averages the features over the positions first, so that condition_features counts channels; `rank` puts a layer of
    so many numbers before the FC; `activation: none` takes tanh away, and with it what saturates.
    Raises ValueError for another number of features, an unknown activation and a rank below 1.
    """

    def __init__(
        self,
        condition_features: int,
        filter_features: int,
        activation: Activation = "tanh",
        rank: int | None = None,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        require_choice("activation", activation, Activation)
        self.condition_features = condition_features
        self.activation = activation
        self.pooled = pooled
        if rank is not None:
            require_count("rank", rank, "number")
        self.reduce = None if rank is None else nn.Linear(condition_features, rank, bias=False)
        self.linear = nn.Linear(condition_features if rank is None else rank, filter_features)

    def forward(self, features: Tensor) -> Tensor:
        if self.pooled:
            features = features.mean((2, 3))
        if features.shape[1:].numel() != self.condition_features:
            shape, wanted = tuple(features.shape[1:]), self.condition_features
            raise ValueError(f"an image has the features {shape}, must have condition_features={wanted} numbers")
        features = features.flatten(1)
        w = self.linear(features if self.reduce is None else self.reduce(features))
        return torch.tanh(w) if self.activation == "tanh" else w


class GeneratedConv2d(nn.Module):
    """A convolution whose filter is generated from its own input, one filter an image.

    x: (B, C, H, W) with C * H * W = condition_features, C if `pooled` -> (B, O, H', W').
    `normalisation: per_image` divides each image's filters by their common L2 norm, `per_kernel` each k x k kernel by
    its own and by sqrt(O * C), so that the filters are as long; `over_batch` is the fault of a public implementation:
    the norm over the batch *is* the filter, one for all images. `gradient: cut` is the other fault: the generator
    never trains. Both exist to be measured. `activation`, `rank` and `pooled` as in FilterGenerator.
    Raises ValueError for an unknown normalisation or gradient.
    """

    choice_names = (FILTER,)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int | Literal["same"],
        condition_features: int,
        normalisation: Normalisation,
        gradient: Gradient,
        activation: Activation = "tanh",
        rank: int | None = None,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        require_count("kernel_size", kernel_size, "pixel")
        require_choice("normalisation", normalisation, Normalisation)
        require_choice("gradient", gradient, Gradient)
        self.filter_shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.padding = padding
        self.normalisation = normalisation
        self.gradient = gradient
        filter_features = math.prod(self.filter_shape)
        self.generator = FilterGenerator(condition_features, filter_features, activation, rank, pooled)

    @property
    def mixes_batch(self) -> bool:
        """Whether the output of an image depends on the other images of its batch."""
        return self.normalisation == "over_batch"

    def choice(self, x: Tensor) -> Tensor:
        """The filters of a batch: (B, O, C, k, k), float32 under autocast."""
        w = self.generator(x)
        with full_precision(w):
            w = at_least_float32(w)
            w = _normalised(w, self.normalisation, self.filter_shape)
        w = w.view(x.shape[0], *self.filter_shape)
        return w.detach() if self.gradient == "cut" else w

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and filters (B, O, C, k, k)."""
        return conv2d_per_sample(x, choice.to(x.dtype), padding=self.padding)

    def filters(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """Each image's filter, (B, O, C, k, k), as applied."""
        return self.choice(x) if choice is None else choice

    def saturated(self, x: Tensor) -> Tensor:
        """The part of each image's generated numbers beyond ±SATURATED of a tanh, (B,)."""
        beyond = self.generator(x).abs() > SATURATED
        return beyond.float().mean(1) * (self.generator.activation == "tanh")

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_choice(x, self.choice(x))


class SharedConv2d(nn.Module):
    """The static twin: one trainable filter for all images, applied by the same formulation.

    x: (B, C, H, W) -> (B, O, H', W'). Initialised as nn.Conv2d. `normalised` divides the filter by its L2 norm, as that
    of dynamic_3x3 is.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int | Literal["same"],
        normalised: bool = False,
    ) -> None:
        super().__init__()
        require_count("kernel_size", kernel_size, "pixel")
        self.padding = padding
        self.normalised = normalised
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def filters(self, x: Tensor) -> Tensor:
        """The same filter for every image: (B, O, C, k, k), a view."""
        weight = self.weight / self.weight.norm() if self.normalised else self.weight
        return weight.expand(x.shape[0], *weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d_per_sample(x, self.filters(x), padding=self.padding)


class GeneratorHead(nn.Module):
    """The generator's parameters without a dynamic filter: class scores straight from the generated vector.

    features: (B, ...) -> (B, num_classes). The control of equal capacity for GeneratedConv2d; `rank` and `pooled` as in
    FilterGenerator.
    """

    def __init__(
        self,
        condition_features: int,
        filter_features: int,
        num_classes: int,
        rank: int | None = None,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.generator = FilterGenerator(condition_features, filter_features, rank=rank, pooled=pooled)
        self.scores = nn.Linear(filter_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(self.generator(features))


def _normalised(w: Tensor, normalisation: Normalisation, shape: tuple[int, int, int, int]) -> Tensor:
    """Vectors (B, O * C * k * k) as filters of that many numbers."""
    match normalisation:
        case "per_image":
            return F.normalize(w, dim=1)
        case "per_kernel":
            kernels = w.unflatten(1, (shape[0] * shape[1], -1))
            return F.normalize(kernels, dim=2).flatten(1) / math.sqrt(kernels.shape[1])
        case "over_batch":
            return w.norm(dim=0, keepdim=True).expand_as(w)
        case _:
            return w
