"""What came of the jobs of one command, and what the command says and returns in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dynfilt.run.folder import STATUS

LISTED_REASONS = 5
LISTED_JOBS = 5


class JobState(StrEnum):
    """How a job ended."""

    TRAINED = "trained"
    TESTED = "tested"
    SKIPPED = "skipped"  # it was done before
    BUSY = "busy"  # another process works on its run
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # stopped with a checkpoint
    WAITING = "waiting"  # never started
    SUBMITTED = "submitted"  # a scheduler has it


@dataclass(frozen=True)
class JobOutcome:
    """One job of a command: its overrides, how it ended, and why it failed."""

    job: str
    state: JobState
    reason: str = ""


def count(outcomes: Sequence[JobOutcome], *states: JobState) -> int:
    """How many jobs ended in one of these states."""
    return sum(outcome.state in states for outcome in outcomes)


def failures_in_words(outcomes: Sequence[JobOutcome]) -> list[str]:
    """One line a reason, with its jobs; at most LISTED_REASONS reasons."""
    jobs: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.state == JobState.FAILED:
            jobs.setdefault(outcome.reason, []).append(outcome.job)
    lines = [f"{'; '.join(names)}: {reason}" for reason, names in jobs.items()]
    more = len(lines) - LISTED_REASONS
    return lines if more <= 0 else [*lines[:LISTED_REASONS], f"and {more} more reasons; {STATUS} has each"]


def running_elsewhere_in_words(outcomes: Sequence[JobOutcome]) -> str:
    """One line on the jobs that other processes work on, at most LISTED_JOBS by name; empty where there is none."""
    names = varying_parts([outcome.job for outcome in outcomes]) if outcomes else []
    busy = [name for name, outcome in zip(names, outcomes, strict=True) if outcome.state == JobState.BUSY]
    if not busy:
        return ""
    more = [f"and {len(busy) - LISTED_JOBS} more"] if len(busy) > LISTED_JOBS else []
    return f"{len(busy)} of {len(outcomes)} jobs are running elsewhere ({'; '.join([*busy[:LISTED_JOBS], *more])})"


def varying_parts(names: Sequence[str]) -> list[str]:
    """The names of jobs without the words that all of them share; whole where nothing else would tell them apart."""
    shared = set(names[0].split(" ")).intersection(*(name.split(" ") for name in names)) if len(names) > 1 else set()
    parts = [" ".join(part for part in name.split(" ") if part not in shared) or name for name in names]
    return parts if len(set(parts)) == len(names) else list(names)
