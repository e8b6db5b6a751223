"""The runs that are in no mean because they have no result, with what their status.json says of the error."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..reading.run import Run, seed_list


@dataclass(frozen=True)
class Failure:
    """A run without a result: who, in what state, why as far as it is known, and the traceback, if any."""

    study: str
    who: str
    state: str
    error: str
    traceback: str
    place: str


def failures_of(runs: Iterable[Run]) -> list[Failure]:
    """One for each run that does not count, in the given order."""
    return [_failure(run) for run in runs if not run.counts]


def _failure(run: Run) -> Failure:
    told = _error(run)
    message = ": ".join(str(told[key]) for key in ("type", "message") if told.get(key))
    state = "running or killed" if run.state == "running" else run.state
    who = f"{run.variant} {seed_list([run.seed])}"
    return Failure(run.study, who, state, message or run.error, str(told.get("traceback") or ""), run.place)


def _error(run: Run) -> Mapping[str, Any]:
    """The error object of a run folder's status.json, empty where there is none."""
    if run.rows is not None:
        return {}
    try:
        with open(os.path.join(run.place, "status.json"), encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) else {}
