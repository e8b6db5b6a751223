"""How a convolution's kernels start: each from one rule for one kernel, so that twins differ in the filter alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

Draw = Callable[[Tensor], object]
# `published` starts a layer as its paper or code does, `corrected` with the output variance of its static twin.
InitialScale = Literal["published", "corrected"]

as_conv2d_does: Draw = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))


@torch.no_grad()
def draw_kernels(convolution: nn.Module, draw: Draw) -> bool:
    """Start a convolution, whatever its class, from `draw`, which fills one kernel (O, C/groups, kh, kw) in place.

    A layer with a method `reset_kernels(draw)` starts itself. Otherwise each kernel of the parameter `weight` is drawn:
    the only one (O, C/groups, kh, kw) or each of a bank (K, O, C/groups, kh, kw). A layer that has neither stays as
    its constructor made it, and the answer is False.
    """
    reset = getattr(convolution, "reset_kernels", None)
    if reset is not None:
        reset(draw)
        return True
    weight = getattr(convolution, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.ndim not in (4, 5):
        return False
    for kernel in weight if weight.ndim == 5 else weight[None]:
        draw(kernel)
    return True


def reset_bias(bias: Tensor | None, kernel_shape: Sequence[int]) -> None:
    """Draw a bias as nn.Conv2d does: uniform within 1 / sqrt(fan in of a kernel (O, C/groups, kh, kw))."""
    if bias is not None:
        bound = 1 / math.sqrt(math.prod(kernel_shape[1:]))
        nn.init.uniform_(bias, -bound, bound)


@torch.no_grad()
def rescale_mixture(kernels: Tensor, share: float) -> None:
    """Scale K kernels so that `share` times their sum is as large as one of them was.

    Independent kernels grow by 1 / (share * sqrt(K)), K copies of one kernel by 1 / (share * K). kernels: (K, ...).
    """
    one = kernels.square().sum().div(len(kernels)).sqrt()
    mixed = kernels.sum(0).norm() * share
    kernels.mul_(one / mixed.clamp_min(torch.finfo(kernels.dtype).tiny))
