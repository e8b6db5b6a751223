"""Numbers inside a layer that a schedule sets during training, such as a temperature."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NAME = re.compile(r"_?(softmax_)?(temperature|temp|tau)", re.IGNORECASE)


@dataclass(frozen=True)
class ScheduleNumber:
    """One number inside a layer that is named as a schedule's: a buffer, or a plain attribute."""

    path: str
    module: nn.Module
    attribute: str

    @property
    def in_state_dict(self) -> bool:
        """Whether it is a buffer that a state dict holds."""
        name = self.attribute
        return name in self.module._buffers and name not in self.module._non_persistent_buffers_set

    def get(self) -> float:
        """Its value."""
        return float(getattr(self.module, self.attribute))

    def set(self, value: float) -> None:
        """Give it another value, in place where it is a tensor."""
        now = getattr(self.module, self.attribute)
        if isinstance(now, Tensor):
            with torch.no_grad():
                now.fill_(value)
        else:
            setattr(self.module, self.attribute, value)


def schedule_numbers(layer: nn.Module) -> list[ScheduleNumber]:
    """All numbers inside a layer that are named as those of a schedule and are no trained parameters."""
    found = []
    for prefix, module in layer.named_modules():
        for name, value in {**vars(module), **module._buffers}.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            tensor = isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and value.numel() == 1
            if NAME.fullmatch(name) and (number or tensor):
                found.append(ScheduleNumber(".".join(filter(None, (prefix, name))), module, name))
    return found
