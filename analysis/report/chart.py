"""The numbers of a study's interactive curves, small enough for a page, as JSON that is safe inside HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing.style import BLACK
from ..figures.curves import frame
from ..figures.legend import Look
from ..figures.series import Series
from ..figures.study import StudyFigures
from ..reading.metrics import REPORTED, SPLITS, Metric

# A line has at most POINTS evaluations, fewer where a study has so many lines that it would hold more than VALUES.
POINTS, FEWEST_POINTS = 400, 25
VALUES = 220_000
# JSON inside <script> must not end it, and an address in a name is no address.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "//": "\\u002f\\u002f"}


@dataclass(frozen=True)
class Chart:
    """JSON of the curves of one group of variants, and how far they were thinned, empty where they were not."""

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
    limit = max(FEWEST_POINTS, min(POINTS, budget // sum(series.n + (series.n > 1) for series in curves)))
    epochs = Epochs(limit)
    metrics = [_metric(metric, study.series(metric), epochs) for metric in REPORTED if study.series(metric)]
    content = {
        "variants": [_variant(variant.label, study.looks[variant.label]) for variant in study.variants],
        "metrics": metrics,
        "epochs": epochs.lists,
    }
    longest = max(len(line.x) for series in curves for line in series.lines)
    thinned = (
        f"Each curve shows at most {limit} of up to {longest:,} evaluations, evenly spaced, first and last included."
        if longest > limit
        else ""
    )
    return Chart(safe_json(content), thinned)


def safe_json(content: Any) -> str:
    """Compact ASCII JSON without any sign that HTML would read."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign, escaped in UNSAFE.items():
        text = text.replace(sign, escaped)
    return text


class Epochs:
    """The x values of all lines, each distinct list once; `thin` keeps at most `limit` values of a line."""

    def __init__(self, limit: int) -> None:
        self.lists: list[list[float]] = []
        self._limit = limit

    def index(self, x: np.ndarray) -> int:
        """The index of the thinned x values in `lists`, to which new ones are added."""
        values = [float(f"{value:.6g}") for value in self.thin(x)]
        if values not in self.lists:
            self.lists.append(values)
        return self.lists.index(values)

    def thin(self, values: np.ndarray) -> np.ndarray:
        """First, last, and evenly spaced values between, by index."""
        if len(values) <= self._limit:
            return values
        return np.asarray(values[np.linspace(0, len(values) - 1, self._limit).round().astype(int)])


def _variant(label: str, look: Look) -> dict[str, str]:
    """Black is the page's own ink, which is light on a dark page."""
    return {"label": label, "marker": look.marker, "colour": "" if look.colour == BLACK else look.colour}


def _metric(metric: Metric, curves: Sequence[Series], epochs: Epochs) -> dict[str, Any]:
    panels = []
    for split, name in SPLITS.items():
        lines = [line for series in curves if series.split == split for line in _lines(series, metric, epochs)]
        if lines:
            panels.append({"split": name, "lines": lines})
    return {
        "name": metric.name,
        "title": metric.axis,
        "unit": " %" if metric.is_fraction else "",
        "log": frame(curves, metric).is_logarithmic,
        "panels": panels,
    }


def _lines(series: Series, metric: Metric, epochs: Epochs) -> list[dict[str, Any]]:
    """A line a seed, and the mean over `n` of them where there are several."""

    def line(x: np.ndarray, y: np.ndarray, **of_whom: int) -> dict[str, Any]:
        return {"label": series.label, **of_whom, "x": epochs.index(x), "y": _rounded(epochs.thin(y), metric)}

    lines = [line(each.x, each.y, seed=each.seed) for each in series.lines]
    if series.n > 1 and len(series.x):
        lines.append(line(series.x, series.mean, n=series.n))
    return lines


def _rounded(values: np.ndarray, metric: Metric) -> list[float]:
    if metric.is_fraction:
        return [round(100 * float(value), 2) for value in values]
    return [float(f"{value:.4g}") for value in values]
