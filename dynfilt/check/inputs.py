"""Whether a layer takes what nn.Conv2d takes: precisions, layouts, batches, sizes, other arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynfilt.check.findings import Measured, first_line, percent, short
from dynfilt.check.subject import Subject, relative_difference, run, trained

LOW_PRECISION_ERROR = 0.05


def autocast(subject: Subject) -> Measured:
    """Whether outputs in autocast are finite and near those in float32, in bfloat16 and float16, and train."""
    layer, x = subject.lively().float(), subject.images(8).float()
    expected = run(layer, x).detach()
    errors = {}
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            y = run(layer, x)
        name = str(dtype).removeprefix("torch.")
        if not torch.isfinite(y).all():
            return Measured(False, f"the output in {name} is not finite")
        errors[name] = ((y.float() - expected).norm() / expected.norm()).item()
        parameters = list(trained(layer).values())
        if parameters and not y.requires_grad:
            return Measured(False, "no parameter gets a gradient")
        loss = y.float().square().mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()
        if not all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None):
            return Measured(False, f"a gradient in {name} is not finite")
    worst = max(errors.values())
    words = ", ".join(f"{percent(error)} in {name}" for name, error in errors.items())
    return Measured(worst < LOW_PRECISION_ERROR, f"outputs differ from float32 by {words}", worst)


@torch.no_grad()
def layouts(subject: Subject) -> Measured:
    """Whether channels_last, of the images and of the module, and images that are not contiguous change nothing."""
    layer, x = subject.lively(), subject.images(4)
    y = run(layer, x)
    differences = {
        "channels_last images": relative_difference(run(layer, x.contiguous(memory_format=torch.channels_last)), y),
        "transposed images": relative_difference(run(layer, x.transpose(2, 3).contiguous().transpose(2, 3)), y),
        "every second image": relative_difference(run(layer, x.repeat_interleave(2, 0)[::2]), y),
    }
    try:
        layer.to(memory_format=torch.channels_last)
    except RuntimeError as error:
        way_out = "keep every parameter in at most 4 dimensions, or use trainer.channels_last=false"
        return Measured(False, f"module.to(memory_format=torch.channels_last) raises {first_line(error)}: {way_out}")
    differences["a channels_last module"] = relative_difference(run(layer, x), y)
    worst = max(differences.values())
    faults = [what for what, difference in differences.items() if difference > subject.rounding.same]
    if faults:
        return Measured(False, f"{', '.join(faults)}: another output, by {short(worst)}", worst)
    return Measured(True, f"channels_last and images that are not contiguous: the same to {short(worst)}", worst)


def small_batches(subject: Subject) -> Measured:
    """Whether batches of one image and of none give outputs and gradients, in training and in evaluation."""
    layer = subject.fresh()
    for batch in (1, 0):
        for training in (True, False):
            x = subject.images(batch).float().requires_grad_()
            mode = "training" if training else "evaluation"
            try:
                y = run(layer.train(training), x)
                y.sum().backward()
            except Exception as error:
                return Measured(False, f"a batch of {batch} in {mode} raises {first_line(error)}")
            if y.shape != (expected := subject.twin()(x).shape):
                return Measured(False, f"a batch of {batch} gives {tuple(y.shape)}, nn.Conv2d {tuple(expected)}")
            if not torch.isfinite(y).all():
                return Measured(False, f"a batch of {batch} in {mode} gives numbers that are not finite")
    return Measured(True, "batches of 1 and 0 train and evaluate")


def odd_sizes(subject: Subject) -> Measured:
    """Whether images of other, odd sizes give outputs of nn.Conv2d's shape; a ValueError is a refusal, not a fault."""
    _, height, width = subject.image_shape
    sizes = [(height + 1, width - 1), (2 * height - 1, width), (5, 7)]
    trials: dict[str, Any] = {f"{h}x{w}": ({}, {"height": h, "width": w}) for h, w in sizes if min(h, w) > 2}
    trials["5x7, stride=2"] = ({"stride": 2}, {"height": 5, "width": 7})
    return _like_the_twin(subject, trials)


def geometry(subject: Subject) -> Measured:
    """Whether the layer takes nn.Conv2d's other arguments and odd channels; a ValueError is a refusal, not a fault."""
    channels = subject.image_shape[0]
    changes: dict[str, dict[str, Any]] = {
        "kernel_size=1": {"kernel_size": 1, "padding": 0},
        "kernel_size=5": {"kernel_size": 5, "padding": 2},
        "stride=2": {"stride": 2},
        "dilation=2": {"dilation": 2, "padding": 2},
        "groups=2": {"groups": 2},
        "bias=True": {"bias": True},
        "bias=False": {"bias": False},
        f"in_channels={channels + 1}": {"in_channels": channels + 1},
        f"out_channels={subject.out_channels + 1}": {"out_channels": subject.out_channels + 1},
    }
    return _like_the_twin(subject, {name: (change, {}) for name, change in changes.items()})


@torch.no_grad()
def _like_the_twin(subject: Subject, trials: dict[str, tuple[dict[str, Any], dict[str, int]]]) -> Measured:
    """Build and run a layer with other arguments, on images of other sizes, beside its twin."""
    taken, refused = [], []
    for name, (arguments, sizes) in trials.items():
        try:
            layer = subject.fresh(**arguments)
        except (ValueError, TypeError, AssertionError, NotImplementedError):
            refused.append(name)
            continue
        x = subject.images(2, channels=arguments.get("in_channels", subject.image_shape[0]), **sizes).float()
        expected = _twin(subject, arguments)(x).shape
        try:
            y = run(layer.eval(), x)
        except ValueError:
            refused.append(name)
            continue
        except Exception as error:
            return Measured(False, f"{name}: forward raises {first_line(error)}")
        if y.shape != expected:
            return Measured(False, f"{name}: gives {tuple(y.shape)}, nn.Conv2d {tuple(expected)}")
        taken.append(name)
    words = f"{', '.join(taken) or 'none'}: nn.Conv2d's shape"
    return Measured(True, f"{words}; refuses {', '.join(refused)}" if refused else words, remarkable=bool(refused))


def _twin(subject: Subject, arguments: dict[str, Any]) -> nn.Module:
    return subject.twin(**{"bias": True, **arguments})
