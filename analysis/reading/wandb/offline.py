"""Offline W&B logs become runs; the logs of one run id, one for each time it was started, are one run."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from dynfilt.run.folder import RunState

from ..run import NO_SEED, Run
from ..run_folder import identity_of
from .log_records import TransactionLog, header_records, history_rows
from .mirrored import FAILED, FINISHED, PICTURES, MirroredRun, to_run

# How the name of a log's folder begins that was written without a server.
OFFLINE = "offline-"


def read_logs(source: str, paths: Sequence[str]) -> list[Run]:
    """The runs of these logs, sorted by place; history is read when `Run.evaluations` is called.

    A log that is empty, or none, becomes a run that does not count and says why.
    """
    attempts: dict[str, list[tuple[str, MirroredRun]]] = {}
    unusable: list[tuple[str, str]] = []
    for path in sorted(paths, key=started):
        try:
            mirrored = read_log(path)
        except ValueError as error:
            unusable.append((path, str(error)))
        else:
            attempts.setdefault(mirrored.run_id, []).append((path, mirrored))
    runs_by_id = {run_id: _run(source, logs) for run_id, logs in attempts.items()}
    runs = [_unusable(source, path, reason, runs_by_id.get(run_id(path))) for path, reason in unusable]
    return sorted([*runs_by_id.values(), *runs], key=lambda run: run.place)


def read_log(path: str) -> MirroredRun:
    """All of one log but its history, as far as it is whole.

    Raises ValueError when it is empty, no log, or does not name its run.
    """
    log = TransactionLog(path)
    try:
        if log.is_empty():
            raise ValueError(f"{os.path.basename(path)} is empty: the run was killed before anything was written")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    run = MirroredRun("")
    for kind, content in header_records(log):
        if kind == "run":
            run.run_id, run.group = content["run_id"], content.get("run_group", "")
            run.job_type, run.display_name = content.get("job_type", ""), content.get("display_name", "")
            run.config |= content["config"]
        elif kind == "config":
            run.config |= content
        elif kind == "summary":
            run.summary |= content
        else:
            run.state = FAILED if content["exit_code"] else FINISHED
    if not run.run_id:
        raise ValueError(f"{os.path.basename(path)} is torn before it tells which run it is")
    return run


def run_id(path: str) -> str:
    """The id of a log's run, from the file's name `run-<id>.wandb`."""
    return os.path.basename(path).removeprefix("run-").removesuffix(".wandb")


def started(path: str) -> tuple[str, str]:
    """Sort key: the time in the name of the log's folder, `offline-run-<date>_<time>-<id>`."""
    return os.path.basename(os.path.dirname(path)).removeprefix(OFFLINE), path


def _run(source: str, attempts: list[tuple[str, MirroredRun]]) -> Run:
    """The last attempt decides what the run is and how it ended; its evaluations are those of all attempts."""
    path, last = attempts[-1]
    return to_run(last, source, os.path.dirname(path), partial(_logged, [path for path, _ in attempts]))


def _logged(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What several logs of one run hold, in the order in which they were started, without pictures."""
    for path in paths:
        for row in history_rows(TransactionLog(path)):
            yield {key: value for key, value in row.items() if not key.startswith(PICTURES)}


def _unusable(source: str, path: str, reason: str, same: Run | None) -> Run:
    """A log without content; another log of the same id names its run, or the path does, or nothing."""
    place = os.path.dirname(path)
    study, variant, seed = identity_of(os.path.join(place, "..", ".."), {})
    if same is not None:
        study, variant, seed = same.study, same.variant, same.seed
    elif seed == NO_SEED:
        study, variant = "", os.path.basename(place)
    return Run(source, place, study, variant, seed, RunState.DAMAGED, reason)
