"""Does a compiled model train as the eager one does? One batch decides, before anything depends on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.wording import one_line

# A gradient of the compiled model may be this much farther from float64's than the eager one's is: rounding falls
# elsewhere in fused code, and switches other ReLUs. A wrong kernel is off by the size of the gradient itself.
TIMES_FARTHER = 4.0
# What rounding may do besides, as a share of the gradient: 8, 11 or 24 bits and many layers.
SHARES = {"bfloat16": 0.05, "tf32": 0.01, "float32": 1e-3}
OF_ALL = 1e-6  # of the norm of all gradients, for those that are zero
Forward = Callable[[Tensor], Tensor]


def require_same_gradients(
    model: nn.Module,
    compiled: Forward,
    images: Tensor,
    labels: Tensor,
    autocast: Callable[[], torch.autocast],
    memory_format: torch.memory_format,
    precision: str,
) -> None:
    """Raise ValueError, naming the parameter, where one batch gives a compiled model other gradients than the eager.

    Both are measured by their distance to the gradients of the eager model in float64. The model is left as it was:
    without gradients, its buffers and random generators restored. A model that drops by nn.Dropout, which draws other
    masks when compiled, is compared without dropout, at the price of another compilation.
    """
    images = images.contiguous(memory_format=memory_format)
    dropouts = [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    rates = [module.p for module in dropouts]
    for module in dropouts:
        module.p = 0.0
    model.train()
    exact = _float64_gradients(model, images, labels)
    eager = _gradients(model, model, images, labels, autocast)
    found = _gradients(model, compiled, images, labels, autocast)
    for module, rate in zip(dropouts, rates, strict=True):
        module.p = rate
    total = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    for name, gradient in exact.items():
        allowed = TIMES_FARTHER * (eager[name] - gradient).norm() + SHARES[precision] * gradient.norm() + OF_ALL * total
        distance = (found[name] - gradient).norm()
        if not distance <= allowed:  # NaN is no agreement
            raise ValueError(
                f"trainer.compile=true: the gradient of {name} is {distance:.2g} off, where the eager model allows for "
                f"{allowed:.2g}; torch.compile miscompiles this model here: choose trainer.compile=false"
            )


def _float64_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    try:
        reference = copy.deepcopy(model).double()
        return _gradients(reference, reference, images.double(), labels, nullcontext)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"trainer.compile=true: this model cannot be compared with its compiled form, since it does not run in "
            f"float64 ({one_line(error)}): choose trainer.compile=false"
        ) from error


def _gradients(
    model: nn.Module,
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
) -> dict[str, Tensor]:
    """The gradient of each parameter; buffers and random state are put back."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [images.device.index] if images.device.type == "cuda" else []
    model.zero_grad()
    with torch.random.fork_rng(devices=devices):
        with autocast():
            logits = forward(images)
            loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
        loss.backward()
    gradients = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return gradients
