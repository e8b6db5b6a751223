"""What a pool does with jobs that are asked to stop, or die; its jobs are processes that train nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
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
from tests.conftest import ROOT

Work = Callable[[Connection], None]


def outcome_of(work: Work, monkeypatch: pytest.MonkeyPatch, then: Callable[[StopSignals], None]) -> JobOutcome:
    """What comes of a job in a pool, where something happens once the job has its process: a SIGTERM, say."""
    stop = StopSignals()

    def start(process: multiprocessing.Process) -> None:
        process.start()
        then(stop)

    monkeypatch.setattr(pool, "process_context", lambda: multiprocessing.get_context("fork"))
    monkeypatch.setattr(pool, "start", start)
    monkeypatch.setattr(pool, "_work", lambda job, slot, connection, *_: work(connection))
    monkeypatch.setattr(pool, "GRACE_SECONDS", 1.0)
    [outcome] = Pool([Slot(1)], PoolLimits(1000.0, None, 1), stop, LinesView(1)).run([PoolJob("job", None)])  # type: ignore[arg-type]
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

    outcome = outcome_of(work, monkeypatch, StopSignals.request)
    assert outcome == JobOutcome("job", JobState.INTERRUPTED, "stopped at step 1")


def test_a_job_that_is_too_slow_to_stop_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(connection: Connection) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    outcome = outcome_of(work, monkeypatch, StopSignals.request)
    assert outcome == JobOutcome("job", JobState.INTERRUPTED, TOO_SLOW_TO_STOP)


@pytest.mark.parametrize("budget_allows", [True, False])
def test_only_a_job_that_the_budget_allows_is_tried_again(
    budget_allows: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def then(stop: StopSignals) -> None:
        if not budget_allows:
            monkeypatch.setattr(pool, "LEAST_USEFUL_SECONDS", float("inf"))

    outcome = outcome_of(lambda connection: os._exit(3), monkeypatch, then)
    assert outcome == JobOutcome("job", JobState.FAILED, "the process ended with exit code 3 and no word")
    assert capsys.readouterr().err.count("trying again") == budget_allows


def test_a_job_whose_words_cannot_be_read_is_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(connection: Connection) -> None:
        connection.send_bytes(b"not a message")
        time.sleep(60)

    outcome = outcome_of(work, monkeypatch, lambda stop: None)
    assert outcome.state == JobState.FAILED and outcome.reason.startswith("what it sent cannot be read: ")


def test_a_job_that_lives_on_when_it_has_said_all_is_waited_for_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(connection: Connection) -> None:
        connection.send(Ended(JobState.TRAINED))
        connection.close()
        time.sleep(1.5)

    before = time.process_time()
    assert outcome_of(work, monkeypatch, lambda stop: None).state == JobState.TRAINED
    assert time.process_time() - before < 0.75  # of processor time, not of time: a loop would take all of it


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server")
def test_the_server_that_forks_jobs_lives_on_when_it_is_asked_to_stop_at_its_start() -> None:
    program = """
        import os
        from multiprocessing import util
        from dynfilt.launch import pool
        from dynfilt.run.stopping import STOP_SIGNALS

        begin = util.spawnv_passfds

        def begin_and_signal(*words):
            number = begin(*words)
            for each in STOP_SIGNALS:
                os.kill(number, each)
            return number

        util.spawnv_passfds = begin_and_signal
        pool.PRELOADED = ("dynfilt.launch.undisturbed",)
        blocked = "len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
        process = pool.process_context().Process(target=exec, args=(f"import os, signal; os._exit(40 + {blocked})",))
        pool.start(process)
        process.join()
        print(process.exitcode)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.stderr) == ("40\n", "")  # the job hears every signal
