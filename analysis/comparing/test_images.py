"""The uncertainty that comes from the test images, beside the one over seeds: from each run's test_predictions.npz."""

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..reading.run import Run
from .comparison import Comparison
from .statistics import Summary, summarise
from .variants import Row

FILE = "test_predictions.npz"
LABEL, PREDICTION = "label", "best_class"

RowKey = tuple[str, str]


@dataclass(frozen=True)
class ImageLevel:
    """Summaries over test images, in fractions: n images, mean, SD of an image's value, t interval of the mean.

    `accuracy` is by (group, label), an image's value being its accuracy averaged over the row's seeds; `differences` is
    by (group, label, rival), its value being the difference averaged over shared seeds. `notes` name what was left out.
    """

    accuracy: dict[RowKey, Summary] = field(default_factory=dict)
    differences: dict[tuple[str, str, str], Summary] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def image_level(comparison: Comparison) -> ImageLevel:
    """What the predictions beside the runs tell; a row counts only when all its runs have usable ones."""
    found = ImageLevel()
    reasons: dict[str, list[str]] = {}
    for heading, rows in comparison.groups.items():
        correct: dict[str, Correct] = {}
        for row in rows:
            try:
                correct[row.label] = correctness(row)
            except ValueError as error:
                reasons.setdefault(str(error), []).append(row.label)
        _summarise(heading, [row for row in rows if correct.get(row.label)], correct, found)
    found.notes.extend(f"{reason}: {', '.join(labels)}" for reason, labels in reasons.items())
    return found


@dataclass(frozen=True)
class Correct:
    """Whether each test image was classified correctly, by seed: arrays (images,) of 0 and 1; and the true classes."""

    by_seed: dict[int, np.ndarray]
    labels: np.ndarray

    def __bool__(self) -> bool:
        return bool(self.by_seed)


def correctness(row: Row) -> Correct:
    """What a row's runs predicted; empty when none of them has a file.

    Raises ValueError, with the reason, when only some have one, or when one is damaged, older than its labels, or
    contradicts the run's result.
    """
    runs = [run for run in row.runs if os.path.exists(os.path.join(run.place, FILE))]
    if not runs:
        return Correct({}, np.empty(0))
    if len(runs) < len(row.runs):
        raise ValueError(f"{FILE} is missing in some runs")
    read = {run.seed: _read(run) for run in runs}
    first = next(iter(read.values()))[0]
    if any(not np.array_equal(labels, first) for labels, _ in read.values()):
        raise ValueError("the runs' test images differ")
    return Correct({seed: correct for seed, (_, correct) in read.items()}, first)


def _read(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """True classes and correctness of one run's best weights."""
    try:
        with np.load(os.path.join(run.place, FILE), allow_pickle=False) as arrays:
            if LABEL not in arrays:
                raise ValueError(f"{FILE} has no labels (it was written before they were saved)")
            labels, correct = arrays[LABEL], arrays[PREDICTION] == arrays[LABEL]
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{FILE} cannot be read ({type(error).__name__})") from error
    if not len(labels) or abs(float(correct.mean()) - run.number("test_accuracy")) > 1e-9:
        raise ValueError(f"{FILE} contradicts the test accuracy in result.json")
    return labels, correct.astype(np.float64)


def _summarise(heading: str, rows: Iterable[Row], correct: dict[str, Correct], found: ImageLevel) -> None:
    for row in rows:
        ours = correct[row.label]
        found.accuracy[heading, row.label] = summarise(_mean(ours.by_seed.values()))
        for claim in row.claims:
            theirs = correct.get(claim.rival)
            shared = sorted(ours.by_seed.keys() & theirs.by_seed.keys()) if theirs else []
            if theirs and shared and np.array_equal(ours.labels, theirs.labels):
                difference = _mean(ours.by_seed[seed] - theirs.by_seed[seed] for seed in shared)
                found.differences[heading, row.label, claim.rival] = summarise(difference)


def _mean(arrays: Iterable[np.ndarray]) -> list[float]:
    return np.mean(list(arrays), axis=0).tolist()
