"""What a pool of jobs looks like: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console, Group
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

    def printed(self, text: str, is_error: bool) -> None:
        """The only job that runs has printed this."""
        ...

    def tried_again(self, name: str, reason: str) -> None:
        """A job's process died, and the job waits for another one."""
        ...

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """A job has ended."""
        ...

    def refresh(self, waiting: int) -> None:
        """Called a few times a second."""
        ...


class LinesView:
    """One line a job that ends, and what a job prints that runs alone, for logs and pipes."""

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

    def printed(self, text: str, is_error: bool) -> None:
        """Print it, too."""
        print(text, file=sys.stderr if is_error else sys.stdout, flush=True)

    def tried_again(self, name: str, reason: str) -> None:
        """Print why."""
        print(f"launcher: {name}: {reason}; trying again", file=sys.stderr, flush=True)

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """Print what came of a job."""
        self._done += 1
        stream = sys.stderr if outcome.state == JobState.FAILED else sys.stdout
        print(f"[{self._done}/{self._total}] {outcome_line(outcome, folder, seconds)}", file=stream, flush=True)

    def refresh(self, waiting: int) -> None:
        """Nothing moves in a file."""


class LiveView:
    """How far all jobs are, with a row for each that runs, at the foot of the terminal; jobs that end scroll above."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._running: dict[str, _Row] = {}
        self._states: dict[JobState, int] = {}
        self._done_here = 0.0  # of the jobs that have ended, what was done since this command began
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, name: str) -> None:
        """Add a row."""
        self._running[name] = _Row()

    def reported(self, name: str, report: Report) -> None:
        """Update a job's row."""
        row = self._running[name]
        row.first, row.last = row.first or (time.monotonic(), report), report

    def printed(self, text: str, is_error: bool) -> None:
        """Print it above the table, or where standard output goes."""
        if is_error or sys.stdout.isatty():
            self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def tried_again(self, name: str, reason: str) -> None:
        """Turn a job's row into a line above the table."""
        self._running.pop(name, None)
        self.printed(f"launcher: {name}: {reason}; trying again", is_error=True)

    def ended(self, outcome: JobOutcome, folder: str, seconds: float) -> None:
        """Turn a job's row into a line above the table."""
        row = self._running.pop(outcome.job, _Row())
        self._done_here += 1 - row.done_before
        self._states[outcome.state] = self._states.get(outcome.state, 0) + 1
        self.printed(outcome_line(outcome, folder, seconds), is_error=outcome.state == JobState.FAILED)

    def refresh(self, waiting: int) -> None:
        """Draw the table anew, at most twice a second."""
        if time.monotonic() - self._drawn >= SECONDS_BETWEEN_FRAMES:
            self._drawn = time.monotonic()
            self._live.update(self._table(waiting), refresh=True)

    def _table(self, waiting: int) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("running", "epoch", "val accuracy", "images/s", "time left"):
            table.add_column(heading, no_wrap=True, justify="left" if heading == "running" else "right")
        for name, row in self._running.items():
            table.add_row(Text(name, overflow="ellipsis"), *row.cells())
        return Group(Text(self._caption(waiting)), table)  # in this order: a low terminal cuts off what comes last

    def _caption(self, waiting: int) -> str:
        words = [f"{number} {state}" for state, number in self._states.items()]
        ended = sum(self._states.values())
        left = "" if not ended else f", about {duration(self._seconds_left())} left"
        return f"{', '.join([*words, f'{len(self._running)} running', f'{waiting} waiting'])} of {self._total}{left}"

    def _seconds_left(self) -> float:
        """By the pace so far, the running jobs counted by the part that is done."""
        rows = self._running.values()
        left = self._total - sum(self._states.values()) - sum(row.done for row in rows)
        done_here = self._done_here + sum(row.done - row.done_before for row in rows)
        return (time.monotonic() - self._began) * left / max(done_here, 1e-9)


@dataclass
class _Row:
    """A running job: when it began to train, at which step, and how far it is."""

    first: tuple[float, Report] | None = None
    last: Report | None = None

    @property
    def done_before(self) -> float:
        """The part of the job that was done before it began here."""
        return _part(self.first[1]) if self.first else 0.0

    @property
    def done(self) -> float:
        """The part of the job that is done."""
        return _part(self.last) if self.last else 0.0

    def cells(self) -> list[str]:
        """What the table shows of it: epoch, accuracy, images a second and the time left by its pace here."""
        if self.first is None or self.last is None:
            return ["starting", "", "", ""]
        (began, first), last = self.first, self.last
        accuracy = "" if last.val_accuracy is None else f"{last.val_accuracy:.1%}"
        rate = "" if last.images_per_second is None else f"{last.images_per_second:,.0f}"
        steps, seconds = last.step - first.step, time.monotonic() - began
        left = duration(seconds * (last.total_steps - last.step) / steps) if steps else ""
        return [f"{last.epoch:.1f}/{last.epochs:g}", accuracy, rate, left]


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


def _part(report: Report) -> float:
    return report.step / report.total_steps
