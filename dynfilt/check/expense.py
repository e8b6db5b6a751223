"""What a layer costs beside nn.Conv2d and beside filters for each image in their canonical, grouped form."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dynfilt.check.findings import Measured, first_line, short
from dynfilt.check.subject import Subject, run
from dynfilt.cost import count_flops, count_parameters
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.per_sample import conv2d_per_sample

BATCH = 32
REPEATS = 7


def parameters(subject: Subject) -> Measured:
    """Trained numbers, and how many times those of nn.Conv2d."""
    layer = subject.fresh()
    own, static = count_parameters(layer), count_parameters(_twin(subject, layer))
    return Measured(True, f"{own:,}, {own / static:.2f} times nn.Conv2d's {static:,}", float(own))


def flops(subject: Subject) -> Measured:
    """FLOPs for one image in the canonical form, and how many times those of nn.Conv2d."""
    layer = subject.fresh()
    static = count_flops(_twin(subject, layer), subject.image_shape)
    try:
        own = count_flops(layer, subject.image_shape)
    except Exception as error:
        return Measured(True, f"cannot be counted: {first_line(error)}", remarkable=True)
    return Measured(True, f"{own / 1e6:.3f} M an image, {own / static:.2f} times nn.Conv2d's", own)


def step_time(subject: Subject) -> Measured:
    """Milliseconds of forward and backward, beside nn.Conv2d and beside one grouped convolution of as many filters."""
    layer = subject.fresh()
    twin = _twin(subject, layer)
    x = subject.images(BATCH).float()
    filters = twin.weight.detach().expand(BATCH, *twin.weight.shape).clone().requires_grad_()
    geometry: Any = (twin.stride, twin.padding, twin.dilation, twin.groups)

    def grouped(x: Tensor) -> Tensor:
        with force_formulation("grouped"):
            return conv2d_per_sample(x, filters, None, *geometry)

    own, static, canonical = _milliseconds([lambda x: run(layer, x), twin, grouped], x)
    words = f"{short(own)} ms for {BATCH} images, forward and backward: {own / static:.1f} times nn.Conv2d"
    return Measured(True, f"{words}, {own / canonical:.1f} times filters for each image in one grouped call", own)


def _twin(subject: Subject, layer: nn.Module) -> nn.Conv2d:
    return subject.twin(bias=getattr(layer, "bias", None) is not None)


def _milliseconds(functions: list[Callable[[Tensor], Tensor]], x: Tensor) -> list[float]:
    """Median time of each function and its backward, taken in turns so that a busy machine slows all alike."""
    x = x.requires_grad_()
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(REPEATS + 1):
        for function, taken in zip(functions, times, strict=True):
            started = time.perf_counter()
            function(x).sum().backward()
            if repeat:
                taken.append(1e3 * (time.perf_counter() - started))
    return [statistics.median(taken) for taken in times]
