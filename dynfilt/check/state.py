"""Whether all of a layer's state is where torch looks for it."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dynfilt.check.findings import Measured, short
from dynfilt.check.schedule_numbers import schedule_numbers
from dynfilt.check.subject import Subject, relative_difference, run
from dynfilt.wording import one_line


@torch.no_grad()
def copies(subject: Subject) -> Measured:
    """Whether a state dict in a new layer, a deep copy and a pickle give the same output, schedules included."""
    layer, x = subject.lively(), subject.images(4)
    for number in schedule_numbers(layer):
        number.set(0.37)
    y = run(layer, x)
    other = subject.fresh(seed=1).double().eval()
    try:
        other.load_state_dict(layer.state_dict(), strict=True)
    except RuntimeError as error:
        return Measured(False, f"a new layer does not take the state dict: {one_line(error)}")
    differences = {
        "a state dict": relative_difference(run(other, x), y),
        "a deep copy": relative_difference(run(copy.deepcopy(layer), x), y),
    }
    try:
        memory = io.BytesIO()
        torch.save(layer, memory)
        memory.seek(0)
        differences["a pickle"] = relative_difference(run(torch.load(memory, weights_only=False), x), y)
        cannot = ""
    except Exception as error:  # training, checkpoints and load need state dicts alone
        cannot = f"; it cannot be pickled: {one_line(error)}"
    worst = max(differences.values())
    lost = [number.path for number in schedule_numbers(layer) if not number.in_state_dict]
    faults = [what for what, difference in differences.items() if difference > subject.rounding.same]
    if faults:
        missed = f"; it misses {', '.join(lost)}" if lost else ""
        return Measured(False, f"{', '.join(faults)} gives an output that differs by {short(worst)}{missed}", worst)
    *most, last = (what.removeprefix("a ") for what in differences)
    words = f"{', '.join(most)} and {last} give the same output to {short(worst)}{cannot}"
    return Measured(True, words, worst, remarkable=bool(cannot))


@torch.no_grad()
def registered(subject: Subject) -> Measured:
    """Whether every parameter and module is registered with its layer when it is built, none made in forward."""
    layer = subject.fresh().eval()
    hidden = sorted(_hidden(layer))
    if hidden:
        return Measured(False, f"{', '.join(hidden)}: in a plain container, where neither .to() nor a state dict looks")
    before = {**dict(layer.named_parameters()), **dict(layer.named_buffers()), **dict(layer.named_modules())}
    for batch in (2, 3):
        run(layer, subject.images(batch).float())
    after = {**dict(layer.named_parameters()), **dict(layer.named_buffers()), **dict(layer.named_modules())}
    changed = [name for name in after if name not in before or after[name] is not before[name]]
    if changed:
        return Measured(False, f"{', '.join(changed)}: made in forward, so a state dict of a new layer lacks it")
    return Measured(True, f"{len(list(layer.parameters()))} parameters, {len(list(layer.buffers()))} buffers")


def _hidden(layer: nn.Module) -> Iterator[str]:
    """Names of attributes that hold a trained tensor or a module which the layer does not know of."""
    known = {*map(id, layer.modules()), *map(id, layer.parameters())}
    of_torch = vars(nn.Module()).keys()
    for prefix, module in layer.named_modules():
        for name, value in vars(module).items():
            if name not in of_torch and any(id(inner) not in known for inner in _trained(value)):
                yield ".".join(filter(None, (prefix, name)))


def _trained(value: Any) -> Iterator[Any]:
    """The modules and trained tensors in a value or in the containers that it is made of."""
    if isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad and value.is_leaf):
        yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _trained(item)
    elif isinstance(value, dict):
        yield from _trained(list(value.values()))
