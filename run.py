"""The command line: compose the config with Hydra, hand each job to dynfilt.experiment, report what failed."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dynfilt.config import read_job, register_schema
from dynfilt.config_errors import explain
from dynfilt.wandb_mirror import end_service

if TYPE_CHECKING:
    from dynfilt.plan import PlannedRun

LISTED_REASONS = 5

failures: dict[str, list[str]] = {}  # what went wrong -> the jobs it happened to
planned: list[PlannedRun] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run_job(cfg: DictConfig) -> None:
    """One job. A failure is noted, so that the other jobs of a sweep still run."""
    from dynfilt import experiment

    try:
        outcome = experiment.run(read_job(cfg))
    except Exception as error:
        reason, job = explain(error), _job_of_a_sweep()
        if reason not in failures:
            print(f"failed: {': '.join(filter(None, (job, reason)))}", file=sys.stderr, flush=True)
        failures.setdefault(reason, []).append(job)
        return
    if outcome is not None:
        planned.append(outcome)


def main() -> int:
    """Run the command line; 0 for success, 1 when a job failed, 2 for a wrong command, 130 when interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through, so that they are explained here
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait spin by default; beside other jobs that costs time, see docs/performance.md.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.showwarning = _warn_in_one_line  # type: ignore[assignment]
    OmegaConf.register_new_resolver("scratch", _scratch_folder, use_cache=True)
    register_schema()
    sys.argv[1:] = [_quote_run_folder(argument) for argument in sys.argv[1:]]
    try:
        run_job()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    finally:
        end_service()
    if planned:
        from dynfilt.plan import format_plan

        print(format_plan(planned))
    if (count := sum(map(len, failures.values()))) > 1:
        print(f"{count} jobs failed:", *_failures_in_words(), sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


def _failures_in_words() -> list[str]:
    """One line a reason, with its jobs."""
    lines = [f"{'; '.join(jobs)}: {reason}" for reason, jobs in failures.items()]
    more = len(lines) - LISTED_REASONS
    return lines if more <= 0 else [*lines[:LISTED_REASONS], f"and {more} more reasons; status.json tells each"]


def _quote_run_folder(argument: str) -> str:
    """run=FOLDER as Hydra reads it: the commas and equals signs of a variant's name would mean something to it."""
    key, _, folder = argument.partition("=")
    if key != "run" or "=" not in folder or folder[0] in "\"'":
        return argument
    return "run='{}'".format(folder.replace("'", "\\'"))


def _job_of_a_sweep() -> str:
    """The job's own overrides, which tell it from the others of its sweep; nothing for a single run."""
    settings = HydraConfig.get()
    return " ".join(settings.overrides.task) if settings.mode == RunMode.MULTIRUN else ""


def _warn_in_one_line(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _scratch_folder() -> str:
    # Hydra writes multirun.yaml somewhere; nobody needs it beside the runs.
    folder = tempfile.mkdtemp(prefix="dynfilt-sweep-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
