"""How a filter is applied that is, tap by tap, a number for each position times a number for each channel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.formulation import is_canonical
from dynfilt.layers.geometry import Pair
from dynfilt.layers.per_position import conv2d_per_position, shifts


def conv2d_decoupled(
    x: Tensor, spatial: Tensor, channel: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """y[b, c, p] = sum_t spatial[b, t, p] * channel[b, c, t] * x[b, c, p * stride + t * dilation - padding].

    x: (B, C, H, W), spatial: (B, kh, kw, H', W'), channel: (B, C, kh, kw) -> (B, C, H', W'). The filters of all
    positions and channels, kh kw times as large as x, are never made, except in the canonical form.
    """
    if is_canonical() or torch._C._are_functorch_transforms_active():
        filters = spatial[:, None] * channel[..., None, None]
        return conv2d_per_position(x, filters, stride, padding, dilation)
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    return _DecoupledTaps.apply(x, spatial, channel, stride, dilation)


class _DecoupledTaps(torch.autograd.Function):
    """Sum over taps of shifted maps (B, C, H, W) times both filters; saves no shifted map.

    Its backward can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, spatial: Tensor, channel: Tensor, stride: Pair, dilation: Pair) -> Tensor:
        y = x.new_zeros(*x.shape[:2], *spatial.shape[3:])
        for shifted, of_position, of_channel in _taps(x, spatial, channel, stride, dilation):
            y.addcmul_(shifted * of_channel, of_position)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, spatial, channel, ctx.stride, ctx.dilation = inputs
        ctx.save_for_backward(x, spatial, channel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, spatial, channel = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        of_spatial, of_channel = [], []
        for (shifted, position, each), target in zip(
            _taps(x, spatial, channel, ctx.stride, ctx.dilation),
            shifts(grad_x, spatial.shape[1:], ctx.stride, ctx.dilation),
            strict=True,
        ):
            weighed = grad * position
            target.addcmul_(weighed, each)
            of_channel.append((weighed * shifted).sum((2, 3)))
            of_spatial.append((grad * shifted * each).sum(1))
        taps = spatial.shape[1:3]
        grads = (torch.stack(of_spatial, 1).unflatten(1, taps), torch.stack(of_channel, 2).unflatten(2, taps))
        return grad_x, *grads, None, None


def _taps(
    x: Tensor, spatial: Tensor, channel: Tensor, stride: Pair, dilation: Pair
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each tap the part of x that it sees (B, C, H', W'), its weights (B, 1, H', W') and (B, C, 1, 1): views."""
    return [
        (shifted, of_position[:, None], of_channel[..., None, None])
        for shifted, of_position, of_channel in zip(
            shifts(x, spatial.shape[1:], stride, dilation),
            spatial.flatten(1, 2).unbind(1),
            channel.flatten(2).unbind(2),
            strict=True,
        )
    ]
