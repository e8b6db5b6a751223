"""A sweep on a Slurm cluster: an array of allocations, each of which runs its share of the jobs as a pool."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynfilt.config.compose import Job
from dynfilt.launch.jobs import PoolJob
from dynfilt.launch.outcome import JobOutcome, JobState, count
from dynfilt.launch.pool_settings import PoolSettings, run_unfinished
from dynfilt.launch.slots import JOBS_PER_GPU
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import identify
from dynfilt.run.standing import ANEW, asides_of, standing
from dynfilt.run.stopping import TRY_AGAIN, StopSignals

if TYPE_CHECKING:
    import submitit

SECONDS_BETWEEN_LOOKS = 2.0
# A result may reach this machine over the network's file system after its job has left the queue.
LOOKS_WITHOUT_A_JOB = 5
UNDONE = (JobState.INTERRUPTED, JobState.WAITING)


@dataclass(frozen=True)
class Allocation:
    """What each allocation asks of Slurm; conf/hydra/launcher/slurm.yaml says what each number is.

    Raises ValueError for a number that makes no sense.
    """

    jobs: int | None
    minutes: int
    cpus: int
    gpus: int
    at_once: int
    stop_ahead_seconds: int
    max_requeues: int
    setup: Sequence[str]
    sbatch: dict[str, Any]

    def __post_init__(self) -> None:
        for name in ("jobs", "minutes", "cpus", "gpus", "at_once", "stop_ahead_seconds", "max_requeues"):
            value, least = getattr(self, name), 0 if name in ("gpus", "max_requeues") else 1
            if (value, name) != (None, "jobs") and (type(value) is not int or value < least):
                raise ValueError(f"hydra.launcher.allocation.{name}={value}: must be a whole number >= {least}")
        if 60 * self.minutes <= self.stop_ahead_seconds:
            raise ValueError(
                f"hydra.launcher.allocation.minutes={self.minutes}: must be more than "
                f"hydra.launcher.allocation.stop_ahead_seconds={self.stop_ahead_seconds}, in which nothing is trained"
            )

    def executor(self, folder: Path) -> submitit.SlurmExecutor:
        """What submits such allocations; scripts, logs and answers go into a folder that all nodes see.

        Raises ValueError where submitit or Slurm is missing.
        """
        try:
            import submitit
        except ImportError as error:
            raise ValueError("hydra/launcher=slurm needs submitit: pip install 'dynfilt[slurm]'") from error
        try:
            executor = submitit.SlurmExecutor(folder / "%j")
        except RuntimeError as error:
            raise ValueError("hydra/launcher=slurm: no srun here; call it on a login node of the cluster") from error
        executor.update_parameters(
            job_name="dynfilt",
            time=self.minutes,
            cpus_per_task=self.cpus,
            gpus_per_node=self.gpus or None,
            array_parallelism=self.at_once,
            signal_delay_s=self.stop_ahead_seconds,
            setup=list(self.setup),
            stderr_to_stdout=True,
            srun_args=[f"--cpus-per-task={self.cpus}"],  # since Slurm 22.05 a step does not inherit it
            additional_parameters={"requeue": True, **{k: v for k, v in self.sbatch.items() if v is not None}},
        )
        return executor


@dataclass(frozen=True)
class Share:
    """The jobs of one allocation: what submitit calls there, in a process of its own. `asides` says of each job how
    often its run had been set aside when it was queued."""

    jobs: Sequence[PoolJob]
    asides: Sequence[int]
    pool: PoolSettings
    max_requeues: int

    def __call__(self) -> list[JobOutcome]:
        """What came of each job. Asked to stop, it ends with checkpoints and goes back to the queue."""
        stop = StopSignals()
        with stop.handled():
            names, jobs = [job.name for job in self.jobs], self.jobs_now()
            outcomes = run_unfinished(names, jobs, lambda unfinished: self.pool.run(unfinished, stop))
            left = count(outcomes, *UNDONE)
            if left and stop() and int(os.environ.get("SLURM_RESTART_COUNT", "0")) < self.max_requeues:
                _queue_again()
        return outcomes

    def jobs_now(self) -> list[Job]:
        """Its jobs: one that has begun its run anew goes on with that, also in an allocation that is queued again."""
        return [
            _going_on(queued.job) if len(asides_of(_folder(queued.job))) > before else queued.job
            for queued, before in zip(self.jobs, self.asides, strict=True)
        ]


@dataclass(frozen=True)
class Submitted:
    """A share in the queue, or beyond it."""

    share: Share
    task: submitit.Job[list[JobOutcome]]

    def answered(self) -> bool:
        """Whether its allocation has said what came of the jobs."""
        return self.task.paths.result_pickle.exists()

    def outcomes(self, still_queued: bool) -> list[JobOutcome]:
        """What came of its jobs, by its answer, else by their run folders."""
        if self.answered():
            try:
                return self.task.result()
            except Exception as error:  # submitit passes on what was raised there as text
                reason = str(error).strip().rpartition("\n")[2]
                return [JobOutcome(job.name, JobState.FAILED, reason) for job in self.share.jobs]
        names = [job.name for job in self.share.jobs]
        if still_queued:
            return [JobOutcome(name, JobState.SUBMITTED) for name in names]
        found = [_by_its_folder(name, job) for name, job in zip(names, self.share.jobs_now(), strict=True)]
        reason = _failure_of(self.task.job_id) if count(found, *UNDONE) else ""
        return [
            replace(outcome, state=JobState.FAILED, reason=reason) if reason and outcome.state in UNDONE else outcome
            for outcome in found
        ]


def submit(jobs: Sequence[PoolJob], pool: PoolSettings, allocation: Allocation) -> list[Submitted]:
    """Queue all jobs, in order, as the allocations of one array. What `rerun` sets aside stays until its job starts.

    Raises ValueError where the cluster takes no array of that many allocations, or not the folder's name.
    """
    root = Path(jobs[0].job.config["output_root"]).absolute()
    if "%" in str(root):
        raise ValueError(f"output_root={root}: Slurm puts numbers in the place of a % in a path; choose one without it")
    executor = allocation.executor(root / ".slurm")
    per_allocation = allocation.jobs or (JOBS_PER_GPU * allocation.gpus or allocation.cpus)
    _require_room_in_an_array(len(jobs), per_allocation)
    jobs = [
        job
        if job.job.config["rerun"] is not ANEW or standing(_folder(job.job), job.job.config).aside
        else replace(job, job=_going_on(job.job))
        for job in jobs
    ]
    asides = [len(asides_of(_folder(job.job))) for job in jobs]
    parts = [slice(first, first + per_allocation) for first in range(0, len(jobs), per_allocation)]
    shares = [Share(jobs[part], asides[part], pool, allocation.max_requeues) for part in parts]
    return [Submitted(share, task) for share, task in zip(shares, executor.submit_array(shares), strict=True)]


def _require_room_in_an_array(jobs: int, per_allocation: int) -> None:
    allocations, most = math.ceil(jobs / per_allocation), _largest_array()
    if most and allocations > most:
        raise ValueError(
            f"hydra/launcher=slurm: {jobs} jobs make {allocations} allocations, and an array holds at most {most} on "
            f"this cluster (MaxArraySize); set hydra.launcher.allocation.jobs={math.ceil(jobs / most)}"
        )


def _largest_array() -> int | None:
    """The most allocations of an array that this cluster takes; None where it does not say."""
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return int(found[1]) if found else None


def _going_on(job: Job) -> Job:
    """The same job, which goes on with its run also where it was to begin it anew."""
    return replace(job, config={**job.config, "rerun": False}) if job.config["rerun"] is ANEW else job


def _folder(job: Job) -> RunFolder:
    return RunFolder(identify(job.config, job.choices, job.differences).folder(job.config["output_root"]))


def wait_for(submitted: Sequence[Submitted], stop: StopSignals) -> None:
    """Return when each share has its answer, nothing of the array is in the queue, or a signal asks to stop."""
    missing = 0
    while not stop() and not all(share.answered() for share in submitted):
        missing = 0 if _is_queued(array_id(submitted)) else missing + 1
        if missing == LOOKS_WITHOUT_A_JOB:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def tell_undone(submitted: Sequence[Submitted], outcomes: Sequence[Sequence[JobOutcome]]) -> None:
    """Print the only failure, since a command's end lists none but several, and the log of the first allocation that
    has left something undone."""
    failed = [outcome for of_share in outcomes for outcome in of_share if outcome.state == JobState.FAILED]
    if len(failed) == 1:
        print(f"failed: {failed[0].job}: {failed[0].reason}", file=sys.stderr, flush=True)
    for share, of_share in zip(submitted, outcomes, strict=True):
        if count(of_share, JobState.FAILED, *UNDONE):
            log = share.task.paths.stdout
            print(f"log of the first allocation with jobs that are not done: {log}", file=sys.stderr, flush=True)
            return


def array_id(submitted: Sequence[Submitted]) -> str:
    """Slurm's number of all of them together."""
    return submitted[0].task.job_id.partition("_")[0]


