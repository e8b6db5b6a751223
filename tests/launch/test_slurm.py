"""What hydra/launcher=slurm submits, and what it says came of it; tests/slurm has the same on a real Slurm."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynfilt.launch import slurm
from dynfilt.launch.outcome import JobOutcome, JobState
from dynfilt.launch.slurm import Allocation, Share
from dynfilt.run.record import set_aside
from tests.conftest import TINY, Command

SLURM = (*TINY, "-m", "hydra/launcher=slurm")
LARGEST_ARRAY, FAILURE_OF = slurm._largest_array, slurm._failure_of


@dataclass
class Queue:
    """Slurm and submitit: takes shares, and answers for those that `answers` has something for."""

    folder: Path
    answers: dict[int, list[JobOutcome] | Exception] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)

    def submit_array(self, shares: list[Share]) -> list[SimpleNamespace]:
        self.shares = shares
        return [self._task(number) for number in range(len(shares))]

    def _task(self, number: int) -> SimpleNamespace:
        def result() -> list[JobOutcome]:
            if isinstance(answer := self.answers[number], Exception):
                raise answer
            return answer

        pickle = self.folder / f"answer{number}"
        if number in self.answers:
            pickle.touch()
        paths = SimpleNamespace(result_pickle=pickle, stdout=Path(f"log{number}"))
        return SimpleNamespace(job_id=f"7_{number}", paths=paths, result=result)


@pytest.fixture
def queue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    taken = Queue(tmp_path_factory.mktemp("queue"))

    def executor(allocation: Allocation, folder: Path) -> Queue:
        taken.allocations.append(allocation)
        return taken

    monkeypatch.setattr(Allocation, "executor", executor)
    monkeypatch.setattr(slurm, "_is_queued", lambda job_id: False)
    monkeypatch.setattr(slurm, "_failure_of", lambda job_id: "")
    monkeypatch.setattr(slurm, "_largest_array", lambda: 1001)
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.0)
    yield taken


def seeds(queue: Queue) -> list[list[int]]:
    return [[job.job.config["seed"] for job in share.jobs] for share in queue.shares]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ((), [[0, 1], [2, 3], [4]]),  # as many as there are cores
        (("hydra.launcher.allocation.jobs=3",), [[0, 1, 2], [3, 4]]),
        (("hydra.launcher.allocation.gpus=1",), [[0, 1, 2, 3, 4]]),
    ],
)
def test_jobs_are_dealt_out_in_order(
    options: tuple[str, ...], shares: list[list[int]], queue: Queue, command: Command
) -> None:
    outcome = command(*SLURM, "seed=range(0,5)", "hydra.launcher.wait=false", "hydra.launcher.retries=4", *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"5 jobs in {len(shares)} allocations, Slurm job 7; how far they are: python run.py status outputs; "
        "to stop them with a checkpoint: scancel 7\n"
    )
    assert seeds(queue) == shares
    assert all(share.pool.retries == 4 for share in queue.shares)


@pytest.mark.slow
def test_what_is_done_is_not_queued_and_what_is_run_anew_stays_until_its_job_starts(
    queue: Queue, command: Command, finished_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*SLURM, "seed=0,1", "hydra.launcher.wait=false").code == 0
    assert seeds(queue) == [[1]]
    assert command(*SLURM, "seed=0,1", "hydra.launcher.wait=false", "rerun=true").code == 0
    assert seeds(queue) == [[0, 1]]
    [share] = queue.shares
    assert [job.config["rerun"] for job in share.jobs_now()] == [True, False]
    assert (finished_copy / "result.json").exists()
    lost = slurm.Submitted(share, queue.submit_array([share])[0]).outcomes
    assert [outcome.state for outcome in lost(False)] == [JobState.WAITING] * 2  # the result is the old one
    # The job starts and finishes; its allocation, queued again for the other one, leaves that as it is.
    shutil.copytree(set_aside(finished_copy), finished_copy)
    assert [job.config["rerun"] for job in share.jobs_now()] == [False, False]
    assert [outcome.state for outcome in lost(False)] == [JobState.TRAINED, JobState.WAITING]


def test_the_outcome_is_the_answer_else_what_the_folders_tell(
    queue: Queue, command: Command, finished_copy: Path
) -> None:
    shutil.move(finished_copy, finished_copy.with_name("seed2"))  # done, but its allocation was lost after that
    for seed, status in ((3, {"state": "failed", "error": {"message": "no luck"}}), (4, {"state": "running"})):
        finished_copy.with_name(f"seed{seed}").mkdir()
        (finished_copy.with_name(f"seed{seed}") / "status.json").write_text(json.dumps(status))
    (finished_copy.with_name("seed2") / "result.json").rename(queue.folder / "result.json")
    queue.answers = {
        0: [JobOutcome("seed=0", JobState.TRAINED)],
        1: RuntimeError("Traceback\nValueError: no such GPU\n"),
    }

    def is_queued(job_id: str) -> bool:
        shutil.copy(queue.folder / "result.json", finished_copy.with_name("seed2"))
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "_is_queued", is_queued)
        outcome = command(*SLURM, "seed=range(0,6)", "hydra.launcher.allocation.jobs=1")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "log of the first allocation with jobs that are not done: log1",
        "2 jobs failed:",
        "  seed=1: ValueError: no such GPU",
        "  seed=3: no luck",
        "2 of 6 jobs are not done; the same command goes on with them",  # one was interrupted, one never began
    ]


def test_a_lone_failure_is_told_with_the_log_of_its_allocation(queue: Queue, command: Command) -> None:
    done, failed = JobOutcome("seed=0", JobState.TRAINED), JobOutcome("seed=1", JobState.FAILED, "no luck")
    queue.answers = {0: [done], 1: [failed]}
    outcome = command(*SLURM, "seed=0,1", "hydra.launcher.allocation.jobs=1")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "failed: seed=1: no luck",
        "log of the first allocation with jobs that are not done: log1",
    ]


@pytest.mark.parametrize(
    ("state", "code"), [("FAILED", 1), ("OUT_OF_MEMORY", 1), ("CANCELLED", 75), ("NODE_FAIL", 75), ("TIMEOUT", 75)]
)
def test_jobs_whose_allocation_failed_by_itself_have_failed(
    state: str, code: int, queue: Queue, command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = finished_copy / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=9 ArrayJobId=7 JobState={state} Reason=$4 Requeue=1 ExitCode=3:0\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{finished_copy}:/bin")
    monkeypatch.setattr(slurm, "_failure_of", FAILURE_OF)
    outcome = command(*SLURM, "seed=0,1,2", "hydra.launcher.allocation.jobs=2")
    assert outcome.code == code
    reason = f"  seed=1; seed=2: its allocation ended as {state}, exit code 3"
    assert (reason in outcome.err) == (code == 1)
    assert outcome.err.startswith("log of the first allocation with jobs that are not done: log0\n")


def test_ctrl_c_ends_the_waiting_and_leaves_the_jobs(
    queue: Queue, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_is_queued", lambda job_id: os.kill(os.getpid(), signal.SIGINT) or True)
    assert command(*SLURM, "seed=0,1").code == 130


def test_numbers_are_checked_and_what_is_missing_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = command(*SLURM, "seed=0,1", "hydra.launcher.allocation.gpus=-1")
    assert outcome.code == 2
    assert "hydra.launcher.allocation.gpus=-1: must be a whole number >= 0" in outcome.err
    outcome = command(*SLURM, "seed=0,1", "hydra.launcher.allocation.minutes=1")
    assert outcome.code == 2
    numbers = "allocation.minutes=1: must be more than hydra.launcher.allocation.stop_ahead_seconds=90"
    assert numbers in outcome.err and len(outcome.lines) == 1
    monkeypatch.setitem(sys.modules, "submitit", None)
    outcome = command(*SLURM, "seed=0,1")
    assert outcome.code == 2
    assert outcome.err == "error: hydra/launcher=slurm needs submitit: pip install 'dynfilt[slurm]'\n"


def test_a_folder_whose_name_slurm_would_change_is_refused(queue: Queue, command: Command, tmp_path: Path) -> None:
    outcome = command(*SLURM, "seed=0,1", "output_root='runs%j'")
    assert (outcome.code, queue.shares) == (2, [])
    reason = "Slurm puts numbers in the place of a % in a path; choose one without it"
    assert outcome.err == f"error: output_root={tmp_path}/runs%j: {reason}\n"


@pytest.mark.slow
def test_more_allocations_than_an_array_of_the_cluster_holds_are_refused_with_the_way_out(
    queue: Queue, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize            = 4'\necho 'MaxJobCount = 9'\n")
    (tmp_path / "scontrol").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/bin")
        largest = LARGEST_ARRAY()
    monkeypatch.setattr(slurm, "_largest_array", lambda: largest)
    outcome = command(*SLURM, "seed=range(0,9)", "hydra.launcher.wait=false")
    assert (outcome.code, queue.shares) == (2, [])
    assert outcome.err == (
        "error: hydra/launcher=slurm: 9 jobs make 5 allocations, and an array holds at most 4 on this cluster "
        "(MaxArraySize); set hydra.launcher.allocation.jobs=3\n"
    )
    assert command(*SLURM, "seed=range(0,8)", "hydra.launcher.wait=false").code == 0
    assert seeds(queue) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_only_one_allocation_of_an_array_goes_back_to_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one of an array has the array's own number: Slurm answers for all of them, and requeues them all."""
    for name, line in (("squeue", "case $* in *7_2*) echo RUNNING;; *) echo RUNNING; echo PENDING;; esac"),
                       ("scontrol", f"echo $* >> {tmp_path}/requeued")):  # fmt: skip
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    for name, value in {"JOB_ID": "7", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(SystemExit):
        slurm._queue_again()
    assert (tmp_path / "requeued").read_text() == "requeue 7_2\n"
