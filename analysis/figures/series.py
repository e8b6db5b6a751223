"""The curves of one variant as numbers: a line a seed, their mean and its interval; no smoothing anywhere."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from ..comparing.statistics import half_width
from ..reading.metrics import SPLITS, Metric

Evaluations = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class XAxis:
    """The x axis of curves: a key of an evaluation, the axis's name, and how a caption puts it."""

    key: str
    label: str
    words: str


# By their names on the command line.
X_AXES = {
    "epochs": XAxis("epoch", "Epoch", "epochs"),
    "steps": XAxis("step", "Step", "training steps"),
    "seconds": XAxis("seconds", "Training time (s)", "training time without evaluations"),
}


@dataclass(frozen=True)
class Line:
    """One seed's values: `step`, `x` and `y` of its evaluations, all of shape (evaluations,)."""

    seed: int
    step: np.ndarray
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Series:
    """A variant's lines of one metric on one split, and mean and ends of its t interval over the seeds.

    `step`, `x`, `mean`, `low` and `high` cover the steps at which every seed was evaluated, so that a seed which ends
    early moves no mean; `x` is the mean of the seeds' own. The ends are NaN with one seed or without spread.
    """

    label: str
    split: str
    lines: tuple[Line, ...]
    step: np.ndarray
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.lines)

    @property
    def has_band(self) -> bool:
        """Whether there is an interval anywhere."""
        return bool(np.isfinite(self.low).any())

    @property
    def is_uneven(self) -> bool:
        """Whether some seed was evaluated at steps where another was not."""
        return any(len(line.step) != len(self.x) for line in self.lines)


def series(label: str, by_seed: Mapping[int, Evaluations], metric: Metric, split: str, x: str) -> Series:
    """The series of `metric` on `split` over `x`, a key of X_AXES; seeds without any finite value are left out."""
    assert split in SPLITS
    of_seeds = [_line(seed, entries, metric.key(split), X_AXES[x].key) for seed, entries in sorted(by_seed.items())]
    lines = tuple(line for line in of_seeds if len(line.step))
    steps = sorted(set.intersection(*(set(line.step.tolist()) for line in lines))) if lines else []
    y = _at(lines, steps, "y")
    half = _half_widths(y)
    mean = y.mean(axis=0)
    return Series(
        label, split, lines, np.array(steps), _at(lines, steps, "x").mean(axis=0), mean, mean - half, mean + half
    )


def _line(seed: int, evaluations: Evaluations, y_key: str, x_key: str) -> Line:
    """Values by step, the last one where a step was evaluated twice."""
    values = {}
    for each in evaluations:
        step, x, y = each.get("step"), each.get(x_key), each.get(y_key)
        if _is_finite(step) and _is_finite(x) and _is_finite(y):
            values[float(step)] = (float(x), float(y))
    points = np.array([(step, *values[step]) for step in sorted(values)], dtype=np.float64).reshape(-1, 3)
    return Line(seed, *points.T)


def _at(lines: Sequence[Line], steps: Sequence[float], column: str) -> np.ndarray:
    """A column of each line at these steps, shape (lines, steps); one row of none without lines."""
    found = [getattr(line, column)[np.searchsorted(line.step, steps)] for line in lines]
    return np.array(found, dtype=np.float64).reshape(max(1, len(found)), len(steps))


def _half_widths(values: np.ndarray) -> np.ndarray:
    """Half of the t interval of each column's mean, as `summarise` has it; values of shape (seeds, steps)."""
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], math.nan)
    sd = values.std(axis=0, ddof=1)
    rounding = 1e-12 * np.abs(values).max(axis=0, initial=0.0)
    return half_width(1 / math.sqrt(n), n - 1) * np.where(sd > rounding, sd, math.nan)


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
