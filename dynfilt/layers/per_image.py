"""A filter for each image on CUDA: convolutions as one implicit GEMM an image, and filters mixed from K kernels.

A mixture writes the mixed filters once (B filters, as many numbers as there are weights) and sums their gradient once:
for maps of many pixels. All sums are in float32 and in one order. Needs triton, imported when first needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from math import ceil, gcd
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MIX_BLOCK = 1024
MIX_IMAGES = 16
UNMIX_BLOCK = 256  # a warp for each row
UNMIX_ROWS = 4
UNMIX_PROGRAMS = 792  # six on each of 132 multiprocessors


def is_offered(x: Tensor) -> bool:
    """Whether filters can be applied this way to x: on CUDA with triton, or in triton's interpreter."""
    transformed = torch._C._are_functorch_transforms_active()  # vmap knows none of these operators
    return HAS_TRITON and (x.is_cuda or INTERPRETED) and x.dtype in DTYPES and not transformed


def is_half(x: Tensor) -> bool:
    """Whether x is computed with in 16 bits, by its own dtype or by autocast's; 32 bits miss the tensor cores."""
    autocast = torch.is_autocast_enabled(x.device.type)
    return (torch.get_autocast_dtype(x.device.type) if autocast else x.dtype).itemsize == 2


def in_computing_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in autocast's dtype where it is enabled, else as they are."""
    kind = tensors[0].device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return tuple(tensor if dtype is None else tensor.to(dtype) for tensor in tensors)


