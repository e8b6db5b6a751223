"""What a pool of jobs looks like: a live table on a terminal, one line a job elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dynfilt.launch.messages import Report
from dynfilt.launch.outcome import JobOutcome, JobState
from dynfilt.run.folder import RunFolder
from dynfilt.run.parsing import DamagedFile

SECONDS_BETWEEN_FRAMES = 0.5


class PoolView(Protocol):
    """Shows what goes on in a pool."""

    def started(self, name: str) -> None:
        """A job has its process."""
        ...

    def reported(self, name: str, report: Report) -> None:
        """A job is so far."""
        ...

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """A job has ended."""
        ...

    def refresh(self, waiting: int) -> None:
        """Called a few times a second."""
        ...


class LinesView:
    """One line a job that ends, for logs and pipes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to tidy up."""

    def started(self, name: str) -> None:
        """A job has its process: not worth a line."""

    def reported(self, name: str, report: Report) -> None:
        """A job is so far: its own log has it."""

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """Print what came of a job."""
        self._done += 1
        print(f"[{self._done}/{self._total}] {outcome_line(outcome, folder, seconds)}", flush=True)

    def refresh(self, waiting: int) -> None:
        """Nothing moves in a file."""


class LiveView:
    """A table of the running jobs that stays at the foot of the terminal; jobs that end scroll above it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._running: dict[str, tuple[float, Report | None]] = {}
        self._states: dict[JobState, int] = {}
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, name: str) -> None:
        """Add a row."""
        self._running[name] = (time.monotonic(), None)

    def reported(self, name: str, report: Report) -> None:
        """Update a job's row."""
        self._running[name] = (self._running[name][0], report)

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """Turn a job's row into a line above the table."""
        self._running.pop(outcome.job, None)
        self._states[outcome.state] = self._states.get(outcome.state, 0) + 1
        self._console.print(outcome_line(outcome, folder, seconds), highlight=False, markup=False)

    def refresh(self, waiting: int) -> None:
        """Draw the table anew, at most twice a second."""
        if time.monotonic() - self._drawn >= SECONDS_BETWEEN_FRAMES:
            self._drawn = time.monotonic()
            self._live.update(self._table(waiting), refresh=True)

    def _table(self, waiting: int) -> Table:
        table = Table(box=None, pad_edge=False, caption=self._caption(waiting), caption_justify="left")
        for heading in ("running", "epoch", "val accuracy", "images/s", "time left"):
            table.add_column(heading, no_wrap=True, justify="left" if heading == "running" else "right")
        for name, (started, report) in self._running.items():
            table.add_row(Text(name, overflow="ellipsis"), *_cells(report, time.monotonic() - started))
        return table

    def _caption(self, waiting: int) -> str:
        words = [f"{number} {state}" for state, number in self._states.items()]
        ended = sum(self._states.values())
        left = "" if not ended else f", about {duration(self._seconds_left())} left"
        return f"{', '.join([*words, f'{len(self._running)} running', f'{waiting} waiting'])} of {self._total}{left}"

    def _seconds_left(self) -> float:
        """By the pace so far, the running jobs counted by the part that is done."""
        done = float(sum(self._states.values()))
        done += sum(report.step / report.total_steps for _, report in self._running.values() if report)
        return (time.monotonic() - self._began) * (self._total - done) / max(done, 1e-9)


def make_view(total: int) -> LinesView | LiveView:
    """The live table on a terminal, else lines."""
    return LiveView(total) if sys.stderr.isatty() else LinesView(total)


def outcome_line(outcome: JobOutcome, folder: str, seconds: float) -> str:
    """One line on what came of a job."""
    words = f"{outcome.job}: {outcome.state}"
    if outcome.state == JobState.TRAINED and folder:
        try:
            accuracy = (RunFolder(Path(folder)).result() or {}).get("test_accuracy")
        except DamagedFile:
            accuracy = None
        words += "" if accuracy is None else f", test accuracy {accuracy:.2%}"
    elif outcome.reason:
        words += f": {outcome.reason}"
    return words if outcome.state == JobState.SKIPPED else f"{words} ({duration(seconds)})"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = int(seconds + 0.5)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def _cells(report: Report | None, seconds: float) -> list[str]:
    if report is None:
        return ["starting", "", "", ""]
    accuracy = "" if report.val_accuracy is None else f"{report.val_accuracy:.1%}"
    rate = "" if report.images_per_second is None else f"{report.images_per_second:,.0f}"
    left = "" if not report.step else duration(seconds * (report.total_steps - report.step) / report.step)
    return [f"{report.epoch:.1f}/{report.epochs:g}", accuracy, rate, left]
