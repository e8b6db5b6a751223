"""One offline log to the server by `wandb sync`, whose exit code is 0 whatever happens: its mark is what counts."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..reading.wandb.mirrored import FAILED, FINISHED
from ..reading.wandb.offline import read_log
from ..reading.wandb.transaction_log import TransactionLog

# The file that W&B leaves beside a log which is uploaded whole.
MARK = ".synced"
# Seconds before each attempt, and the most that one may take.
PAUSES = (0.0, 2.0, 8.0)
LIMIT_SECONDS = 600.0
# What `wandb sync` says when the log ended the upload, not the network.
ENDED_BY_THE_LOG = ("incomplete record", "transactionlog")


class Outcome(StrEnum):
    """What became of one log."""

    UPLOADED = "uploaded"
    PRESENT = "already uploaded"
    RUNNING = "still running"
    TORN = "torn"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    NOT_TRIED = "not tried"


# The log still has something to upload, so that later parts of its run have to wait.
UNFINISHED = (Outcome.RUNNING, Outcome.FAILED, Outcome.NOT_TRIED)


@dataclass(frozen=True)
class Upload:
    """A log and what became of it, and why."""

    log: str
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {os.path.dirname(self.log)}" + (f" ({self.reason})" if self.reason else "")


def is_uploaded(log: str) -> bool:
    """Whether W&B's mark says that a log is uploaded."""
    return os.path.exists(log + MARK)


def upload(log: str) -> Upload:
    """Uploads a log, trying again when that fails; a torn one goes up to its tear, once."""
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
        if any(words in complaint for words in ENDED_BY_THE_LOG):
            # Uploaded a second time it would come after the later parts of its run, and end that as failed.
            Path(log + MARK).touch()
            return Upload(log, Outcome.TORN, f"uploaded up to the tear at byte {_tear(log)}")
    return Upload(log, Outcome.FAILED, complaint)


def _attempt(log: str) -> str:
    """One `wandb sync`, in a folder of its own since it writes its own log there; gives its last complaint."""
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
            process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no end within {LIMIT_SECONDS:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    told = [line.removeprefix("wandb: ").strip() for line in lines if line.strip()]
    complaints = [line for line in told if line.startswith(("ERROR", "Error")) and "detailed error logs" not in line]
    return next(reversed(complaints or told), "wandb sync said nothing")[:300]


def _is_being_written(log: str) -> bool:
    """Whether a living process holds the run folder, if the log lies in one."""
    from dynfilt.record import is_in_use

    return is_in_use(Path(log).resolve().parent.parent.parent)


def _tear(log: str) -> int:
    reading = TransactionLog(log)
    end = os.path.getsize(log)
    for _ in reading:
        pass
    return end if reading.torn_at is None else reading.torn_at