def _is_queued(job_id: str) -> bool:
    """Whether Slurm still has something to do for a job; yes where Slurm does not answer."""
    done = subprocess.run(["squeue", "--noheader", "--jobs", job_id], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) if done.returncode == 0 else "Invalid job id" not in done.stderr


def _failure_of(job_id: str) -> str:
    """How an allocation failed by itself; empty where something else ended it, or Slurm knows it no more."""
    done = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", job_id], capture_output=True, text=True, check=False
    )
    found = re.search(r"\bJobState=(FAILED|OUT_OF_MEMORY)\b.*\bExitCode=(\d+):", done.stdout)
    return f"its allocation ended as {found[1]}, exit code {found[2]}" if found else ""


def _by_its_folder(name: str, job: Job) -> JobOutcome:
    """What came of a job whose allocation ended without an answer: it was cancelled, or its node was lost."""
    if job.config["rerun"] is ANEW:  # what lies there is the old run
        return JobOutcome(name, JobState.WAITING)
    folder = _folder(job)
    match folder.state():
        case RunState.COMPLETED:
            return JobOutcome(name, JobState.TRAINED)
        case RunState.FAILED:
            error = (folder.status() or {}).get("error") or {}
            return JobOutcome(name, JobState.FAILED, str(error.get("message", "")))
        case RunState.DAMAGED:
            return JobOutcome(name, JobState.FAILED, f"{folder.path}: its result cannot be read")
        case RunState.RUNNING:
            return JobOutcome(name, JobState.BUSY)
        case RunState.INTERRUPTED:
            return JobOutcome(name, JobState.INTERRUPTED)
        case RunState.TO_DO:
            return JobOutcome(name, JobState.WAITING)


def _queue_again() -> None:
    """Put this allocation back into the queue and end this process; return when it was cancelled.

    A job that ends by itself within its grace time counts as done for Slurm, also when it was to make room.
    """
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    # The last allocation of an array has the array's own number, by which Slurm understands all of them.
    job_id = os.environ["SLURM_JOB_ID"] if array is None else f"{array}_{number}"
    states = subprocess.run(
        ["squeue", "--noheader", "--jobs", job_id, "--format=%T"], capture_output=True, text=True, check=False
    )
    if states.stdout.strip() != "RUNNING":
        return
    print("stopped with checkpoints; back to the queue", file=sys.stderr, flush=True)
    subprocess.run(["scontrol", "requeue", job_id], check=True)
    sys.exit(TRY_AGAIN)
