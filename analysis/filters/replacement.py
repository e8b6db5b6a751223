"""Record and replace what the input decides: the attention of DY-Conv layers, the filters of generated ones.

A choice is what a dynamic layer computes for each image: DY-Conv's attention pi (B, K), or the filters
(B, O, C, k, k) of a GeneratedConv2d. Replacing it asks whether the network needs it: Chen et al., "Dynamic
Convolution", CVPR 2020, arXiv 1912.03458, section "Is it dynamic?".
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.generated import GeneratedConv2d
from dynfilt.layers.per_sample import conv2d_per_sample

Replacement = Callable[[Tensor], Tensor]
Hook = Callable[..., Tensor | None]


def dynamic_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers that choose for each image, by name; not a DY-Conv with one kernel, which has no choice."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, GeneratedConv2d) or (isinstance(layer, DYConv2d) and not layer.attention.constant)
    }


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """While it lasts, every layer's choices are appended to its list, batch by batch, float32 on the CPU."""
    choices: dict[str, list[Tensor]] = {name: [] for name in dynamic_layers(model)}

    def keep(name: str) -> Replacement:
        def replacement(choice: Tensor) -> Tensor:
            choices[name].append(choice.detach().float().cpu())
            return choice

        return replacement

    with replaced(model, {name: keep(name) for name in choices}):
        yield choices


@contextmanager
def replaced(model: nn.Module, replacements: Mapping[str, Replacement]) -> Iterator[None]:
    """While it lasts, the layers named use replacement(choice) instead of their choice."""
    layers = dynamic_layers(model)
    with ExitStack() as stack:
        for name, replacement in replacements.items():
            layer = layers[name]
            if isinstance(layer, DYConv2d):
                handle = layer.attention.register_forward_hook(_for_attention(replacement))
            else:
                handle = layer.register_forward_hook(_for_filters(replacement))
            stack.callback(handle.remove)
        yield


def mean_of(mean: Tensor) -> Replacement:
    """Give every image the same choice, `mean` (without batch dimension)."""
    return lambda choice: mean.to(choice).expand_as(choice)


def argmax(pi: Tensor) -> Tensor:
    """Put all of each image's attention (B, K) on its largest one; the sum over the kernels stays."""
    return F.one_hot(pi.argmax(1), pi.shape[1]).to(pi) * pi.sum(1, keepdim=True)


def shuffled_within(generator: torch.Generator) -> Replacement:
    """Deal each image's K numbers to its kernels in an order drawn anew for each image."""

    def replacement(pi: Tensor) -> Tensor:
        order = torch.rand(pi.shape, generator=generator).argsort(1)
        return pi.gather(1, order.to(pi.device))

    return replacement


def shuffled_across(choice: Tensor) -> Tensor:
    """Give each image the choice of the one before it in the batch, the first the last's; no image keeps its own.

    The batches must be in random order, else neighbours may be of one class.
    """
    return choice.roll(1, dims=0)


def _for_attention(replacement: Replacement) -> Hook:
    return lambda attention, arguments, pi: replacement(pi)


def _for_filters(replacement: Replacement) -> Hook:
    def hook(layer: GeneratedConv2d, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        x = arguments[0]
        return conv2d_per_sample(x, replacement(layer.filters(x)), padding=layer.padding)

    return hook
