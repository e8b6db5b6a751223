"""A convolution as one matrix product for each tap of its filter, whose maps are shifted and added up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.geometry import Pair

# Up to here a product with a matrix of zeros and ones adds the maps faster than `fold` does (measured on 2 cores).
LARGEST_SUMMED_MAP = 12 * 12


def taps_apply(
    image_size: Sequence[int], kernel_size: Sequence[int], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> bool:
    """Whether `conv2d_taps` can do a convolution: without stride, without groups, no padding beyond its reach."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    fits = all(p <= r < size + 2 * p for p, r, size in zip(padding, reach, image_size, strict=True))
    return fits and groups == 1 and stride == (1, 1)


def conv2d_taps(x: Tensor, weight: Tensor, padding: Pair, dilation: Pair) -> Tensor:
    """Convolve image i with filter i: x (B, C, H, W), weight (B, O, C, kh, kw) -> (B, O, H', W').

    z_t = w_t . x for every tap t, y[p] = sum_t z_t[p + t * dilation - padding], where z is zero outside the image.
    """
    batch, out_channels = weight.shape[:2]
    kernel_size, image_size = weight.shape[-2:], x.shape[-2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    height, width = (size + 2 * p - r for size, p, r in zip(image_size, padding, reach, strict=True))
    taps = weight.permute(0, 1, 3, 4, 2)
    pixels = x.flatten(2)
    if height * width > LARGEST_SUMMED_MAP:
        # The sum is col2im of the flipped taps.
        maps = torch.bmm(taps.flip(2, 3).flatten(1, 3), pixels)
        above = (reach[0] - padding[0], reach[1] - padding[1])
        return F.fold(maps, (height, width), kernel_size, dilation=dilation, padding=above)
    maps = torch.bmm(taps.flatten(1, 3), pixels).view(batch, out_channels, -1)
    y = maps @ _summation_matrix((*image_size,), (height, width), (*kernel_size,), padding, dilation, maps)
    return y.view(batch, out_channels, height, width)


def _summation_matrix(image: Pair, output: Pair, kernel: Pair, padding: Pair, dilation: Pair, maps: Tensor) -> Tensor:
    """(kh kw H W, H' W'): 1 where a tap's map at an image's position is part of the sum at an output's position."""
    # What a compiler or a counter of shapes sees are no real tensors, and must not be kept.
    build = (
        _cached_summation_matrix
        if type(maps) is Tensor and not torch.compiler.is_compiling()
        else _build_summation_matrix
    )
    return build(image, output, kernel, padding, dilation, maps.dtype, maps.device)


def _build_summation_matrix(
    image: Pair, output: Pair, kernel: Pair, padding: Pair, dilation: Pair, dtype: torch.dtype, device: torch.device
) -> Tensor:
    rows, columns = (
        _incidence(*sizes, device=device) for sizes in zip(image, output, kernel, padding, dilation, strict=True)
    )
    both = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return both.flatten(0, 3).flatten(1).to(dtype)


def _incidence(image: int, output: int, kernel: int, padding: int, dilation: int, device: torch.device) -> Tensor:
    """Along one axis (k, H, H'): whether tap t of output position p falls on image position p + t d - padding."""
    tap, position, place = (torch.arange(count, device=device) for count in (kernel, image, output))
    return (place + tap[:, None] * dilation - padding)[:, None, :] == position[:, None]


@cache  # without a limit, since a recorded CUDA graph goes on using what is here
def _cached_summation_matrix(*geometry: object) -> Tensor:
    with torch.inference_mode(False):  # the first use may be an evaluation, the next one trains
        return _build_summation_matrix(*geometry)  # type: ignore[arg-type]
