"""A run's folder: the names of its files, the state they tell, and how each of them is read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, get_args

from dynfilt.config.trust import require_trusted_targets
from dynfilt.run import lock
from dynfilt.run.identity import in_todays_terms
from dynfilt.run.parsing import (
    MOST_BYTES_OF_ROWS,
    RERUN,
    DamagedFile,
    accuracy_flaw,
    bounded,
    parse_config,
    parse_object,
    read_json,
)

if TYPE_CHECKING:
    import numpy as np

# The one place that knows these names.
CONFIG = "config.yaml"
STATUS = "status.json"
PROVENANCE = "provenance.json"
EVALUATIONS = "metrics.jsonl"
RESULT = "result.json"
WANDB_ID = "wandb_id"  # among the facts of an attempt: the run that W&B knows it as
PREDICTIONS = "test_predictions.npz"
TEST = "test.json"
SEED_FOLDER = re.compile(r"seed(\d+)")
Weights = Literal["best", "last"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
TAIL_BYTES = 4096
MOST_PREDICTION_BYTES = 1_000_000_000  # 20 million images; zeros of that size pack into a megabyte
ROUNDING = 1e-9


class RunState(StrEnum):
    """What a run's folder says about the run."""

    TO_DO = "to do"
    RUNNING = "running"  # a living process works on it
    INTERRUPTED = "interrupted"  # stopped or killed; the same command goes on
    FAILED = "failed"
    COMPLETED = "completed"
    DAMAGED = "damaged"  # its result cannot be read, or its own predictions contradict it


class Predictions(TypedDict, total=False):
    """What is kept of every test image, arrays (images,): its true class; and by the best and by the last weights the
    predicted class, its probability, that of the true class, and how many classes come before the true one.

    Older runs lack some of them.
    """

    label: np.ndarray
    best_class: np.ndarray
    best_class_probability: np.ndarray
    best_true_class_probability: np.ndarray
    best_true_class_rank: np.ndarray
    last_class: np.ndarray
    last_class_probability: np.ndarray
    last_true_class_probability: np.ndarray
    last_true_class_rank: np.ndarray


