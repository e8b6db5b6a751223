"""Test accuracy against what it costs: parameters, FLOPs and measured training time, with intervals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..comparing.comparison import Row
from ..comparing.statistics import Summary, summarise
from ..drawing import style
from ..drawing.labels import Name, place_names
from ..tables.numbers import count
from .palette import Look

# Number of result.json -> name of its axis.
COSTS = {"parameters": "Parameters", "flops": "FLOPs per image, forward", "train_seconds": "Training time (s)"}
# Costs further apart than this are drawn on a logarithmic axis.
LINEAR_UP_TO = 8
NAME_SIZE = 6.5
ROOM = 0.25
TRAILING_ZEROS = re.compile(r"\.0+(?= |$)")


@dataclass(frozen=True)
class Point:
    """A variant's cost and accuracy, each summarised over the seeds, and both of each seed, shape (n, 2)."""

    label: str
    cost: Summary
    accuracy: Summary
    seeds: np.ndarray


def points(rows: Iterable[Row], key: str) -> list[Point]:
    """A point for each row that has results, all with a positive number `key`."""
    made = []
    for row in rows:
        seeds = np.array([(run.number(key), run.number("test_accuracy")) for run in row.runs]).reshape(-1, 2)
        if len(seeds) and bool((seeds[:, 0] > 0).all()):
            made.append(Point(row.label, summarise(seeds[:, 0].tolist()), summarise(seeds[:, 1].tolist()), seeds))
    return made


def draw_cost(axes: Axes, shown: Sequence[Point], looks: Mapping[str, Look]) -> None:
    """Draw a faint dot a seed, and each mean with the t intervals of accuracy and, where it varies, of cost."""
    for point in shown:
        look = looks[point.label]
        if point.cost.n > 1:
            axes.scatter(point.seeds[:, 0], point.seeds[:, 1], s=5, color=look.colour, alpha=0.45, linewidth=0)
        axes.errorbar(
            point.cost.mean,
            point.accuracy.mean,
            xerr=half_widths(point.cost),
            yerr=half_widths(point.accuracy),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            markeredgecolor="white",
            elinewidth=0.8,
            capsize=2,
            capthick=0.8,
            zorder=3,
        )


def half_widths(summary: Summary) -> list[list[float]] | None:
    """An error bar's two lengths, None where there is no interval."""
    if math.isnan(summary.low):
        return None
    return [[summary.mean - summary.low], [summary.high - summary.mean]]


@dataclass(frozen=True)
class CostFrame:
    """The x axis of a panel: its ends, and whether it is logarithmic."""

    low: float
    high: float
    is_logarithmic: bool

    def cuts(self, shown: Iterable[Point]) -> bool:
        """Whether an interval of the cost goes beyond the ends."""
        return any(point.cost.low < self.low or point.cost.high > self.high for point in shown)


def cost_frame(shown: Iterable[Point]) -> CostFrame:
    """Ends beyond every seed's cost, with room for names; logarithmic for costs far apart."""
    values = np.concatenate([point.seeds[:, 0] for point in shown])
    low, high = float(values.min()), float(values.max())
    if high > LINEAR_UP_TO * low:
        room = (high / low) ** ROOM
        return CostFrame(low / room, high * room, True)
    room = max(ROOM * (high - low), 0.05 * high)
    return CostFrame(low - room, high + room, False)


def apply_cost_frame(axes: Axes, chosen: CostFrame, key: str) -> None:
    """Give the x axis its limits, scale and ticks."""
    if chosen.is_logarithmic:
        axes.set_xscale("log")
        style.plain_log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
    axes.set_xlim(chosen.low, chosen.high)
    in_words = style.plain if key == "train_seconds" else count
    axes.xaxis.set_major_formatter(lambda value, _: TRAILING_ZEROS.sub("", in_words(value)))


def accuracy_against_cost(rows: Sequence[Row], looks: Mapping[str, Look], width: str) -> Figure:
    """A panel a cost, all with the same accuracy axis; the names stand at the points, or below if they do not fit."""
    panels = {key: found for key in COSTS if (found := points(rows, key))}
    assert panels, "the caller has rows with results"
    counts = {point.label: point.cost.n for shown in panels.values() for point in shown}
    beside = style.summary_handles(counts.values())
    figure, grid = _drawn(panels, looks, width, beside)
    if _are_named(figure, grid, panels, counts):
        return figure
    names = [style.point_handle(style.with_count(label, n), looks[label]) for label, n in counts.items()]
    return _drawn(panels, looks, width, [*names, *beside])[0]


def _drawn(
    panels: Mapping[str, Sequence[Point]], looks: Mapping[str, Look], width: str, handles: Sequence[style.Handle]
) -> tuple[Figure, list[Axes]]:
    across = width == "page"
    figure, upper = style.new_sheet(width, 2.5 if across else 1.75 * len(panels), handles)
    shape = (1, len(panels)) if across else (len(panels), 1)
    grid = list(upper.subplots(*shape, sharey=True, squeeze=False).flat)
    for axes, (key, shown) in zip(grid, panels.items(), strict=True):
        draw_cost(axes, shown, looks)
        apply_cost_frame(axes, cost_frame(shown), key)
        axes.set_xlabel(COSTS[key])
        style.percent_ticks(axes.yaxis)
    upper.supylabel("Test accuracy (%)")
    return figure, grid


def _are_named(
    figure: Figure,
    grid: Sequence[Axes],
    panels: Mapping[str, Sequence[Point]],
    counts: Mapping[str, int],
) -> bool:
    """Write the names at their points; False when one of them fits nowhere."""
    figure.draw_without_rendering()
    # The axes stay where they are now, whatever the resolution in which the figure is saved.
    figure.set_layout_engine("none")
    differ = len(set(counts.values())) > 1
    for axes, shown in zip(grid, panels.values(), strict=True):
        names = [
            Name(
                style.with_count(point.label, point.cost.n) if differ else point.label,
                point.cost.mean,
                point.accuracy.mean,
            )
            for point in shown
        ]
        ink = [line for point in shown for line in (*bars(point), *np.repeat(point.seeds[:, None], 2, axis=1))]
        if len(place_names(axes, names, ink, NAME_SIZE)) < len(names):
            return False
    return True


def bars(point: Point) -> list[np.ndarray]:
    """Both ends of each error bar, shape (2, 2)."""
    cost, accuracy = point.cost, point.accuracy
    ends = [
        np.array([[cost.mean, accuracy.low], [cost.mean, accuracy.high]]),
        np.array([[cost.low, accuracy.mean], [cost.high, accuracy.mean]]),
    ]
    return [pair for pair in ends if np.isfinite(pair).all()]
