"""Paired differences to the baseline: a dot a seed, their mean and its t interval, and the line at zero."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..comparing.comparison import Row
from ..comparing.statistics import Summary
from ..drawing import style
from ..tables.numbers import points, points_interval
from .cost import half_widths
from .palette import Look

# Rows are one apart; a row's dots lie this far below its mean, so that both are seen.
DOTS_BELOW = 0.24
# Points that a name may take beside the axes.
NAME_WIDTHS = {"column": 105.0, "page": 230.0}


@dataclass(frozen=True)
class Difference:
    """A variant's test accuracy minus the baseline's: of each shared seed, and summarised over them."""

    label: str
    by_seed: Mapping[int, float]
    summary: Summary


def differences(rows: Iterable[Row]) -> list[Difference]:
    """The rows of one study that share a seed with its baseline, in the table's order; none without a baseline."""
    rows = list(rows)
    theirs = next((row.by_seed("test_accuracy") for row in rows if row.is_baseline), {})
    found = []
    for row in rows:
        if row.paired:
            ours = row.by_seed("test_accuracy")
            by_seed = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}
            found.append(Difference(row.label, by_seed, row.paired.difference))
    return found


def draw_differences(axes: Axes, shown: Sequence[Difference], looks: Mapping[str, Look]) -> None:
    """Draw the first difference at the top."""
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    for place, difference in enumerate(shown):
        look = looks[difference.label]
        values = list(difference.by_seed.values())
        axes.scatter(values, [place + DOTS_BELOW] * len(values), s=7, color=look.colour, alpha=0.55, linewidth=0)
        axes.errorbar(
            difference.summary.mean,
            place,
            xerr=half_widths(difference.summary),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            markeredgecolor="white",
            elinewidth=1.1,
            capsize=2.5,
            zorder=3,
        )
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    style.percent_ticks(axes.xaxis, signed=True)


def in_words(difference: Difference, name_width: float) -> str:
    """Name, mean, interval and number of pairs, on two lines or more; names at most `name_width` points wide."""
    summary = difference.summary
    interval = "" if math.isnan(summary.low) else f" {points_interval(summary.low, summary.high)}"
    name = style.wrapped(difference.label, name_width, style.number("ytick.labelsize"))
    return f"{name}\n{points(summary.mean)}{interval}, n = {summary.n}".replace("-", "−")


def differences_to_baseline(
    shown: Sequence[Difference], baseline: str, looks: Mapping[str, Look], width: str
) -> Figure:
    """All differences of a study in one panel."""
    handles = style.summary_handles(difference.summary.n for difference in shown)
    words = [in_words(difference, NAME_WIDTHS[width]) for difference in shown]
    lines = max(word.count("\n") + 1 for word in words)
    figure, upper = style.new_sheet(width, 0.55 + (0.06 + 0.13 * lines) * len(shown), handles)
    axes = upper.subplots()
    draw_differences(axes, shown, looks)
    axes.set_yticks(range(len(shown)), words)
    named = style.title(f"Test accuracy minus that of {baseline}", width, 1)
    upper.supxlabel(f"{named}\n(percentage points)" if width == "column" else f"{named} (percentage points)")
    return figure
