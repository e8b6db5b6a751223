"""What a pool does with jobs that are asked to stop; its jobs are processes that train nothing."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from dynfilt.launch import pool
from dynfilt.launch.jobs import PoolJob
from dynfilt.launch.messages import Ended
from dynfilt.launch.outcome import JobOutcome, JobState
from dynfilt.launch.pool import TOO_SLOW_TO_STOP, Pool, PoolLimits
from dynfilt.launch.slots import Slot
from dynfilt.launch.view import LinesView
from dynfilt.run.stopping import StopSignals

Work = Callable[[Connection], None]


def outcome_of(work: Work, monkeypatch: pytest.MonkeyPatch) -> JobOutcome:
    """What comes of a job in a pool that has got a SIGTERM by the time at which the job has its process."""
    stop = StopSignals()

    def start(process: multiprocessing.Process) -> None:
        process.start()
        stop.request()

    monkeypatch.setattr(pool, "process_context", lambda: multiprocessing.get_context("fork"))
    monkeypatch.setattr(pool, "start", start)
    monkeypatch.setattr(pool, "_work", lambda job, slot, connection, log: work(connection))
    monkeypatch.setattr(pool, "GRACE_SECONDS", 1.0)
    [outcome] = Pool([Slot(1)], PoolLimits(None, None, 1), stop, LinesView(1)).run([PoolJob("job", None)])  # type: ignore[arg-type]
    return outcome


def test_a_job_that_does_not_hear_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(connection: Connection) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the server of forks leaves it
        time.sleep(0.4)
        stop = StopSignals()
        with stop.handled():
            while not stop():
                time.sleep(0.01)
            connection.send(Ended(JobState.INTERRUPTED, "stopped at step 1"))

    assert outcome_of(work, monkeypatch) == JobOutcome("job", JobState.INTERRUPTED, "stopped at step 1")


def test_a_job_that_is_too_slow_to_stop_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(connection: Connection) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    assert outcome_of(work, monkeypatch) == JobOutcome("job", JobState.INTERRUPTED, TOO_SLOW_TO_STOP)
