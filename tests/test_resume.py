"""Stop a run anywhere, by anything: the same command goes on and ends where the run would have ended."""

import functools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dynfilt import cost, experiment
from dynfilt.config.compose import Job
from dynfilt.train import trainer as trainer_module
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import ROOT, TINY, Command, command_line, quiet_environment
from tests.run_folders import assert_same_outcome, contents, read_rows, read_status
from tests.tiny_run import SIGNAL_AT_STEP, tiny_data

# Early stopping, a falling temperature, dropout and augmentation, and a step checkpoint whenever one can be.
OVERRIDES = ("trainer.epochs=8", "trainer.patience=3", "trainer.checkpoint_every_seconds=1e-9", "schedule=cosine")
FOLDER = Path("outputs/tests/tiny,schedule=cosine,trainer.epochs=8,trainer.patience=3/seed0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that nothing has stopped."""
    root = tmp_path_factory.mktemp("whole")
    with command_line(root) as call:
        outcome = call(*TINY, *OVERRIDES)
    assert outcome.code == 0, outcome.err
    rows = read_rows(root / FOLDER)
    assert 4 <= len(rows) < 10  # it stopped early
    return root / FOLDER


class Killed(BaseException):
    """What is left of a process after kill -9: not even its own clean-up can write."""


class Disk:
    """Lets a number of writing operations happen, then none."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        for name in ("replace", "link", "fsync"):
            patch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return operation(*arguments, **options)

        return guarded


@dataclass
class Starter:
    """Starts the command again and again; `died` and `took` tell how the last attempt went."""

    job: Job
    disk: Disk
    died: bool = False
    took: int = 0

    def __call__(self, operations: int = 10**9) -> None:
        """Run until that many writing operations are done, or to the end."""
        self.disk.left = operations
        torch.manual_seed(operations)  # a new process has drawn other numbers
        self.died = False
        try:
            experiment.run(self.job)
        except Killed:
            self.died = True
        self.took = operations - self.disk.left


@pytest.fixture
def start(compose: Callable[..., list[Job]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    [job] = compose(*TINY, *OVERRIDES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer_module, "STEPS_BETWEEN_LOSS_CHECKS", 1)
    monkeypatch.setattr(experiment, "collect_provenance", lambda device: {})  # it takes longer than the training
    monkeypatch.setattr(cost, "count_flops", lambda *_: 0)
    monkeypatch.setattr(cost, "measure_latency_ms", lambda *_: 1.0)
    with pytest.MonkeyPatch.context() as patch:
        yield Starter(job, Disk(patch))


def assert_finished_like(whole: Path, folder: Path) -> None:
    assert_same_outcome(folder, whole, ignored=frozenset({"flops"}))
    assert read_status(folder)["state"] == "completed"
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.slow
def test_killed_between_any_two_writes_it_ends_the_same(start: Starter, whole: Path) -> None:
    """The places are those around one evaluation and step checkpoints, at the beginning, and at the end."""
    start()
    total = start.took
    assert_finished_like(whole, FOLDER)
    for number, operations in enumerate([3, 8, *range(total // 2, total // 2 + 8), *range(total - 6, total)]):
        FOLDER.rename(FOLDER.with_name(f".{number}"))
        start(operations)
        assert start.died
        start()
        assert_finished_like(whole, FOLDER)


@pytest.mark.slow
def test_killed_after_its_first_row_and_before_its_first_checkpoint(
    start: Starter, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "STEPS_BETWEEN_LOSS_CHECKS", 50)
    operations = 0
    while not FOLDER.exists() or not read_rows(FOLDER):
        start(operations)
        operations += 1
    assert start.died
    assert not (FOLDER / "checkpoint" / "last.pt").exists()
    start()
    assert_finished_like(whole, FOLDER)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(start: Starter, whole: Path) -> None:
    rng, deaths = random.Random(1), 0
    start(5)
    while start.died:
        deaths += 1
        assert deaths < 100
        start(rng.randrange(10, 40))
    assert deaths >= 3
    assert_finished_like(whole, FOLDER)


@pytest.mark.slow
def test_kill_minus_nine_of_a_real_process_at_a_random_step(whole: Path, command: Command, tmp_path: Path) -> None:
    folder, rng = tmp_path / FOLDER, random.Random(2)
    first = real_process(tmp_path, signal.SIGSTOP, step=rng.randrange(9, 13))  # its first checkpoint is on disk
    assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
    # It lives, at a random step: nobody else may work on its folder.
    before = contents(folder)
    refused = command(*TINY, *OVERRIDES)
    assert (refused.code, len(refused.lines)) == (1, 1)
    assert f"in use by another process (pid {first.pid})" in refused.err
    assert contents(folder) == before
    assert "  running " in command(*TINY, *OVERRIDES, "mode=plan").out
    first.kill()
    first.wait()
    # It is dead, and its lock with it.
    assert "  interrupted " in command(*TINY, *OVERRIDES, "mode=plan").out
    outcome = command(*TINY, *OVERRIDES)
    assert outcome.code == 0 and "going on from step " in outcome.out
    assert_same_outcome(folder, whole)


def test_a_run_does_not_go_on_with_other_images(
    command: Command, finished_copy: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished_copy / "result.json").unlink()
    others = functools.wraps(tiny_data)(lambda **settings: tiny_data(**{**settings, "split_seed": 1}))
    with monkeypatch.context() as patch:
        patch.setattr("tests.tiny_run.tiny_data", others)
        outcome = command(*TINY)
    assert outcome.code == 1
    assert "was trained on other images up to step 12; put them back" in outcome.err
    assert "rerun=true or another study" in outcome.err
    assert command(*TINY).code == 0
    assert_same_outcome(finished_copy, finished_run)


def test_a_run_of_before_its_images_were_noted_goes_on(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    for name in ("last.pt", "best.pt"):
        state = load_checkpoint(finished_copy / "checkpoint" / name)
        del state["images"]
        save_checkpoint(state, finished_copy / "checkpoint" / name)
    assert command(*TINY).code == 0


def real_process(folder: Path, number: signal.Signals, step: int) -> subprocess.Popen[str]:
    """`python run.py ...` that sends itself a signal within its step-th training step, 0 for never."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *TINY, *OVERRIDES],
        cwd=folder,
        env=quiet_environment(**{SIGNAL_AT_STEP: f"{number.value}@{step}"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
