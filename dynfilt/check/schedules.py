"""What the numbers that a schedule sets, such as a temperature, reach inside a layer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dynfilt.check.findings import Measured, first_line
from dynfilt.check.schedule_numbers import ScheduleNumber, schedule_numbers
from dynfilt.check.subject import Subject, relative_difference, run
from dynfilt.layers.attention import set_temperature

SETTER = re.compile(r"(update|updata|set|anneal|decay|step)_(temperature|temp|tau)", re.IGNORECASE)
UNCHANGED = 1e-12


def schedules(subject: Subject) -> Measured:
    """Whether a schedule that is set reaches every number of its name, and every softmax."""
    layer = subject.lively()
    numbers = schedule_numbers(layer)
    setters = _setters(layer)
    if not numbers and not setters:
        return Measured(True, "has no temperature for a schedule to set")
    for number in numbers:
        number.set(31.0)
    before = {number.path: number.get() for number in numbers}
    for name, setter in setters.items():
        try:
            setter(*[0.37] * _required(setter))
        except Exception as error:
            return Measured(False, f"{name}() raises {first_line(error)}")
    if not setters:
        set_temperature(layer, 0.37)
    missed = [number.path for number in numbers if number.get() == before[number.path]]
    if (missed and len(missed) < len(numbers)) or (missed and setters):
        by = ", ".join(f"{name}()" for name in setters) or "set_temperature"
        return Measured(False, f"{by} leaves {', '.join(missed)} at {before[missed[0]]:g}")
    return _reach(subject, layer, numbers)


def _reach(subject: Subject, layer: nn.Module, numbers: list[ScheduleNumber]) -> Measured:
    x = subject.images(4)
    effects = []
    for number in numbers:
        for other in numbers:
            other.set(1.0)
        y = run(layer, x)
        number.set(0.5)
        effects.append(relative_difference(run(layer, x), y))
        if effects[-1] < UNCHANGED:
            return Measured(False, f"{number.path} has no effect on the output")
    warm, cold = _softmaxes(layer, numbers, 1.0, x), _softmaxes(layer, numbers, 0.5, x)
    ignoring = sum(a.shape == b.shape and torch.equal(a, b) for a, b in zip(warm, cold, strict=False))
    if ignoring:
        return Measured(False, f"{ignoring} of {len(warm)} softmaxes ignore {numbers[0].attribute}", ignoring)
    names = ", ".join(number.path for number in numbers)
    reached = f" and reaches {len(warm)} softmaxes" if warm else ""
    return Measured(True, f"{names}: halved, moves the output by {max(effects, default=0):.2g}{reached}", max(effects))


def _setters(layer: nn.Module) -> dict[str, Callable[..., Any]]:
    """The methods that set a schedule's number, of the outermost modules that have one."""
    for depth in range(8):
        found = {}
        for path, module in layer.named_modules():
            if path.count(".") + bool(path) != depth:
                continue
            for name in dir(type(module)):
                if SETTER.fullmatch(name) and callable(getattr(module, name)):
                    found[".".join(filter(None, (path, name)))] = getattr(module, name)
        if found:
            return found
    return {}


def _required(method: Callable[..., Any]) -> int:
    """How many arguments a method must have."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


class _RecordSoftmax(TorchDispatchMode):
    """Keep the results of all softmaxes."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._softmax.default:
            self.results.append(result.detach().clone())
        return result


def _softmaxes(layer: nn.Module, numbers: list[ScheduleNumber], value: float, x: Tensor) -> list[Tensor]:
    for number in numbers:
        number.set(value)
    with _RecordSoftmax() as recorder:
        run(layer, x)
    return recorder.results
