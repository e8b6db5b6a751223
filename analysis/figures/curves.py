"""Loss and accuracy during training: all variants in one panel a split, and both splits in one panel a variant."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from ..drawing import style
from .palette import Look
from .series import SPLITS, Series

X_LABELS = {"epochs": "Epoch", "steps": "Step", "seconds": "Training time (s)"}
Y_LABELS = {"loss": "Loss (cross-entropy)", "accuracy": "Accuracy (%)"}
MARKERS_PER_LINE = 5
MARGIN = 0.05
# Losses further apart than this are drawn on a logarithmic axis, and the axis says so.
LINEAR_UP_TO = 50


def draw_series(axes: Axes, series: Series, look: Look) -> None:
    """Draw a line a seed, the band of the interval, and the mean with a few markers.

    The dashes tell the split, colour and marker the variant. With one seed its line is the mean.
    """
    line_style: dict[str, Any] = {"color": look.colour, "linestyle": style.DASHES[series.split]}
    if series.n > 1:
        for line in series.lines:
            axes.plot(line.x, line.y, linewidth=style.SEED_WIDTH, alpha=style.SEED_ALPHA, **line_style)
    if series.has_band:
        axes.fill_between(
            series.x, series.low, series.high, color=look.colour, alpha=style.BAND_ALPHA, linewidth=0, zorder=1
        )
    mark: dict[str, Any] = {"marker": look.marker, "markeredgecolor": "white"}
    axes.plot(series.x, series.mean, markevery=marked(len(series.x), look.rank), zorder=3, **line_style, **mark)


def marked(points: int, rank: int) -> list[int]:
    """Which points of a mean carry a marker: a few, at other places for the next variant."""
    every = max(1, math.ceil(points / MARKERS_PER_LINE))
    return list(range(rank % every, points, every))


@dataclass(frozen=True)
class Frame:
    """The y axis of a figure's panels: its ends, and whether it is logarithmic."""

    low: float
    high: float
    is_logarithmic: bool

    def cuts(self, shown: Iterable[Series]) -> bool:
        """Whether a band goes beyond the ends."""
        return any(bool((series.low < self.low).any() or (series.high > self.high).any()) for series in shown)


def frame(shown: Iterable[Series], metric: str) -> Frame:
    """Ends a little beyond every seed's line; logarithmic for losses so far apart that the lower ones would vanish."""
    values = np.concatenate([line.y for series in shown for line in series.lines])
    low, high = float(values.min()), float(values.max())
    if metric == "loss" and 0 < LINEAR_UP_TO * low < high:
        margin = (high / low) ** MARGIN
        return Frame(low / margin, high * margin, True)
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    return Frame(low - margin, high + margin, False)


def apply_frame(grid: np.ndarray, chosen: Frame, metric: str) -> None:
    """Give a grid of axes, which share both axes, their limits, scale and ticks."""
    grid.flat[0].set_yscale("log" if chosen.is_logarithmic else "linear")
    grid.flat[0].set_ylim(chosen.low, chosen.high)
    for axes in grid.flat:
        style.plain_ticks(axes.xaxis)
        if metric == "accuracy":
            style.percent_ticks(axes.yaxis)
        elif chosen.is_logarithmic:
            style.plain_log_ticks(axes.yaxis)


def name_axes(figure: FigureBase, chosen: Frame, metric: str, x: str) -> None:
    """One label for all x axes and one for all y axes."""
    figure.supxlabel(X_LABELS[x])
    figure.supylabel(Y_LABELS[metric] + (", log scale" if chosen.is_logarithmic else ""))


def overlay(shown: Sequence[Series], looks: Mapping[str, Look], metric: str, x: str, width: str) -> Figure:
    """All variants, in a panel for training and one for validation with the same axes."""
    splits = [split for split in SPLITS if any(series.split == split for series in shown)]
    across = width == "page"
    handles = [*variant_handles(shown, looks), *beside_the_means(shown)]
    figure, upper = style.new_sheet(width, 2.6 if across else 0.3 + 1.6 * len(splits), handles)
    shape = (1, len(splits)) if across else (len(splits), 1)
    grid = upper.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for axes, split in zip(grid.flat, splits, strict=True):
        for series in shown:
            if series.split == split:
                draw_series(axes, series, looks[series.label])
        axes.set_title(f"{SPLITS[split].capitalize()} ({dashes_in_words(split)})")
    chosen = frame(shown, metric)
    apply_frame(grid, chosen, metric)
    name_axes(upper, chosen, metric, x)
    return figure


def by_variant(shown: Sequence[Series], looks: Mapping[str, Look], metric: str, x: str, width: str) -> Figure:
    """A panel a variant with its training and its validation curves, all with the same axes."""
    labels = list(dict.fromkeys(series.label for series in shown))
    columns = min(len(labels), 3 if width == "page" else 2)
    rows = math.ceil(len(labels) / columns)
    handles = [*split_handles(shown), *beside_the_means(shown)]
    figure, upper = style.new_sheet(width, 0.3 + (1.6 if width == "page" else 1.3) * rows, handles)
    grid = upper.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        for series in shown:
            if series.label == label:
                draw_series(axes, series, looks[label])
        axes.set_title(style.title(style.with_count(label, seeds_of(shown, label)), width, columns))
    chosen = frame(shown, metric)
    apply_frame(grid, chosen, metric)
    for axes in grid.flat[len(labels) :]:
        axes.remove()
    for axes in grid.flat[len(labels) - columns : len(labels)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    name_axes(upper, chosen, metric, x)
    return figure


def seeds_of(shown: Iterable[Series], label: str) -> int:
    """Number of a variant's seeds with curves."""
    return max(series.n for series in shown if series.label == label)


def variant_handles(shown: Sequence[Series], looks: Mapping[str, Look]) -> list[Line2D]:
    """A legend's entry for each variant, with its number of seeds."""
    labels = dict.fromkeys(series.label for series in shown)
    counted = {label: style.with_count(label, seeds_of(shown, label)) for label in labels}
    return [style.variant_handle(name, looks[label], "val") for label, name in counted.items()]


def split_handles(shown: Iterable[Series]) -> list[Line2D]:
    """A legend's entry for each split."""
    present = {series.split for series in shown}
    return [
        Line2D([], [], color=style.GREY, linestyle=style.DASHES[split], label=name)
        for split, name in SPLITS.items()
        if split in present
    ]


def beside_the_means(shown: Sequence[Series]) -> list[style.Handle]:
    """A legend's entries for seeds and bands, where there are any."""
    return style.explaining_handles(any(s.n > 1 for s in shown), any(s.has_band for s in shown))


def dashes_in_words(split: str) -> str:
    """How a split's lines are drawn."""
    return "solid" if style.DASHES[split] == "solid" else "dashed"
