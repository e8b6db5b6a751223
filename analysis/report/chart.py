"""The numbers of a study's interactive curves, small enough for a page, as JSON that is safe inside HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..drawing import canvas
from ..figures.curves import frame
from ..figures.palette import Look
from ..figures.series import METRICS, SPLITS, Series
from ..figures.study import StudyFigures

# A line has at most POINTS evaluations, fewer where a study has so many lines that it would hold more than VALUES.
POINTS, FEWEST_POINTS = 400, 25
VALUES = 220_000
TITLES = {"accuracy": "Accuracy (%)", "loss": "Loss (cross-entropy)"}
# JSON inside <script> must not end it, and an address in a name is no address.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "//": "\\u002f\\u002f"}


@dataclass(frozen=True)
class Chart:
    """JSON of the curves of one group of rows, and how far they were thinned, empty where they were not."""

    heading: str
    json: str
    thinned: str


def chart_of(study: StudyFigures, budget: int = VALUES) -> Chart | None:
    """The chart of a study, None where no run recorded any curve; all charts of a page share a budget of values.

    A line thinner than what was recorded keeps its first and last evaluation and others at even distances; the values
    are those recorded, accuracies in percent, and nothing is smoothed.
    """
    shown = {metric: study.series(metric) for metric in METRICS}
    lines = sum(each.n + (each.n > 1) for many in shown.values() for each in many)
    if not lines:
        return None
    limit = max(FEWEST_POINTS, min(POINTS, budget // lines))
    epochs = Epochs(limit)
    metrics = [_metric(metric, shown[metric], epochs) for metric in ("accuracy", "loss") if shown[metric]]
    content = {
        "variants": [_variant(row.label, study.looks[row.label]) for row in study.rows],
        "metrics": metrics,
        "epochs": epochs.known,
    }
    longest = max(len(line.x) for many in shown.values() for each in many for line in each.lines)
    thinned = (
        f"Each curve shows at most {limit} of up to {longest:,} evaluations, evenly spaced, first and last included."
        if longest > limit
        else ""
    )
    return Chart(study.heading, safe_json(content), thinned)


def safe_json(content: Any) -> str:
    """Compact ASCII JSON without any sign that HTML would read."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign, escaped in UNSAFE.items():
        text = text.replace(sign, escaped)
    return text


class Epochs:
    """The x values of all lines, each distinct list once; `thin` keeps at most `limit` values of a line."""

    def __init__(self, limit: int) -> None:
        self.known: list[list[float]] = []
        self._limit = limit
        self._index: dict[tuple[float, ...], int] = {}

    def index(self, x: np.ndarray) -> int:
        """Where the thinned x values are among the known."""
        values = tuple(float(f"{value:.6g}") for value in self.thin(x))
        if values not in self._index:
            self._index[values] = len(self.known)
            self.known.append(list(values))
        return self._index[values]

    def thin(self, values: np.ndarray) -> np.ndarray:
        """First, last, and evenly spaced values between, by index."""
        if len(values) <= self._limit:
            return values
        return np.asarray(values[np.linspace(0, len(values) - 1, self._limit).round().astype(int)])


def _variant(label: str, look: Look) -> dict[str, str]:
    """Black is the page's own ink, which is light on a dark page."""
    return {"label": label, "marker": look.marker, "colour": "" if look.colour == canvas.BLACK else look.colour}


def _metric(metric: str, shown: Sequence[Series], epochs: Epochs) -> dict[str, Any]:
    panels = []
    for split, name in SPLITS.items():
        lines = [line for each in shown if each.split == split for line in _lines(each, metric, epochs)]
        if lines:
            panels.append({"split": name, "lines": lines})
    return {
        "name": metric,
        "title": TITLES[metric],
        "unit": " %" if metric == "accuracy" else "",
        "log": frame(shown, metric).is_logarithmic,
        "panels": panels,
    }


def _lines(series: Series, metric: str, epochs: Epochs) -> list[dict[str, Any]]:
    """A line a seed, and the mean over `n` of them where there are several."""
    found = [
        {"seed": line.seed, "x": epochs.index(line.x), "y": _y(epochs.thin(line.y), metric)} for line in series.lines
    ]
    if series.n > 1 and len(series.x):
        found.append({"n": series.n, "x": epochs.index(series.x), "y": _y(epochs.thin(series.mean), metric)})
    return [{"label": series.label, **line} for line in found]


def _y(values: np.ndarray, metric: str) -> list[float]:
    if metric == "accuracy":
        return [round(100 * float(value), 2) for value in values]
    return [float(f"{value:.4g}") for value in values]
