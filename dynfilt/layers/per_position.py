"""How a filter is applied when every image and position brings its own, shared by groups of channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.formulation import is_canonical
from dynfilt.layers.geometry import Pair

# Below so many output positions one copy of all windows is faster than a pass over the maps for each tap (2 cores).
SMALLEST_MAP = 32


def conv2d_per_position(x: Tensor, filters: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """y[b, c, p] = sum_t filters[b, g(c), t, p] * x[b, c, p * stride + t * dilation - padding], channel by channel.

    x: (B, C, H, W), filters: (B, G, kh, kw, H', W') with G groups of C / G channels -> (B, C, H', W').
    Raises ValueError when the shapes do not fit.
    """
    if filters.ndim != 6 or x.shape[0] != filters.shape[0] or x.shape[1] % filters.shape[1]:
        shapes = f"{tuple(x.shape)} and {tuple(filters.shape)}"
        raise ValueError(f"x must be (B, C, H, W) and filters (B, G, kh, kw, H', W'), G dividing C, got {shapes}")
    _, groups, rows, columns, height, width = filters.shape
    # Unfolded, every transform of a function knows each operator.
    unfolded = is_canonical() or height * width < SMALLEST_MAP or torch._C._are_functorch_transforms_active()
    if x.shape[0] and unfolded:
        windows = F.unfold(x, (rows, columns), dilation, padding, stride)
        windows = windows.unflatten(1, (groups, -1, rows * columns))
        taps = filters.flatten(2, 3).flatten(3)
        if is_canonical():  # one matrix product for each position, whose multiply-adds are counted
            y = (windows.movedim(4, 2) @ taps.movedim(3, 2)[..., None]).squeeze(4).movedim(2, 3)
        else:
            y = (windows * taps[:, :, None]).sum(3)
        return y.flatten(1, 2).unflatten(2, (height, width))
    grouped = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).unflatten(1, (groups, -1))
    y = _WeighedTaps.apply(grouped, filters, stride, dilation)
    return y.flatten(1, 2)


class _WeighedTaps(torch.autograd.Function):
    """Sum over taps of shifted maps (B, G, C/G, H, W) times filters (B, G, kh, kw, H', W'); saves no shifted map.

    Its backward can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, filters: Tensor, stride: Pair, dilation: Pair) -> Tensor:
        y = x.new_zeros(*x.shape[:3], *filters.shape[4:])
        for shifted, tap in _taps(x, filters, stride, dilation):
            y.addcmul_(shifted, tap)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, filters, ctx.stride, ctx.dilation = inputs
        ctx.save_for_backward(x, filters)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, filters = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        rows = []
        for (shifted, tap), target in zip(
            _taps(x, filters, ctx.stride, ctx.dilation),
            shifts(grad_x, filters.shape[2:], ctx.stride, ctx.dilation),
            strict=True,
        ):
            target.addcmul_(grad, tap)
            rows.append((grad * shifted).sum(2))
        grad_filters = torch.stack(rows, dim=2).unflatten(2, filters.shape[2:4])
        return grad_x, grad_filters, None, None


def _taps(x: Tensor, filters: Tensor, stride: Pair, dilation: Pair) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tap the part of x that it sees, (B, G, C/G, H', W'), and its weights (B, G, 1, H', W'), views."""
    weights = filters.flatten(2, 3).unbind(2)
    for shifted, weight in zip(shifts(x, filters.shape[2:], stride, dilation), weights, strict=True):
        yield shifted, weight[:, :, None]


def shifts(x: Tensor, sizes: Sequence[int], stride: Pair, dilation: Pair) -> Iterator[Tensor]:
    """For each tap the part of x (..., H, W) that it sees, a view (..., H', W'); sizes: kh, kw, H', W'."""
    rows, columns, height, width = sizes
    for row in range(rows):
        for column in range(columns):
            top, left = row * dilation[0], column * dilation[1]
            below, right = top + (height - 1) * stride[0] + 1, left + (width - 1) * stride[1] + 1
            yield x[..., top : below : stride[0], left : right : stride[1]]
