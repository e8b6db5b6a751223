"""Writing a run's folder, the durable truth about one run. Contract: see the table in the README."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.lock import FolderLock, RunInUse
from dynfilt.run.ownership import require_recorded_digest, require_same_config
from dynfilt.run.parsing import DamagedFile, attempts_of, read_json
from dynfilt.run.recovery import put_aside, warn
from dynfilt.run.standing import asides_of
from dynfilt.train.checkpoint import replace_atomically

# Facts of an attempt that change the last bits of its numbers, and no more.
EXECUTION = (
    "threads",
    "device",
    "trainer.channels_last",
    "trainer.deterministic",
    "trainer.formulation",
    "trainer.compile",
)
# What file systems answer that cannot reserve room: some network mounts.
CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
REPLACES = "replaces"  # among the facts of an attempt: the run that was set aside for it


class RunRecord:
    """Writes one run's folder while it holds the lock on it. Use as a context manager.

    Leaving it by an exception writes the state `failed` (`interrupted` for a keyboard interrupt) to status.json; before
    the first checkpoint, the run that was set aside for it is back in its place then. Raises ValueError when the folder
    cannot be written, is in use (RunInUse), or belongs to another config.
    """

    def __init__(self, folder: Path, config: dict[str, Any], old: Path | None = None) -> None:
        self.folder = RunFolder(folder)
        self.config = config
        self._lock = FolderLock(folder)
        self._old = old

    def __enter__(self) -> RunRecord:
        path = self.folder.path
        try:
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
            except OSError as error:
                raise ValueError(f"{path}: cannot be written ({error.strerror}); choose output_root=...") from error
            self._claim_config()
        except RunInUse:
            raise
        except BaseException:
            _put_back(path, self._old)
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None and self._lock.is_held():
                try:
                    self._write_failure(error)
                finally:
                    _put_back(self.folder.path, self._old)
        except OSError as second:  # a full disk, say; the first error is what matters
            print(f"{self.folder.path}: its failure could not be written down ({second})", file=sys.stderr)
        finally:
            self._lock.release()

    def start(self, provenance: dict[str, Any]) -> None:
        """State `running`; the first attempt's provenance stays on top, later ones are listed under `resumed`."""
        known = self._sound(self.folder.provenance_file)
        if self._old is not None:
            provenance = {**provenance, REPLACES: self._old.name}
        if known:
            provenance = {**known, "resumed": [*attempts_of(known)[1:], provenance]}
        write_json(self.folder.provenance_file, provenance)
        self._write_status(RunState.RUNNING, started=_now(), pid=os.getpid())

    def noted(self, key: str) -> Any:
        """What the last attempt that noted a fact has noted; None where none has."""
        facts = [attempt.get(key) for attempt in self._attempts()]
        return next((fact for fact in reversed(facts) if fact is not None), None)

    @property
    def is_first_attempt(self) -> bool:
        """Whether nobody has worked on this run before."""
        return len(self._attempts()) == 1

    def _attempts(self) -> list[Mapping[str, Any]]:
        return attempts_of(self.folder.provenance(strict=False) or {})

    def add_provenance(self, **facts: str) -> None:
        """Add to the provenance of the current attempt."""
        provenance = self.folder.provenance()
        assert provenance is not None
        attempt = provenance["resumed"][-1] if "resumed" in provenance else provenance
        attempt.update(facts)
        write_json(self.folder.provenance_file, provenance)

    def changes_since_the_attempt_before(self) -> list[str]:
        """What makes other last bits of the same numbers, and is another than when the run was last worked on."""
        attempts = self._attempts()
        if len(attempts) < 2:
            return []
        before, now = ({key: attempt.get(key) for key in EXECUTION} for attempt in attempts[-2:])
        known = (key for key in EXECUTION if None not in (before[key], now[key]))
        return [f"{key} was {before[key]}, is {now[key]}" for key in known if before[key] != now[key]]

    def append_evaluation(self, row: dict[str, Any]) -> None:
        """Add one evaluation to metrics.jsonl, on disk before this returns."""
        self._lock.require_held()
        with open(self.folder.evaluations_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop_evaluations_after(self, step: int) -> None:
        """Keep the evaluations up to a checkpoint's step; later ones, and a torn last line, will be written again."""
        rows, flaw = self._whole_evaluations()
        if flaw:
            put_aside(self.folder, self.folder.evaluations_file, f"{flaw}; {len(rows)} evaluations before it are kept")
        rows = [row for row in rows if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        replace_atomically(self.folder.evaluations_file, text.encode())

    def finish(self, result: dict[str, Any]) -> None:
        """The state `completed`, then result.json, once and last: a run without it is not done."""
        self._lock.require_held()
        self._write_status(RunState.COMPLETED, finished=_now())
        write_json(self.folder.result_file, result)

    def set_damaged_result_aside(self) -> None:
        """Make room for a result that follows from the checkpoints, where this one cannot be trusted."""
        found = self.folder.snapshot()
        if found.state == RunState.DAMAGED:
            put_aside(self.folder, self.folder.result_file, f"cannot be trusted ({found.flaw})")
            if self.folder.predictions_file.exists():
                put_aside(self.folder, self.folder.predictions_file, "belongs to it")

    def _claim_config(self) -> None:
        path = self.folder.config_file
        content = yaml.safe_dump(self.config, sort_keys=False).encode()
        if self.folder.holds_training():
            try:
                require_same_config(self.folder, self.config)
                return
            except DamagedFile as error:
                require_recorded_digest(self.folder, self.config)
                if path.exists():
                    put_aside(self.folder, path, error.problem)
                else:
                    warn(self.folder, f"{path.name} is missing; written anew")
        elif path.is_dir():
            put_aside(self.folder, path, "is a folder")
        elif path.exists() and path.read_bytes() != content:
            self.folder.provenance_file.unlink(missing_ok=True)  # it belongs to the attempt at the other config
        replace_atomically(path, content)

    def _whole_evaluations(self) -> tuple[list[dict[str, Any]], str]:
        """The rows of metrics.jsonl up to the first damaged one, and what is wrong with that."""
        flaw = ""
        try:
            rows = self.folder.evaluations()
        except DamagedFile as error:
            rows, flaw = self.folder.sound_evaluations(), error.problem
        whole = list(itertools.takewhile(lambda row: type(row.get("step")) is int, rows))
        return whole, f"line {len(whole) + 1} has no step" if len(whole) < len(rows) else flaw

    def _sound(self, path: Path) -> dict[str, Any] | None:
        """The object in a file that the run can do without; one that is damaged is set aside."""
        try:
            return read_json(path)
        except DamagedFile as error:
            put_aside(self.folder, path, error.problem)
            return None

    def _write_failure(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._write_status(RunState.INTERRUPTED, finished=_now(), error=None)
            return
        details = {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        self._write_status(RunState.FAILED, finished=_now(), error=details)

    def _write_status(self, state: RunState, **fields: Any) -> None:
        started = (self._sound(self.folder.status_file) or {}).get("started")
        write_json(self.folder.status_file, {"state": state, "started": started, **fields})


def record_death(folder: Path, reason: str) -> None:
    """Write the state `failed` for a run whose process died without a word; nothing when it said how it ended. Before
    its first checkpoint, the run that was set aside for it is back in its place then."""
    try:
        with FolderLock(folder):
            status = read_json(RunFolder(folder).status_file, strict=False) or {}
            if status.get("state") == RunState.RUNNING:
                error = {"type": "ProcessDied", "message": reason, "traceback": ""}
                write_json(RunFolder(folder).status_file, {**status, "state": RunState.FAILED, "error": error})
            _put_back(folder)
    except (OSError, ValueError) as error:  # the folder may be gone, full or taken by another process
        print(f"{folder}: {reason}; this could not be written down ({error})", file=sys.stderr)


def set_aside(folder: Path) -> Path:
    """Rename a run folder to a hidden sibling that no reader counts, and return the new path.

    First makes sure that the disk has room for such a run again. Raises RunInUse when a process is working on it, and
    OSError, the folder untouched, when there is no room.
    """
    with FolderLock(folder):
        _require_room_for_another(folder)
        number = 1
        while (target := folder.with_name(f".{folder.name}.{number}")).exists():
            number += 1
        folder.rename(target)
    return target


def _put_back(folder: Path, old: Path | None = None) -> None:
    """Give a run that was set aside its place again, unless the one that replaces it has come to a checkpoint. By
    default it is the run that the new one's provenance names."""
    new = RunFolder(folder)
    if old is None:
        name = (new.provenance(strict=False) or {}).get(REPLACES)
        old = next((aside for aside in asides_of(new) if aside.name == name), None)
    if old is None or new.holds_training() or not RunFolder(old).holds_training():
        return
    left = folder.with_name(f".{folder.name}.not-begun")
    try:
        shutil.rmtree(left, ignore_errors=True)
        if folder.exists():
            folder.rename(left)
        old.rename(folder)
    except OSError as error:
        warn(new, f"the old run could not be put back from {old.name} ({error})")
    else:
        warn(new, f"the new run ended before its first checkpoint; the old one is back, what is left is in {left.name}")


def _require_room_for_another(folder: Path) -> None:
    needed = sum(file.stat().st_size for file in folder.glob("checkpoint/*.pt")) or 1
    trial = folder.with_name(f".room-for-{folder.name}")
    try:
        with open(trial, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(file.fileno(), 0, needed)
                except OSError as error:
                    if error.errno not in CANNOT_RESERVE:
                        raise
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
    finally:
        trial.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    replace_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
