"""A mixture of K kernels inside one implicit GEMM: each tile of a kernel is mixed where it is multiplied.

No kernel of an image is stored in either pass; the bank is read again for every image. The gradient of the bank is
summed over slices of the batch: one bank, or GRADIENT_PROGRAMS tiles of K kernels (12 MiB at K = 4). Needs triton.
"""

from __future__ import annotations

from math import ceil
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynfilt.layers.formulation import decide

Pair = tuple[int, int]
Axis = tuple[int, int, int, int]  # up, tap, shift, down: a tap t reads position (up q + tap t + shift) / down
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# All sizes below come from compiling for an H200 and reading registers and shared memory, not from measurements.
BLOCK_O = 64  # rows of one tensor-core instruction of a warp group
BLOCK_PIXELS = 256
SHARED_BYTES = 108 * 1024  # two programs on a multiprocessor of 228 KiB, less what Triton adds
GRADIENT_BLOCK_C = 32
GRADIENT_PROGRAMS = 396  # three on each of 132 multiprocessors


def conv2d_mixture_fused(x: Tensor, kernels: Tensor, pi: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Convolve image i with its own mixture of K kernels, mixed on the fly.

    x: (B, C, H, W) on a CUDA device, kernels: (K, O, C, kh, kw), pi: (B, K) -> (B, O, H', W') in the dtype of x,
    channels last. Mixtures and sums are in float32 (float64 for float64); the mixed kernel is rounded to the dtype
    of x. A float32 product is TF32 where cuDNN's convolutions may be. Gradients are deterministic.
    Raises ValueError without triton, off CUDA, and for shapes or dtypes that do not fit.
    """
    _check(x, kernels, pi)
    decide(("fused",), "fused")  # to be seen where formulations are recorded
    return _FusedMixture.apply(x, kernels, pi, stride, padding, dilation)


class _FusedMixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernels: Tensor, pi: Tensor, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, kernels, pi)
        ctx.axes = [(s, d, -p, 1) for s, p, d in zip(stride, padding, dilation, strict=True)]
        reach = [d * (k - 1) for d, k in zip(dilation, kernels.shape[-2:], strict=True)]
        sizes = [(n + 2 * p - r - 1) // s + 1 for n, p, r, s in zip(x.shape[2:], padding, reach, stride, strict=True)]
        if min(sizes) < 1:
            raise ValueError(f"kernel {tuple(kernels.shape[-2:])} with dilation {dilation} exceeds the padded image")
        return _convolve(_nhwc(x), kernels.permute(0, 3, 4, 1, 2), pi, sizes, ctx.axes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None, None]:
        x, kernels, pi = ctx.saved_tensors
        above = _nhwc(grad)
        grad_x = None
        if ctx.needs_input_grad[0]:
            # The pixel that tap t read at q is written where (q + padding - t dilation) / stride is whole.
            axes = [(1, -tap, -shift, up) for up, tap, shift, _ in ctx.axes]
            grad_x = _convolve(above, kernels.permute(0, 3, 4, 2, 1), pi, list(x.shape[2:]), axes)
        grad_kernels, grad_pi = _correlate(_nhwc(x), above, kernels, pi, ctx.axes)
        return grad_x, grad_kernels, grad_pi, None, None, None


def _convolve(source: Tensor, bank: Tensor, pi: Tensor, sizes: list[int], axes: list[Axis]) -> Tensor:
    """source (B, H, W, C), bank (K, kh, kw, O, C) -> (B, O, H', W') of the given sizes, channels last."""
    batch, source_h, source_w, source_channels = source.shape
    count, taps_h, taps_w, target_channels, _ = bank.shape
    pixels = sizes[0] * sizes[1]
    target = source.new_empty(batch, *sizes, target_channels)
    options = convolve_options(pixels, count, source.element_size(), bank.element_size())
    grid = (batch * ceil(pixels / options["BLOCK_PIXELS"]), ceil(target_channels / options["BLOCK_TARGET"]))
    with torch.cuda.device(source.get_device()):
        _kernels().convolve[grid](
            source,
            bank.contiguous(),
            _precise(pi, source),
            target,
            source_h,
            source_w,
            source_channels,
            sizes[1],
            pixels,
            target_channels,
            KERNELS=count,
            TAPS=taps_h * taps_w,
            TAPS_W=taps_w,
            AXIS_H=axes[0],
            AXIS_W=axes[1],
            PRECISION=_dot_precision(source),
            **options,
        )
    return target.permute(0, 3, 1, 2)


def _correlate(x: Tensor, grad: Tensor, kernels: Tensor, pi: Tensor, axes: list[Axis]) -> tuple[Tensor, Tensor]:
    """x (B, H, W, C) and the gradient above (B, H', W', O) -> the gradients of kernels and of pi."""
    batch, x_h, x_w, x_channels = x.shape
    _, grad_h, grad_w, grad_channels = grad.shape
    bank = kernels.permute(0, 3, 4, 1, 2).contiguous()
    count, taps_h, taps_w = bank.shape[:3]
    weights = _precise(pi, x)
    options = correlate_options(count, x.element_size())
    tiles = taps_h * taps_w * ceil(grad_channels / options["BLOCK_O"]) * ceil(x_channels / options["BLOCK_C"])
    images = ceil(batch / max(1, GRADIENT_PROGRAMS // tiles))
    slices = ceil(batch / images)
    grad_bank = weights.new_empty(slices, *bank.shape)
    grad_pi = weights.new_empty(batch, count, tiles)
    with torch.cuda.device(x.get_device()):
        _kernels().correlate[(tiles, slices)](
            x,
            grad,
            bank,
            weights,
            grad_bank,
            grad_pi,
            batch,
            images,
            x_h,
            x_w,
            x_channels,
            grad_w,
            grad_h * grad_w,
            grad_channels,
            KERNELS=count,
            TAPS=taps_h * taps_w,
            TAPS_W=taps_w,
            AXIS_H=axes[0],
            AXIS_W=axes[1],
            PRECISION=_dot_precision(x),
            **options,
        )
    grad_kernels = grad_bank.sum(0).permute(0, 3, 4, 1, 2)
    return grad_kernels.to(kernels.dtype).contiguous(), grad_pi.sum(2).to(pi.dtype)


def convolve_options(pixels: int, count: int, itemsize: int, bank_itemsize: int) -> dict[str, Any]:
    """Blocks, warps and stages of `convolve` for a target of that many pixels, K kernels and bytes a number."""
    block_pixels = min(BLOCK_PIXELS, max(16, 1 << (pixels - 1).bit_length()))
    large = block_pixels > 64
    block_source = max(16, (64 if large else 128) // itemsize)
    # Of n stages Triton keeps n tiles of the operand in shared memory and n - 1 of what the other is mixed from.
    tile = block_source * block_pixels * itemsize
    bank_tiles = count * BLOCK_O * block_source * bank_itemsize
    stages = next((n for n in (3, 2) if n * tile + (n - 1) * bank_tiles <= SHARED_BYTES), 1)
    return {
        "BLOCK_PIXELS": block_pixels,
        "BLOCK_TARGET": BLOCK_O,
        "BLOCK_SOURCE": block_source,
        "num_warps": 8 if large else 4,
        "num_stages": stages,
        "enable_fp_fusion": True,  # a default that differs between releases of Triton
    }


def correlate_options(count: int, itemsize: int) -> dict[str, Any]:
    """Blocks, warps and stages of `correlate` for K kernels, whose gradients stay in registers."""
    return {
        "BLOCK_PIXELS": max(16, 128 // itemsize),
        "BLOCK_O": BLOCK_O,
        "BLOCK_C": GRADIENT_BLOCK_C,
        "num_warps": 4 if count <= 4 else 8,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


def _kernels() -> ModuleType:
    try:
        from benchmarks import fused_kernels
    except ModuleNotFoundError as error:
        raise ValueError("the fused mixture needs triton: install it, or choose another formulation") from error
    return fused_kernels


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _precise(pi: Tensor, x: Tensor) -> Tensor:
    return pi.to(torch.float64 if x.dtype == torch.float64 else torch.float32).contiguous()


def _dot_precision(x: Tensor) -> str:
    return "tf32" if x.is_cuda and torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"  # type: ignore[attr-defined]


def _check(x: Tensor, kernels: Tensor, pi: Tensor) -> None:
    if x.dim() != 4 or kernels.dim() != 5 or kernels.shape[2] != x.shape[1] or pi.shape != (len(x), len(kernels)):
        shapes = f"{tuple(x.shape)}, {tuple(kernels.shape)} and {tuple(pi.shape)}"
        raise ValueError(f"x must be (B, C, H, W), kernels (K, O, C, kh, kw) in one group, pi (B, K), got {shapes}")
    if x.dtype not in DTYPES or kernels.dtype not in (x.dtype, torch.float32):
        raise ValueError(
            f"x is {x.dtype}, kernels {kernels.dtype}; allowed: x in {DTYPES}, kernels as x or torch.float32"
        )
    if not (x.is_cuda or _kernels().INTERPRETED):
        raise ValueError(f"the fused mixture runs on CUDA, x is on {x.device}; choose another formulation")
