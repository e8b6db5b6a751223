"""How a queue or a pool on one machine is set up, and which jobs of a command it has still to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dynfilt.config.compose import Job
from dynfilt.launch.jobs import PoolJob
from dynfilt.launch.outcome import JobOutcome, JobState, varying_parts
from dynfilt.launch.slots import Slot, cpu_slots, gpu_slots, visible_gpus
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import identify
from dynfilt.run.ownership import DIGEST
from dynfilt.run.standing import changed_since, in_words, standing
from dynfilt.run.stopping import StopSignals


@dataclass(frozen=True)
class QueueSettings:
    """What hydra.launcher sets for jobs one after the other; conf/hydra/launcher/queue.yaml says what each number is.

    Raises ValueError for a number that makes no sense.
    """

    minutes: float | None
    timeout_minutes: float | None
    retries: int

    def __post_init__(self) -> None:
        self._require_whole("retries", least=0)
        for name in ("minutes", "timeout_minutes"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and value > 0):
                raise ValueError(f"hydra.launcher.{name}={value}: must be a number > 0, or null for no limit")

    def run(self, jobs: Sequence[PoolJob], stop: StopSignals) -> list[JobOutcome]:
        """Run jobs in the slots there are, each in a process of its own; what came of each."""
        from dynfilt.launch.pool import Pool, PoolLimits
        from dynfilt.launch.view import make_view

        limits = PoolLimits(self.minutes, self.timeout_minutes, self.retries)
        with make_view(len(jobs)) as view:
            return Pool(self._slots(jobs[0].job), limits, stop, view).run(jobs)

    def _slots(self, job: Job) -> list[Slot]:
        return [Slot()]

    def _require_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and (type(value) is not int or value < least):
            raise ValueError(f"hydra.launcher.{name}={value}: must be a whole number >= {least}")


@dataclass(frozen=True)
class PoolSettings(QueueSettings):
    """What hydra.launcher sets for jobs side by side; conf/hydra/launcher/pool.yaml says what each number is."""

    slots: int | None
    threads: int | None
    slots_per_gpu: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("slots", "threads", "slots_per_gpu"):
            self._require_whole(name, least=1)

    def _slots(self, job: Job) -> list[Slot]:
        device = job.config["trainer"]["device"]
        if str(device).startswith("cuda:"):
            raise ValueError(
                f"trainer.device={device}: hydra/launcher=pool hands out the GPUs itself; leave trainer.device=auto "
                "and choose them by CUDA_VISIBLE_DEVICES"
            )
        gpus = [] if device == "cpu" else visible_gpus()
        return gpu_slots(gpus, self.slots_per_gpu, self.threads) if gpus else cpu_slots(self.slots, self.threads)


def run_unfinished(
    names: Sequence[str], jobs: Sequence[Job], run: Callable[[Sequence[PoolJob]], list[JobOutcome]]
) -> list[JobOutcome]:
    """What came of each job; `run` gets those whose run is not done."""
    labels = varying_parts(names)
    done = {label: found for label, job in zip(labels, jobs, strict=True) if (found := finished_run(job))}
    unfinished = [PoolJob(label, job) for label, job in zip(labels, jobs, strict=True) if label not in done]
    if done:
        changed = [
            changed_since(done[label], job.config) for label, job in zip(labels, jobs, strict=True) if label in done
        ]
        print(_skipped_in_words(changed, len(jobs)), flush=True)
    outcomes = {label: JobOutcome(label, JobState.SKIPPED) for label in done}
    if unfinished:
        outcomes.update({outcome.job: outcome for outcome in run(unfinished)})
    return [replace(outcomes[label], job=name) for label, name in zip(labels, names, strict=True)]


def finished_run(job: Job) -> RunFolder | None:
    """The folder of a job's run, where it has a sound result of this very config."""
    if job.config["run"] is not None or job.config["mode"] != "train":
        return None
    identity = identify(job.config, job.choices, job.differences)
    folder = RunFolder(identity.folder(job.config["output_root"]))
    try:
        found = standing(folder, job.config)
    except ValueError:  # its own process says why
        return None
    is_done = found.state == RunState.COMPLETED and (folder.result() or {}).get(DIGEST) == identity.digest
    return folder if is_done else None


def _skipped_in_words(changed: Sequence[Sequence[str]], total: int) -> str:
    """On the runs that are done, of each of which these modules have changed since."""
    words = f"{len(changed)} of {total} runs are done already; skipped, rerun=true runs them anew"
    modules = sorted({module for each in changed for module in each})
    if not modules:
        return words
    since = sum(map(bool, changed))
    return f"{words}; {in_words(modules)} changed since {since} of them, rerun=changed runs only these anew"
