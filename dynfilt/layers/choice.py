"""The protocol of dynamic layers: the input decides something, and its choice can be looked at and replaced.

A layer, ours or not, is dynamic when it has two methods: `choice(x)`, what each image decides, and
`apply_choice(x, choice)`, the output; its forward(x) is apply_choice(x, choice(x)). A choice is a tensor with the batch
first, or a tuple of such tensors: attention over K kernels (B, K), a gate (B, C), filters (B, O, C/groups, kh, kw).

Two more are optional. `choice_names` says what each tensor of the choice is: KERNEL_ATTENTION for an attention over
kernels, FILTER for a whole filter, any words for another. A layer that has the methods but, as it was built, nothing to
decide names none. `filters(x, choice=None)` gives each image's whole filter, (B, O, C/groups, kh, kw).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Choice = Tensor | tuple[Tensor, ...]
# `constant` takes what is chosen away from the image: one trained choice for all.
Control = Literal["none", "constant"]
# A layer's name, the name of a tensor of its choice, and the tensor -> the tensor that is applied instead.
Replacement = Callable[[str, str, Tensor], Tensor]

KERNEL_ATTENTION = "kernel attention"
FILTER = "filter"


@runtime_checkable
class DynamicLayer(Protocol):
    """A layer whose input decides something; forward(x) is apply_choice(x, choice(x))."""

    def choice(self, x: Tensor) -> Choice:
        """Return what each image of x decides: a tensor with the batch first, or a tuple of them."""
        ...

    def apply_choice(self, x: Tensor, choice: Any) -> Tensor:
        """Return the layer's output for x when `choice` is what the images have decided."""
        ...


def is_dynamic(layer: nn.Module) -> bool:
    """Whether the layer's input decides something."""
    return isinstance(layer, DynamicLayer) and getattr(layer, "choice_names", None) != ()


def dynamic_layers(network: nn.Module) -> dict[str, nn.Module]:
    """All layers of a network whose input decides something, by name, in the order in which they were built."""
    return {name: layer for name, layer in network.named_modules() if is_dynamic(layer)}