def mixture_per_image(
    x: Tensor, kernels: Tensor, pi: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    """Convolve image i with its own mixture of K kernels.

    x: (B, C, H, W), kernels: (K, O, C, kh, kw), pi: (B, K) -> (B, O, H', W'), channels last, in the dtype of x or of
    autocast. The mixture is summed in float32 and rounded once. Raises ValueError as `per_image_conv2d` does.
    """
    [x] = in_computing_dtype(x)
    return per_image_conv2d(x, mix_filters(pi, kernels, x.dtype), stride, padding, dilation)


def mix_filters(pi: Tensor, kernels: Tensor, dtype: torch.dtype) -> Tensor:
    """sum_k pi_k W_k for each image: pi (B, K), kernels (K, O, C, kh, kw) -> (B, O, C, kh, kw), channels last."""
    if kernels.dim() != 5 or pi.dim() != 2 or pi.shape[1] != len(kernels):
        raise ValueError(f"pi must be (B, K), kernels (K, O, C, kh, kw), got {tuple(pi.shape)}, {tuple(kernels.shape)}")
    return _mix(pi.float(), kernels, dtype)


def per_image_conv2d(x: Tensor, filters: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """Convolve image i with filter i.

    x: (B, C, H, W), filters: (B, O, C, kh, kw) of the same dtype -> (B, O, H', W'), channels last. Fastest where x,
    filters and the gradient above are channels last in memory. A float32 product is TF32 where cuDNN's may be.
    Raises ValueError where it is not offered, and for shapes or dtypes that do not fit.
    """
    if x.dim() != 4 or filters.dim() != 5 or filters.shape[0] != len(x) or filters.shape[2] != x.shape[1]:
        shapes = f"{tuple(x.shape)} and {tuple(filters.shape)}"
        raise ValueError(f"x must be (B, C, H, W), filters (B, O, C, kh, kw) in one group, got {shapes}")
    if x.dtype not in DTYPES or filters.dtype != x.dtype:
        raise ValueError(f"x is {x.dtype}, filters {filters.dtype}; allowed: the same of {DTYPES}")
    if min(_output_size(x.shape[2:], filters.shape[3:], stride, padding, dilation)) < 1:
        raise ValueError(f"filters {tuple(filters.shape[3:])} with dilation {dilation} exceed the padded image")
    return _convolve(x, filters, stride, padding, dilation)


@torch.library.custom_op("dynfilt::mix_filters", mutates_args=())
def _mix(pi: Tensor, kernels: Tensor, dtype: torch.dtype) -> Tensor:
    bank = _ohwi(kernels)
    filters = torch.empty(len(pi), *bank.shape[1:], dtype=dtype, device=pi.device)
    size = bank[0].numel()
    grid = (ceil(size / MIX_BLOCK), ceil(len(pi) / MIX_IMAGES))
    with torch.cuda.device(pi.get_device()):
        _kernels().mix[grid](
            pi.contiguous(), bank, filters, len(pi), size, len(bank), BLOCK=MIX_BLOCK, IMAGES=MIX_IMAGES
        )
    return filters.permute(0, 1, 4, 2, 3)


@_mix.register_fake
def _(pi: Tensor, kernels: Tensor, dtype: torch.dtype) -> Tensor:
    shape = (len(pi), kernels.shape[1], *kernels.shape[3:], kernels.shape[2])
    return torch.empty(shape, dtype=dtype, device=pi.device).permute(0, 1, 4, 2, 3)


@torch.library.custom_op("dynfilt::unmix_filters", mutates_args=())
def _unmix(grad: Tensor, pi: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    bank = _ohwi(kernels)
    size, (batch, count) = bank[0].numel(), pi.shape
    blocks = ceil(size / UNMIX_BLOCK)
    images = UNMIX_ROWS * max(1, ceil(batch * blocks / (UNMIX_PROGRAMS * UNMIX_ROWS)))
    slices = ceil(batch / images)
    grad_pi = pi.new_empty(blocks, batch, count)
    grad_bank = pi.new_empty(slices, *bank.shape)
    with torch.cuda.device(pi.get_device()):
        _kernels().unmix[(blocks, slices)](
            _ohwi(grad),
            pi.contiguous(),
            bank,
            grad_pi,
            grad_bank,
            batch,
            images,
            size,
            count,
            BLOCK=UNMIX_BLOCK,
            ROWS=UNMIX_ROWS,
        )
    return grad_pi.sum(0), grad_bank.sum(0).to(kernels.dtype).permute(0, 1, 4, 2, 3)


@_unmix.register_fake
def _(grad: Tensor, pi: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(pi, memory_format=torch.contiguous_format), _empty_filters(kernels, kernels.shape)


@torch.library.custom_op("dynfilt::per_image_conv2d", mutates_args=())
def _convolve(x: Tensor, filters: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    sizes = _output_size(x.shape[2:], filters.shape[3:], stride, padding, dilation)
    axes = [[_forward_axis(*axis)] for axis in zip(filters.shape[3:], stride, padding, dilation, sizes, strict=True)]
    return _convolve_maps(x, filters, sizes, axes, forward=True)


@_convolve.register_fake
def _(x: Tensor, filters: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    return _empty_map(x, filters.shape[1], _output_size(x.shape[2:], filters.shape[3:], stride, padding, dilation))


@torch.library.custom_op("dynfilt::per_image_conv2d_images", mutates_args=())
def _grad_images(
    grad: Tensor, filters: Tensor, sizes: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    axes = [list(_image_axes(*axis)) for axis in zip(filters.shape[3:], stride, padding, dilation, sizes, strict=True)]
    return _convolve_maps(grad, filters, sizes, axes, forward=False)


@_grad_images.register_fake
def _(
    grad: Tensor, filters: Tensor, sizes: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    return _empty_map(grad, filters.shape[2], sizes)


@torch.library.custom_op("dynfilt::per_image_conv2d_filters", mutates_args=())
def _grad_filters(
    grad: Tensor, x: Tensor, taps: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    return _correlate_maps(x, grad, taps, [(s, d, -p) for s, p, d in zip(stride, padding, dilation, strict=True)])


@_grad_filters.register_fake
def _(grad: Tensor, x: Tensor, taps: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    return _empty_filters(x, (len(x), grad.shape[1], x.shape[1], *taps))


def _save_mixture(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _mixture_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_unmix(grad, *ctx.saved_tensors), None


def _save_convolution(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filters, *ctx.geometry = inputs
    ctx.save_for_backward(x, filters)


def _convolution_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
    x, filters = ctx.saved_tensors
    needs_x, needs_filters = ctx.needs_input_grad[:2]
    grad_x = _grad_images(grad, filters, list(x.shape[2:]), *ctx.geometry) if needs_x else None
    grad_filters = _grad_filters(grad, x, list(filters.shape[3:]), *ctx.geometry) if needs_filters else None
    return grad_x, grad_filters, None, None, None


_mix.register_autograd(_mixture_backward, setup_context=_save_mixture)
_convolve.register_autograd(_convolution_backward, setup_context=_save_convolution)


def _output_size(size: Any, taps: Any, stride: list[int], padding: list[int], dilation: list[int]) -> list[int]:
    return [
        (n + 2 * p - d * (t - 1) - 1) // s + 1
        for n, t, s, p, d in zip(size, taps, stride, padding, dilation, strict=True)
    ]


def _empty_map(x: Tensor, channels: int, sizes: list[int]) -> Tensor:
    return x.new_empty(len(x), *sizes, channels).permute(0, 3, 1, 2)


def _empty_filters(like: Tensor, shape: Any) -> Tensor:
    count, out_channels, channels, *taps = shape
    return like.new_empty(count, out_channels, *taps, channels).permute(0, 1, 4, 2, 3)


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


def _forward_axis(taps: int, stride: int, padding: int, dilation: int, size: int) -> Axis:
    """Positions are the `size` pixels of the output."""
    return Axis(taps, 0, 1, dilation, stride, -padding, 1, 0, size)


def _image_axes(taps: int, stride: int, padding: int, dilation: int, size: int) -> Iterator[Axis]:
    """For the gradient of `size` pixels of the images: those that the same taps have read are the positions of one."""
    step = stride // gcd(stride, dilation)
    for shift in range(min(stride, size)):
        for first in range(min(step, taps)):
            if (shift + padding - dilation * first) % stride == 0:
                count, move = ceil((taps - first) / step), -dilation * step // stride
                above = (shift + padding - dilation * first) // stride
                yield Axis(count, first, step, move, 1, above, stride, shift, ceil((size - shift) / stride))


def _convolve_maps(source: Tensor, filters: Tensor, sizes: list[int], axes: list[list[Axis]], forward: bool) -> Tensor:
    """source (B, channels, H, W) -> (B, channels, *sizes): O from C channels, or C from O for a gradient."""
    source, filters = _nhwc(source), _ohwi(filters)
    batch, source_h, source_w, channels = source.shape
    target_channels = filters.shape[1 if forward else -1]
    written = [sum(axis.positions for axis in parts) for parts in axes]
    shape = (batch, *sizes, target_channels)
    target = source.new_empty(shape) if written == list(sizes) else source.new_zeros(shape)
    numbers = filters[0, 0].numel()
    narrow = target_channels <= 64
    block_target, block_source = 64 if narrow else 128, 128 // source.element_size()  # a line of the cache
    for axis_h, axis_w in product(*axes):
        positions = axis_h.positions * axis_w.positions
        block_pixels = min(128, max(16, _power_of_2(positions)))
        programs = batch * ceil(positions / block_pixels) * ceil(target_channels / block_target)
        with torch.cuda.device(source.get_device()):
            _kernels().convolve[(programs,)](
                source,
                filters,
                target,
                *(source_h, source_w, channels, *sizes, target_channels),
                *((1, numbers) if forward else (numbers, 1)),
                *(filters.shape[-1], filters[0].numel()),
                *(tuple(axis_h), tuple(axis_w), filters.shape[3]),
                *(block_pixels, block_target, block_source),
                SOURCE_BLOCKS=ceil(channels / block_source),
                MASKED=bool(channels % block_source or target_channels % block_target),
                PRECISION=_dot_precision(source),
                num_warps=4 if narrow else 8,
                num_stages=3,
            )
    return target.permute(0, 3, 1, 2)


def _correlate_maps(x: Tensor, grad: Tensor, taps: list[int], axes: list[tuple[int, int, int]]) -> Tensor:
    """x (B, C, H, W), grad (B, O, H', W') -> (B, O, C, *taps); axes are (stride, dilation, -padding)."""
    x, grad = _nhwc(x), _nhwc(grad)
    (batch, x_h, x_w, channels), (_, grad_h, grad_w, grad_channels) = x.shape, grad.shape
    grad_filters = x.new_empty(batch, grad_channels, *taps, channels)
    narrow = grad_channels <= 64 or x.element_size() > 2
    block_o, block_c = 64 if narrow else 128, 64
    block_pixels = min(128 // x.element_size(), max(16, _power_of_2(grad_h * grad_w)))
    tiles = ceil(grad_channels / block_o) * ceil(channels / block_c)
    with torch.cuda.device(x.get_device()):
        _kernels().correlate[(batch * tiles * taps[0],)](  # a row of taps a program
            x,
            grad,
            grad_filters,
            *(x_h, x_w, channels, grad_h * grad_w, grad_channels),
            *(grad_w, *axes, taps[0] * taps[1], taps[1], taps[1]),
            *(block_pixels, block_o, block_c),
            MASKED=bool(channels % block_c or grad_channels % block_o),
            THROUGH_L1=not narrow,
            PRECISION=_dot_precision(x),
            num_warps=4 if narrow else 8,
            num_stages=3 if narrow else 2,
        )
    return grad_filters.permute(0, 1, 4, 2, 3)


def _kernels() -> ModuleType:
    try:
        return import_module("dynfilt.layers.per_image_kernels")
    except ModuleNotFoundError as error:
        raise ValueError("filters for each image need triton: install it, or choose another formulation") from error


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _ohwi(filters: Tensor) -> Tensor:
    """(n, O, C, kh, kw) -> (n, O, kh, kw, C), the memory of channels-last filters."""
    return filters.permute(0, 1, 3, 4, 2).contiguous()


def _power_of_2(least: int) -> int:
    """The first power of 2 from `least` on."""
    return 1 << (least - 1).bit_length()


def _dot_precision(x: Tensor) -> str:
    tf32 = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    return "tf32" if x.dtype == torch.float32 and x.is_cuda and tf32 else "ieee"
