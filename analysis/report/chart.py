"""The numbers of a study's interactive curves, small enough for a page, as JSON that is safe inside HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing.style import BLACK
from ..figures.curves import frame
from ..figures.legend import Look
from ..figures.series import X_AXES, Series
from ..figures.study import StudyFigures
from ..reading.metrics import REPORTED, SPLITS, Metric

# A line has at most POINTS evaluations, fewer where a study has so many lines that it would hold more than VALUES.
POINTS, FEWEST_POINTS = 400, 25
VALUES = 220_000
# Of a study with more lines only the means are shown: a browser that draws more does not answer at once.
MOST_LINES = 1600
# JSON inside <script> must not end it, and an address in a name is no address.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "//": "\\u002f\\u002f"}


@dataclass(frozen=True)
class Chart:
    """JSON of the curves of one group of variants, and what of them was left out, empty where nothing was."""

    json: str
    thinned: str


def chart_of(study: StudyFigures, budget: int = VALUES) -> Chart | None:
    """The chart of a study, None where no run recorded any curve; all charts of a page share a budget of values.

    A line thinner than what was recorded keeps its first and last evaluation and others at even distances; the values
    are those recorded, accuracies in percent, and nothing is smoothed.
    """
    curves = [series for metric in REPORTED for series in study.series(metric)]
    if not curves:
        return None
    lines = sum(series.n + (series.n > 1) for series in curves)
    has_seeds = lines <= MOST_LINES
    shown = lines if has_seeds else len(curves)
    limit = max(FEWEST_POINTS, min(POINTS, budget // shown))
    drawn = {variant.label for variant in study.shown}
    axes = Axes(study, limit)
    metrics = [_metric(metric, study.series(metric), axes, has_seeds) for metric in REPORTED if study.series(metric)]
    content = {
        "variants": [
            _variant(variant.label, study.looks[variant.label], is_hidden=variant.label not in drawn)
            for variant in study.variants
        ],
        "metrics": metrics,
        **axes.lists(),
    }
    longest = max(len(line.x) for series in curves for line in series.lines)
    notes = [
        f"Each curve shows at most {limit} of up to {longest:,} evaluations, evenly spaced, first and last included."
        if longest > limit
        else "",
        ""
        if has_seeds
        else f"Single seeds are left out: {lines:,} lines would be too many. Selected ones are drawn by "
        "the same command with --variants.",
    ]
    return Chart(safe_json(content), " ".join(filter(None, notes)))


def safe_json(content: Any) -> str:
    """Compact ASCII JSON without any sign that HTML would read."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign, escaped in UNSAFE.items():
        text = text.replace(sign, escaped)
    return text


class Axes:
    """The x values of all lines, for each axis each distinct list once; of a line at most `limit` values are kept."""

    def __init__(self, study: StudyFigures, limit: int) -> None:
        self._study = study
        self._limit = limit
        self._indices: dict[str, dict[tuple[float, ...], int]] = {name: {} for name in X_AXES}
        self._lacking = set[str]()

    def indices(self, label: str, seeds: Sequence[int], epochs: np.ndarray, steps: np.ndarray) -> dict[str, int]:
        """The place of a line's x values in the lists of each axis; over several seeds their means."""
        seconds = np.mean([self._study.at_steps(label, seed, "seconds", steps) for seed in seeds], axis=0)
        of_axes = {"epochs": ("x", epochs, 6), "steps": ("step", steps, 12), "seconds": ("second", seconds, 4)}
        found = {}
        for name, (key, values, digits) in of_axes.items():
            if not np.isfinite(values).all() or (np.diff(values) < 0).any():
                self._lacking.add(name)
                continue
            rounded = tuple(float(f"{value:.{digits}g}") for value in self.thin(values))
            found[key] = self._indices[name].setdefault(rounded, len(self._indices[name]))
        return found

    def lists(self) -> dict[str, list[Sequence[float]]]:
        """The lists of each axis that all lines have."""
        return {name: list(found) for name, found in self._indices.items() if name not in self._lacking}

    def thin(self, values: np.ndarray) -> np.ndarray:
        """First, last, and evenly spaced values between, by index."""
        if len(values) <= self._limit:
            return values
        return np.asarray(values[np.linspace(0, len(values) - 1, self._limit).round().astype(int)])


def _variant(label: str, look: Look, is_hidden: bool) -> dict[str, str | bool]:
    """Black is the page's own ink, which is light on a dark page; what is hidden appears by a click on the legend."""
    colour = "" if look.colour == BLACK else look.colour
    return {"label": label, "marker": look.marker, "colour": colour, **({"hidden": True} if is_hidden else {})}


def _metric(metric: Metric, curves: Sequence[Series], axes: Axes, has_seeds: bool) -> dict[str, Any]:
    panels = []
    for split, name in SPLITS.items():
        of_split = [series for series in curves if series.split == split]
        lines = [line for series in of_split for line in _lines(series, metric, axes, has_seeds)]
        if lines:
            panels.append({"split": name, "lines": lines})
    return {
        "name": metric.name,
        "title": metric.axis,
        "unit": " %" if metric.is_fraction else "",
        "up": metric.higher_is_better,
        "log": frame(curves, metric).is_logarithmic,
        "panels": panels,
    }


def _lines(series: Series, metric: Metric, axes: Axes, has_seeds: bool) -> list[dict[str, Any]]:
    """A line a seed, and the mean over `n` of them where there are several."""

    def line(seeds: Sequence[int], x: np.ndarray, step: np.ndarray, y: np.ndarray, **of_whom: int) -> dict[str, Any]:
        values = {"y": _rounded(axes.thin(y), metric)}
        return {"label": series.label, **of_whom, **axes.indices(series.label, seeds, x, step), **values}

    has_mean = series.n > 1 and len(series.x) > 0
    lines = []
    if has_seeds or not has_mean:
        lines = [line([each.seed], each.x, each.step, each.y, seed=each.seed) for each in series.lines]
    if has_mean:
        seeds = [each.seed for each in series.lines]
        lines.append(line(seeds, series.x, series.step, series.mean, n=series.n))
    return lines


def _rounded(values: np.ndarray, metric: Metric) -> list[float]:
    if metric.is_fraction:
        return [round(100 * float(value), 2) for value in values]
    return [float(f"{value:.4g}") for value in values]
