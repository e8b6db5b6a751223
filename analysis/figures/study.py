"""All figures of one study, each with its caption, and what they leave out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..comparing.variants import Row
from ..reading.evaluations import curves
from ..reading.run import Run
from . import captions
from .before_after import before_after
from .cost import COSTS, accuracy_against_cost, points
from .curves import by_variant, overlay
from .differences import differences, differences_to_baseline
from .palette import Look
from .series import METRICS, SPLITS, X_KEYS, MetricRows, Series, series


@dataclass(frozen=True)
class Choice:
    """What the user chose: x axis, width, and the variants of the before/after figure, if any."""

    x: str
    width: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file without ending, and its caption."""

    name: str
    figure: Figure
    caption: str


class StudyFigures:
    """The figures of the rows that are compared with each other; `heading` names them.

    Reads the curves of each run once, when it is made.
    """

    def __init__(self, heading: str, rows: Sequence[Row], looks: Mapping[str, Look], choice: Choice) -> None:
        self.heading = heading
        self.rows = [row for row in rows if row.runs]
        self.looks = looks
        self.choice = choice
        self._missing: list[str] = []
        recorded = {row.label: {run.seed: self._read(run, row.label) for run in row.runs} for row in self.rows}
        self._series = {metric: _series(recorded, metric, choice.x) for metric in METRICS}

    def drawings(self) -> Iterator[Drawing]:
        """The figures for which there are numbers; before/after only if it was chosen."""
        x, width = self.choice.x, self.choice.width
        for metric in METRICS:
            if shown := self.series(metric):
                caption = captions.of_curves(self.heading, shown, metric, x)
                yield Drawing(metric, overlay(shown, self.looks, metric, x, width), caption)
                yield Drawing(f"{metric}_by_variant", by_variant(shown, self.looks, metric, x, width), caption)
        yield from self.accuracies(width)
        if shown := self.pair_series():
            yield Drawing(
                "before_after", before_after(shown, self.looks, x, width), captions.of_pair(self.heading, shown, x)
            )

    def series(self, metric: str) -> list[Series]:
        """The series of all rows and splits that hold any value."""
        return self._series[metric]

    def pair(self) -> tuple[str, str] | None:
        """The labels before and after, where they were chosen and this study has both.

        Raises ValueError when one of the names is that of several rows, or both are names of one.
        """
        before, after = self._label(self.choice.before), self._label(self.choice.after)
        if before and before == after:
            raise ValueError(
                f"{self.choice.before} and {self.choice.after} are the same; choose two different variants"
            )
        return (before, after) if before and after else None

    def pair_series(self) -> list[Series]:
        """The losses before and after; none where one of them has no curves."""
        shown = [each for label in self.pair() or () for each in self.series("loss") if each.label == label]
        return shown if len({each.label for each in shown}) == 2 else []

    def gaps(self) -> list[str]:
        """What is not drawn, or not to its end, one line each."""
        lacks = self.pair() and not self.pair_series()
        unpaired = ["before_after is not drawn: one of the two variants has no curves"] if lacks else []
        return [*self._missing, *self._uneven(), *self._without_cost(), *unpaired]

    def _label(self, name: str | None) -> str | None:
        found = [row.label for row in self.rows if name in row.names]
        if name not in found and len(found) > 1:
            raise ValueError(f"{name} is several rows of {self.heading}; choose one of {', '.join(map(repr, found))}")
        return name if name in found else next(iter(found), None)

    def accuracies(self, width: str) -> Iterator[Drawing]:
        """The figures of test accuracy: against cost, and as differences to the baseline."""
        if any(points(self.rows, key) for key in COSTS):
            figure = accuracy_against_cost(self.rows, self.looks, width)
            yield Drawing("accuracy_against_cost", figure, captions.of_cost(self.heading, self.rows))
        if shown := differences(self.rows):
            baseline = next(row.label for row in self.rows if row.is_baseline)
            figure = differences_to_baseline(shown, baseline, self.looks, width)
            yield Drawing("differences", figure, captions.of_differences(self.heading, shown, baseline))

    def _read(self, run: Run, label: str) -> MetricRows:
        try:
            found = curves(run)
        except ValueError as error:
            self._missing.append(f"no curves of {label} seed {run.seed}: {error}")
            return []
        key = X_KEYS[self.choice.x]
        if not any(math.isfinite(row.get(key, math.nan)) for row in found):
            lack = f"no {self.choice.x} recorded" if found else "no evaluation recorded"
            self._missing.append(f"no curves of {label} seed {run.seed}: {lack} ({run.place})")
        return found

    def _uneven(self) -> list[str]:
        ends: dict[str, set[float]] = {}
        for each in self.series("loss"):
            if each.is_uneven:
                ends.setdefault(each.label, set()).update(float(line.x[-1]) for line in each.lines)
        return [
            f"{label}: its seeds were not all evaluated at the same steps (they end at {_range_in_words(found)} "
            f"{self.choice.x}); mean and band are drawn where all of them have values"
            for label, found in ends.items()
        ]

    def _without_cost(self) -> list[str]:
        lines = []
        for key in COSTS:
            drawn = {point.label for point in points(self.rows, key)}
            lines += [f"{row.label}: {key} not recorded, so not drawn" for row in self.rows if row.label not in drawn]
        return lines


def _series(recorded: Mapping[str, Mapping[int, MetricRows]], metric: str, x: str) -> list[Series]:
    made = [series(label, by_seed, metric, split, x) for label, by_seed in recorded.items() for split in SPLITS]
    return [each for each in made if each.lines]


def _range_in_words(ends: set[float]) -> str:
    low, high = f"{min(ends):.4g}", f"{max(ends):.4g}"
    return low if low == high else f"{low} to {high}"
