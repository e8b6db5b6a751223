"""How a filter is applied when every image brings its own."""

from __future__ import annotations

from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.formulation import decide
from dynfilt.layers.per_image import in_computing_dtype, is_half, is_offered, per_image_conv2d
from dynfilt.layers.taps import conv2d_taps, taps_apply


def conv2d_per_sample(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve image i with filter i.

    x: (B, C, H, W), weight: (B, O, C/groups, kh, kw), bias: (B, O) or None -> (B, O, H', W').
    The fastest exact formulation for the shape is taken; all agree to rounding in outputs and gradients.
    Raises ValueError when the shapes of x, weight and bias do not fit.
    """
    _check_shapes(x, weight, bias, groups)
    geometry = (_pair(stride), _pair(padding), _pair(dilation))
    by_taps = taps_apply(x.shape[-2:], weight.shape[-2:], *geometry, groups)
    applicable = ["grouped", *(["taps"] if by_taps else []), *(["per_image"] if groups == 1 and is_offered(x) else [])]
    formulation = decide(applicable, _fastest(x, weight, applicable))
    if formulation == "grouped":
        return conv2d_grouped(x, weight, bias, *geometry, groups)
    if formulation == "taps":
        y = conv2d_taps(x, weight, padding=geometry[1], dilation=geometry[2])
    else:
        x, weight = in_computing_dtype(x, weight)
        y = per_image_conv2d(x, weight, *(list(sizes) for sizes in geometry))
    return y if bias is None else y + bias[:, :, None, None].to(y.dtype)


def _fastest(x: Tensor, weight: Tensor, applicable: Collection[str]) -> str:
    # One GEMM with O * kh * kw rows reads x once; it pays while those rows are few (measured at O = 1).
    if "taps" in applicable and weight.shape[1] <= 4:
        return "taps"
    # cuDNN's grouped convolutions are 20 times slower than static ones, an image's GEMM 1.2 times (H100, bfloat16).
    return "per_image" if "per_image" in applicable and is_half(x) else "grouped"


def conv2d_grouped(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """`conv2d_per_sample` in its canonical form: all images as the groups of one convolution."""
    batch, out_channels = weight.shape[:2]
    y = F.conv2d(
        x.reshape(1, -1, *x.shape[-2:]),
        weight.reshape(-1, *weight.shape[2:]),
        None if bias is None else bias.reshape(-1),
        stride,
        padding,
        dilation,
        batch * groups,
    )
    return y.view(batch, out_channels, *y.shape[-2:])


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if x.dim() != 4 or weight.dim() != 5:
        shapes = f"{tuple(x.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"x must be (B, C, H, W) and weight (B, O, C/groups, kh, kw), got {shapes}")
    batch, in_channels = x.shape[:2]
    if weight.shape[0] != batch:
        raise ValueError(f"x has {batch} images but weight has {weight.shape[0]} filters; one filter an image")
    if groups < 1 or in_channels % groups or weight.shape[1] % groups or weight.shape[2] != in_channels // groups:
        raise ValueError(
            f"weight {tuple(weight.shape)} does not fit {in_channels} input channels in {groups} groups; "
            f"weight is (B, O, C/groups, kh, kw) with C and O multiples of groups"
        )
    if bias is not None and bias.shape != weight.shape[:2]:
        raise ValueError(f"bias must be (B, O) = {tuple(weight.shape[:2])}, got {tuple(bias.shape)}")
