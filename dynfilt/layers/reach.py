"""Convolutions by the taps that can touch the map: those that read zeros at every output are left out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.formulation import is_canonical
from dynfilt.layers.geometry import Geometry, output_size, padded, read_padding
from dynfilt.layers.per_image import is_half

# From so many images on, copying the taps into one matrix for each output position pays (measured on 2 cores).
LEAST_IMAGES = 32


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """F.conv2d without multiplications by padding, where leaving them out pays; on a CPU small maps by matrix products.

    x: (B, C, H, W), weight: (O, C/groups, kh, kw), bias: (O) or None -> (B, O, H', W'). The same to rounding, also in
    gradients of gradients; the gradient of a tap that never touches the map is 0. Where `grouped` is forced it is
    F.conv2d bit for bit.
    """
    x, weight, geometry = reaching(x, weight, geometry)
    if is_canonical() or not is_product(x, weight, geometry):
        return F.conv2d(x, unread_as_zeros(weight, x, geometry), bias, *geometry)
    if geometry.padding != (0, 0) or _outputs(x, weight, geometry) != [1, 1]:
        return _by_positions(x, weight, bias, geometry)
    rows, columns = (slice(0, d * k, d) for d, k in zip(geometry.dilation, weight.shape[2:], strict=True))
    return F.linear(x[..., rows, columns].flatten(1), weight.flatten(1), bias)[:, :, None, None]


def is_product(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether `conv2d` takes matrix products for what `reaching` returns: for one output, or for less pixels than taps.

    weight: (..., kh, kw).
    """
    if x.device.type != "cpu" or geometry.groups > 1:
        return False
    one_output = geometry.padding == (0, 0) and _outputs(x, weight, geometry) == [1, 1]
    if one_output or torch.compiler.is_exporting():  # an exported layer takes any number of images
        return one_output
    return x.shape[0] >= LEAST_IMAGES and 2 * x.shape[2:].numel() <= weight.shape[-2:].numel()


def reaching(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Geometry]:
    """A convolution with the same outputs whose filter has only the taps that touch the map at some output.

    x: (B, C, H, W), weight: (..., kh, kw). Where only one side still needs zeros, x gets them.
    """
    if geometry.padding == (0, 0) or is_canonical():
        return x, weight, geometry
    image, kernel = (x.shape[2], x.shape[3]), (weight.shape[-2], weight.shape[-1])
    axes = list(zip(image, kernel, *geometry[:3], strict=True))
    reached = [_taps(*axis) for axis in axes]
    if all(len(taps) == size for taps, size in zip(reached, kernel, strict=True)):
        return x, weight, geometry
    padding, zeros = [], []
    for taps, (size, length, stride, zeros_before, dilation) in zip(reached, axes, strict=True):
        count = _count(size, length, stride, zeros_before, dilation)
        before = zeros_before - dilation * taps[0]
        after = (count - 1) * stride + dilation * taps[-1] + 1 - size - zeros_before
        even = before >= 0 and 0 <= before - after < stride
        padding.append(before if even else 0)
        zeros.append((0, 0) if even else (before, after))
    x = F.pad(x, (*zeros[1], *zeros[0])) if any(map(any, zeros)) else x
    rows, columns = (slice(taps.start, taps.stop, taps.step) for taps in reached)
    steps = (geometry.dilation[0] * reached[0].step, geometry.dilation[1] * reached[1].step)
    narrowed = Geometry(geometry.stride, (padding[0], padding[1]), steps, geometry.groups)
    return x, weight[..., rows, columns].contiguous(), narrowed


def unread_as_zeros(weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """weight (..., kh, kw), or its gradient, with zeros for taps that touch the map at no output, where it matters.

    In 16 bits on a CPU oneDNN (torch 2.14) leaves the gradient of such taps as it finds the memory.
    """
    if geometry.padding == (0, 0) or x.device.type != "cpu" or not is_half(x):
        return weight
    axes = zip(x.shape[2:], weight.shape[-2:], *geometry[:3], strict=True)
    rows, columns = (_reached(*axis) for axis in axes)
    if all(rows) and all(columns):
        return weight
    return torch.where(torch.tensor(rows)[:, None] & torch.tensor(columns), weight, 0)


def _taps(size: int, kernel: int, stride: int, padding: int, dilation: int) -> range:
    """Along one axis the taps that touch the map at some output, and those evenly between them; all if none does."""
    reached = [tap for tap, touches in enumerate(_reached(size, kernel, stride, padding, dilation)) if touches]
    if not reached:
        return range(kernel)
    step = math.gcd(*(tap - reached[0] for tap in reached)) or 1
    return range(reached[0], reached[-1] + 1, step)


def _reached(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[bool]:
    """Along one axis for each tap whether it touches the map at some output."""
    outputs = _count(size, kernel, stride, padding, dilation)
    reached = []
    for tap in range(kernel):
        before = dilation * tap - padding  # the pixel under the tap at the first output
        first = max(0, -(before // stride))
        reached.append(first < outputs and before + first * stride < size)
    return reached


def _outputs(x: Tensor, weight: Tensor, geometry: Geometry) -> list[int]:
    return [_count(*axis) for axis in zip(x.shape[2:], weight.shape[-2:], *geometry[:3], strict=True)]


def _count(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Along one axis how many outputs there are, below 1 where the filter is larger than the padded image."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _by_positions(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """For each output position one product over all pixels and channels of a map that is smaller than the filter."""
    image, kernel = (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3])
    outputs = output_size(image, kernel, geometry)
    rows, columns = (_tap_of_pixel(*axis) for axis in zip(image, outputs, kernel, *geometry[:3], strict=True))
    unseen = kernel[0] * kernel[1]  # the number of one more tap, of zeros
    taps = F.pad(weight.permute(2, 3, 1, 0).flatten(0, 1), (0, 0, 0, 0, 0, 1)).contiguous()
    chosen = [
        unseen if row is None or column is None else row * kernel[1] + column
        for rows_of_output in rows
        for columns_of_output in columns
        for row in rows_of_output
        for column in columns_of_output
    ]
    matrices = taps.index_select(0, torch.tensor(chosen, device=x.device)).unflatten(0, (-1, image[0] * image[1]))
    pixels = x.permute(0, 2, 3, 1).flatten(1)
    y = torch.stack([pixels @ matrix.flatten(0, 1) for matrix in matrices], dim=2).unflatten(2, outputs)
    return y if bias is None else y + bias[:, None, None].to(y.dtype)


def _tap_of_pixel(
    size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> list[list[int | None]]:
    """Along one axis, for each output, the tap that lies on each pixel, or None."""
    taps = {dilation * tap: tap for tap in range(kernel)}
    return [[taps.get(pixel + padding - stride * output) for pixel in range(size)] for output in range(outputs)]


class Conv2d(nn.Conv2d):
    """nn.Conv2d, its parameters and its initialisation, by `conv2d`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros" or input.ndim != 4:
            return super()._conv_forward(input, weight, bias)
        stride, dilation = (self.stride[0], self.stride[1]), (self.dilation[0], self.dilation[1])
        kernel_size = (self.kernel_size[0], self.kernel_size[1])
        x, padding = padded(input, read_padding(self.padding, stride), kernel_size, dilation)  # type: ignore[arg-type]
        return conv2d(x, weight, bias, Geometry(stride, padding, dilation, self.groups))
