"""Choices of a network's dynamic layers given to other images, and what the layers are held to first."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers import choice
from dynfilt.layers.choice import only_inputs

from .trained import TrainedRun


def require_sound_layers(run: TrainedRun) -> None:
    """Hold every dynamic layer to the protocol, on what it gets for the first test images.

    Raises ValueError, with folder and layer, for a choice of the wrong shape and as `check_dynamic_layer` does.
    """
    with _naming(run):
        choice.require_sound_layers(run.model, run.few_images())


@contextmanager
def _naming(run: TrainedRun) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{run.folder}: {error}") from error


def inputs_of(run: TrainedRun, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The inputs of those layers that run, for the first two test images, float32, in the order of the calls.

    Raises ValueError for a layer that runs more than once in a network's forward.
    """
    with _naming(run):
        return only_inputs(run.model, run.few_images(), layers)


def argmax(pi: Tensor) -> Tensor:
    """Put all of each image's attention (B, K) on its largest one; the sum over the kernels stays."""
    return F.one_hot(pi.argmax(1), pi.shape[1]).to(pi) * pi.sum(1, keepdim=True)


def shuffled_within(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Deal each image's K numbers to its kernels in an order drawn anew for each image."""

    def shuffled(pi: Tensor) -> Tensor:
        order = torch.rand(pi.shape, generator=generator).argsort(1)
        return pi.gather(1, order.to(pi.device))

    return shuffled


def shuffled_across(chosen: Tensor, last_before: Tensor | None = None) -> Tensor:
    """Give each image the choice of the one before it in the batch, the first the last's; no image keeps its own.

    An image that is alone in its batch gets `last_before`, the choice of the last image of the batch before, if there
    was one. The batches must be in random order, else neighbours may be of one class.
    """
    if len(chosen) == 1 and last_before is not None:
        return last_before
    return chosen.roll(1, dims=0)
