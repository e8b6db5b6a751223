"""Writing a run's folder, the durable truth about one run. Contract: see the table in the README."""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import differing_keys
from dynfilt.run.lock import FolderLock
from dynfilt.train.checkpoint import replace_atomically


class RunRecord:
    """Writes one run's folder while it holds the lock on it. Use as a context manager.

    Leaving it by an exception writes the state `failed` (`interrupted` for a keyboard interrupt) to status.json.
    Raises ValueError when the folder cannot be written, is in use (RunInUse), or belongs to another config.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = RunFolder(folder)
        self.config = config
        self._lock = FolderLock(folder)

    def __enter__(self) -> RunRecord:
        path = self.folder.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror}); choose output_root=...") from error
        try:
            self._claim_config()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None:
                self._write_failure(error)
        except OSError as second:  # a full disk, say; the first error is what matters
            print(f"{self.folder.path}: its failure could not be written down ({second})", file=sys.stderr)
        finally:
            self._lock.release()

    def start(self, provenance: dict[str, Any]) -> None:
        """State `running`; the first attempt's provenance stays on top, later ones are listed under `resumed`."""
        known = self.folder.provenance()
        if known:
            provenance = {**known, "resumed": [*known.get("resumed", []), provenance]}
        write_json(self.folder.provenance_file, provenance)
        self._write_status(RunState.RUNNING, started=_now(), pid=os.getpid())

    def add_provenance(self, **facts: str) -> None:
        """Add to the provenance of the current attempt."""
        provenance = self.folder.provenance()
        assert provenance is not None
        attempt = provenance["resumed"][-1] if "resumed" in provenance else provenance
        attempt.update(facts)
        write_json(self.folder.provenance_file, provenance)

    def append_evaluation(self, row: dict[str, Any]) -> None:
        """Add one evaluation to metrics.jsonl, on disk before this returns."""
        self._lock.require_held()
        with open(self.folder.evaluations_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop_evaluations_after(self, step: int) -> None:
        """Keep the evaluations up to a checkpoint's step; later ones, and a torn last line, will be written again."""
        rows = [row for row in self.folder.evaluations() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        replace_atomically(self.folder.evaluations_file, text.encode())

    def finish(self, result: dict[str, Any]) -> None:
        """The state `completed`, then result.json, once and last: a run without it is not done."""
        self._lock.require_held()
        self._write_status(RunState.COMPLETED, finished=_now())
        write_json(self.folder.result_file, result)

    def _claim_config(self) -> None:
        path = self.folder.config_file
        if path.exists() and self.folder.holds_training():
            require_same_config(self.folder, self.config)
            return
        content = yaml.safe_dump(self.config, sort_keys=False).encode()
        if path.exists() and path.read_bytes() != content:
            self.folder.provenance_file.unlink(missing_ok=True)  # it belongs to the attempt at the other config
        replace_atomically(path, content)

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
        started = (self.folder.status() or {}).get("started")
        write_json(self.folder.status_file, {"state": state, "started": started, **fields})


def require_same_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise ValueError, naming the keys, when a run folder belongs to a config with another digest."""
    different = differing_keys(folder.config(), config)
    if different:
        shown = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
        raise ValueError(
            f"{folder.path}: belongs to another config (there -> here: {shown}); "
            f"choose another study=..., or rerun=true to set the old run aside"
        )


def record_death(folder: Path, reason: str) -> None:
    """Write the state `failed` for a run whose process died without a word; nothing when it said how it ended."""
    try:
        with FolderLock(folder):
            status = RunFolder(folder).status() or {}
            if status.get("state") == RunState.RUNNING:
                error = {"type": "ProcessDied", "message": reason, "traceback": ""}
                write_json(RunFolder(folder).status_file, {**status, "state": RunState.FAILED, "error": error})
    except (OSError, ValueError) as error:  # the folder may be gone, full or taken by another process
        print(f"{folder}: {reason}; this could not be written down ({error})", file=sys.stderr)


def set_aside(folder: Path) -> Path:
    """Rename a run folder to a hidden sibling that no reader counts, and return the new path.

    Raises RunInUse when a process is working on it.
    """
    with FolderLock(folder):
        number = 1
        while (target := folder.with_name(f".{folder.name}.{number}")).exists():
            number += 1
        folder.rename(target)
    return target


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    replace_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
