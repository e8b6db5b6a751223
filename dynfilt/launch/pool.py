"""Jobs on one machine, each in a process of its own: whatever ends one of them, the others go on."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dynfilt.config.compose import Job
from dynfilt.launch.jobs import PoolJob
from dynfilt.launch.messages import Ended, Entered, Printed, Report
from dynfilt.launch.outcome import JobOutcome, JobState
from dynfilt.launch.slots import Slot, shared_gpus
from dynfilt.launch.view import PoolView
from dynfilt.run.record import record_death
from dynfilt.run.stopping import STOP_SIGNALS, StopSignals

POLL_SECONDS = 0.25
# What a job may take to finish its step and to write its checkpoint.
GRACE_SECONDS = 30.0
# Before the budget ends, jobs are asked to stop this long, or this share of the budget, ahead.
STOP_AHEAD_SECONDS, STOP_AHEAD_SHARE = 20.0, 0.1
# A job that is started later than this before it would be asked to stop cannot get anywhere.
LEAST_USEFUL_SECONDS = 10.0

# The address of the server that forks jobs is a file there, of whose path the system takes 107 bytes.
LONGEST_TEMPORARY_FOLDER = 70
# Of one job in a row, so that one that prints without end keeps nothing from the others, nor from its own end.
MOST_MESSAGES = 200

TOO_SLOW_TO_STOP = "did not stop in time when asked to; goes on from its last checkpoint"

# What a run imports; torch's optimizers import its compiler, which takes longer than all the rest.
PRELOADED = (
    "dynfilt.launch.undisturbed",
    "dynfilt.launch.worker",
    "torch._dynamo",
    "pydantic.type_adapter",
    "PIL.Image",
    "PIL.WebPImagePlugin",
)


@dataclass(frozen=True)
class PoolLimits:
    """What bounds the work: minutes for all jobs together, minutes in which a job must show a sign of life, and how
    often a job whose process died is tried again. None is no bound."""

    minutes: float | None
    timeout_minutes: float | None
    retries: int


@dataclass
class _Running:
    """A job in its process."""

    job: PoolJob
    slot: Slot
    process: BaseProcess
    connection: Connection
    log: Path
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    folder: str = ""
    ended: Ended | None = None
    killed_because: str = ""
    said_all: bool = False


class Pool:
    """Runs jobs in its slots until all have ended, the budget is used up, or a signal asks to stop."""

    def __init__(self, slots: Sequence[Slot], limits: PoolLimits, stop: StopSignals, view: PoolView) -> None:
        self._slots = list(slots)
        self._limits = limits
        self._stop = stop
        self._view = view
        self._passes_on = len(slots) == 1  # lines of several jobs would mingle
        self._running: list[_Running] = []
        self._outcomes: dict[str, JobOutcome] = {}
        self._asked_to_stop = 0.0

    def run(self, jobs: Sequence[PoolJob]) -> list[JobOutcome]:
        """What came of each job, in the order given."""
        self._waiting = deque(jobs)
        budget = self._limits.minutes
        self._end = float("inf") if budget is None else time.monotonic() - _seconds_so_far() + 60 * budget
        ahead = STOP_AHEAD_SECONDS if budget is None else min(STOP_AHEAD_SECONDS, STOP_AHEAD_SHARE * 60 * budget)
        self._ask_at = self._end - ahead
        with tempfile.TemporaryDirectory(prefix="dynfilt-pool-") as scratch, shared_gpus(self._slots) as slots:
            self._free, self._scratch, self._context = deque(slots), Path(scratch), process_context()
            try:
                while self._waiting or self._running:
                    self._start_jobs()
                    self._listen()
                    self._end_what_must_end()
                    self._view.refresh(len(self._waiting))
                    if not self._running and self._no_more_starts():
                        break
            finally:
                self._kill_all()
        left = {job.name: JobOutcome(job.name, JobState.WAITING) for job in self._waiting}
        return [{**left, **self._outcomes}[job.name] for job in jobs]

    def _no_more_starts(self) -> bool:
        return self._stop() or time.monotonic() > self._ask_at - LEAST_USEFUL_SECONDS

    def _start_jobs(self) -> None:
        while self._waiting and self._free and not self._no_more_starts():
            job, slot = self._waiting.popleft(), self._free.popleft()
            job.tries += 1
            ours, theirs = self._context.Pipe(duplex=False)
            log = self._scratch / f"{len(self._outcomes)}-{time.monotonic_ns()}.txt"
            process = self._context.Process(target=_work, args=(job.job, slot, theirs, str(log), self._passes_on))
            start(process)
            theirs.close()
            self._running.append(_Running(job, slot, process, ours, log))
            self._view.started(job.name)

    def _listen(self) -> None:
        """Take what the jobs send, and settle those that have ended."""
        sources: list[Any] = [job.connection for job in self._running if not job.said_all]
        wait([*sources, *(job.process.sentinel for job in self._running)], timeout=POLL_SECONDS)
        for running in list(self._running):
            dead = not running.process.is_alive()  # asked first: what it sent before is read below
            self._read(running, None if dead else MOST_MESSAGES)
            if dead:
                self._settle(running)

    def _read(self, running: _Running, most: int | None) -> None:
        try:
            for _ in itertools.count() if most is None else range(most):
                if not running.connection.poll():
                    return
                self._take(running, running.connection.recv())
        except (EOFError, OSError):
            running.said_all = True
        except Exception as error:  # other processes of the job wrote between its words
            running.said_all, running.killed_because = True, f"what it sent cannot be read: {error}"
            running.process.kill()

    def _take(self, running: _Running, message: object) -> None:
        match message:
            case Printed(text=text, is_error=is_error):
                self._view.printed(text, is_error)
                return  # no sign of life: a job that hangs may print all the time
            case Entered(folder=folder):
                running.folder = folder
            case Report() as report:
                self._view.reported(running.job.name, report)
            case Ended() as ended:
                running.ended = ended
        running.heard = time.monotonic()

    def _settle(self, running: _Running) -> None:
        """Free the slot of a job that has ended; note what came of it, or try it again."""
        running.process.join()
        running.connection.close()
        self._running.remove(running)
        self._free.append(running.slot)
        ended = running.ended
        if ended is None and running.killed_because == TOO_SLOW_TO_STOP:
            ended = Ended(JobState.INTERRUPTED, TOO_SLOW_TO_STOP)
        elif ended is None:
            reason = running.killed_because or death_in_words(running.process.exitcode)
            if running.folder:
                record_death(Path(running.folder), reason)
            elif running.log.exists():
                reason += _last_line(running.log)
            ended = Ended(JobState.FAILED, reason, again=True)
        job = running.job
        may_try_again = ended.again and job.tries <= self._limits.retries and not self._no_more_starts()
        if ended.state == JobState.FAILED and may_try_again:
            self._view.tried_again(job.name, ended.reason)
            self._waiting.append(job)
            return
        outcome = JobOutcome(job.name, ended.state, ended.reason)
        self._outcomes[job.name] = outcome
        self._view.ended(outcome, running.folder, time.monotonic() - running.started)

    def _end_what_must_end(self) -> None:
        """Ask all jobs to stop when a signal or the budget says so; kill what hangs or does not stop in time."""
        now = time.monotonic()
        if self._running and not self._asked_to_stop and (self._stop() or now > self._ask_at):
            self._asked_to_stop = now
        for running in self._running:
            if self._asked_to_stop:
                running.process.terminate()  # again and again: a process that has just begun does not hear it yet
            timeout = self._limits.timeout_minutes
            if timeout is not None and now - running.heard > 60 * timeout:
                running.killed_because = f"no sign of life for {timeout:g} minutes (hydra.launcher.timeout_minutes)"
                running.process.kill()
            elif self._asked_to_stop and now > min(self._asked_to_stop + GRACE_SECONDS, self._end):
                running.killed_because = TOO_SLOW_TO_STOP
                running.process.kill()

    def _kill_all(self) -> None:
        for running in self._running:
            running.process.kill()
            running.process.join()


def _work(job: Job, slot: Slot, connection: Connection, log: str, passes_on: bool) -> None:
    from dynfilt.launch.worker import work  # only the job's own process needs torch

    work(job, slot, connection, log, passes_on)


def process_context() -> ForkServerContext | SpawnContext:
    """Processes forked from one that has imported torch and all else a run needs, and has done nothing with it."""
    no_path = any(os.pathsep in path for path in sys.path)  # it could not be named to the server
    if sys.platform != "linux" or no_path or len(os.fsencode(tempfile.gettempdir())) > LONGEST_TEMPORARY_FOLDER:
        return multiprocessing.get_context("spawn")
    # A pool of OpenBLAS threads would be forked along.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    # Left alone it imports from the working directory first, which may hold another dynfilt than this one.
    before = dict(os.environ)
    os.environ.update(PYTHONPATH=os.pathsep.join(path or os.getcwd() for path in sys.path), PYTHONSAFEPATH="1")
    try:
        _start_server()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _start_server() -> None:
    """Start the process that jobs are forked from. Signals that ask to stop wait until this process has started it, and
    in the new one until it has imported what keeps it alive."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()  # the server's start would start it, and it lets some through again
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(process: BaseProcess) -> None:
    """Start a process of `process_context` in which the main module does not run once more.

    It would be read from its file as it is by then, while a sweep goes on with the code that it was started with.
    """
    main = sys.modules["__main__"]
    spec, file = main.__spec__, getattr(main, "__file__", None)
    main.__spec__ = main.__file__ = None
    try:
        process.start()
    finally:
        main.__spec__, main.__file__ = spec, file


def _seconds_so_far() -> float:
    """Seconds since this process was started: the budget is the command's."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))


def death_in_words(exit_code: int | None) -> str:
    """How a process ended that did not say so itself."""
    if exit_code is not None and exit_code < 0:
        number = -exit_code
        name = signal.Signals(number).name if number in signal.Signals.__members__.values() else f"signal {number}"
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with exit code {exit_code} and no word"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last[:200]})" if last else ""
