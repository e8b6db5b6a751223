"""Launches of the per-image kernels: which pixels meet which taps, in which blocks, for an implicit GEMM an image."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import product
from math import ceil, gcd, prod
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.gemm_options import convolve_options, correlate_options, power_of_2


class Axis(NamedTuple):
    """How taps and positions of an axis lie in what is read (source) and written (target).

    Position j is pixel target_step * j + target_shift of the target, to which tap `first_tap + tap_step * i`, i below
    `taps`, brings pixel source_step * j + source_shift + tap_move * i of the source.
    """

    taps: int
    first_tap: int
    tap_step: int
    tap_move: int
    source_step: int
    source_shift: int
    target_step: int
    target_shift: int
    positions: int


def forward_axis(taps: int, stride: int, padding: int, dilation: int, size: int) -> Axis:
    """Positions are the `size` pixels of the output."""
    return Axis(taps, 0, 1, dilation, stride, -padding, 1, 0, size)


def image_axes(taps: int, stride: int, padding: int, dilation: int, size: int) -> Iterator[Axis]:
    """For the gradient of `size` pixels of the images: those that the same taps have read are the positions of one."""
    step = stride // gcd(stride, dilation)
    for shift in range(min(stride, size)):
        for first in range(min(step, taps)):
            if (shift + padding - dilation * first) % stride == 0:
                count, move = ceil((taps - first) / step), -dilation * step // stride
                above = (shift + padding - dilation * first) // stride
                yield Axis(count, first, step, move, 1, above, stride, shift, ceil((size - shift) / stride))


def convolve(source: Tensor, filters: Tensor, sizes: list[int], axes: list[list[Axis]], forward: bool) -> Tensor:
    """source (B, channels, H, W) -> (B, channels, *sizes): O from C channels, or C from O for a gradient."""
    source, filters = nhwc(source), ohwi(filters)
    shape = (len(source), *sizes, filters.shape[1 if forward else -1])
    written = [sum(axis.positions for axis in parts) for parts in axes]
    target = source.new_empty(shape) if written == list(sizes) else source.new_zeros(shape)
    for axis_h, axis_w in product(*axes):
        boxed = _in_boxes(source, axis_h.source_step, axis_w.source_step)
        boxed = boxed and _in_boxes(target, axis_h.target_step, axis_w.target_step)
        options = convolve_options(
            source.shape[3], shape[3], axis_h.positions * axis_w.positions, forward, source.element_size(), boxed
        )
        launch = _convolve_boxes if options["BOXES"] and boxed else _convolve_pixels
        own = {name: value for name, value in options.items() if name != "BOXES"}
        launch(source, filters, target, (axis_h, axis_w), forward, own)
    return target.permute(0, 3, 1, 2)


def _convolve_pixels(
    source: Tensor,
    filters: Tensor,
    target: Tensor,
    axes: tuple[Axis, Axis],
    forward: bool,
    options: dict[str, Any],
) -> None:
    (batch, source_h, source_w, channels), (_, target_h, target_w, target_channels) = source.shape, target.shape
    taps_w, filter_channels = filters.shape[3:]
    numbers = filters[0, 0].numel()
    strides = (1, numbers) if forward else (numbers, 1)
    tiles = ceil(axes[0].positions * axes[1].positions / options["BLOCK_PIXELS"])
    with torch.cuda.device(source.get_device()):
        triton_kernels("pixel_kernels").convolve[(batch * tiles * ceil(target_channels / options["BLOCK_TARGET"]),)](
            source,
            filters,
            target,
            *(source_h, source_w, channels, target_h, target_w, target_channels),
            *(*strides, filter_channels, filters[0].numel()),
            *map(tuple, axes),
            taps_w,
            SOURCE_BLOCKS=ceil(channels / options["BLOCK_SOURCE"]),
            MASKED=bool(channels % options["BLOCK_SOURCE"] or target_channels % options["BLOCK_TARGET"]),
            PRECISION=_dot_precision(source),
            **options,
        )


def _convolve_boxes(
    source: Tensor,
    filters: Tensor,
    target: Tensor,
    axes: tuple[Axis, Axis],
    forward: bool,
    options: dict[str, Any],
) -> None:
    channels, target_channels = source.shape[3], target.shape[3]
    block_source = gcd(channels, options.pop("BLOCK_SOURCE"))
    block_target = gcd(target_channels, options.pop("BLOCK_TARGET"))
    positions = (axes[0].positions, axes[1].positions)
    rows, columns = _box(options.pop("BLOCK_PIXELS"), *positions)
    boxes = len(source) * ceil(positions[0] / rows) * ceil(positions[1] / columns)
    filter_block = (block_target, 1, block_source) if forward else (block_source, 1, block_target)
    del options["THROUGH_L1"]
    with torch.cuda.device(source.get_device()):
        triton_kernels("box_kernels").convolve_boxes[(boxes * (target_channels // block_target),)](
            _map_boxes(source, axes[0].source_step, axes[1].source_step, (rows, columns, block_source)),
            _boxes(filters.flatten(2, 3), (1, *filter_block)),
            _map_boxes(target, axes[0].target_step, axes[1].target_step, (rows, columns, block_target)),
            *(channels, target_channels),
            *map(tuple, axes),
            filters.shape[3],
            *(rows, columns, block_target, block_source),
            SOURCE_BLOCKS=channels // block_source,
            FORWARD=forward,
            PRECISION=_dot_precision(source),
            **options,
        )


def correlate(x: Tensor, grad: Tensor, taps: list[int], axes: list[tuple[int, int, int]]) -> Tensor:
    """x (B, C, H, W), grad (B, O, H', W') -> (B, O, C, *taps); axes are (stride, dilation, -padding)."""
    x, grad = nhwc(x), nhwc(grad)
    grad_filters = x.new_empty(len(x), grad.shape[3], *taps, x.shape[3])
    strides = (axes[0][0], axes[1][0])
    boxed = _in_boxes(x, *strides) and _in_boxes(grad, 1, 1)
    pixels = grad.shape[1] * grad.shape[2]
    options = correlate_options(x.shape[3], grad.shape[3], pixels, taps, strides, x.element_size(), boxed)
    launch = _correlate_boxes if options["BOXES"] and boxed else _correlate_pixels
    launch(x, grad, grad_filters, axes, {name: value for name, value in options.items() if name != "BOXES"})
    return grad_filters.permute(0, 1, 4, 2, 3)


def _correlate_pixels(
    x: Tensor, grad: Tensor, grad_filters: Tensor, axes: list[tuple[int, int, int]], options: dict[str, Any]
) -> None:
    (batch, x_h, x_w, channels), (_, grad_h, grad_w, grad_channels) = x.shape, grad.shape
    taps_h, taps_w = grad_filters.shape[2:4]
    together = taps_h * taps_w if options.pop("ALL_TAPS") else taps_w
    tiles = ceil(grad_channels / options["BLOCK_O"]) * ceil(channels / options["BLOCK_C"])
    with torch.cuda.device(x.get_device()):
        triton_kernels("pixel_kernels").correlate[(batch * tiles * (taps_h * taps_w // together),)](
            x,
            grad,
            grad_filters,
            *(x_h, x_w, channels, grad_h * grad_w, grad_channels),
            *(grad_w, *axes, taps_h * taps_w, taps_w, together),
            MASKED=bool(channels % options["BLOCK_C"] or grad_channels % options["BLOCK_O"]),
            PRECISION=_dot_precision(x),
            **options,
        )


def _correlate_boxes(
    x: Tensor, grad: Tensor, grad_filters: Tensor, axes: list[tuple[int, int, int]], options: dict[str, Any]
) -> None:
    channels, grad_channels = x.shape[3], grad.shape[3]
    block_o, block_c = gcd(grad_channels, options.pop("BLOCK_O")), gcd(channels, options.pop("BLOCK_C"))
    taps_h, taps_w = grad_filters.shape[2:4]
    together = taps_h if options.pop("ALL_TAPS") else 1
    rows, columns = x.shape[1] // axes[0][0], grad.shape[2]
    block = _box(options.pop("BLOCK_PIXELS"), rows, columns)
    tiles = (grad_channels // block_o) * (channels // block_c)
    del options["THROUGH_L1"]
    with torch.cuda.device(x.get_device()):
        triton_kernels("box_kernels").correlate_boxes[(len(x) * tiles * (taps_h // together),)](
            _map_boxes(x, axes[0][0], axes[1][0], (*block, block_c)),
            _boxes(grad, (1, *block, block_o)),
            _boxes(grad_filters.flatten(2, 3), (1, block_o, 1, block_c)),
            *(channels, grad_channels, rows, columns),
            *(*axes, taps_h, taps_w, together, *block, block_o, block_c),
            PRECISION=_dot_precision(x),
            **options,
        )


def _box(pixels: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a box of about so many pixels: powers of 2, at least 16 pixels for a matrix product."""
    wide = min(pixels, power_of_2(columns))
    return max(min(pixels // wide, power_of_2(rows)), 16 // wide), wide


def _in_boxes(image: Tensor, step_h: int, step_w: int) -> bool:
    """Whether a map can be copied in boxes: on Hopper or later, rows of whole 32 bytes, whole steps."""
    hopper = not image.is_cuda or torch.cuda.get_device_capability(image.device) >= (9, 0)  # else interpreted
    return hopper and image.shape[3] % 16 == 0 and image.shape[1] % step_h == 0 and image.shape[2] % step_w == 0


def _map_boxes(image: Tensor, step_h: int, step_w: int, block: tuple[int, int, int]) -> Any:
    batch, height, width, channels = image.shape
    split = image.view(batch, height // step_h, step_h, width // step_w, step_w * channels)
    return _boxes(split, (1, block[0], 1, block[1], block[2]))


def _boxes(tensor: Tensor, block: tuple[int, ...]) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    # A contiguous tensor may have any stride where it has one entry only; a descriptor refuses most.
    strides = [prod(tensor.shape[i + 1 :]) for i in range(tensor.dim())]
    return TensorDescriptor(tensor, list(tensor.shape), strides, list(block))


def triton_kernels(module: str) -> ModuleType:
    """A module of kernels, which imports triton. Raises ValueError where there is none."""
    try:
        return import_module(f"benchmarks.{module}")
    except ModuleNotFoundError as error:
        raise ValueError("filters for each image need triton: install it, or choose another formulation") from error


def nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def ohwi(filters: Tensor) -> Tensor:
    """(n, O, C, kh, kw) -> (n, O, kh, kw, C), the memory of channels-last filters."""
    return filters.permute(0, 1, 3, 4, 2).contiguous()


def _dot_precision(x: Tensor) -> str:
    tf32 = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    return "tf32" if x.dtype == torch.float32 and x.is_cuda and tf32 else "ieee"
