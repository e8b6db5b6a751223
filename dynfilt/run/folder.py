"""A run's folder: the names of its files, the state they tell, and how each of them is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from dynfilt.run import lock
from dynfilt.run.identity import in_todays_terms

# The same safe loader, compiled where PyYAML was built with libyaml.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RunState(StrEnum):
    """What a run's folder says about the run."""

    TO_DO = "to do"
    RUNNING = "running"  # a living process works on it
    INTERRUPTED = "interrupted"  # stopped or killed; the same command goes on
    FAILED = "failed"
    COMPLETED = "completed"
    DAMAGED = "damaged"  # its result cannot be read


class DamagedFile(ValueError):
    """A file of a run that cannot be read; the message names it and what is wrong."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files, and their content. A missing file is None or empty; a damaged one raises
    DamagedFile."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    @property
    def provenance_file(self) -> Path:
        return self.path / "provenance.json"

    @property
    def evaluations_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def predictions_file(self) -> Path:
        return self.path / "test_predictions.npz"

    @property
    def test_file(self) -> Path:
        return self.path / "test.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoint" / "last.pt"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoint" / "best.pt"

    def config(self) -> dict[str, Any]:
        """The resolved config in today's terms. Raises DamagedFile when it is missing, too."""
        try:
            content = yaml.load(self.config_file.read_text(encoding="utf-8"), Loader=YAML_LOADER)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise DamagedFile(f"{self.config_file}: not the config of a run ({type(error).__name__})") from error
        if not isinstance(content, dict):
            raise DamagedFile(f"{self.config_file}: not the config of a run (no keys)")
        return in_todays_terms(content)

    def status(self) -> dict[str, Any] | None:
        """State, times and error of the last attempt."""
        return read_json(self.status_file)

    def provenance(self) -> dict[str, Any] | None:
        """Where the run comes from: commit, versions, machine, command."""
        return read_json(self.provenance_file)

    def result(self) -> dict[str, Any] | None:
        """The numbers of a finished run."""
        return read_json(self.result_file)

    def evaluations(self) -> list[dict[str, Any]]:
        """All whole rows of metrics.jsonl, in order; a last line torn by a crash is left out."""
        try:
            lines = self.evaluations_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DamagedFile(f"{self.evaluations_file}: cannot be read ({error.strerror})") from error
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if number < len(lines):
                    raise DamagedFile(
                        f"{self.evaluations_file}: line {number} is damaged; rerun=true sets the run aside"
                    ) from error
        return rows

    def holds_training(self) -> bool:
        """Whether something would be lost with the folder: an attempt that failed before its first evaluation has
        nothing."""
        kept = (self.evaluations_file, self.result_file, self.last_checkpoint, self.best_checkpoint)
        return any(path.exists() and path.stat().st_size for path in kept)

    def state(self) -> RunState:
        """What the folder says about the run: the one answer for plan, status, skipping and tables.

        A run that says `running` although no process works on it was killed, and is interrupted.
        """
        try:
            if self.result() is not None:
                return RunState.COMPLETED
        except DamagedFile:
            return RunState.DAMAGED
        if lock.is_in_use(self.path):
            return RunState.RUNNING
        try:
            said = (self.status() or {}).get("state")
        except DamagedFile:
            said = None
        if said == RunState.FAILED:
            return RunState.FAILED
        return RunState.INTERRUPTED if said or self.holds_training() else RunState.TO_DO


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no file. Raises DamagedFile when it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: not readable as JSON ({error}); rerun=true sets the run aside") from error
    if not isinstance(content, dict):
        raise DamagedFile(f"{path}: holds no JSON object; rerun=true sets the run aside")
    return content
