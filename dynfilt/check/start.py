"""How a layer starts, against its static twin."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

from dynfilt.check.findings import Measured, short
from dynfilt.check.subject import Subject

DRAWS = 8
# A twin's own draws differ by about 1 % here.
VARIANCE_BOUND = 0.05
# A gradient of the input also comes through the generator, which no static layer has.
GRADIENT_BOUND = 0.5


def initial_variance(subject: Subject) -> Measured:
    """The output's variance at the start over that of nn.Conv2d, on white images."""
    return _judged(subject, *_ratio(subject, "output"), VARIANCE_BOUND, "output's variance")


def initial_gradient(subject: Subject) -> Measured:
    """The variance of the input's gradient at the start over that of nn.Conv2d, on white images."""
    return _judged(subject, *_ratio(subject, "gradient"), GRADIENT_BOUND, "variance of the input's gradient")


def _ratio(subject: Subject, what: str) -> tuple[float, float]:
    """Dynamic over static variance, averaged over draws of the parameters, and its standard error."""
    pairs = []
    for seed in range(DRAWS):
        layer = subject.fresh(seed)
        twin = subject.twin(seed, bias=getattr(layer, "bias", None) is not None)
        pairs.append([_variance(each.train(), subject, seed, what) for each in (layer, twin)])
    means = [statistics.fmean(values) for values in zip(*pairs, strict=True)]
    errors = [statistics.stdev(values) / DRAWS**0.5 for values in zip(*pairs, strict=True)]
    ratio = means[0] / means[1]
    return ratio, ratio * sum((error / mean) ** 2 for error, mean in zip(errors, means, strict=True)) ** 0.5


def _variance(layer: nn.Module, subject: Subject, seed: int, what: str) -> float:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, *subject.image_shape, generator=generator).requires_grad_()
    y = layer(x)
    if what == "output":
        return y.var().item()
    [gradient] = torch.autograd.grad((y * torch.randn(y.shape, generator=generator)).sum(), x)
    return gradient.var().item()


def _judged(subject: Subject, ratio: float, error: float, bound: float, what: str) -> Measured:
    layer: Any = subject.fresh()
    words = f"{short(ratio)} of nn.Conv2d's {what} (standard error {error:.1g})"
    within = 1 / (1 + bound) - 3 * error <= ratio <= 1 + bound + 3 * error
    if within:
        return Measured(True, words, ratio)
    if getattr(layer, "initial_scale", None) == "published":
        return Measured(True, f"{words}, as initial_scale=published says", ratio, remarkable=True)
    return Measured(False, words, ratio)