def layer_inputs(network: nn.Module, images: Tensor, layers: Mapping[str, nn.Module]) -> dict[str, list[Tensor]]:
    """What those of the layers that run get, each time that they do, when the network sees the images in eval mode."""
    inputs: dict[str, list[Tensor]] = {}
    handles = [
        layer.register_forward_pre_hook(
            lambda layer, arguments, name=name: inputs.setdefault(name, []).append(arguments[0])
        )
        for name, layer in layers.items()
    ]
    try:
        with _evaluating(network), torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}  # some may be held in another than the network's
    try:
        network.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def only_inputs(network: nn.Module, images: Tensor, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What those of the layers that run get, as `layer_inputs`; raises ValueError for one that runs more than once."""
    inputs = layer_inputs(network, images, layers)
    if several := next((name for name, seen in inputs.items() if len(seen) > 1), None):
        raise ValueError(f"layer {several}: runs more than once, so that an image has several choices")
    return {name: seen[0] for name, seen in inputs.items()}


def deciding_parameters(network: nn.Module, images: Tensor) -> list[nn.Parameter]:
    """The trained parameters from which the layers of a network compute their choices: attention, gates, generators.

    Those of a control whose choice is the same for all images count too, as they do in the layer beside it.
    images: (B, ...), any that the network takes; it sees them once, in eval mode.
    """
    layers: dict[str, Any] = {name: each for name, each in network.named_modules() if isinstance(each, DynamicLayer)}
    found: dict[nn.Parameter, None] = {}
    for name, inputs in layer_inputs(network, images, layers).items():
        with _evaluating(network):
            choice = layers[name].choice(inputs[0])
        tensors = choice if isinstance(choice, tuple) else (choice,)
        if not tensors:  # a layer with nothing to decide, as it was built
            continue
        total = torch.stack([each.sum() for each in tensors]).sum()
        trained = [parameter for parameter in layers[name].parameters() if parameter.requires_grad]
        if total.requires_grad:
            reached = torch.autograd.grad(total, trained, allow_unused=True)
            found |= {p: None for p, slope in zip(trained, reached, strict=True) if slope is not None}
    return list(found)


@contextmanager
def replaced(network: nn.Module, replacement: Replacement) -> Iterator[None]:
    """While it lasts, every dynamic layer applies what `replacement` makes of each tensor of its choice.

    Whether a network needs its choices is asked so by Chen et al., "Dynamic Convolution", CVPR 2020, arXiv 1912.03458,
    section "Is it dynamic?".
    """
    layers = dynamic_layers(network)
    try:
        for name, layer in layers.items():
            # An attribute of the instance comes before the method of its class.
            vars(layer)["forward"] = _forward(name, layer, replacement)
        yield
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)


def _forward(name: str, layer: Any, replacement: Replacement) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        choice = layer.choice(x)
        tensors = [replacement(name, each, tensor) for each, tensor in named_choice(layer, choice).items()]
        return layer.apply_choice(x, tuple(tensors) if isinstance(choice, tuple) else tensors[0])

    return forward


def named_choice(layer: nn.Module, choice: Choice) -> dict[str, Tensor]:
    """A choice's tensors by the layer's own names, else `choice`, or `choice 1`, `choice 2`, ... for a tuple.

    Raises ValueError when the layer names another number of tensors, or two alike.
    """
    tensors = choice if isinstance(choice, tuple) else (choice,)
    unnamed = ("choice",) if len(tensors) == 1 else tuple(f"choice {n}" for n in range(1, len(tensors) + 1))
    names: tuple[str, ...] = getattr(layer, "choice_names", unnamed)
    if len(names) != len(tensors):
        raise ValueError(f"{_name(layer)}: choice_names has {len(names)} names for {len(tensors)} tensors: {names}")
    named = dict(zip(names, tensors, strict=True))
    if len(named) != len(names):
        raise ValueError(f"{_name(layer)}: choice_names has a name twice: {names}")
    return named


def image_filters(layer: nn.Module, x: Tensor, choice: Choice | None = None) -> Tensor | None:
    """Each image's whole filter (B, O, C/groups, kh, kw), by `choice` or the layer's own; None if it has none."""
    filters = getattr(layer, "filters", None)
    if filters is None:
        return None
    return filters(x) if choice is None else filters(x, choice)


def require_sound_layers(network: nn.Module, images: Tensor) -> None:
    """Hold every dynamic layer of a network to the protocol, on what it gets for at least two images (B, ...).

    Raises ValueError, with the layer's name, for one that runs more than once and as `check_dynamic_layer` does.
    """
    layers = dynamic_layers(network)
    for name, x in only_inputs(network, images, layers).items():
        try:
            check_dynamic_layer(layers[name], x)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error


@torch.no_grad()
def check_dynamic_layer(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The named choice of a layer for at least two images x (B, C, H, W), after holding the layer to the protocol.

    Raises ValueError, in one line, for a method that is missing, a choice of a layer that decides nothing, one that is
    no tensor or does not have the batch first, names that do not fit, an output that is not finite, an apply_choice
    that gives another output than forward, and filters of a wrong shape.
    """
    if not isinstance(layer, DynamicLayer):
        raise ValueError(f"{_name(layer)}: a dynamic layer has the methods choice(x) and apply_choice(x, choice)")
    with _evaluating(layer):
        return _checked_choice(layer, x)


def _checked_choice(layer: Any, x: Tensor) -> dict[str, Tensor]:
    for images in (x[:1], x):
        choice = layer.choice(images)
        tensors = choice if isinstance(choice, tuple) else (choice,)
        if tensors and not is_dynamic(layer):
            raise ValueError(f"{_name(layer)}: decides nothing, as it was built, and choice(x) is not empty")
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                kind = type(tensor).__name__
                raise ValueError(f"{_name(layer)}: choice(x) is a {kind}, must be a tensor or a tuple of tensors")
            if tensor.ndim == 0 or len(tensor) != len(images):
                shape = tuple(tensor.shape)
                raise ValueError(
                    f"{_name(layer)}: choice(x) has the shape {shape} for {len(images)} images; the batch must be first"
                )
    named = named_choice(layer, choice)
    output, applied = layer(x), layer.apply_choice(x, choice)
    if not output.isfinite().all():
        raise ValueError(f"{_name(layer)}: forward(x) is not finite")
    if output.dtype != applied.dtype:
        raise ValueError(f"{_name(layer)}: forward(x) is {output.dtype}, apply_choice(x, choice(x)) {applied.dtype}")
    if output.shape != applied.shape or not torch.allclose(output, applied, rtol=1e-3, atol=1e-5):
        raise ValueError(f"{_name(layer)}: apply_choice(x, choice(x)) must be forward(x)")
    filters = image_filters(layer, x, choice)
    if filters is not None and (filters.ndim != 5 or filters.shape[:2] != output.shape[:2]):
        wanted = (*output.shape[:2], "C/groups", "kh", "kw")
        raise ValueError(f"{_name(layer)}: filters have the shape {tuple(filters.shape)}, must be {wanted}")
    return named


def _name(layer: nn.Module) -> str:
    return type(layer).__name__
