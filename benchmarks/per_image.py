"""A filter for each image on CUDA: convolutions as one implicit GEMM an image, and filters mixed from K kernels.

A mixture writes the mixed filters once (B filters, as many numbers as there are weights) and sums their gradient once:
for maps of many pixels. All sums are in float32 and in one order. Needs triton, imported when first needed.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from math import ceil
from typing import Any

import torch
from torch import Tensor

from benchmarks.implicit_gemm import convolve, correlate, forward_axis, image_axes, ohwi, triton_kernels

HAS_TRITON = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MIX_BLOCK = 1024
MIX_IMAGES = 16
UNMIX_BLOCK = 256  # a warp for each row
UNMIX_ROWS = 4
UNMIX_PROGRAMS = 792  # six on each of 132 multiprocessors


def is_offered(device: torch.device) -> bool:
    """Whether filters can be applied this way on a device: CUDA with triton, or triton's interpreter."""
    return HAS_TRITON and (device.type == "cuda" or INTERPRETED)


def mixture_conv2d(
    x: Tensor, kernels: Tensor, pi: Tensor, stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    """Convolve image i with its own mixture of K kernels.

    x: (B, C, H, W), kernels: (K, O, C, kh, kw), pi: (B, K) -> (B, O, H', W'), channels last, in the dtype of x or of
    autocast. The mixture is summed in float32 and rounded once. Raises ValueError as `per_image_conv2d` does.
    """
    kind = x.device.type
    x = x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
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
    bank = ohwi(kernels)
    filters = torch.empty(len(pi), *bank.shape[1:], dtype=dtype, device=pi.device)
    size = bank[0].numel()
    grid = (ceil(size / MIX_BLOCK), ceil(len(pi) / MIX_IMAGES))
    with torch.cuda.device(pi.get_device()):
        triton_kernels("mix_kernels").mix[grid](
            pi.contiguous(), bank, filters, len(pi), size, len(bank), BLOCK=MIX_BLOCK, IMAGES=MIX_IMAGES
        )
    return filters.permute(0, 1, 4, 2, 3)


@_mix.register_fake
def _(pi: Tensor, kernels: Tensor, dtype: torch.dtype) -> Tensor:
    shape = (len(pi), kernels.shape[1], *kernels.shape[3:], kernels.shape[2])
    return torch.empty(shape, dtype=dtype, device=pi.device).permute(0, 1, 4, 2, 3)


@torch.library.custom_op("dynfilt::unmix_filters", mutates_args=())
def _unmix(grad: Tensor, pi: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    bank = ohwi(kernels)
    size, (batch, count) = bank[0].numel(), pi.shape
    blocks = ceil(size / UNMIX_BLOCK)
    images = UNMIX_ROWS * max(1, ceil(batch * blocks / (UNMIX_PROGRAMS * UNMIX_ROWS)))
    slices = ceil(batch / images)
    grad_pi = pi.new_empty(blocks, batch, count)
    grad_bank = pi.new_empty(slices, *bank.shape)
    with torch.cuda.device(pi.get_device()):
        triton_kernels("mix_kernels").unmix[(blocks, slices)](
            ohwi(grad),
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
    axes = [[forward_axis(*axis)] for axis in zip(filters.shape[3:], stride, padding, dilation, sizes, strict=True)]
    return convolve(x, filters, sizes, axes, forward=True)


@_convolve.register_fake
def _(x: Tensor, filters: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    return _empty_map(x, filters.shape[1], _output_size(x.shape[2:], filters.shape[3:], stride, padding, dilation))


@torch.library.custom_op("dynfilt::per_image_conv2d_images", mutates_args=())
def _grad_images(
    grad: Tensor, filters: Tensor, sizes: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    axes = [list(image_axes(*axis)) for axis in zip(filters.shape[3:], stride, padding, dilation, sizes, strict=True)]
    return convolve(grad, filters, sizes, axes, forward=False)


@_grad_images.register_fake
def _(
    grad: Tensor, filters: Tensor, sizes: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    return _empty_map(grad, filters.shape[2], sizes)


@torch.library.custom_op("dynfilt::per_image_conv2d_filters", mutates_args=())
def _grad_filters(
    grad: Tensor, x: Tensor, taps: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    return correlate(x, grad, taps, [(s, d, -p) for s, p, d in zip(stride, padding, dilation, strict=True)])


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
