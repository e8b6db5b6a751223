"""BatchNorm statistics re-estimated: whether a drop comes from the replaced filters or from stale statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers of the model that keep running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@contextmanager
def reestimated(model: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """While it lasts, the running statistics are the plain averages over these batches of images.

    Only BatchNorm layers leave eval mode for it, each normalising with the batch at hand as in training; dropout
    stays off. The old statistics come back at the end.
    """
    layers = batch_norms(model)
    old = [({key: value.clone() for key, value in layer.state_dict().items()}, layer.momentum) for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.inference_mode():
            for images in batches:
                model(images)
        for layer in layers:
            layer.eval()
        yield
    finally:
        for layer, (state, momentum) in zip(layers, old, strict=True):
            layer.load_state_dict(state)
            layer.momentum = momentum
            layer.eval()
