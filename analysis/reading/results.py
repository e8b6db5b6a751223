"""What a run tells about itself, cast and checked, whichever source it was read from."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

ERROR_LENGTH = 160
LARGEST_EXACT = 2**53
# How W&B writes what JSON has no number for.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def usable_numbers(result: Mapping[str, Any], where: str) -> tuple[dict[str, float], str]:
    """Numbers of a result, or none and what is wrong with it; W&B stores 1.0 as 1, so whole numbers are cast."""
    numbers = {key: float(value) for key, value in result.items() if type(value) in (float, int)}
    if 0 <= numbers.get("test_accuracy", math.nan) <= 1:
        return numbers, ""
    found = result.get("test_accuracy", "absent")
    return {}, f"test_accuracy in {where} is {found}, not a fraction between 0 and 1"


def settings(config: Any) -> Any:
    """A config, or part of one, as W&B's server gives it back: keys in any order, so sorted here, and 1.0 as 1."""
    if isinstance(config, Mapping):
        return {str(key): settings(config[key]) for key in sorted(config, key=str)}
    if isinstance(config, list):
        return [settings(value) for value in config]
    is_whole = isinstance(config, float) and config.is_integer() and abs(config) < LARGEST_EXACT
    return int(config) if is_whole else config


def one_line(error: Any) -> str:
    """The first line of an error, given as text or as an object with `type` and `message`, at most 160 characters."""
    if isinstance(error, Mapping):
        error = ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
    text = next((line.strip() for line in str(error or "").splitlines() if line.strip()), "")
    return text if len(text) <= ERROR_LENGTH else text[: ERROR_LENGTH - 3] + "..."


def provenance_of(told: Any) -> dict[str, Any]:
    """What a Run holds of provenance.json's content: itself, and `commits`, `devices` and `dirty` of all attempts."""
    first = told if isinstance(told, Mapping) else {}
    attempts = [first, *_objects(first.get("resumed"))]
    return {
        "commits": _distinct(attempt.get("commit") for attempt in attempts),
        "devices": _distinct(attempt.get("device") for attempt in attempts),
        "dirty": any(attempt.get("dirty") is True for attempt in attempts),
        "provenance": first,
    }


def _distinct(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
