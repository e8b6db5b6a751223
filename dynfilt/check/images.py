"""What each image of a batch gets: the same twice, its own, and more than a static filter could give it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.check.findings import Measured, percent, short
from dynfilt.check.subject import FLOAT64, Subject, relative_difference, run
from dynfilt.layers.choice import DynamicLayer, check_dynamic_layer, is_dynamic

# The regression solves for so many numbers of one filter at most.
LARGEST_REGRESSION = 2400
# So strong that biases and what saturates no longer show; between twice, which is linear, and four times, the square.
STRONG, MORE_THAN_LINEAR = 1e4, 3.0


def output_shape(subject: Subject) -> Measured:
    """Whether the output has the shape of nn.Conv2d's."""
    x = subject.images(2).float()
    y = run(subject.fresh(), x)
    expected = subject.twin()(x).shape
    if not isinstance(y, Tensor):
        return Measured(False, f"forward returns a {type(y).__name__}, not a tensor")
    if y.shape != expected:
        return Measured(False, f"{tuple(y.shape)} where nn.Conv2d gives {tuple(expected)}")
    if not torch.isfinite(y).all():
        return Measured(False, "the output is not finite")
    return Measured(True, f"(B, {', '.join(map(str, y.shape[1:]))}), as nn.Conv2d")


@torch.no_grad()
def repeat(subject: Subject) -> Measured:
    """Whether two forwards of one batch agree in evaluation."""
    layer, x = subject.lively(), subject.images(4)
    difference = relative_difference(layer(x), layer(x))
    words = "two forwards of one batch differ by" if difference > subject.rounding.same else "two forwards agree to"
    return Measured(difference <= subject.rounding.same, f"{words} {short(difference)}", difference)


@torch.no_grad()
def own_image(subject: Subject) -> Measured:
    """Whether an image's output depends on no other image, on no batch size and on no order."""
    layer, x = subject.lively(), subject.images(4)
    y = run(layer, x)
    others = subject.images(4, seed=5)
    others[2] = x[2]
    differences = {
        "other images": relative_difference(run(layer, others)[2:3], y[2:3]),
        "the order": relative_difference(run(layer, x.flip(0)).flip(0), y),
        "the batch size": relative_difference(run(layer, x[2:3]), y[2:3]),
    }
    faults = {what: difference for what, difference in differences.items() if difference > subject.rounding.same}
    worst = max(differences.values())
    if faults:
        return Measured(False, f"an image's output depends on {', '.join(faults)}: by {short(worst)}", worst)
    return Measured(True, f"other images, order and batch size change an output by {short(worst)}", worst)


@torch.no_grad()
def dynamic(subject: Subject) -> Measured:
    """The share of the output's variance that no static filter explains, with moved parameters and at the start."""
    layer = subject.lively()
    share, at_start = (_unexplained(subject, each) for each in (layer, subject.fresh().double().eval()))
    if isinstance(layer, DynamicLayer) and is_dynamic(layer):
        check_dynamic_layer(layer, subject.images(4))
    if share is None or at_start is None:
        return Measured(True, "not measured: a filter of this size takes too long to regress")
    words = f"{percent(share)} of the output's variance is beyond any static filter ({percent(at_start)} at the start)"
    if share > FLOAT64.same:
        return Measured(True, words, share)
    numbers, static = (sum(p.numel() for p in each.parameters()) for each in (layer, subject.twin()))
    if numbers <= static:
        return Measured(True, "the filter is static, and so are all parameters", share)
    return Measured(False, f"{words}: its {numbers - static} parameters more than nn.Conv2d's do nothing for it", share)


@torch.no_grad()
def growth(subject: Subject) -> Measured:
    """How many times as strong an output gets in evaluation when its image gets twice as strong: 2 if linear."""
    layer, x = subject.lively(), STRONG * subject.images(4)
    number = (run(layer, 2 * x).norm() / run(layer, x).norm().clamp_min(1e-30)).item()
    words = f"an image twice as strong gives an output {short(number)} times as strong"
    if number < MORE_THAN_LINEAR:
        return Measured(True, words, number)
    words += ": from layer to layer a deviation is multiplied by itself, and evaluation may overflow"
    return Measured(True, words, number, remarkable=True)


def _unexplained(subject: Subject, layer: nn.Module) -> float | None:
    """Share of a layer's output variance that is left when the best static filter has been regressed out."""
    twin = subject.twin(bias=False, groups=1) if "groups" in subject.arguments else subject.twin(bias=False)
    numbers = twin.weight[0].numel()
    if numbers > LARGEST_REGRESSION:
        return None
    positions = twin(subject.images(1).float())[0, 0].numel()
    x = subject.images(max(16, 3 * numbers // positions + 1))
    taps = torch.eye(numbers, dtype=x.dtype).view(numbers, *twin.weight.shape[1:])
    windows = _convolved(twin, x, taps).transpose(0, 1).flatten(1)
    windows = torch.cat([windows, torch.ones_like(windows[:1])])
    outputs = run(layer, x).transpose(0, 1).flatten(1)
    solution = torch.linalg.lstsq(windows.mT, outputs.mT, driver="gelsy").solution
    residual = (outputs.mT - windows.mT @ solution).square().sum() / (windows.shape[1] - len(windows))
    variance = outputs.var(1).sum()
    return (residual / variance.clamp_min(1e-300)).item()


def _convolved(twin: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, twin.stride, twin.padding, twin.dilation)


@torch.no_grad()
def train_and_eval(subject: Subject) -> Measured:
    """Whether training and evaluation agree once BatchNorm's running statistics are those of the batch.

    Not compared for a layer that draws in training: what it draws has no counterpart in evaluation.
    """
    layer, x = subject.lively(), subject.images(8)
    for module in layer.modules():
        if "Dropout" in type(module).__name__ and hasattr(module, "p"):
            setattr(module, "p", 0.0)  # noqa: B010 (a module of any class)
    norms = {m for m in layer.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    handles = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    trained, again = run(layer.train(), x), run(layer, x)
    torch.manual_seed(1)
    draws = torch.equal(trained, again) and relative_difference(layer(x), trained) > subject.rounding.same
    for handle in handles:
        handle.remove()
    if draws:
        return Measured(True, "draws in training, so that evaluation is not compared with it", remarkable=True)
    difference = relative_difference(run(layer.eval(), x), trained)
    up_to = f" with the batch's statistics in {len(norms)} BatchNorms" if norms else ""
    words = "agree to" if difference <= subject.rounding.same else "differ by"
    return Measured(
        difference <= subject.rounding.same, f"training and evaluation {words} {short(difference)}{up_to}", difference
    )


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Give a BatchNorm the statistics of its next input to run with, and keep it from changing them."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    norm.momentum = 0.0
    if norm.running_mean is not None and norm.running_var is not None:
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(1))
        norm.running_var.copy_(values.var(1, unbiased=False))
