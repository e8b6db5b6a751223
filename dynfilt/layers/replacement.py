"""Turn the convolutions of a network that is already built into dynamic ones, with the weights that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from dynfilt.layers.bank import BankConv2d
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.reach import Conv2d

Where = Callable[[str, nn.Conv2d], bool]


def replace_convolutions(
    network: nn.Module,
    layer: Callable[..., nn.Module],
    where: Where | None = None,
    keep_weights: bool = True,
    **options: Any,
) -> nn.Module:
    """Replace each nn.Conv2d of a network, in place, by layer(in, out, kernel_size=, ..., **options), and return it.

    `where(name, convolution)` chooses; without it all but the first one are replaced, as in DY-Conv (arXiv 1912.03458).
    Every kernel of a new layer starts as the old one's and every bias too, unless `keep_weights` is False; device,
    dtype and mode stay, and all of it trains. A bank whose shares add up to 1, or with `initial_scale="corrected"`,
    gives the old outputs as long as it mixes its kernels alike; how far the others go is told in docs/own_layer.md.
    Raises ValueError when `where` chooses none, for padding that is no zeros, for parametrizations, and for a layer
    that cannot start from a kernel.
    """
    every = {module: name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    first = next(iter(every), None)
    names = {module: name for module, name in every.items() if _is_plain(module) or is_parametrized(module)}
    chosen = {
        convolution: name
        for convolution, name in names.items()
        if (convolution is not first if where is None else where(name, convolution))
    }
    if computed := [name for convolution, name in chosen.items() if _is_computed(convolution)]:
        raise ValueError(
            f"{computed[0]}: has parametrizations, or hooks in their place (weight norm, pruning), which a dynamic "
            "layer would lose; remove them, or leave it out by `where`"
        )
    if not chosen:
        raise ValueError(f"no convolution to replace among {', '.join(filter(None, names.values())) or 'none'}")
    if network in chosen:
        raise ValueError("the network itself is the convolution; put it into an nn.Sequential")
    new = {old: _replacement(name, old, layer, keep_weights, options) for old, name in chosen.items()}
    for module in list(network.modules()):
        for name, child in list(module._modules.items()):
            if child in new:
                setattr(module, name, new[child])
    return network


def _is_plain(convolution: nn.Conv2d) -> bool:
    return type(convolution) in (nn.Conv2d, Conv2d)


def _is_computed(convolution: nn.Conv2d) -> bool:
    return is_parametrized(convolution) or not {"weight", "bias"} <= convolution._parameters.keys()


def _replacement(
    name: str, old: nn.Conv2d, layer: Callable[..., nn.Module], keep_weights: bool, options: dict[str, Any]
) -> nn.Module:
    if old.padding_mode != "zeros":
        raise ValueError(
            f"{name}: padding_mode={old.padding_mode!r}; only zeros can be replaced, leave it out by `where`"
        )
    geometry = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "groups")}
    new = layer(old.in_channels, old.out_channels, **geometry, bias=old.bias is not None, **options)
    # Copied and scaled where the kernels are, in no less than float32, which rounds neither those of float64 nor sums.
    new = new.to(old.weight.device, torch.promote_types(old.weight.dtype, torch.float32))
    if keep_weights:
        _start_from(name, new, old)
    return new.to(old.weight.dtype).train(old.training)


@torch.no_grad()
def _start_from(name: str, new: nn.Module, old: nn.Conv2d) -> None:
    def copy(kernel: Tensor) -> None:
        if kernel.shape != old.weight.shape:
            raise ValueError(f"{name}: {kind} has kernels of another shape; use keep_weights=False")
        kernel.copy_(old.weight)

    kind = type(new).__name__
    if not draw_kernels(new, copy):
        raise ValueError(f"{name}: {kind} starts from no kernel; use keep_weights=False")
    bias = getattr(new, "bias", None)
    if bias is not None and old.bias is not None:
        bias.copy_(old.bias)
        if isinstance(new, BankConv2d):
            new.correct(bias)
