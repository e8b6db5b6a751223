"""The sizes of a convolution: pairs, padding by word, and the positions that its outputs look at."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
Size = int | Pair
Padding = Size | Literal["same", "valid"]


class Geometry(NamedTuple):
    """How a filter moves over an image, in the order of F.conv2d's arguments."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def pair(name: str, value: Size, at_least: int) -> Pair:
    """An int or a pair of ints as a pair. Raises ValueError for anything else and for an int below `at_least`."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or any(not isinstance(v, int) or v < at_least for v in both):
        raise ValueError(f"{name}={value!r}: must be an int or a pair of ints, each at least {at_least}")
    return both


def read_padding(value: Padding, stride: Pair) -> Pair | Literal["same"]:
    """Padding as F.conv2d takes it: zeros on both sides of each axis, or `same` for outputs as large as the image.

    Raises ValueError for another word, and for `same` with a stride, which no padding can make up for.
    """
    if not isinstance(value, str):
        return pair("padding", value, at_least=0)
    if value not in ("same", "valid"):
        raise ValueError(f"padding={value!r}: must be an int, a pair of ints, 'same' or 'valid'")
    if value == "valid":
        return (0, 0)
    if stride != (1, 1):
        raise ValueError(f"padding='same' needs stride=1, got stride={stride}; give the zeros as a number")
    return "same"


def padded(x: Tensor, padding: Pair | Literal["same"], kernel_size: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    """x and its padding as numbers. Where `same` takes an odd number of zeros, x gets the last one, as in F.conv2d."""
    if padding != "same":
        return x, padding
    height, width = (d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True))
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    return x, (height // 2, width // 2)


def output_size(image_size: Pair, kernel_size: Pair, geometry: Geometry) -> Pair:
    """Height and width of a convolution's output. Raises ValueError where the filter is larger than the image."""
    stride, padding, dilation, _ = geometry
    sizes = zip(image_size, kernel_size, stride, padding, dilation, strict=True)
    height, width = ((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in sizes)
    if height < 1 or width < 1:
        raise ValueError(f"a filter of {kernel_size} with dilation {dilation} is larger than the padded {image_size}")
    return height, width


def centred(x: Tensor, kernel_size: Pair, geometry: Geometry, skipped: bool = False) -> Tensor:
    """x cut or padded with zeros so that the centre of the filter for output (i, j) lies on x[..., i * s, j * s].

    x: (B, C, H, W) -> (B, C, (H' - 1) * s + 1, (W' - 1) * s + 1); with `skipped` the pixels after the last centre too
    that a stride passes over, as far as the image has them.
    """
    stride, padding, dilation, _ = geometry
    image = (x.shape[2], x.shape[3])
    zeros = []
    for axis, count in enumerate(output_size(image, kernel_size, geometry)):
        before = padding[axis] - dilation[axis] * ((kernel_size[axis] - 1) // 2)
        length = (count - 1) * stride[axis] + 1
        if skipped:
            length = max(length, min(count * stride[axis], image[axis] + before))
        zeros.append((before, length - image[axis] - before))
    return F.pad(x, (*zeros[1], *zeros[0])) if any(map(any, zeros)) else x
