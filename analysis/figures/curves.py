"""Loss and accuracy during training: a panel a split, a panel a variant, and two variants before and after a change."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from ..comparing.words import seeds_each
from ..drawing import style
from ..drawing.sheets import Handle, new_sheet
from ..drawing.style import Frame
from ..reading.metrics import LOSS, SPLITS, Metric
from .legend import BAND_ALPHA, DASHES, SEED_ALPHA, SEED_WIDTH, Look, explaining_handles, variant_handle
from .series import X_AXES, Series

MARKERS_PER_LINE = 5
MARGIN = 0.05
# Values further apart than this are drawn on a logarithmic axis, if the metric allows it, and the axis says so.
LINEAR_UP_TO = 50
RUNNING = (
    "Training values are means over the images since the evaluation before, in training mode and with the weights of "
    "that moment; validation values are of the weights at the evaluation."
)

Looks = Mapping[str, Look]


def overlay(curves: Sequence[Series], looks: Looks, metric: Metric, x: str, width: str) -> Figure:
    """All variants, in a panel for each split that the curves have, all with the same axes."""
    splits = [split for split in SPLITS if any(series.split == split for series in curves)]
    across = width == "page"
    handles = [*_variant_handles(curves, looks), *_beside_the_means(curves)]
    figure, upper = new_sheet(width, 2.6 if across else 0.3 + 1.6 * len(splits), handles)
    shape = (1, len(splits)) if across else (len(splits), 1)
    grid = upper.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for axes, split in zip(grid.flat, splits, strict=True):
        for series in curves:
            if series.split == split:
                draw_series(axes, series, looks[series.label])
        dashes = "solid" if DASHES[split] == "solid" else "dashed"
        axes.set_title(f"{SPLITS[split].capitalize()} ({dashes})")
    _finish(upper, grid, frame(curves, metric), metric, x)
    return figure


def by_variant(curves: Sequence[Series], looks: Looks, metric: Metric, x: str, width: str) -> Figure:
    """A panel a variant with its training and its validation curves, all with the same axes."""
    labels = list(dict.fromkeys(series.label for series in curves))
    columns = min(len(labels), 3 if width == "page" else 2)
    rows = math.ceil(len(labels) / columns)
    handles = [*_split_handles(curves), *_beside_the_means(curves)]
    figure, upper = new_sheet(width, 0.3 + (1.6 if width == "page" else 1.3) * rows, handles)
    grid = upper.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        for series in curves:
            if series.label == label:
                draw_series(axes, series, looks[label])
        axes.set_title(style.panel_title(style.with_count(label, _seeds_of(curves, label)), width, columns))
    _finish(upper, grid, frame(curves, metric), metric, x)
    for axes in grid.flat[len(labels) :]:
        axes.remove()
    for axes in grid.flat[len(labels) - columns : len(labels)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure


def before_after(curves: Sequence[Series], looks: Looks, x: str, width: str) -> Figure:
    """Training and validation loss of two variants in one panel; the series of the one before come first."""
    first = curves[0].label
    handles = [
        variant_handle(
            f"{'before' if series.label == first else 'after'}, {SPLITS[series.split]}: "
            f"{style.with_count(series.label, series.n)}",
            looks[series.label],
            series.split,
        )
        for series in curves
    ]
    figure, upper = new_sheet(width, 2.9 if width == "page" else 2.3, [*handles, *_beside_the_means(curves)])
    axes = upper.subplots()
    for series in curves:
        draw_series(axes, series, looks[series.label])
    _finish(upper, np.array([axes]), frame(curves, LOSS), LOSS, x)
    return figure


def caption(heading: str, curves: Sequence[Series], metric: Metric, x: str) -> str:
    """Caption of a figure with curves."""
    splits = " and ".join(name for split, name in SPLITS.items() if any(series.split == split for series in curves))
    chosen = frame(curves, metric)
    on_log = ", on a logarithmic axis" if chosen.is_logarithmic else ""
    has_band = any(series.has_band for series in curves)
    sentences = [
        f"{heading}: {splits} {metric.name} over {X_AXES[x].words}{on_log}.",
        seeds_each(series.n for series in curves),
        "Thick lines: mean over the seeds; thin lines: single seeds." if any(series.n > 1 for series in curves) else "",
        "Bands: 95 % Student t interval of the mean, at each evaluation by itself." if has_band else "",
        "Bands that leave the frame are cut off by it." if _cuts(chosen, curves) else "",
        "A mean's time is the mean of its seeds' times at the same step." if x == "seconds" else "",
        RUNNING if "training" in splits else "",
        "Nothing is smoothed.",
    ]
    return " ".join(filter(None, sentences))


def pair_caption(heading: str, curves: Sequence[Series], x: str) -> str:
    """Caption of a before/after figure."""
    before, after = dict.fromkeys(series.label for series in curves)
    return f"Before: {before}; after: {after}. {caption(heading, curves, LOSS, x)}"


def draw_series(axes: Axes, series: Series, look: Look) -> None:
    """Draw a line a seed, the band of the interval, and the mean with a few markers.

    Dashes mark the split, colour and marker the variant. With one seed its line is the mean.
    """
    line_style: dict[str, Any] = {"color": look.colour, "linestyle": DASHES[series.split]}
    if series.n > 1:
        for line in series.lines:
            axes.plot(line.x, line.y, linewidth=SEED_WIDTH, alpha=SEED_ALPHA, **line_style)
    if series.has_band:
        axes.fill_between(series.x, series.low, series.high, color=look.colour, alpha=BAND_ALPHA, linewidth=0, zorder=1)
    mark: dict[str, Any] = {"marker": look.marker, "markeredgecolor": "white"}
    axes.plot(series.x, series.mean, markevery=marked(len(series.x), look.rank), zorder=3, **line_style, **mark)


def marked(points: int, rank: int) -> list[int]:
    """Which points of a mean carry a marker: a few, at other places for the next variant."""
    every = max(1, math.ceil(points / MARKERS_PER_LINE))
    return list(range(rank % every, points, every))


def frame(curves: Iterable[Series], metric: Metric) -> Frame:
    """A y axis a little beyond every seed's line; logarithmic where the lower values of a metric would vanish."""
    values = np.concatenate([line.y for series in curves for line in series.lines])
    low, high = float(values.min()), float(values.max())
    if metric.spans_decades and 0 < LINEAR_UP_TO * low < high:
        margin = (high / low) ** MARGIN
        return Frame(low / margin, high * margin, True)
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    return Frame(low - margin, high + margin, False)


