"""The command line: compose the config with Hydra, run or plan each job, list what failed."""

from __future__ import annotations

import atexit
import errno
import io
import os
import shutil
import sys
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dynfilt.config.checks import check_rerun
from dynfilt.config.compose import read_job, register_schema
from dynfilt.config.errors import explain
from dynfilt.installation import CONF, RUN_COMMAND, version
from dynfilt.launch.hydra_plugins import NAMESPACE, register_plugins
from dynfilt.launch.outcome import JobOutcome, JobState, count, failures_in_words, running_elsewhere_in_words
from dynfilt.run.lock import RunInUse
from dynfilt.run.plan import PlannedRun, Planner, format_plan
from dynfilt.run.stopping import TRY_AGAIN, StopSignals
from dynfilt.tracking.mirror import end_service

INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


def main() -> int:
    """Run the command in sys.argv.

    Returns 0 when every job is done, 1 when one failed, 2 for a wrong command, 130 after Ctrl-C, 75 when something is
    left: after another signal that asks to stop, when a budget is used up, or where other processes still work on jobs
    of this sweep. The same command goes on.
    """
    with _standard_streams_that_last():
        return _run()


def _run() -> int:
    if sys.argv[1:2] == ["status"]:
        from dynfilt.launch import status

        return status.run(sys.argv[2:], "python run.py status")
    if "--version" in sys.argv[1:]:
        print(f"dynfilt {version()}")  # Hydra would say its own
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through, so that they are explained here
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait spin by default; beside other jobs that costs time, see docs/performance.md.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    warnings.showwarning = _warn_in_one_line  # type: ignore[assignment]
    OmegaConf.register_new_resolver("scratch", _scratch_folder, use_cache=True)
    OmegaConf.register_new_resolver("command", _command)
    register_schema()
    sys.argv[1:] = _of_a_run([_quote_run_folder(argument) for argument in sys.argv[1:]])
    rerun = next((argument.removeprefix("rerun=") for argument in sys.argv[1:] if argument.startswith("rerun=")), None)
    stop = StopSignals()
    outcomes: list[JobOutcome] = []
    planned: list[PlannedRun] = []
    try:
        if rerun is not None:
            check_rerun(rerun)
        register_plugins(stop, outcomes, planned, _flags().config_dir)
        with stop.handled():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job(stop, outcomes, planned))()
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return stop.exit_code
    except Exception as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    finally:
        end_service()
    if planned:
        print(format_plan(planned))
    return _conclude(outcomes, stop)


def _job(
    stop: StopSignals, outcomes: list[JobOutcome], planned: list[PlannedRun]
) -> Callable[[DictConfig], JobOutcome | None]:
    """What Hydra calls for each job. In a multirun the answer goes to the sweeper, whatever process it comes from."""

    printed: set[str] = set()

    def run_job(cfg: DictConfig) -> JobOutcome | None:
        from dynfilt import experiment
        from dynfilt.run.continuation import with_data_of_its_run

        settings = HydraConfig.get()
        chosen = any(word.startswith(("hydra/launcher=", "hydra.launcher.")) for word in settings.overrides.hydra)
        several = settings.mode == RunMode.MULTIRUN
        if several and not settings.sweeper._target_.startswith(NAMESPACE):
            raise ValueError("hydra/sweeper: dynfilt runs sweeps by its own sweeper, hydra/sweeper=grid")
        if not several and chosen and settings.launcher._target_.startswith(NAMESPACE):
            warnings.warn("hydra/launcher has no effect on a single run; -m makes it a sweep of one", stacklevel=1)
        name = " ".join(settings.overrides.task) if several else ""
        try:
            job = with_data_of_its_run(read_job(cfg))
            if job.config["mode"] == "plan":
                experiment.check(job.config, job.choices)
                planned.append(experiment.plan(job, Planner()))
                return None
            outcome = JobOutcome(name, JobState(experiment.run(job, stop)))
        except RunInUse as error:
            outcome = JobOutcome(name, JobState.BUSY, str(error))
            if not several:  # asked for by itself, it is a failure
                outcome = JobOutcome(name, JobState.FAILED, str(error))
        except (Exception, SystemExit, GeneratorExit) as error:  # what a job does to itself ends no sweep
            outcome = JobOutcome(name, JobState.FAILED, explain(error))
        if outcome.reason and outcome.reason not in printed:
            printed.add(outcome.reason)
            print(f"{outcome.state}: {': '.join(filter(None, (name, outcome.reason)))}", file=sys.stderr, flush=True)
        if not several:
            outcomes.append(outcome)
        return outcome

    return run_job


def _conclude(outcomes: list[JobOutcome], stop: StopSignals) -> int:
    """Say what failed and what is left; the exit code."""
    failed = count(outcomes, JobState.FAILED)
    if failed > 1:
        print(f"{failed} jobs failed:", *failures_in_words(outcomes), sep="\n  ", file=sys.stderr)
    left = count(outcomes, JobState.INTERRUPTED, JobState.WAITING)
    if left:
        print(f"{left} of {len(outcomes)} jobs are not done; the same command goes on with them", file=sys.stderr)
    if elsewhere := running_elsewhere_in_words(outcomes):
        print(f"{elsewhere}; once they have ended, the same command goes on with what they leave", file=sys.stderr)
    if failed:
        return 1
    if stop() and (left or elsewhere or count(outcomes, JobState.SUBMITTED)):
        return stop.exit_code
    return TRY_AGAIN if left or elsewhere else 0


def _flags() -> Namespace:
    """The words as Hydra will read them. Raises ValueError where it would print its usage."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ValueError(f"{message}; flags stand before all overrides, `{_command()} --help` explains")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args()


def _command() -> str:
    return RUN_COMMAND if sys.argv[0] == RUN_COMMAND else "python run.py"


def _quote_run_folder(argument: str) -> str:
    """run=FOLDER as Hydra reads it: the commas and equals signs of a variant's name would mean something to it."""
    key, _, folder = argument.partition("=")
    if key != "run" or "=" not in folder or folder[0] in "\"'":
        return argument
    return "run='{}'".format(folder.replace("'", "\\'"))


def _of_a_run(arguments: list[str]) -> list[str]:
    """The words with keys that the data of `run=FOLDER` may have, and the chosen data has not, as Hydra takes them."""
    if not any(argument.startswith("run=") for argument in arguments):
        return arguments
    return [f"++{argument}" if argument.startswith("data.cache=") else argument for argument in arguments]


def _warn_in_one_line(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


class _Lasting:
    """A stream that goes nowhere once its terminal is closed, its pipe has no reader or its disk is full, and escapes
    what its encoding lacks: that must end no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as the stream itself does."""
        with self._whoever_reads():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as the stream itself does."""
        with self._whoever_reads():
            self._stream.flush()

    @contextmanager
    def _whoever_reads(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is still in the stream's buffer goes there, too
            os.close(nowhere)


@contextmanager
def _standard_streams_that_last() -> Iterator[None]:
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = tuple(map(_Lasting, before))  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def _open_what_is_closed() -> None:
    """Give standard streams that were closed before the program began (`>&-`) to the null device.

    Else the next file that is opened gets the number of one of them, and what is printed.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(file, True)  # as standard streams are
        os.close(file)
        sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _scratch_folder() -> str:
    # Hydra writes multirun.yaml somewhere; nobody needs it beside the runs.
    folder = tempfile.mkdtemp(prefix="dynfilt-sweep-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
