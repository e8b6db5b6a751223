"""How a pool on one machine is set up, and which jobs of a command it has still to do."""

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
from dynfilt.run.standing import standing
from dynfilt.run.stopping import StopSignals


@dataclass(frozen=True)
class PoolSettings:
    """What hydra.launcher sets for a pool; conf/hydra/launcher/pool.yaml says what each number is.

    Raises ValueError for a number that makes no sense.
    """

    slots: int | None
    threads: int | None
    slots_per_gpu: int | None
    minutes: float | None
    timeout_minutes: float | None
    retries: int

    def __post_init__(self) -> None:
        for name in ("slots", "threads", "slots_per_gpu", "retries"):
            value, least = getattr(self, name), 0 if name == "retries" else 1
            if value is not None and (type(value) is not int or value < least):
                raise ValueError(f"hydra.launcher.{name}={value}: must be a whole number >= {least}")
        for name in ("minutes", "timeout_minutes"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"hydra.launcher.{name}={value}: must be a number > 0, or null for no limit")

    def run(self, jobs: Sequence[PoolJob], stop: StopSignals) -> list[JobOutcome]:
        """Run jobs side by side, each in a process of its own; what came of each."""
        from dynfilt.launch.pool import Pool, PoolLimits
        from dynfilt.launch.view import make_view

        limits = PoolLimits(self.minutes, self.timeout_minutes, self.retries)
        with make_view(len(jobs)) as view:
            return Pool(self._slots(jobs[0].job), limits, stop, view).run(jobs)

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
    done = {label for label, job in zip(labels, jobs, strict=True) if is_done(job)}
    unfinished = [PoolJob(label, job) for label, job in zip(labels, jobs, strict=True) if label not in done]
    if done:
        print(f"{len(done)} of {len(jobs)} runs are done already; skipped, rerun=true runs them anew", flush=True)
    outcomes = {label: JobOutcome(label, JobState.SKIPPED) for label in done}
    if unfinished:
        outcomes.update({outcome.job: outcome for outcome in run(unfinished)})
    return [replace(outcomes[label], job=name) for label, name in zip(labels, names, strict=True)]


def is_done(job: Job) -> bool:
    """Whether a job's run has a sound result of this very config."""
    if job.config["run"] is not None or job.config["mode"] != "train":
        return False
    identity = identify(job.config, job.choices, job.differences)
    folder = RunFolder(identity.folder(job.config["output_root"]))
    try:
        found = standing(folder, job.config)
    except ValueError:  # its own process says why
        return False
    return found.state == RunState.COMPLETED and (folder.result() or {}).get(DIGEST) == identity.digest