def _cuts(chosen: Frame, curves: Iterable[Series]) -> bool:
    return any(chosen.cuts(series.low, series.high) for series in curves)


def _finish(figure: FigureBase, grid: np.ndarray, chosen: Frame, metric: Metric, x: str) -> None:
    """Give a grid of axes, which share both axes, their limits, scale, ticks and names."""
    grid.flat[0].set_yscale("log" if chosen.is_logarithmic else "linear")
    grid.flat[0].set_ylim(chosen.low, chosen.high)
    for axes in grid.flat:
        style.plain_ticks(axes.xaxis)
        if metric.is_fraction:
            style.percent_ticks(axes.yaxis)
        elif chosen.is_logarithmic:
            style.plain_log_ticks(axes.yaxis)
    figure.supxlabel(X_AXES[x].label)
    figure.supylabel(metric.axis + (", log scale" if chosen.is_logarithmic else ""))


def _seeds_of(curves: Iterable[Series], label: str) -> int:
    """Number of a variant's seeds with curves."""
    return max(series.n for series in curves if series.label == label)


def _variant_handles(curves: Sequence[Series], looks: Looks) -> list[Line2D]:
    """A legend's entry for each variant, with its number of seeds."""
    counts = {series.label: _seeds_of(curves, series.label) for series in curves}
    return [variant_handle(style.with_count(label, n), looks[label], "val") for label, n in counts.items()]


def _split_handles(curves: Iterable[Series]) -> list[Line2D]:
    """A legend's entry for each split."""
    present = {series.split for series in curves}
    return [
        Line2D([], [], color=style.GREY, linestyle=DASHES[split], label=name)
        for split, name in SPLITS.items()
        if split in present
    ]


def _beside_the_means(curves: Sequence[Series]) -> list[Handle]:
    """A legend's entries for seeds and bands, where there are any."""
    return explaining_handles(any(s.n > 1 for s in curves), any(s.has_band for s in curves))
