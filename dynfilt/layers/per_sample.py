"""How a filter is applied when every image brings its own."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.formulation import decide, is_canonical
from dynfilt.layers.geometry import Geometry, Padding, Pair, Size, padded, pair, read_padding
from dynfilt.layers.per_image import in_computing_dtype, is_half, is_offered, per_image_conv2d
from dynfilt.layers.reach import reaching, unread_as_zeros
from dynfilt.layers.taps import conv2d_taps, taps_apply


def conv2d_per_sample(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve image i with filter i.

    x: (B, C, H, W), weight: (B, O, C/groups, kh, kw), bias: (B, O) or None -> (B, O, H', W').
    Sizes are an int or a pair, padding may also be `same` or `valid`, as in F.conv2d.
    The fastest exact formulation for the shape is taken; all agree to rounding in outputs and gradients.
    Raises ValueError when the shapes of x, weight and bias do not fit, and for sizes that are not ints in range.
    """
    _check_shapes(x, weight, bias, groups)
    stride, dilation = pair("stride", stride, at_least=1), pair("dilation", dilation, at_least=1)
    x, zeros = padded(x, read_padding(padding, stride), (weight.shape[3], weight.shape[4]), dilation)
    x, weight, geometry = reaching(x, weight, Geometry(stride, zeros, dilation, groups))
    stride, zeros, dilation, groups = geometry
    kernel_size = (weight.shape[3], weight.shape[4])
    if not x.shape[0]:  # the sum over no filters has their shape, and gives them a gradient
        return F.conv2d(x, weight.sum(0), None if bias is None else bias.sum(0), stride, zeros, dilation, groups)
    by_taps = taps_apply(x.shape[-2:], kernel_size, stride, zeros, dilation, groups)
    applicable = ["grouped", *(["taps"] if by_taps else []), *(["per_image"] if groups == 1 and is_offered(x) else [])]
    formulation = decide(applicable, _fastest(x, weight, applicable))
    if formulation == "grouped":
        return conv2d_grouped(x, weight, bias, stride, zeros, dilation, groups)
    if formulation == "taps":
        y = conv2d_taps(x, weight, padding=zeros, dilation=dilation)
    else:
        x, weight = in_computing_dtype(x, weight)
        y = per_image_conv2d(x, weight, list(stride), list(zeros), list(dilation))
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
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """`conv2d_per_sample` in its canonical form: all images as the groups of one convolution.

    Where that is not forced, filters with one tap are a matrix product for each image.
    """
    if weight.shape[3:] == (1, 1) and padding == (0, 0) and groups == 1 and not is_canonical():
        seen = x[:, :, :: stride[0], :: stride[1]]
        y = torch.bmm(weight.flatten(2), seen.flatten(2)).unflatten(2, seen.shape[2:])
        return y if bias is None else y + bias[:, :, None, None].to(y.dtype)
    weight = unread_as_zeros(weight, x, Geometry(stride, padding, dilation, groups))
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
