"""The run folder: the durable truth about one run. Contract: see the table in the README."""

from __future__ import annotations

import fcntl
import json
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from dynfilt.identity import complete, differing_keys
from dynfilt.train.checkpoint import replace_atomically


class RunRecord:
    """One run's folder, held under an OS lock that dies with its holder. Use as a context manager.

    Leaving it by an exception writes the state `failed` (`interrupted` for a keyboard interrupt) to status.json.
    Raises ValueError when the folder cannot be written, is in use, or belongs to another config.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunRecord:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "lock", "a+")
        except OSError as error:
            raise ValueError(f"{self.folder}: cannot be written ({error.strerror}); choose output_root=...") from error
        try:
            take_lock(self._lock, self.folder)
            self._claim_config()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        assert self._lock is not None
        try:
            if error is not None:
                self._write_failure(error)
        finally:
            self._lock.close()

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "checkpoint" / "last.pt"

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "checkpoint" / "best.pt"

    def start(self, provenance: dict[str, Any]) -> None:
        """State `running`; the first attempt's provenance stays on top, later ones are listed under `resumed`."""
        path = self.folder / "provenance.json"
        known = read_json(path)
        if known:
            provenance = {**known, "resumed": [*known.get("resumed", []), provenance]}
        write_json(path, provenance)
        self._write_status("running", started=_now(), pid=os.getpid())

    def note(self, **facts: str) -> None:
        """Add to the provenance of the current attempt."""
        path = self.folder / "provenance.json"
        provenance = read_json(path)
        assert provenance is not None
        attempt = provenance["resumed"][-1] if "resumed" in provenance else provenance
        attempt.update(facts)
        write_json(path, provenance)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one evaluation to metrics.jsonl, on disk before this returns."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop_metrics_after(self, step: int) -> None:
        """Keep the evaluations up to a checkpoint's step; later ones, and a torn last line, will be written again."""
        rows = [row for row in read_metrics(self.folder) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        replace_atomically(self.folder / "metrics.jsonl", text.encode())

    def finish(self, result: dict[str, Any]) -> None:
        """The state `completed`, then result.json, once and last: a run without it is not done."""
        self._write_status("completed", finished=_now())
        write_json(self.folder / "result.json", result)

    def _claim_config(self) -> None:
        path = self.folder / "config.yaml"
        if path.exists() and self._holds_training():
            require_same_config(self.folder, self.config)
            return
        content = yaml.safe_dump(self.config, sort_keys=False).encode()
        if path.exists() and path.read_bytes() != content:
            (self.folder / "provenance.json").unlink(missing_ok=True)  # it tells of the attempt at the other config
        replace_atomically(path, content)

    def _holds_training(self) -> bool:
        """Whether something would be lost with the folder: an attempt that failed before its first row has nothing."""
        names = ("metrics.jsonl", "result.json", "checkpoint/last.pt", "checkpoint/best.pt")
        return any((self.folder / name).exists() and (self.folder / name).stat().st_size for name in names)

    def _write_failure(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        details = {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        self._write_status(
            "interrupted" if interrupted else "failed",
            finished=_now(),
            error=None if interrupted else details,
        )

    def _write_status(self, state: str, **fields: Any) -> None:
        path = self.folder / "status.json"
        started = (read_json(path) or {}).get("started")
        write_json(path, {"state": state, "started": started, **fields})


def take_lock(lock: IO[str], folder: Path) -> None:
    """Hold a folder's open lock file until it is closed or its holder dies.

    Raises ValueError, naming the holder's process, when another process has it.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        raise ValueError(f"{folder}: in use by another process (pid {holder}); wait for it or stop it") from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def require_same_config(folder: Path, config: dict[str, Any]) -> None:
    """Raise ValueError, naming the keys, when a run folder belongs to a config with another digest."""
    different = differing_keys(read_config(folder), config)
    if different:
        shown = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
        raise ValueError(
            f"{folder}: belongs to another config (there -> here: {shown}); "
            f"choose another study=..., or rerun=true to set the old run aside"
        )


def set_aside(folder: Path) -> Path:
    """Rename a run folder to a hidden sibling that no reader counts, and return the new path.

    Raises ValueError when a process is working on it.
    """
    with open(folder / "lock", "a+") as lock:
        take_lock(lock, folder)
        number = 1
        while (target := folder.with_name(f".{folder.name}.{number}")).exists():
            number += 1
        folder.rename(target)
    return target


def is_in_use(folder: Path) -> bool:
    """Whether a living process works on a run folder."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run, with the keys that came later.

    Raises ValueError when it is missing or unreadable."""
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not the config of a run ({type(error).__name__})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not the config of a run (no keys)")
    return complete(config)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole rows of metrics.jsonl, in order; none when there is no file.

    A last line torn by a crash is left out. Raises ValueError for any other damage.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}: line {number} is damaged; rerun=true sets the run aside") from error
    return rows


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no file. Raises ValueError when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); rerun=true sets the run aside") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    replace_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
