"""Signals end a run after its step, with a checkpoint, and the same command goes on from there."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dynfilt.run.stopping import RunInterrupted, StopSignals
from dynfilt.train.checkpoint import load_checkpoint
from dynfilt.train.trainer import Trainer
from tests.conftest import TINY, Command
from tests.run_folders import assert_same_outcome, read_rows, read_status
from tests.tiny_run import SIGNAL_AT_STEP

FOLDER = Path("outputs/tests/tiny/seed0")
NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_run_after_its_step_and_it_goes_on(
    number: signal.Signals, command: Command, tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with monkeypatch.context() as patch:
        patch.setenv(SIGNAL_AT_STEP, f"{number.value}@8")
        outcome = command(*TINY)
    assert outcome.code == (130 if number == signal.SIGINT else 75)
    assert "interrupted; the same command goes on from the last checkpoint" in outcome.err
    folder = tmp_path / FOLDER
    assert read_status(folder)["state"] == "interrupted"
    assert load_checkpoint(folder / "checkpoint" / "last.pt")["step"] == 8
    assert [row["step"] for row in read_rows(folder)] == [3, 6]
    assert [signal.getsignal(number) for number in NUMBERS] == before
    outcome = command(*TINY)
    assert outcome.code == 0, outcome.err
    assert "going on from step 8 of 12" in outcome.out
    assert_same_outcome(folder, finished_run)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_run_within_its_step(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def impatient(self: Any) -> None:
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on after a second Ctrl-C")
        train_step(self)

    monkeypatch.setattr(Trainer, "train_step", impatient)
    outcome = command(*TINY)
    assert outcome.code == 130
    assert read_status(tmp_path / FOLDER)["state"] == "interrupted"
    assert load_checkpoint(tmp_path / FOLDER / "checkpoint" / "last.pt")["step"] == 6


def test_the_first_signal_counts_and_a_second_sigint_ends_the_process_at_once() -> None:
    stop = StopSignals()
    stop.check()
    with stop.handled():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert (stop(), stop.received, stop.exit_code) == (True, signal.SIGTERM, 75)
        with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_hangup_that_nohup_has_the_process_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopSignals()
    try:
        with stop.handled():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
