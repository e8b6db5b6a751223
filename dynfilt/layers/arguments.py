"""How a layer checks its arguments: allowed words and positive numbers, each refused in one line."""

from __future__ import annotations

import math
from typing import Any, get_args


def require_choice(name: str, value: Any, allowed: Any) -> None:
    """Raise ValueError unless value is one of the words of `allowed`, a Literal."""
    if value not in get_args(allowed):
        raise ValueError(f"{name}={value!r}: choose one of {', '.join(map(str, get_args(allowed)))}")


def require_positive(name: str, value: float, meaning: str) -> None:
    """Raise ValueError unless value is a positive finite number; `meaning` says what number, with an example."""
    if not (0 < value < math.inf):
        raise ValueError(f"{name}={value}: must be {meaning}")


def require_count(name: str, value: int, noun: str) -> None:
    """Raise ValueError unless value is a whole number from 1."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: at least 1 {noun} is needed")
