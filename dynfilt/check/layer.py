"""Hold a layer with the interface of a convolution to what a dynamic layer must do."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from dynfilt.check import compilers, expense, gradients, images, inputs, schedules, start, state
from dynfilt.check.findings import Finding, Measured, Report, Status, first_line
from dynfilt.check.subject import Factory, Shape, Subject, make_subject
from dynfilt.check.time_limit import TookTooLong, time_limit

Property = Callable[[Subject], Measured]
# In the order in which they are reported.
PROPERTIES: dict[str, Property] = {
    "output shape": images.output_shape,
    "gradients": gradients.gradients,
    "training steps": gradients.training_steps,
    "repeat": images.repeat,
    "own image": images.own_image,
    "dynamic": images.dynamic,
    "growth": images.growth,
    "registered": state.registered,
    "copies": state.copies,
    "schedules": schedules.schedules,
    "train and eval": images.train_and_eval,
    "initial variance": start.initial_variance,
    "initial gradient": start.initial_gradient,
    "autocast": inputs.autocast,
    "layouts": inputs.layouts,
    "small batches": inputs.small_batches,
    "odd sizes": inputs.odd_sizes,
    "geometry": inputs.geometry,
    "parameters": expense.parameters,
    "FLOPs": expense.flops,
    "step time": expense.step_time,
    "compile": compilers.compiled,
    "export": compilers.exported,
}
# What says whether a training run means anything, in a second or two.
CHEAP = (
    "output shape",
    "gradients",
    "training steps",
    "repeat",
    "own image",
    "registered",
    "copies",
    "schedules",
    "train and eval",
)
IMAGE_SHAPE = (64, 8, 8)
# Of the processor, for each property; the slowest of ours takes 2.
LIMIT_SECONDS = 20.0
# Once a property has hung, the others that hang the same way need not wait as long.
SECOND_LIMIT_SECONDS = 3.0


def check_layer(
    factory: Factory,
    image_shape: Shape = IMAGE_SHAPE,
    only: Collection[str] = tuple(PROPERTIES),
    allow: Collection[str] = (),
    limit_seconds: float = LIMIT_SECONDS,
    **arguments: Any,
) -> Report:
    """Check a layer that is called as factory(in_channels, out_channels, **arguments), kernel_size=3 and padding=1.

    image_shape: (C, H, W), C the input channels; out_channels is C unless given among the arguments. `only` names the
    properties to check, `allow` those that are reported without deciding; each may take `limit_seconds`. The caller's
    random numbers stay as they are.
    Raises ValueError for an unknown property and for arguments that the factory does not take.
    """
    for name in (*only, *allow):
        if name not in PROPERTIES:
            raise ValueError(f"{name!r}: no such property; allowed: {', '.join(PROPERTIES)}")
    subject = make_subject(factory, image_shape, arguments)
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(), torch.enable_grad():
        findings = _all_findings(subject, only, allow, limit_seconds)
    return Report(str(subject), tuple(findings), time.perf_counter() - started)


def assert_layer(factory: Factory, image_shape: Shape = IMAGE_SHAPE, **options: Any) -> None:
    """The check for a test of one's own: raise AssertionError with the whole report unless every property holds.

    Takes what check_layer takes.
    """
    report = check_layer(factory, image_shape, **options)
    if not report.passed:
        raise AssertionError(str(report))


def _all_findings(subject: Subject, only: Collection[str], allow: Collection[str], limit: float) -> list[Finding]:
    built = _measure(_construction, subject, limit)
    if not built.holds:
        return [Finding("construction", "FAIL", built.words)]
    findings = []
    for name, check in PROPERTIES.items():
        if name not in only:
            continue
        measured = _measure(check, subject, limit)
        if measured.words.startswith(TookTooLong.__name__):
            limit = min(limit, SECOND_LIMIT_SECONDS)
        status: Status = "note" if name in allow or measured.holds else "FAIL"
        if measured.holds and not measured.remarkable:
            status = "ok"
        findings.append(Finding(name, status, measured.words, measured.number))
    return findings


def _construction(subject: Subject) -> Measured:
    layer = subject.fresh()
    if not isinstance(layer, nn.Module):
        return Measured(False, f"builds an object of type {type(layer).__name__}, which is no torch.nn.Module")
    return Measured(True, "")


def _measure(check: Property, subject: Subject, limit: float) -> Measured:
    try:
        with time_limit(limit):
            return check(subject)
    except Exception as error:
        return Measured(False, f"{first_line(error)}")
