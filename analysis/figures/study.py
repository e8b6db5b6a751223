"""All figures of one study, each with its caption, and what they leave out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..comparing.variants import Variant
from ..reading.metrics import LOSS, METRICS, SPLITS, Metric
from ..reading.run import Run
from . import classes, cost, curves, differences, selection
from .legend import Look
from .series import X_AXES, Evaluations, Series, series


@dataclass(frozen=True)
class FigureOptions:
    """The choices of the user: x axis, width, the variants of the before/after figure, if any, and whether all variants
    were named."""

    x: str
    width: str
    before: str | None = None
    after: str | None = None
    are_named: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file without ending, and its caption."""

    name: str
    figure: Figure
    caption: str


class StudyFigures:
    """The figures of some variants that are compared with each other; `heading` names them.

    `group` are all that are compared, by default the variants themselves. Of very many variants `shown` are drawn.
    Reads the evaluations of each run once, when it is made.
    """

    def __init__(
        self,
        heading: str,
        variants: Sequence[Variant],
        looks: Mapping[str, Look],
        options: FigureOptions,
        group: Sequence[Variant] = (),
    ) -> None:
        self.heading = heading
        self.variants = [variant for variant in variants if variant.runs]
        self.group = group or variants
        self.shown = selection.drawn(self.variants, options.are_named)
        self.looks = looks
        self.options = options
        self._missing: list[str] = []
        self._evaluations = {
            each.label: {run.seed: self._read(run, each.label) for run in each.runs} for each in self.variants
        }
        self._series = {
            metric.name: [
                each
                for label, by_seed in self._evaluations.items()
                for split in SPLITS
                if (each := series(label, by_seed, metric, split, options.x)).lines
            ]
            for metric in METRICS
        }
        self._costs = cost.cost_points(self.shown)
        self.confusions, self._unusable = classes.confusions_of(self.shown)

    def drawings(self) -> Iterator[Drawing]:
        """The figures for which there are numbers; before/after only if it was chosen."""
        x, width = self.options.x, self.options.width
        for metric in METRICS:
            if drawing := self.overlay(metric):
                yield drawing
                figure = curves.by_variant(self._drawn(metric), self.looks, metric, x, width)
                yield Drawing(f"{metric.name}_by_variant", figure, drawing.caption)
            if drawing := self.overlay(metric, "val"):
                yield drawing
        yield from self.accuracies(width)
        if drawing := self.confusion():
            yield drawing
        if pair := self._pair_series():
            figure = curves.before_after(pair, self.looks, x, width)
            yield Drawing("before_after", figure, curves.pair_caption(self.heading, pair, x))

    def series(self, metric: Metric) -> list[Series]:
        """The series of all variants and splits that hold any value."""
        return self._series[metric.name]

    def at_steps(self, label: str, seed: int, key: str, steps: np.ndarray) -> np.ndarray:
        """What a run logged under a key at these steps, shape (steps,); NaN where it did not."""
        values = {each.get("step"): each.get(key, math.nan) for each in self._evaluations[label][seed]}
        return np.array([values.get(step, math.nan) for step in steps.tolist()])

    def overlay(self, metric: Metric, split: str | None = None) -> Drawing | None:
        """The curves of the variants over each other, those of one split with an axis of its own; None where there
        are none."""
        x, of_metric = self.options.x, [each for each in self._drawn(metric) if split in (None, each.split)]
        if not of_metric:
            return None
        figure = curves.overlay(of_metric, self.looks, metric, x, self.options.width)
        name = metric.name if split is None else f"{metric.name}_{SPLITS[split]}"
        return Drawing(name, figure, self._captioned(curves.caption(self.heading, of_metric, metric, x)))

    def accuracies(self, width: str) -> Iterator[Drawing]:
        """The figures of what is compared: against cost, and as differences to baseline and controls."""
        if self._costs:
            metric = self.variants[0].metric
            figure = cost.accuracy_against_cost(self._costs, self.looks, width, metric)
            caption = self._captioned(cost.caption(self.heading, self._costs, metric))
            yield Drawing("accuracy_against_cost", figure, caption)
        kinds: tuple[differences.Kind, ...] = ("baseline", "control", "gain")
        paired, to_controls, of_gains = (differences.differences_of(self.shown, kind) for kind in kinds)
        if paired or to_controls or of_gains:
            baseline = self.variants[0].baseline
            figure = differences.differences_to_baseline(paired, baseline, self.looks, width, to_controls, of_gains)
            caption = differences.caption(self.heading, paired, baseline, to_controls, of_gains)
            yield Drawing("differences", figure, self._captioned(caption))

    def confusion(self) -> Drawing | None:
        """What each variant takes for what; None where no predictions are kept."""
        if not self.confusions:
            return None
        figure = classes.confusion_figure(self.confusions, self.options.width)
        caption = self._captioned(classes.caption(self.heading, self.confusions))
        return Drawing("confusion", figure, caption)

    def pair(self) -> tuple[str, str] | None:
        """The labels before and after, where they were chosen and this study has both.

        Raises ValueError when one of the names is that of several variants, or both are names of one.
        """
        before, after = self._label(self.options.before), self._label(self.options.after)
        if before and before == after:
            raise ValueError(
                f"{self.options.before} and {self.options.after} are the same; choose two different variants"
            )
        return (before, after) if before and after else None

    def gaps(self) -> list[str]:
        """Curves that are missing or cut short, and costs that are missing, one line each."""
        lacks = self.pair() and not self._pair_series()
        unpaired = ["before_after is not drawn: one of the two variants has no curves"] if lacks else []
        return [*self._left_out(), *self._missing, *self._uneven(), *self._without_cost(), *self._unusable, *unpaired]

    def _drawn(self, metric: Metric) -> list[Series]:
        """The series of the variants that are drawn."""
        labels = {variant.label for variant in self.shown}
        return [each for each in self.series(metric) if each.label in labels]

    def _captioned(self, caption: str) -> str:
        return " ".join([caption, *(f"Drawn are {line}." for line in self._left_out())])

    def _left_out(self) -> list[str]:
        if not self.variants and any(variant.runs for variant in self.group):
            return ["nothing is drawn: --variants names none of its variants with results"]
        line = selection.left_out(self.shown, self.variants)
        return [line] if line else []

    def _pair_series(self) -> list[Series]:
        """The losses before and after; none where one of them has no curves."""
        pair = [each for label in self.pair() or () for each in self.series(LOSS) if each.label == label]
        return pair if len({each.label for each in pair}) == 2 else []

    def _label(self, name: str | None) -> str | None:
        labels = [variant.label for variant in self.variants if name in variant.names]
        if name not in labels and len(labels) > 1:
            raise ValueError(f"{name} is several rows of {self.heading}; choose one of {', '.join(map(repr, labels))}")
        return name if name in labels else next(iter(labels), None)

    def _read(self, run: Run, label: str) -> Evaluations:
        try:
            evaluations = run.evaluations()
        except ValueError as error:
            self._missing.append(f"no curves of {label} seed {run.seed}: {error}")
            return []
        key = X_AXES[self.options.x].key
        if not any(math.isfinite(each.get(key, math.nan)) for each in evaluations):
            lack = f"no {self.options.x} recorded" if evaluations else "no evaluation recorded"
            self._missing.append(f"no curves of {label} seed {run.seed}: {lack} ({run.place})")
        return evaluations

    def _uneven(self) -> list[str]:
        ends: dict[str, set[float]] = {}
        for each in self.series(LOSS):
            if each.is_uneven:
                ends.setdefault(each.label, set()).update(float(line.x[-1]) for line in each.lines)
        return [
            f"{label}: its seeds were not all evaluated at the same steps (they end at {_range_in_words(values)} "
            f"{self.options.x}); mean and band are drawn where all of them have values"
            for label, values in ends.items()
        ]

    def _without_cost(self) -> list[str]:
        finite = [variant for variant in self.shown if math.isfinite(variant.summary.mean)]
        lines = [
            f"{variant.label}: its {variant.metric.words} is not finite at every seed, so no mean or difference of it "
            "is drawn"
            for variant in self.shown
            if variant not in finite
        ]
        for key in cost.COST_AXES:
            drawn = {point.label for point in self._costs.get(key, ())}
            lacking = [variant.label for variant in finite if variant.label not in drawn]
            lines += [f"{label}: {key} not recorded, so not drawn" for label in lacking]
        return lines


def _range_in_words(ends: set[float]) -> str:
    low, high = f"{min(ends):.4g}", f"{max(ends):.4g}"
    return low if low == high else f"{low} to {high}"