@dataclass(frozen=True)
class Snapshot:
    """A run's state with the files that decide it; one that is missing or cannot be read is empty, and `flaw` names the
    damage."""

    state: RunState
    result: dict[str, Any]
    status: dict[str, Any]
    flaw: str


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files, and their content. A missing file is None or empty; a damaged one raises
    DamagedFile where the reader is strict."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG

    @property
    def status_file(self) -> Path:
        return self.path / STATUS

    @property
    def provenance_file(self) -> Path:
        return self.path / PROVENANCE

    @property
    def evaluations_file(self) -> Path:
        return self.path / EVALUATIONS

    @property
    def result_file(self) -> Path:
        return self.path / RESULT

    @property
    def predictions_file(self) -> Path:
        return self.path / PREDICTIONS

    @property
    def test_file(self) -> Path:
        return self.path / TEST

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def wandb_folder(self) -> Path:
        """Where W&B keeps the logs of a run that is started in this folder."""
        return self.path / "wandb"

    @property
    def last_checkpoint(self) -> Path:
        return self.checkpoint("last")

    @property
    def best_checkpoint(self) -> Path:
        return self.checkpoint("best")

    def checkpoint(self, weights: Weights) -> Path:
        """The checkpoint with the best weights by validation, or with the last ones."""
        return self.path / "checkpoint" / f"{weights}.pt"

    def name_of(self, file: Path) -> str:
        """A file's name below the folder, for messages."""
        return file.relative_to(self.path).as_posix()

    def config(self) -> dict[str, Any]:
        """The resolved config in today's terms. Raises DamagedFile when it is missing, too."""
        return in_todays_terms(self.recorded_config())

    def config_to_build(self, trust: Collection[str] = ()) -> dict[str, Any]:
        """The same, once it is known to build nothing that a stranger could have put there.

        `trust` names packages beside those of DYNFILT_TRUST. Raises ValueError as require_trusted_targets does.
        """
        config = self.config()
        require_trusted_targets(config, self.config_file, trust)
        return config

    def recorded_config(self) -> dict[str, Any]:
        """The resolved config as it was written. Raises DamagedFile when it is missing, too."""
        try:
            return parse_config(bounded(self.config_file).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            hint = "a run's folder is one such as outputs/lab_3x3/dynamic_3x3/seed0"
            raise DamagedFile(self.config_file, f": not the config of a run: is missing; {hint}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedFile(self.config_file, f": not the config of a run ({type(error).__name__})") from error
        except ValueError as error:
            raise DamagedFile(self.config_file, f": {error}") from error

    def status(self) -> dict[str, Any] | None:
        """State, times and error of the last attempt."""
        return read_json(self.status_file)

    def provenance(self, *, strict: bool = True) -> dict[str, Any] | None:
        """Where the run comes from: commit, versions, machine, command."""
        return read_json(self.provenance_file, strict=strict)

    def result(self) -> dict[str, Any] | None:
        """The numbers of a finished run."""
        return read_json(self.result_file)

    def evaluations(self, *, strict: bool = True) -> list[dict[str, Any]]:
        """All whole rows of metrics.jsonl, in order; a last line torn by a crash is left out.

        Of a file that is damaged before its last line, the rows above the damage, or DamagedFile from a strict reader.
        """
        try:
            text = bounded(self.evaluations_file, MOST_BYTES_OF_ROWS).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DamagedFile(self.evaluations_file, f" cannot be read: {error.strerror}", RERUN) from error
        rows, lines = [], text.splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(parse_object(line))
            except ValueError as error:
                if strict and number < len(lines):
                    raise DamagedFile(self.evaluations_file, f": line {number} is damaged", RERUN) from error
                break
        return rows

    def sound_evaluations(self) -> list[dict[str, Any]]:
        """The rows above any damage; none of a file that cannot be read."""
        with suppress(DamagedFile):
            return self.evaluations(strict=False)
        return []

    def last_evaluation(self) -> dict[str, Any]:
        """The last whole row of metrics.jsonl, read from the file's end; empty when there is none."""
        try:
            with open(bounded(self.evaluations_file, MOST_BYTES_OF_ROWS), "rb") as file:
                file.seek(max(0, self.evaluations_file.stat().st_size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return {}
        for line in reversed(lines):
            with suppress(ValueError):
                return parse_object(line)
        return {}

    def predictions(self, *names: str) -> Predictions:
        """What is kept of every test image: the arrays of these names as far as there are any, without names all."""
        import numpy as np

        try:
            with zipfile.ZipFile(bounded(self.predictions_file, MOST_PREDICTION_BYTES)) as packed:
                if (size := sum(entry.file_size for entry in packed.infolist())) > MOST_PREDICTION_BYTES:
                    raise DamagedFile(
                        self.predictions_file, f" holds {size:,} bytes, of at most {MOST_PREDICTION_BYTES:,}"
                    )
            with np.load(self.predictions_file, allow_pickle=False) as arrays:
                kept = {name: arrays[name] for name in names or arrays if name in arrays}
            if any(array.ndim != 1 or array.dtype.kind not in "iufU" for array in kept.values()):
                raise DamagedFile(self.predictions_file, " holds something else than a value for each image")
            if len({len(array) for array in kept.values()}) > 1:
                raise DamagedFile(self.predictions_file, " holds arrays of several lengths")
            return cast(Predictions, kept)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except DamagedFile:
            raise
        except Exception as error:  # zipfile, zlib and numpy have a dozen kinds for what such a file may say
            raise DamagedFile(self.predictions_file, f" cannot be read ({type(error).__name__})") from error

    def holds_training(self) -> bool:
        """Whether something would be lost with the folder: an attempt that failed before its first evaluation has
        nothing."""
        kept = (self.evaluations_file, self.result_file, self.last_checkpoint, self.best_checkpoint)
        return any(path.exists() and path.stat().st_size for path in kept)

    def state(self) -> RunState:
        """What the folder says about the run: the one answer for plan, status, skipping and tables.

        A run that says `running` although no process works on it was killed, and is interrupted.
        """
        return self.snapshot().state

    def snapshot(self) -> Snapshot:
        """The state, and the result and the status that decide it, each read once."""
        flaws: list[str] = []

        def tolerant(path: Path) -> dict[str, Any] | None:
            try:
                return read_json(path)
            except DamagedFile as error:
                flaws.append(error.flaw)
                return None

        result = tolerant(self.result_file)
        if result is not None and (flaw := accuracy_flaw(result, RESULT) or self._contradiction(result)):
            flaws.append(flaw)
        if flaws:
            state = RunState.DAMAGED
        elif result is not None:
            state = RunState.COMPLETED
        elif lock.is_in_use(self.path):
            state = RunState.RUNNING
        else:
            state = RunState.TO_DO
        status = tolerant(self.status_file) or {}
        if state == RunState.TO_DO and status.get("state") == RunState.FAILED:
            state = RunState.FAILED
        elif state == RunState.TO_DO and (status or flaws or self.holds_training()):
            state = RunState.INTERRUPTED
        return Snapshot(state, result or {}, status, next(iter(flaws), ""))

    def _contradiction(self, result: Mapping[str, Any]) -> str:
        """What the predictions for the test images say against a result; empty when nothing."""
        import numpy as np

        if not self.predictions_file.exists():
            return ""
        try:
            kept = self.predictions("label", "best_class", "last_class")
        except DamagedFile:  # they cannot contradict; whoever needs them names it
            return ""
        labels = kept.get("label", ())
        for key, predicted in (
            ("test_accuracy", kept.get("best_class")),
            ("last_test_accuracy", kept.get("last_class")),
        ):
            if predicted is None or key not in result or not np.size(labels):
                continue
            said, found = result[key], float((predicted == labels).mean())
            if type(said) not in (float, int) or not abs(found - said) <= ROUNDING:
                return f"{key} in {RESULT} is {said}, but {PREDICTIONS} says {found}"
        return ""


def is_run_folder(name: str, entries: Collection[str]) -> bool:
    """Whether a folder of this name and with these entries is a run's."""
    return RESULT in entries or STATUS in entries or (CONFIG in entries and SEED_FOLDER.fullmatch(name) is not None)
