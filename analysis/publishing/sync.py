"""Upload offline W&B runs, one by one: a single empty file would make a whole `wandb sync` upload nothing.

Every log below SOURCE that is not uploaded yet gets a `wandb sync` for itself, which is checked and repeated if need
be. What cannot be uploaded is listed with the reason, and makes the exit code 1.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dynfilt.run.lock import is_in_use
from dynfilt.tracking.mirror import WAS_DELETED, new_run_id

from ..reading.find_runs import find_logs
from ..reading.wandb.log_records import TransactionLog
from ..reading.wandb.mirrored import FAILED, FINISHED
from ..reading.wandb.offline import OFFLINE, read_log, run_id, started
from ..reading.wandb.server import connect

# The file that W&B leaves beside a log which is uploaded whole; `wandb sync` exits with 0 whatever happens.
MARK = ".synced"
# Seconds before each attempt, and the most that one may take.
PAUSES = (0.0, 2.0, 8.0)
LIMIT_SECONDS = 600.0
# Messages of `wandb sync` when the log ended the upload, not the network.
ENDED_BY_THE_LOG = ("incomplete record", "transactionlog")
DELETED = "its run was deleted on the server, which takes no other of that id; as a new run it goes up with"
SECONDS_BETWEEN_LOOKS = 1.0
EARLIER_PART = "an earlier part of this run has to be uploaded first"


class Outcome(StrEnum):
    """The outcome of one log."""

    UPLOADED = "uploaded"
    PRESENT = "already uploaded"
    RUNNING = "still running"
    TORN = "torn"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    NOT_TRIED = "not tried"


GOOD = {Outcome.UPLOADED, Outcome.PRESENT, Outcome.RUNNING}
# The log still has something to upload, so that later parts of its run have to wait.
UNFINISHED = {Outcome.RUNNING, Outcome.FAILED, Outcome.NOT_TRIED}


@dataclass(frozen=True)
class Upload:
    """A log and what became of it, and why."""

    log: str
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {os.path.dirname(self.log)}" + (f" ({self.reason})" if self.reason else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sync`."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder with offline W&B runs at any depth")


def run(arguments: argparse.Namespace) -> int:
    """Print a line a log and their counts; return 1 when a log could not be uploaded whole. Raises as `sync` does."""
    counts: Counter[Outcome] = Counter()
    for done in sync(arguments.sources):
        print(done, flush=True)
        counts[done.outcome] += 1
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]))
    return 0 if counts.keys() <= GOOD else 1


def sync(sources: Sequence[str]) -> Iterator[Upload]:
    """Upload the offline logs in the sources, in the order in which they were started; each outcome as it comes.

    Logs inside run folders are uploaded too. After a failure that is the network's the rest is not tried.
    Raises ValueError when a source is no folder or holds no offline log, and, where there is something to
    upload, when there is no API key or no server.
    """
    logs = _offline_logs(sources)
    if not all(is_uploaded(log) for log in logs):
        connect("")
    unfinished: set[str] = set()
    trouble = ""
    for log in logs:
        obstacle = trouble or (EARLIER_PART if run_id(log) in unfinished else "")
        if is_uploaded(log):
            done = Upload(log, Outcome.PRESENT)
        elif obstacle:
            done = Upload(log, Outcome.NOT_TRIED, obstacle)
        else:
            done = upload(log)
        yield done
        if done.outcome in UNFINISHED:
            unfinished.add(run_id(log))
        if done.outcome == Outcome.FAILED:
            trouble = _trouble()


def is_uploaded(log: str) -> bool:
    """Whether W&B's mark of an uploaded log exists."""
    return os.path.exists(log + MARK)


def upload(log: str) -> Upload:
    """Upload a log by `wandb sync`, again when that fails; a torn one goes up to its tear, once."""
    try:
        has_ended = read_log(log).state in (FINISHED, FAILED)
    except ValueError as error:
        return Upload(log, Outcome.UNREADABLE, str(error))
    if not has_ended and _is_being_written(log):
        return Upload(log, Outcome.RUNNING, "sync it when it has ended")
    complaint = ""
    for pause in PAUSES:
        time.sleep(pause)
        complaint = _attempt(log)
        if is_uploaded(log):
            return Upload(log, Outcome.UPLOADED, "" if has_ended else "its end is missing, W&B takes it for failed")
        if complaint == DELETED:
            return Upload(log, Outcome.FAILED, f"{DELETED}: wandb sync --id {new_run_id()} {shlex.quote(log)}")
        if any(words in complaint for words in ENDED_BY_THE_LOG):
            # Uploaded a second time it would come after the later parts of its run, and end that as failed.
            Path(log + MARK).touch()
            return Upload(log, Outcome.TORN, f"uploaded up to the tear at byte {_tear(log)}")
    return Upload(log, Outcome.FAILED, complaint)


def _offline_logs(sources: Sequence[str]) -> list[str]:
    """Each offline log once."""
    logs: dict[str, str] = {}
    for source in sources:
        offline = [log for log in find_logs(source) if os.path.basename(os.path.dirname(log)).startswith(OFFLINE)]
        if not offline:
            raise ValueError(f"no offline W&B runs in {source}: looked at any depth for offline-run-*/*.wandb")
        logs.update((os.path.realpath(log), log) for log in offline)
    return sorted(logs.values(), key=started)


def _trouble() -> str:
    """Describe what is wrong with the server, empty when it works."""
    try:
        connect("")
    except ValueError as error:
        return str(error)
    return ""


def _attempt(log: str) -> str:
    """Run `wandb sync` once, in an empty folder since it leaves a log there; return its last complaint."""
    command = [sys.executable, "-m", "wandb", "sync", os.path.abspath(log)]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + LIMIT_SECONDS
            while process.poll() is None:
                if _is_deleted_there(Path(folder)):
                    return DELETED
                if time.monotonic() > until:
                    return f"no end within {LIMIT_SECONDS:g} s"
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, min(SECONDS_BETWEEN_LOOKS, until - time.monotonic())))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    messages = [line.removeprefix("wandb: ").strip() for line in lines if line.strip()]
    complaints = [
        line for line in messages if line.startswith(("ERROR", "Error")) and "detailed error logs" not in line
    ]
    return next(reversed(complaints or messages), "wandb sync printed nothing")[:300]


def _is_deleted_there(folder: Path) -> bool:
    """Whether `wandb sync`, which tries again in silence, has been told that the run was deleted on the server."""
    return any(WAS_DELETED in log.read_text(errors="replace") for log in folder.glob("wandb/logs/*.log"))


def _is_being_written(log: str) -> bool:
    """Whether a living process holds the run folder, if the log lies in one."""
    return is_in_use(Path(log).resolve().parent.parent.parent)


def _tear(log: str) -> int:
    records = TransactionLog(log)
    end = os.path.getsize(log)
    for _ in records:
        pass
    return end if records.torn_at is None else records.torn_at
