"""Launches of the per-image kernels: which pixels meet which taps, in which blocks, for an implicit GEMM an image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, gcd, prod
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Options instead of those chosen by rule, by what is computed (forward, or the gradient of images or filters), channels
# of what is read (x for filters) and written (the gradient above for filters), positions, and bytes of a number.
TUNED: dict[tuple[str, int, int, int, int], dict[str, Any]] = {}


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


def phases(taps: int, stride: int, padding: int, dilation: int, size: int) -> Iterator[tuple[Axis, int]]:
    """The axes and positions of the gradient of the images: pixels read by the same taps go together."""
    step = stride // gcd(stride, dilation)
    for shift in range(min(stride, size)):
        for first in range(min(step, taps)):
            if (shift + padding - dilation * first) % stride == 0:
                count, move = ceil((taps - first) / step), -dilation * step // stride
                above = (shift + padding - dilation * first) // stride
                yield Axis(count, first, step, move, 1, above, stride, shift), ceil((size - shift) / stride)


def convolve(
    source: Tensor, filters: Tensor, sizes: list[int], axes: list[list[tuple[Axis, int]]], forward: bool
) -> Tensor:
    """source (B, channels, H, W) -> (B, channels, *sizes): O from C channels, or C from O for a gradient."""
    source, filters = nhwc(source), ohwi(filters)
    shape = (len(source), *sizes, filters.shape[1 if forward else -1])
    written = [sum(positions for _, positions in axis) for axis in axes]
    target = source.new_empty(shape) if written == list(sizes) else source.new_zeros(shape)
    for (axis_h, rows), (axis_w, columns) in product(*axes):
        boxed = _in_boxes(source, axis_h.source_step, axis_w.source_step)
        boxed = boxed and _in_boxes(target, axis_h.target_step, axis_w.target_step)
        options = convolve_options(source.shape[3], shape[3], rows * columns, forward, source.element_size(), boxed)
        launch = _convolve_boxes if options["BOXES"] and boxed else _convolve_pixels
        own = {name: value for name, value in options.items() if name != "BOXES"}
        launch(source, filters, target, (axis_h, axis_w), (rows, columns), forward, own)
    return target.permute(0, 3, 1, 2)


def _convolve_pixels(
    source: Tensor,
    filters: Tensor,
    target: Tensor,
    axes: tuple[Axis, Axis],
    positions: tuple[int, int],
    forward: bool,
    options: dict[str, Any],
) -> None:
    (batch, source_h, source_w, channels), (_, target_h, target_w, target_channels) = source.shape, target.shape
    taps_w, filter_channels = filters.shape[3:]
    numbers = filters[0, 0].numel()
    strides = (1, filter_channels, numbers) if forward else (numbers, filter_channels, 1)
    tiles = ceil(positions[0] * positions[1] / options["BLOCK_PIXELS"])
    with torch.cuda.device(source.get_device()):
        triton_kernels().convolve[(batch * tiles * ceil(target_channels / options["BLOCK_TARGET"]),)](
            source,
            filters,
            target,
            *(source_h, source_w, channels, target_w, target_h * target_w, target_channels),
            *(positions[1], positions[0] * positions[1], *strides, filters[0].numel()),
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
    positions: tuple[int, int],
    forward: bool,
    options: dict[str, Any],
) -> None:
    channels, target_channels = source.shape[3], target.shape[3]
    block_source = gcd(channels, options.pop("BLOCK_SOURCE"))
    block_target = gcd(target_channels, options.pop("BLOCK_TARGET"))
    rows, columns = _box(options.pop("BLOCK_PIXELS"), *positions)
    tiles = (ceil(positions[0] / rows), ceil(positions[1] / columns))
    filter_block = (block_target, 1, block_source) if forward else (block_source, 1, block_target)
    del options["THROUGH_L1"]
    with torch.cuda.device(source.get_device()):
        triton_kernels().convolve_boxes[(len(source) * tiles[0] * tiles[1] * (target_channels // block_target),)](
            _map_boxes(source, axes[0].source_step, axes[1].source_step, (rows, columns, block_source)),
            _boxes(filters.flatten(2, 3), (1, *filter_block)),
            _map_boxes(target, axes[0].target_step, axes[1].target_step, (rows, columns, block_target)),
            *(channels, target_channels, *tiles),
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
        triton_kernels().correlate[(batch * tiles * (taps_h * taps_w // together),)](
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
        triton_kernels().correlate_boxes[(len(x) * tiles * (taps_h // together),)](
            _map_boxes(x, axes[0][0], axes[1][0], (*block, block_c)),
            _boxes(grad, (1, *block, block_o)),
            _boxes(grad_filters.flatten(2, 3), (1, block_o, 1, block_c)),
            *(channels, grad_channels, rows, columns),
            *(*axes, taps_h, taps_w, together, *block, block_o, block_c),
            PRECISION=_dot_precision(x),
            **options,
        )


def convolve_options(
    source_channels: int, target_channels: int, positions: int, forward: bool, itemsize: int, boxed: bool
) -> dict[str, Any]:
    """Blocks, warps and stages of a convolution to so many positions; bytes a number, and whether boxes apply."""
    narrow = target_channels <= 64
    role = "forward" if forward else "images"
    return TUNED.get((role, source_channels, target_channels, positions, itemsize)) or {
        "BOXES": boxed,
        "BLOCK_PIXELS": min(256 if narrow else 128, max(16, _power_of_2(positions))),
        "BLOCK_TARGET": 64 if narrow else 128,
        "BLOCK_SOURCE": 128 // itemsize,  # a line of the cache
        "PIXELS_LEFT": False,  # 64 channels fill the rows of the tensor cores, maps of few pixels do not
        "THROUGH_L1": False,
        "num_warps": 8,
        "num_stages": 3,
    }


def correlate_options(
    channels: int,
    grad_channels: int,
    pixels: int,
    taps: list[int],
    strides: tuple[int, int],
    itemsize: int,
    boxed: bool,
) -> dict[str, Any]:
    """Blocks, warps and stages of the gradient of filters, a sum over `pixels`; the rest as for a convolution."""
    # With a stride, taps share little; then and by pixels the sums of a row of taps are enough for the registers.
    all_taps = boxed and strides == (1, 1) and taps[0] * taps[1] <= 9
    return TUNED.get(("filters", channels, grad_channels, pixels, itemsize)) or {
        "BOXES": boxed,
        "ALL_TAPS": all_taps,
        "BLOCK_PIXELS": min(128 // itemsize, max(16, _power_of_2(pixels))),
        "BLOCK_O": 64,
        "BLOCK_C": 64,
        "THROUGH_L1": False,
        "num_warps": 8 if all_taps else 4,
        "num_stages": 3,
    }


def _box(pixels: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a box of about so many pixels: powers of 2, at least 16 pixels for a matrix product."""
    wide = min(pixels, _power_of_2(columns))
    return max(min(pixels // wide, _power_of_2(rows)), 16 // wide), wide


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _in_boxes(image: Tensor, step_h: int, step_w: int) -> bool:
    """Whether a map can be copied in boxes: on Hopper or later, rows of whole 32 bytes, whole steps."""
    hopper = triton_kernels().INTERPRETED or torch.cuda.get_device_capability(image.device) >= (9, 0)
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


def triton_kernels() -> ModuleType:
    try:
        from benchmarks import per_image_kernels
    except ModuleNotFoundError as error:
        raise ValueError("filters for each image need triton: install it, or choose another formulation") from error
    return per_image_kernels


def nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def ohwi(filters: Tensor) -> Tensor:
    """(n, O, C, kh, kw) -> (n, O, kh, kw, C), the memory of channels-last filters."""
    return filters.permute(0, 1, 3, 4, 2).contiguous()


def _dot_precision(x: Tensor) -> str:
    tf32 = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    return "tf32" if x.dtype == torch.float32 and x.is_cuda and tf32 else "ieee"
