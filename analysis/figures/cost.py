"""Test accuracy, or another metric, against its cost: parameters, FLOPs, measured training time, with intervals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..comparing.statistics import Summary, summarise
from ..comparing.variants import Variant
from ..comparing.words import enumerated, seeds_each
from ..drawing import style
from ..drawing.labels import Name, place_names
from ..drawing.sheets import Handle, new_sheet
from ..drawing.style import Frame
from ..reading.metrics import TEST_ACCURACY, Metric
from ..tables.numbers import count
from .legend import Look, point_handle, summary_handles

# Number of result.json -> name of its axis, and how a caption puts it.
COST_AXES = {
    "parameters": "Trainable parameters",
    "flops": "FLOPs per image, forward",
    "train_seconds": "Training time (s)",
}
COST_WORDS = {
    "parameters": "trainable parameters",
    "flops": "FLOPs (one forward pass of one image, in canonical form)",
    "train_seconds": "measured training time",
}
# Costs further apart than this are drawn on a logarithmic axis.
LINEAR_UP_TO = 8
NAME_SIZE = 6.5
ROOM = 0.25
TRAILING_ZEROS = re.compile(r"\.0+(?= |$)")
TEST_SET = "Accuracy on the test set, with the weights that were best on the validation split."


@dataclass(frozen=True)
class Point:
    """A variant's cost and accuracy, each summarised over the seeds, and both of each seed, shape (n, 2)."""

    label: str
    cost: Summary
    accuracy: Summary
    seeds: np.ndarray


Panels = Mapping[str, Sequence[Point]]


def cost_points(variants: Iterable[Variant]) -> dict[str, list[Point]]:
    """For each cost that some variant has, a point for each variant whose runs all have a positive number of it.

    A variant whose metric is not finite in every run, as the loss of a network that is certain and wrong, has none.
    """
    panels: dict[str, list[Point]] = {}
    for key in COST_AXES:
        for variant in variants:
            seeds = np.array([(run.number(key), run.number(variant.metric.name)) for run in variant.runs])
            seeds = seeds.reshape(-1, 2)
            if len(seeds) and bool((seeds[:, 0] > 0).all() and np.isfinite(seeds[:, 1]).all()):
                cost, accuracy = (summarise(seeds[:, column].tolist()) for column in (0, 1))
                panels.setdefault(key, []).append(Point(variant.label, cost, accuracy, seeds))
    return panels


def accuracy_against_cost(
    panels: Panels, looks: Mapping[str, Look], width: str, metric: Metric = TEST_ACCURACY
) -> Figure:
    """A panel a cost, all with the same axis of the metric; names stand at the points, or below if they do not fit."""
    counts = {point.label: point.cost.n for points in panels.values() for point in points}
    beside = summary_handles(counts.values())
    figure, grid = _drawn(panels, looks, width, beside, metric)
    if _are_named(figure, grid, panels, counts):
        return figure
    names = [point_handle(style.with_count(label, n), looks[label]) for label, n in counts.items()]
    return _drawn(panels, looks, width, [*names, *beside], metric)[0]


def measured(metric: Metric) -> str:
    """Where the metric was measured, and where it is better if that is not above."""
    where = TEST_SET if metric == TEST_ACCURACY else metric.meaning
    return where if metric.higher_is_better else f"{where} Lower is better."


def caption(heading: str, panels: Panels, metric: Metric = TEST_ACCURACY) -> str:
    """Caption of the figure of accuracy against cost."""
    counts = [point.accuracy.n for points in panels.values() for point in points]
    is_cut = any(
        cost_frame(points).cuts([point.cost.low for point in points], [point.cost.high for point in points])
        for points in panels.values()
    )
    costs = enumerated([COST_WORDS[key] for key in panels])
    sentences = [
        f"{heading}: {metric.words} against {costs}.",
        seeds_each(counts),
        "Markers: mean over the seeds; dots: single seeds; bars: 95 % Student t intervals of the mean."
        if max(counts) > 1
        else "",
        "Bars that leave the frame are cut off by it." if is_cut else "",
        measured(metric),
    ]
    return " ".join(filter(None, sentences))


def draw_cost(axes: Axes, points: Sequence[Point], looks: Mapping[str, Look]) -> None:
    """Draw a faint dot a seed, and each mean with the t intervals of accuracy and, where it varies, of cost."""
    for point in points:
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


def cost_frame(points: Iterable[Point]) -> Frame:
    """An x axis beyond every seed's cost, with room for names; logarithmic for costs far apart."""
    values = np.concatenate([point.seeds[:, 0] for point in points])
    low, high = float(values.min()), float(values.max())
    if high > LINEAR_UP_TO * low:
        room = (high / low) ** ROOM
        return Frame(low / room, high * room, True)
    room = max(ROOM * (high - low), 0.05 * high)
    return Frame(low - room, high + room, False)


def _drawn(
    panels: Panels, looks: Mapping[str, Look], width: str, handles: Sequence[Handle], metric: Metric
) -> tuple[Figure, list[Axes]]:
    across = width == "page"
    figure, upper = new_sheet(width, 2.5 if across else 1.75 * len(panels), handles)
    shape = (1, len(panels)) if across else (len(panels), 1)
    grid = list(upper.subplots(*shape, sharey=True, squeeze=False).flat)
    for axes, (key, points) in zip(grid, panels.items(), strict=True):
        draw_cost(axes, points, looks)
        _apply_frame(axes, cost_frame(points), key)
        axes.set_xlabel(COST_AXES[key])
        (style.percent_ticks if metric.is_fraction else style.plain_ticks)(axes.yaxis)
    upper.supylabel(metric.axis)
    return figure, grid


def _apply_frame(axes: Axes, frame: Frame, key: str) -> None:
    """Give the x axis its limits, scale and ticks."""
    if frame.is_logarithmic:
        axes.set_xscale("log")
        style.plain_log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
    axes.set_xlim(frame.low, frame.high)
    in_words = style.plain if key == "train_seconds" else count
    axes.xaxis.set_major_formatter(lambda value, _: TRAILING_ZEROS.sub("", in_words(value)))


def _are_named(figure: Figure, grid: Sequence[Axes], panels: Panels, counts: Mapping[str, int]) -> bool:
    """Write the names at their points; False when one of them fits nowhere."""
    figure.draw_without_rendering()
    # The axes stay where they are now, whatever the resolution in which the figure is saved.
    figure.set_layout_engine("none")
    differ = len(set(counts.values())) > 1
    for axes, points in zip(grid, panels.values(), strict=True):
        names = [
            Name(
                style.with_count(point.label, point.cost.n) if differ else point.label,
                point.cost.mean,
                point.accuracy.mean,
            )
            for point in points
        ]
        ink = [line for point in points for line in (*_bars(point), *np.repeat(point.seeds[:, None], 2, axis=1))]
        if len(place_names(axes, names, ink, NAME_SIZE)) < len(names):
            return False
    return True


def _bars(point: Point) -> list[np.ndarray]:
    """Both ends of each error bar, shape (2, 2)."""
    cost, accuracy = point.cost, point.accuracy
    ends = [
        np.array([[cost.mean, accuracy.low], [cost.mean, accuracy.high]]),
        np.array([[cost.low, accuracy.mean], [cost.high, accuracy.mean]]),
    ]
    return [pair for pair in ends if np.isfinite(pair).all()]
