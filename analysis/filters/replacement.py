"""Record and replace what the input decides in the dynamic layers of a network, whatever their classes.

A choice is what a layer with the protocol of dynfilt.layers.choice computes for each image: an attention over kernels,
gates, whole filters. Replacing it asks whether the network needs it: Chen et al., "Dynamic Convolution", CVPR 2020,
arXiv 1912.03458, section "Is it dynamic?".
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.choice import Choice, DynamicLayer, check_dynamic_layer, dynamic_layers, named_choice

from .trained import TrainedRun

# A layer's name, the name of a tensor of its choice, and the tensor -> the tensor that is applied instead.
Replacement = Callable[[str, str, Tensor], Tensor]


@contextmanager
def replaced(model: nn.Module, replacement: Replacement) -> Iterator[None]:
    """While it lasts, every dynamic layer applies what `replacement` makes of each tensor of its choice."""
    layers = dynamic_layers(model)
    try:
        for name, layer in layers.items():
            # An attribute of the instance comes before the method of its class.
            vars(layer)["forward"] = _forward(name, layer, replacement)
        yield
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)


def require_sound_layers(run: TrainedRun) -> None:
    """Hold every dynamic layer to the protocol, on what it gets for the first test images.

    Raises ValueError, with the layer's name, for a choice of the wrong shape and as `check_dynamic_layer` does.
    """
    layers = dynamic_layers(run.model)
    for name, x in inputs_of(run, layers).items():
        try:
            check_dynamic_layer(layers[name], x)
        except ValueError as error:
            raise ValueError(f"{run.folder}: layer {name}: {error}") from error


def inputs_of(run: TrainedRun, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Record the inputs of those layers that run, for the first two test images, float32, in the order of the calls.

    Raises ValueError for a layer that runs more than once in a network's forward.
    """
    inputs: dict[str, Tensor] = {}
    so_far: set[str] = set()  # in this forward of the network

    def see(name: str, x: Tensor) -> None:
        if name in so_far:
            raise ValueError(f"{run.folder}: layer {name}: runs more than once, so that an image has several choices")
        so_far.add(name)
        inputs.setdefault(name, x.float())

    handles = [run.model.register_forward_pre_hook(lambda *_: so_far.clear())]
    handles += [
        layer.register_forward_pre_hook(lambda layer, arguments, name=name: see(name, arguments[0]))
        for name, layer in layers.items()
    ]
    try:
        run.scores(run.data.test.subset(torch.arange(2, device=run.data.test.labels.device)))
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def argmax(pi: Tensor) -> Tensor:
    """Put all of each image's attention (B, K) on its largest one; the sum over the kernels stays."""
    return F.one_hot(pi.argmax(1), pi.shape[1]).to(pi) * pi.sum(1, keepdim=True)


def shuffled_within(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Deal each image's K numbers to its kernels in an order drawn anew for each image."""

    def shuffled(pi: Tensor) -> Tensor:
        order = torch.rand(pi.shape, generator=generator).argsort(1)
        return pi.gather(1, order.to(pi.device))

    return shuffled


def shuffled_across(choice: Tensor, last_before: Tensor | None = None) -> Tensor:
    """Give each image the choice of the one before it in the batch, the first the last's; no image keeps its own.

    An image that is alone in its batch gets `last_before`, the choice of the last image of the batch before, if there
    was one. The batches must be in random order, else neighbours may be of one class.
    """
    if len(choice) == 1 and last_before is not None:
        return last_before
    return choice.roll(1, dims=0)


def _forward(name: str, layer: nn.Module, replacement: Replacement) -> Callable[[Tensor], Tensor]:
    assert isinstance(layer, DynamicLayer)

    def forward(x: Tensor) -> Tensor:
        choice = layer.choice(x)
        tensors = [replacement(name, each, tensor) for each, tensor in named_choice(layer, choice).items()]
        instead: Choice = tuple(tensors) if isinstance(choice, tuple) else tensors[0]
        return layer.apply_choice(x, instead)

    return forward
