"""Run folders become runs; damage to a file costs what it held, and is named."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynfilt.run.folder import (
    CONFIG,
    PREDICTIONS,
    RESULT,
    ROUNDING,
    SEED_FOLDER,
    STATUS,
    RunFolder,
    RunState,
    Snapshot,
)
from dynfilt.run.identity import LARGEST_EXACT_INTEGER, with_todays_numbers
from dynfilt.run.parsing import DamagedFile, bounded, parse_config

from .run import NO_SEED, Run, first_line, provenance_of, settings, usable_numbers

STUDY_OR_SEED_LINE = re.compile(r"^(study|seed):(.*)\n?", re.MULTILINE)


class RunFolders:
    """Reads run folders; remembers which it has read, so that overlapping sources count a run once."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._configs: dict[str, tuple[Mapping[str, Any], str]] = {}

    def read(self, source: str, places: Iterable[str]) -> list[Run]:
        """The runs of these run folders of a source, in the given order, without those read before.

        Metrics, predictions and checkpoints stay closed.
        """
        fresh = {os.path.realpath(place): place for place in places}
        runs = [self._run(source, place) for real, place in fresh.items() if real not in self._read]
        self._read.update(fresh)
        return runs

    def _run(self, source: str, place: str) -> Run:
        folder = RunFolder(Path(place))
        found = folder.snapshot()
        header, config, config_flaw = self._config(folder)
        study, variant, seed = identity_of(place, {**header, **found.result})
        numbers, state, error = _outcome(found, seed)
        error = error or config_flaw
        failure = found.status.get("error")
        return Run(
            source=source,
            place=place,
            study=study,
            variant=variant,
            seed=seed,
            state=state,
            error=error,
            failure=failure if isinstance(failure, Mapping) else {},
            numbers=numbers,
            digest=str(found.result.get("config_digest") or ""),
            config=config,
            logged=partial(folder.evaluations, strict=False),
            **provenance_of(folder.provenance(strict=False)),
        )

    def _config(self, folder: RunFolder) -> tuple[dict[str, str], Mapping[str, Any], str]:
        """Study and seed line of the config; the rest of it, parsed once for all runs that share it; its damage."""
        try:
            text = bounded(folder.config_file).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}, {}, ""
        except (OSError, UnicodeDecodeError) as error:
            return {}, {}, f"{CONFIG} cannot be read ({type(error).__name__})"
        header = {key: value.strip().strip("'\"") for key, value in STUDY_OR_SEED_LINE.findall(text)}
        shared = STUDY_OR_SEED_LINE.sub("", text)
        if shared not in self._configs:
            try:
                self._configs[shared] = settings(parse_config(shared)), ""
            except ValueError as error:
                self._configs[shared] = {}, f"{CONFIG}: {error}"
        return header, *self._configs[shared]


def unreadable(source: str, place: str, reason: str) -> Run:
    """What stands for a folder that cannot be looked into: a run that does not count."""
    return Run(source, place, *identity_of(place, {}), RunState.DAMAGED, reason)


def identity_of(place: str, recorded: Mapping[str, Any]) -> tuple[str, str, int]:
    """Study, variant and seed as the run's files record them, else from the path's `study/variant/seed<k>`."""
    study, variant, folder = ["", "", "", *os.path.abspath(place).split(os.sep)][-3:]
    match = SEED_FOLDER.fullmatch(folder)
    try:
        seed = int(recorded["seed"])
    except (KeyError, TypeError, ValueError, OverflowError):
        seed = int(match[1]) if match else NO_SEED
    if not 0 <= seed <= LARGEST_EXACT_INTEGER:
        seed = NO_SEED
    return str(recorded.get("study") or study), with_todays_numbers(str(recorded.get("variant") or variant)), seed


def is_mirrored(run: Run) -> bool:
    """Whether the run was read from W&B, which keeps no predictions."""
    return not RunFolder(Path(run.place)).result_file.exists()


def has_predictions(run: Run) -> bool:
    """Whether the predictions for the test images lie beside the run."""
    return RunFolder(Path(run.place)).predictions_file.exists()


def read_predictions(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """True classes of the test images, and 1 where the best weights classify one correctly, else 0; both (images,).

    Raises ValueError as `read_classes` does.
    """
    labels, predicted = read_classes(run)
    return labels, (predicted == labels).astype(np.float64)


def read_classes(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """True classes of the test images, and those that the best weights predict; both (images,).

    Raises ValueError, with the reason, for a file that is damaged, has no classes or contradicts the run's result.
    """
    try:
        kept = RunFolder(Path(run.place)).predictions("label", "best_class")
    except DamagedFile as error:
        raise ValueError(error.flaw) from error
    if not kept.keys() >= {"label", "best_class"}:
        raise ValueError(f"{PREDICTIONS} has no labels (it was written before they were saved)")
    labels, predicted = kept["label"], kept["best_class"]
    if any(array.dtype.kind not in "iu" or (array < 0).any() for array in (labels, predicted)):
        raise ValueError(f"{PREDICTIONS} holds something else than classes")
    if not len(labels) or abs(float((predicted == labels).mean()) - run.number("test_accuracy")) > ROUNDING:
        raise ValueError(f"{PREDICTIONS} contradicts the test accuracy in {RESULT}")
    return labels, predicted


def _outcome(found: Snapshot, seed: int) -> tuple[dict[str, float], RunState, str]:
    """Numbers of a usable result, else none; the state; and what is wrong in one line."""
    said = found.status.get("state")
    if found.state == RunState.COMPLETED:
        numbers, flaw = usable_numbers(found.result, RESULT)
        if numbers and seed == NO_SEED:
            numbers, flaw = {}, f"neither {RESULT}, {CONFIG} nor the folder's name tells the seed"
        if flaw:
            return {}, RunState.DAMAGED, flaw
        return numbers, found.state, found.flaw or ("" if said in (None, found.state) else f"its {STATUS} says {said}")
    if found.flaw or found.state == RunState.TO_DO:
        return {}, found.state, found.flaw
    if said == RunState.COMPLETED:
        return {}, found.state, f"{STATUS} says {said}, but there is no {RESULT}"
    return {}, found.state, first_line(found.status.get("error"))
