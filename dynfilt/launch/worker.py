"""The process of one job: it trains in its slot, tells its parent how far it is, and writes into its run's log."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from multiprocessing.connection import Connection
from pathlib import Path
from threading import RLock
from typing import Any, TextIO

from dynfilt import experiment
from dynfilt.config.compose import Job
from dynfilt.config.errors import explain
from dynfilt.launch.messages import Ended, Entered, Printed, Report
from dynfilt.launch.outcome import JobState
from dynfilt.launch.slots import Slot
from dynfilt.run.folder import RunFolder
from dynfilt.run.lock import RunInUse
from dynfilt.run.progress import evaluation_line
from dynfilt.run.source import read_imported
from dynfilt.run.stopping import StopSignals
from dynfilt.tracking.mirror import end_service

SECONDS_BETWEEN_REPORTS = 0.5

read_imported()  # by the process that jobs are forked from, right after it has imported what they have in common


def work(job: Job, slot: Slot, connection: Connection, log: str, passes_on: bool) -> None:
    """Run a job to its end in this process, and send what came of it and, where it `passes_on`, what it prints."""
    stop, parent = StopSignals(), _Parent(connection)
    with stop.handled():
        if hasattr(os, "setsid"):
            os.setsid()  # leave Ctrl-C to the parent, which passes it on
        for stream in (sys.stdout, sys.stderr):
            assert isinstance(stream, TextIOWrapper)
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # a log takes all that is printed
        _write_output_to(Path(log))
        told = (_Told(sys.stdout, parent), _Told(sys.stderr, parent, is_error=True)) if passes_on else ()
        if told:
            sys.stdout, sys.stderr = told  # type: ignore[assignment]
        slot.occupy()
        ended = _run(job, stop, ReportingDisplay(parent, log, stop))
        end_service()
        for each in told:
            each.tell_rest()
        parent.tell(ended)
    connection.close()


def _run(job: Job, stop: StopSignals, display: ReportingDisplay) -> Ended:
    import torch

    try:
        ending = experiment.run(job, stop, display)
        return Ended(JobState(ending))
    except RunInUse as error:
        return Ended(JobState.BUSY, str(error))
    except KeyboardInterrupt as error:
        reason = str(error) or "interrupted"
        print(reason, file=sys.__stdout__)  # into the log alone: the parent tells how its jobs end
        return Ended(JobState.INTERRUPTED, reason)
    except torch.OutOfMemoryError as error:  # the others on this GPU may have been large just then
        return Ended(JobState.FAILED, explain(error), again=True)
    except (Exception, SystemExit, GeneratorExit) as error:  # what the job does to itself is its failure
        reason = explain(error)
        print(f"failed: {reason}", file=sys.__stderr__)
        return Ended(JobState.FAILED, reason)


class _Parent:
    """The process that waits for this one, told one thing at a time by whichever threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, RLock()

    def tell(self, message: Entered | Report | Printed | Ended) -> bool:
        """Send a message; False where the parent was killed."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            return False
        return True


class ReportingDisplay:
    """Tells the parent of a run's steps and evaluations, at most twice a second; without a parent, the run stops."""

    def __init__(self, parent: _Parent, log: str, stop: StopSignals) -> None:
        self._parent = parent
        self._stop = stop
        self._log = Path(log)
        self._told = 0.0
        self._row: dict[str, Any] = {}

    def enter(self, folder: Path) -> None:
        """Go on with the output in the run's own log."""
        _write_output_to(RunFolder(folder).log_file, after=self._log)
        self._send(Entered(str(folder)))

    @contextmanager
    def of(self, label: str, done_steps: int, total_steps: int, epochs: float, mode: str) -> Iterator[None]:
        """Show the training of one run, of which some steps were done before, for as long as the context lasts."""
        self._label, self._total_steps, self._epochs = label, total_steps, epochs
        self._report(done_steps)
        yield

    def show_step(self, step: int) -> None:
        """A step was taken."""
        if time.monotonic() - self._told >= SECONDS_BETWEEN_REPORTS:
            self._report(step)

    def show_evaluation(self, row: dict[str, Any], improved: bool) -> None:
        """A row of metrics.jsonl was written."""
        self._row = row
        print(evaluation_line(self._label, self._epochs, row, improved), flush=True)
        self._report(row["step"])

    def _report(self, step: int) -> None:
        self._told = time.monotonic()
        known = {key: self._row.get(key) for key in ("val_accuracy", "images_per_second")}
        epoch = self._epochs * step / self._total_steps
        self._send(Report(step, self._total_steps, self._epochs, epoch, **known))

    def _send(self, message: Entered | Report) -> None:
        if not self._parent.tell(message):
            self._stop.request()


class _Told:
    """A stream that also tells the parent each whole line that this process writes to it."""

    def __init__(self, stream: TextIO, parent: _Parent, is_error: bool = False) -> None:
        self._stream, self._parent, self._is_error = stream, parent, is_error
        self._begun: list[str] = []
        self._lock, self._process = RLock(), os.getpid()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as the stream itself does."""
        if os.getpid() == self._process:  # one forked from it could speak at the same time
            with self._lock:
                last, line_break, begun = text.rpartition("\n")
                if line_break:
                    self._tell(last)
                self._begun.append(begun)
        return self._stream.write(text)

    def tell_rest(self) -> None:
        """Tell the parent what has no line break yet, too."""
        if any(self._begun):
            self._tell("")

    def _tell(self, last: str) -> None:
        text, self._begun = "".join([*self._begun, last]), []
        self._parent.tell(Printed(text, self._is_error))

    def flush(self) -> None:
        """Flush, as the stream itself does."""
        self._stream.flush()


def _write_output_to(path: Path, after: Path | None = None) -> None:
    """Append standard output and error to a file, at the level of the system, so that a crash is in it, too."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = after.read_bytes() if after is not None else b""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(file, before)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    if after is None:
        faulthandler.enable()
