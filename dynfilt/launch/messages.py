"""What the process of a job tells its pool."""

from __future__ import annotations

from dataclasses import dataclass

from dynfilt.launch.outcome import JobState


@dataclass(frozen=True)
class Entered:
    """The job holds this run folder now."""

    folder: str


@dataclass(frozen=True)
class Report:
    """How far the training of a job is."""

    step: int
    total_steps: int
    epochs: float
    epoch: float = 0.0
    val_accuracy: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True)
class Printed:
    """Whole lines that the job has printed, without the last line break, where its pool passes them on."""

    text: str
    is_error: bool


@dataclass(frozen=True)
class Ended:
    """How the job ended; `again` says whether another try may help."""

    state: JobState
    reason: str = ""
    again: bool = False
